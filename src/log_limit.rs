//! Log lines that a peer can trigger: once per cause and interval, with the count of what was left out.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// How long a cause stays silent after a line about it.
const INTERVAL: Duration = Duration::from_secs(10);

/// The limit of one place that logs. Make it a `static` there.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Vec<Cause>>);

#[derive(Debug)]
struct Cause {
    name: &'static str,
    last: Timestamp,
    left_out: u64,
}

impl LogLimit {
    /// Nothing was logged yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Whether to log now what happened for this cause, one of a few fixed names: `Some` with the number of times that it
    /// happened since the last line and was left out. A clock that was set back begins a new interval.
    pub fn allow(&self, cause: &'static str, now: Timestamp) -> Option<u64> {
        let mut causes = self.0.lock();
        let Some(known) = causes.iter_mut().find(|known| known.name == cause) else {
            causes.push(Cause { name: cause, last: now, left_out: 0 });
            return Some(0);
        };
        if now >= known.last && now < known.last.plus(INTERVAL) {
            known.left_out = known.left_out.saturating_add(1);
            return None;
        }
        known.last = now;
        Some(std::mem::take(&mut known.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Part 4, item 18.
    #[test]
    fn a_cause_is_logged_once_per_interval_with_the_count_of_what_was_left_out() {
        let limit = LogLimit::new();
        let at = |seconds: u64| Timestamp::from_secs(1_800_000_000 + seconds);
        assert_eq!(limit.allow("busy", at(0)), Some(0));
        for second in [0, 1, 9] {
            assert_eq!(limit.allow("busy", at(second)), None);
        }
        assert_eq!(limit.allow("late", at(5)), Some(0), "another cause");
        assert_eq!(limit.allow("busy", at(10)), Some(3));
        assert_eq!(limit.allow("busy", at(11)), None);
        assert_eq!(limit.allow("busy", at(5)), Some(1), "the clock was set back");
    }
}
