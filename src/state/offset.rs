//! How far this node's clock is from the store's. What nodes compare is told by the store's clock; but tokens are dated and judged
//! by each node's own, within the leeway, so a clock that runs away must be seen.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// From here on it is said.
const NOTABLE: i64 = 1_000;
/// An answer that took longer says too little.
const TOO_SLOW: Duration = Duration::from_millis(500);

/// The difference, in whole milliseconds; positive when this node's clock is ahead.
#[derive(Debug, Default)]
pub(super) struct ClockOffset(AtomicI64);

impl ClockOffset {
    /// The last that was measured.
    pub(super) fn millis(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Measures: the store's clock said `of_store` at some time between `before` and `after` of this node's.
    pub(super) fn measure(&self, before: SystemTime, of_store: SystemTime, after: SystemTime) {
        // None when the clock was set back meanwhile.
        let Ok(took) = after.duration_since(before) else { return };
        if took <= TOO_SLOW {
            self.0.store(difference(before + took / 2, of_store), Ordering::Relaxed);
        }
    }
}

fn difference(own: SystemTime, of_store: SystemTime) -> i64 {
    let millis = |by: Duration| i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    match own.duration_since(of_store) {
        Ok(ahead) => millis(ahead),
        Err(behind) => millis(behind.duration()).saturating_neg(),
    }
}

/// What was said of it in the log.
#[derive(Debug, Default)]
pub(super) struct Said(Option<i64>);

impl Said {
    /// Says when it becomes notable, when it changes by as much again, and when it is over; not at each poll.
    pub(super) fn say(&mut self, millis: i64) {
        let notable = millis.saturating_abs() > NOTABLE;
        match self.0 {
            Some(said) if notable && millis.abs_diff(said) <= NOTABLE.unsigned_abs() => {}
            // A little less, so that it is not said again and again at the border.
            Some(_) if !notable && millis.saturating_abs() > NOTABLE * 9 / 10 => {}
            Some(_) if !notable => {
                self.0 = None;
                tracing::info!("this node's clock is in step with the state store's again");
            }
            None if !notable => {}
            Some(_) | None => {
                self.0 = Some(millis);
                tracing::warn!(
                    milliseconds = millis,
                    "this node's clock differs from the state store's: keep them in step"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_measured_from_the_middle_and_only_when_the_answer_was_quick() {
        let offset = ClockOffset::default();
        let own = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let millis = Duration::from_millis;
        offset.measure(own, own + millis(5_050), own + millis(100));
        assert_eq!(offset.millis(), -5_000);
        offset.measure(own, own - millis(2_000), own);
        assert_eq!(offset.millis(), 2_000);
        offset.measure(own, own, own + millis(501));
        offset.measure(own, own, own - millis(1));
        assert_eq!(offset.millis(), 2_000, "neither says anything");
    }

    #[test]
    fn a_difference_is_said_once_until_it_changes() {
        let mut said = Said::default();
        for (millis, then) in [
            (900, None),
            (-1_000, None),
            (1_001, Some(1_001)),
            (2_001, Some(1_001)),
            (2_002, Some(2_002)),
            (1_500, Some(2_002)),
            (950, Some(2_002)),
            (900, None),
            (-40_000, Some(-40_000)),
            (40_000, Some(40_000)),
            (0, None),
        ] {
            said.say(millis);
            assert_eq!(said.0, then, "{millis}");
        }
    }
}
