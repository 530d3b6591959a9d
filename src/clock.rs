//! The two clocks of the product, behind one trait.
//!
//! Wall time ([`Timestamp`]) judges tokens; monotonic time ([`Instant`]) measures durations and timeouts, so a clock step
//! never lengthens a timeout. Everything else takes `now` as a value or a [`Clock`] as a parameter; the standard clocks are
//! banned by clippy outside this file.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point of wall time in whole seconds since 1970-01-01T00:00:00Z: the *NumericDate* of RFC 7519 section 2, never
/// negative and never fractional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest point that may stand in a token: 9999-12-31T23:59:59Z. Anything later is a mistake or an attack.
    pub const MAX: Self = Self(253_402_300_799);

    /// The point `seconds` after the epoch.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This point moved into the future; stops at the end of the range instead of wrapping.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// This point moved into the past; stops at the epoch.
    #[must_use]
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, as the logs print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_secs(self.0.min(Self::MAX.0));
        write!(f, "{}", humantime::format_rfc3339_seconds(time))
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time, for `exp`, `nbf`, `iat` and the logs.
    fn now(&self) -> Timestamp;

    /// Wall time with its fraction, for log lines, and to compare this clock with the database's: no decision about a token
    /// may hang on it.
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.now().as_secs())
    }

    /// Monotonic time, for durations and deadlines.
    fn instant(&self) -> Instant;

    /// Whether it only plays a clock, and so stands for that of every other machine as well.
    fn is_simulated(&self) -> bool {
        false
    }
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A machine whose clock stands before 1970 reads as 1970: every token is then "not yet valid", which is closed.
        Timestamp(self.wall().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A wall clock that moves only when told to; its monotonic side is the machine's, and can be told to run ahead. For tests
/// and `explain --at`.
#[derive(Debug)]
pub struct ManualClock {
    /// Seconds since the epoch.
    wall: AtomicU64,
    /// Milliseconds that the monotonic side is ahead of the machine's.
    ahead: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { wall: AtomicU64::new(now.0), ahead: AtomicU64::new(0) }
    }

    /// Moves the wall time forward.
    pub fn advance(&self, by: Duration) {
        self.wall.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// Moves the monotonic time forward, in whole milliseconds. What waits by the machine's timers waits on.
    pub fn advance_instant(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::SeqCst))
    }

    fn instant(&self) -> Instant {
        let ahead = Duration::from_millis(self.ahead.load(Ordering::SeqCst));
        let now = SystemClock.instant();
        now.checked_add(ahead).unwrap_or(now)
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_saturate_instead_of_wrapping() {
        assert_eq!(Timestamp::from_secs(5).minus(Duration::from_secs(9)).as_secs(), 0);
        let end = Timestamp::from_secs(u64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
    }

    #[test]
    fn timestamps_print_as_rfc_3339() {
        assert_eq!(Timestamp::from_secs(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_secs(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(Timestamp::from_secs(100));
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_secs(7));
        assert_eq!(clock.now().as_secs(), 107);
    }
}
