//! How nodes share what they count: one row per key in the store.
//!
//! | column | type | |
//! |---|---|---|
//! | `kind` | text | `pair` `network` `account` `tokens` `known`; with the next two the primary key ([`Key::columns`]) |
//! | `account` | text | `user:NAME`, `client:ID`, or empty; at most 263 bytes, no NUL |
//! | `network` | text | `203.0.113.9/32`, `2001:db8:1:2::/64`, or empty |
//! | `failures` | integer | since `window_start`, on all nodes |
//! | `window_start`, `window_end` | integer | seconds since the epoch; of `known` the start is the last success |
//! | `level` | integer | how often the limit was passed |
//! | `banned_until` | integer | seconds; 0 for never |
//! | `fades_at` | integer | seconds; the row may be deleted after it |
//! | `updated_at` | integer | seconds; when a node wrote it last |
//!
//! A node writes what is new since it last wrote ([`Change`]): counts are added, bans are the longest that any node gave. Two
//! nodes that write at once therefore come to the same row in either order. As one statement, which [`Change::onto`] defines
//! and which any SQL can say in a transaction or with `ON CONFLICT DO UPDATE`:
//!
//! - *anew* is `restarted OR row.window_end <= change.window_start`; *forgotten* is
//!   `was_reset OR row.banned_until + 86400 <= change.updated_at`.
//! - `failures`: *anew* ? the change's : the sum. `window_start`, `window_end`: *anew* ? the change's : the row's.
//! - `level`, `banned_until`: *forgotten* ? the change's : the greater.
//! - `fades_at`: `was_reset` ? the change's : the greater. `updated_at`: the change's.
//!
//! One task per node does, in this order: drain, write, read the rows that were written since it last read, merge. What a
//! node read is the truth then, and what has happened to it meanwhile is put on top. A write that fails is given back.

use std::fmt;

use crate::clock::Timestamp;
use crate::throttle::limits::FORGET_AFTER;
use crate::throttle::{Key, Selector};

/// One row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the column of its name, explained above")]
pub struct Row {
    pub key: Key,
    pub failures: u32,
    pub window_start: Timestamp,
    pub window_end: Timestamp,
    pub level: u32,
    pub banned_until: Timestamp,
    pub fades_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Row {
    /// What an operator's `clear` makes of a row. The row stays, so that every node reads that it was cleared.
    #[must_use]
    pub fn cleared(&self, now: Timestamp) -> Self {
        let (failures, level, banned_until) = (0, 0, Timestamp::default());
        let (window_start, window_end) = (now, now);
        let key = self.key.clone();
        let fades_at = self.fades_at;
        Self {
            key,
            failures,
            window_start,
            window_end,
            level,
            banned_until,
            fades_at,
            updated_at: now,
        }
    }
}

/// What a node adds to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The row as it becomes when there is none; `failures` are only those that the store does not know.
    pub row: Row,
    /// The count began anew: the row's is replaced.
    pub restarted: bool,
    /// An operator cleared the ban: the row's is replaced.
    pub was_reset: bool,
}

impl Change {
    /// The row that it makes of the one that is stored.
    #[must_use]
    pub fn onto(&self, stored: Option<&Row>) -> Row {
        let change = &self.row;
        let Some(row) = stored else { return change.clone() };
        let anew = self.restarted || row.window_end <= change.window_start;
        let forgotten = self.was_reset || row.banned_until.plus(FORGET_AFTER) <= change.updated_at;
        let counted = if anew { change } else { row };
        let known = if anew { 0 } else { row.failures };
        Row {
            key: change.key.clone(),
            failures: change.failures.saturating_add(known),
            window_start: counted.window_start,
            window_end: counted.window_end,
            level: if forgotten { change.level } else { change.level.max(row.level) },
            banned_until: if forgotten {
                change.banned_until
            } else {
                change.banned_until.max(row.banned_until)
            },
            fades_at: if self.was_reset {
                change.fades_at
            } else {
                change.fades_at.max(row.fades_at)
            },
            updated_at: change.updated_at,
        }
    }
}

/// A ban that holds, for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Whose, from where.
    pub key: Key,
    /// Until when.
    pub until: Timestamp,
    /// The how many-th in a row.
    pub level: u32,
}

impl Ban {
    /// The ban in a row, when it holds at `now` and is one that `selector` means.
    #[must_use]
    pub fn of(row: &Row, selector: &Selector, now: Timestamp) -> Option<Self> {
        let Row { key, banned_until: until, level, .. } = row;
        (now < *until && selector.covers(key)).then(|| Self {
            key: key.clone(),
            until: *until,
            level: *level,
        })
    }
}

impl fmt::Display for Ban {
    /// One line of pure ASCII.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, until, level } = self;
        match key {
            Key::Pair(account, network) | Key::Known(account, network) => {
                write!(f, "{account} from {network} is banned")?;
            }
            Key::Network(network) => write!(f, "{network} is banned")?,
            Key::Tokens(network) => write!(f, "{network} may present no refresh tokens")?,
            Key::Account(account) => write!(f, "{account} is slowed from unknown addresses")?,
        }
        write!(f, " until {until} (level {level})")
    }
}
