//! The count of one key, and what has become of it. Pure: the time is a parameter.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::throttle::limits::{FORGET_AFTER, KNOWN_FOR, Limit, pause};
use crate::throttle::row::{Change, Row};
use crate::throttle::{Key, Wait};

/// How long an entry stays that says nothing any more, except to the store.
const TOLD_WITHIN: Duration = Duration::from_mins(10);

/// The state of one key on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Failures since the window began.
    pub(super) failures: u32,
    window_start: Timestamp,
    window_end: Timestamp,
    /// How often the limit was passed, until that is forgotten.
    pub(super) level: u32,
    /// The end of the ban; of an account, the end of its being slowed.
    until: Timestamp,
    /// When the next attempt at a slowed account may be made.
    next_slot: Timestamp,
    /// The moment after which the entry says nothing any more.
    pub(super) fades_at: Timestamp,
    unsent: Unsent,
}

/// What the store has not been told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Unsent {
    /// Failures to add.
    failures: u32,
    /// The count began anew.
    restarted: bool,
    /// Level and end of the ban went up.
    raised: bool,
    /// Level and end of the ban were taken back.
    was_reset: bool,
}

impl Entry {
    /// Counts a failure. True when it is one too many, which bans.
    pub(super) fn fail(&mut self, limit: &Limit, now: Timestamp) -> bool {
        if now >= self.until.plus(FORGET_AFTER) {
            self.level = 0;
        }
        // An account that is slowed fails slowly: its count does not begin anew before it is left alone.
        if now >= self.window_end.max(self.until) {
            self.begin(now, now.plus(limit.within));
            self.unsent.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.unsent.failures = self.unsent.failures.saturating_add(1);
        self.judge(limit, now)
    }

    /// Bans when the count is over the limit. The count begins anew, so that the next ban takes as many failures again.
    fn judge(&mut self, limit: &Limit, now: Timestamp) -> bool {
        let over = self.failures >= limit.failures;
        if over {
            self.level = self.level.saturating_add(1);
            self.until = self.until.max(now.plus(limit.ban_at(self.level)));
            self.begin(now, now.plus(limit.within));
            self.unsent = Unsent { failures: 0, restarted: true, raised: true, ..self.unsent };
        }
        self.fades_at = self.fade();
        over
    }

    fn begin(&mut self, start: Timestamp, end: Timestamp) {
        (self.failures, self.window_start, self.window_end) = (0, start, end);
    }

    fn fade(&self) -> Timestamp {
        match self.level {
            0 => self.window_end,
            _ => self.window_end.max(self.until.plus(FORGET_AFTER)),
        }
    }

    /// Forgets the count, since the secret was known after all. What was earned stays: the next ban is no shorter for it.
    pub(super) fn clear(&mut self, now: Timestamp) {
        self.begin(now, now);
        self.unsent.failures = 0;
        self.unsent.restarted = true;
        self.fades_at = self.fade().max(now.plus(TOLD_WITHIN));
    }

    /// Forgets everything, since the operator said so.
    pub(super) fn reset(&mut self, now: Timestamp) {
        let unsent = Unsent { restarted: true, was_reset: true, ..Unsent::default() };
        *self = Self { fades_at: now.plus(TOLD_WITHIN), unsent, ..Self::default() };
        self.begin(now, now);
    }

    /// Notes that the account was proved here.
    pub(super) fn learn(&mut self, now: Timestamp) {
        self.begin(now, now);
        self.unsent.restarted = true;
        self.fades_at = now.plus(KNOWN_FOR);
    }

    /// The last success, of a [`Key::Known`].
    pub(super) const fn learned_at(&self) -> Timestamp {
        self.window_start
    }

    /// How long is still to wait, if at all.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Wait> {
        Wait::until(self.until, now)
    }

    /// The end of the ban, when there is one now.
    pub(super) fn banned_until(&self, now: Timestamp) -> Option<Timestamp> {
        (now < self.until).then_some(self.until)
    }

    /// How long until an attempt at this account, which is slowed, may be made.
    pub(super) fn wait_for_slot(&self, now: Timestamp) -> Option<Wait> {
        Wait::until(self.next_slot, now)
    }

    /// When the next attempt at this account, which is slowed, may be made.
    pub(super) const fn next_slot(&self) -> Timestamp {
        self.next_slot
    }

    /// Takes back what [`Entry::take_slot`] did at that time, unless another has taken the next one since.
    pub(super) fn give_slot_back(&mut self, before: Timestamp, taken_at: Timestamp) {
        if self.next_slot == taken_at.plus(pause(self.level)) {
            self.next_slot = before;
        }
    }

    /// Takes the next attempt at this account.
    pub(super) fn take_slot(&mut self, now: Timestamp) {
        self.next_slot = now.plus(pause(self.level));
    }

    /// Whether the store knows less.
    pub(super) fn is_unsent(&self) -> bool {
        self.unsent != Unsent::default()
    }

    /// What the store must be told; it is taken as told.
    pub(super) fn drain(&mut self, key: &Key, now: Timestamp) -> Change {
        let Unsent { failures, restarted, raised, was_reset } = std::mem::take(&mut self.unsent);
        // A level that is not ours to tell is left out: told again, it would undo what an operator cleared meanwhile.
        let own = raised || was_reset;
        Change {
            row: Row {
                key: key.clone(),
                failures,
                window_start: self.window_start,
                window_end: self.window_end,
                level: if own { self.level } else { 0 },
                banned_until: if own { self.until } else { Timestamp::default() },
                fades_at: self.fades_at,
                updated_at: now,
            },
            restarted,
            was_reset,
        }
    }

    /// Takes back what could not be told.
    pub(super) fn give_back(&mut self, change: &Change) {
        let Row { failures, level, .. } = change.row;
        if !self.unsent.restarted && self.window_start == change.row.window_start {
            self.unsent.failures = self.unsent.failures.saturating_add(failures);
            self.unsent.restarted = change.restarted;
        }
        self.unsent.raised |= level > 0;
        self.unsent.was_reset |= change.was_reset;
    }

    /// Takes over what the store knows, and puts on top what it has not been told. True when the sum is over the limit.
    pub(super) fn merge(&mut self, row: &Row, limit: Option<&Limit>, now: Timestamp) -> bool {
        let Unsent { failures, restarted, raised, was_reset } = self.unsent;
        let theirs_is_over = failures > 0 && row.window_end <= self.window_start;
        if !restarted && !theirs_is_over {
            let start = if failures > 0 {
                self.window_start.min(row.window_start)
            } else {
                row.window_start
            };
            self.begin(start, row.window_end);
            self.failures = row.failures.saturating_add(failures);
        }
        if raised && !was_reset {
            self.level = self.level.max(row.level);
            self.until = self.until.max(row.banned_until);
        } else if !was_reset {
            (self.level, self.until) = (row.level, row.banned_until);
        }
        self.fades_at = self.fades_at.max(row.fades_at);
        match limit {
            Some(limit) if now < self.window_end.max(self.until) => self.judge(limit, now),
            Some(_) | None => false,
        }
    }
}
