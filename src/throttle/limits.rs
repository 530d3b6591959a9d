//! How many failures are too many, and what follows.

use std::time::Duration;

/// The longest ban, however often it was earned.
pub const MAX_BAN: Duration = Duration::from_hours(24);

/// How long after the end of a ban the next one is still longer than it was.
pub const FORGET_AFTER: Duration = Duration::from_hours(24);

/// How long a network is known for an account after its last success there.
pub const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);

/// An account is guessed at from many networks when it has this many times the failures that one network may have.
const ACCOUNT_SHARE: u32 = 4;

/// So many invented refresh tokens weigh as much as one wrong password. They cannot be guessed, so counting them protects our
/// time and nothing else; and after a store was lost, everybody in an office holds one that nobody knows any more.
const TOKEN_SHARE: u32 = 10;

/// The longest pause between two attempts at an account that is guessed at, in seconds.
const MAX_PAUSE: u64 = 60;

/// So many failures within so long are a ban of so long; each further one is twice as long, up to [`MAX_BAN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many failures; at least 1.
    pub failures: u32,
    /// Counted from the first of them.
    pub within: Duration,
    /// How long the first ban lasts.
    pub ban: Duration,
}

impl Limit {
    /// How long the ban of this level lasts, counted from 1.
    #[must_use]
    pub fn ban_at(&self, level: u32) -> Duration {
        let factor = 1_u32.checked_shl(level.saturating_sub(1)).unwrap_or(u32::MAX);
        self.ban.saturating_mul(factor).min(MAX_BAN)
    }

    /// The limit of an account's failures from everywhere, when this is the one from one network.
    #[must_use]
    pub const fn for_account(self) -> Self {
        Self { failures: self.failures.saturating_mul(ACCOUNT_SHARE), ..self }
    }

    /// The limit of a network's invented refresh tokens, when this is the one of its failures.
    #[must_use]
    pub const fn for_tokens(self) -> Self {
        Self { failures: self.failures.saturating_mul(TOKEN_SHARE), ..self }
    }
}

/// The pause between two attempts at an account that has been slowed this often.
#[must_use]
pub(super) fn pause(level: u32) -> Duration {
    let seconds = 1_u64.checked_shl(level).unwrap_or(u64::MAX);
    Duration::from_secs(seconds.min(MAX_PAUSE))
}

/// What is limited; `None` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failures of one account from one network, and of one account from everywhere ([`Limit::for_account`]).
    pub per_user: Option<Limit>,
    /// Failures from one network.
    pub per_address: Option<Limit>,
}

impl Limits {
    /// No limits at all.
    pub const OFF: Self = Self { per_user: None, per_address: None };
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = Duration::from_mins;
        Self {
            per_user: Some(Limit { failures: 5, within: minutes(5), ban: minutes(5) }),
            per_address: Some(Limit { failures: 30, within: minutes(5), ban: minutes(15) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_double_up_to_a_day() {
        let limit = Limits::default().per_user.unwrap();
        let minutes = |level| limit.ban_at(level).as_secs() / 60;
        assert_eq!([1, 2, 3, 4].map(minutes), [5, 10, 20, 40]);
        for high in [10, 32, 33, 200, u32::MAX] {
            assert_eq!(limit.ban_at(high), MAX_BAN, "{high}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_minute() {
        assert_eq!([1, 2, 5, 6, 64, u32::MAX].map(|l| pause(l).as_secs()), [2, 4, 32, 60, 60, 60]);
    }
}
