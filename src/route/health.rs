//! What is remembered about the failures of one address: passive health checking with exponential back-off.
//!
//! Nothing asks the address by itself. A request that fails there ejects it for a while; the next request after that time is
//! a probe, one at a time. All of it is one atomic word, which a healthy address only loads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the first failure ejects an address. Each further one doubles it.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
/// The longest that one failure ejects an address.
const LONGEST_EJECTION: Duration = Duration::from_secs(30);
/// The failures in a row fill the lowest bits of the word; the rest is when the ejection ends.
const FAILURE_BITS: u32 = 8;

/// The health of one address. The default is healthy.
#[derive(Debug, Default)]
pub struct Health {
    /// The instant that the times in `state` count from: that of the first failure.
    epoch: OnceLock<Instant>,
    /// 0 for healthy; otherwise milliseconds from `epoch` to the end of the ejection, and the failures in a row.
    state: AtomicU64,
}

/// The state of an address when a request chose it. What the request then finds counts only while that state stands: of many
/// requests that fail at once, one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed(u64);

impl Health {
    /// Whether a request may be sent there: the address is healthy, or its ejection is over.
    #[must_use]
    pub fn is_available(&self, now: Instant) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state == 0 || self.millis(now) >= end(state)
    }

    /// When the ejection ends, as a number to compare with those of other addresses, of which the least is the nearest.
    /// `None` when there is no ejection.
    #[must_use]
    pub fn ends(&self) -> Option<Instant> {
        let state = self.state.load(Ordering::Relaxed);
        let epoch = self.epoch.get().filter(|_| state != 0)?;
        epoch.checked_add(Duration::from_millis(end(state)))
    }

    /// Claims the address for a request. Where an ejection is over, the request becomes the probe, and the address stays
    /// ejected for everybody else until the probe has come to something, at most for `patience`. `None` when the address is
    /// ejected, or another request became the probe first.
    #[must_use]
    pub fn claim(&self, now: Instant, patience: Duration) -> Option<Observed> {
        let state = self.state.load(Ordering::Relaxed);
        if state == 0 {
            return Some(Observed(0));
        }
        let millis = self.millis(now);
        if millis < end(state) {
            return None;
        }
        let probed = word(millis.saturating_add(whole_millis(patience)), failures(state));
        self.change(Observed(state), probed).then_some(Observed(probed))
    }

    /// The state as it is, for a request that has no other address left and takes this one although it is ejected.
    #[must_use]
    pub fn observe(&self) -> Observed {
        Observed(self.state.load(Ordering::Relaxed))
    }

    /// The request failed: the address is ejected, twice as long as the time before. Whether this was the first failure
    /// after a time of health.
    pub fn failed(&self, observed: Observed, now: Instant) -> bool {
        let failures = failures(observed.0).saturating_add(1).min((1 << FAILURE_BITS) - 1);
        let ejected = self.millis(now).saturating_add(whole_millis(ejection(failures)));
        self.change(observed, word(ejected, failures)) && observed.0 == 0
    }

    /// The request was answered. Whether this ended an ejection.
    pub fn answered(&self, observed: Observed) -> bool {
        observed.0 != 0 && self.change(observed, 0)
    }

    fn change(&self, observed: Observed, to: u64) -> bool {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        self.state.compare_exchange(observed.0, to, success, failure).is_ok()
    }

    /// Milliseconds since the first failure ever.
    fn millis(&self, now: Instant) -> u64 {
        whole_millis(now.saturating_duration_since(*self.epoch.get_or_init(|| now)))
    }
}

/// How long an address is ejected after so many failures in a row.
fn ejection(failures: u64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 2_u32.saturating_pow(doublings);
    FIRST_EJECTION.saturating_mul(factor).min(LONGEST_EJECTION)
}

const fn word(end: u64, failures: u64) -> u64 {
    // 56 bits of milliseconds are two million years.
    (end << FAILURE_BITS) | failures
}

const fn end(state: u64) -> u64 {
    state >> FAILURE_BITS
}

const fn failures(state: u64) -> u64 {
    state & ((1 << FAILURE_BITS) - 1)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const PATIENCE: Duration = Duration::from_secs(3);

    #[test]
    fn each_failure_ejects_for_twice_as_long_up_to_a_bound_and_an_answer_forgives() {
        let (health, mut now) = (Health::default(), SystemClock.instant());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let observed = health.claim(now, PATIENCE).unwrap();
            health.failed(observed, now);
            let almost = now + Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(!health.is_available(almost), "{seconds}");
            assert_eq!(health.claim(almost, PATIENCE), None);
            now += Duration::from_secs(seconds);
            assert!(health.is_available(now), "{seconds}");
        }
        let probe = health.claim(now, PATIENCE).unwrap();
        assert!(health.answered(probe) && health.is_available(now));
        assert!(health.failed(health.claim(now, PATIENCE).unwrap(), now), "the first again");
        assert!(health.is_available(now + Duration::from_secs(1)));
    }

    #[test]
    fn of_failures_at_once_one_counts() {
        let (health, now) = (Health::default(), SystemClock.instant());
        let observed = [0; 16].map(|_| health.claim(now, PATIENCE).unwrap());
        let first: Vec<bool> = observed.iter().map(|seen| health.failed(*seen, now)).collect();
        assert_eq!(first.iter().filter(|first| **first).count(), 1);
        assert!(health.is_available(now + Duration::from_secs(1)));
        // An answer to what was asked before the failure says nothing about the address now.
        assert!(!health.answered(observed[3]));
        assert!(!health.is_available(now));
    }

    #[test]
    fn one_probe_at_a_time_and_a_lost_one_is_followed_by_another() {
        let (health, now) = (Health::default(), SystemClock.instant());
        health.failed(health.observe(), now);
        let later = now + Duration::from_secs(1);
        let probe = health.claim(later, PATIENCE).unwrap();
        assert_eq!(health.claim(later, PATIENCE), None);
        assert!(!health.is_available(later + PATIENCE - Duration::from_millis(1)));
        let another = health.claim(later + PATIENCE, PATIENCE).unwrap();
        assert!(!health.failed(probe, later + PATIENCE), "it comes too late to count");
        assert!(health.answered(another));
    }
}
