//! What a node that follows the feed must not take for granted: that the store is still the one that it has read.
//!
//! A standby that was promoted may lack the last revocations, and a backup that was put back lacks more. Numbers are then used
//! twice, and a node that asks only for higher ones misses what was revoked under those that it has seen. So with each poll
//! three things are compared: the number of the last revocation, the row that this node read last, and the *epoch*, a random
//! number in the store. Whoever finds the store older draws another epoch and moves the counter beyond every number that was
//! ever seen; everybody else finds that other epoch. Then everything is read anew, and what this node knows and the store does
//! not is written back.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Executor as _, Row as _};

use super::engine::Engine;
use super::revocations::{self, Raw, Revocation, from_sql, to_sql};
use super::time::StoreTime;
use crate::clock::Timestamp;
use crate::oauth::subject::Subject;

/// Clocks of nodes differ by less: a row may be deleted by another node before its time is over here.
const CLOCKS: Duration = Duration::from_secs(120);

/// What one poll finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The number of the last revocation.
    pub(super) newest: i64,
    /// `None` in a store of before there was one.
    pub(super) epoch: Option<i64>,
    /// The row of the number that was asked for.
    row: Option<Raw>,
    /// What the store's clock says (`StoreTime::of_column`).
    pub(super) at: i64,
}

/// What a node has read of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) epoch: i64,
    /// Everything up to this number was read.
    pub(super) last: i64,
    /// The row of that number, if it was there.
    pub(super) row: Option<Raw>,
}

/// What to make of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is new.
    Same,
    /// More was written.
    More,
    /// Somebody found the store older, or it is another one.
    AnotherEpoch,
    /// It lacks what was read from it, and nobody has noticed yet.
    Older,
}

impl Known {
    pub(super) fn judge(&self, look: &Look, now: Timestamp) -> Verdict {
        if look.epoch != Some(self.epoch) {
            return Verdict::AnotherEpoch;
        }
        let is_there = match (&self.row, &look.row) {
            (Some(own), Some(found)) => own == found,
            // It was deleted, if its time is over.
            (Some(own), None) => from_sql(own.until) <= now.plus(CLOCKS),
            (None, Some(_)) => false,
            (None, None) => true,
        };
        match (is_there, look.newest.cmp(&self.last)) {
            (false, _) | (true, std::cmp::Ordering::Less) => Verdict::Older,
            (true, std::cmp::Ordering::Equal) => Verdict::Same,
            (true, std::cmp::Ordering::Greater) => Verdict::More,
        }
    }
}

/// Looks at the feed, in one way to the database and back.
///
/// PostgreSQL locks the counter's row for the moment. So this waits while a revocation is on its way to being durable, however
/// long that takes (a standby that does not confirm), and fails where nothing can be written: on a standby, in a read-only
/// session, for a role that may only read. That this could be read would else say nothing about what is revoked.
pub(super) async fn look(
    connection: &mut AnyConnection,
    time: &StoreTime,
    last: i64,
) -> Result<Look, sqlx::Error> {
    let select = format!(
        "SELECT feed.seq, (SELECT seq FROM feed WHERE name = 'epoch'), \
         r.kind, r.name, r.subject, r.at, r.until, {} FROM feed \
         LEFT JOIN revocations r ON r.seq = {last} WHERE feed.name = 'revocations'",
        time.column(),
    );
    let query = match time.engine() {
        Engine::Sqlite => select,
        // The lock is no write that has to be durable.
        Engine::Postgres => format!(
            "BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = '2500ms'; \
             {select} FOR SHARE OF feed; COMMIT"
        ),
    };
    let rows = connection.fetch_all(AssertSqlSafe(query)).await?;
    let row: &AnyRow = rows.last().ok_or(sqlx::Error::RowNotFound)?;
    let kind: Option<String> = row.try_get(2)?;
    let raw = match kind {
        Some(kind) => Some(Raw {
            kind,
            name: row.try_get(3)?,
            subject: row.try_get(4)?,
            at: row.try_get(5)?,
            until: row.try_get(6)?,
        }),
        None => None,
    };
    Ok(Look { newest: row.try_get(0)?, epoch: row.try_get(1)?, row: raw, at: row.try_get(7)? })
}

/// Gives a store without an epoch this one.
pub(super) async fn begin(connection: &mut AnyConnection, epoch: i64) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO feed (name, seq) VALUES ('epoch', $1) ON CONFLICT DO NOTHING";
    sqlx::query(insert).bind(epoch).execute(connection).await.map(|_| ())
}

/// Begins another epoch, unless somebody else has, and moves the counter to where this node has read at least.
pub(super) async fn renew(
    connection: &mut AnyConnection,
    from: i64,
    to: i64,
    least: i64,
) -> Result<(), sqlx::Error> {
    let update = "UPDATE feed SET seq = $1 WHERE name = 'epoch' AND seq = $2";
    sqlx::query(update).bind(to).bind(from).execute(&mut *connection).await?;
    let raise = "UPDATE feed SET seq = $1 WHERE name = 'revocations' AND seq < $2";
    sqlx::query(raise).bind(least).bind(least).execute(connection).await.map(|_| ())
}

/// Writes back what the store has lost.
pub(super) async fn restore(
    connection: &mut AnyConnection,
    lost: &[Revocation],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    // Rows of families before the counter, as everybody locks them.
    for revocation in lost {
        if let Revocation::Family { id, .. } = revocation {
            let update = "UPDATE families SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
            let query = sqlx::query(update).bind(to_sql(now)).bind(&**id.as_str());
            query.execute(&mut *connection).await?;
        }
    }
    for revocation in lost {
        revocations::record(&mut *connection, revocation, now).await?;
    }
    Ok(())
}

/// What a store says is revoked, to be compared with what a node knows.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ids: HashSet<String>,
    subjects: HashMap<Subject, Timestamp>,
    all: Option<Timestamp>,
    all_until: Option<Timestamp>,
}

impl Seen {
    /// Notes what was revoked at this time of the store.
    pub(super) fn note(&mut self, revocation: &Revocation, at: Timestamp) {
        match revocation {
            Revocation::Token { id, .. } => {
                self.ids.insert(id.clone());
            }
            Revocation::Family { id, .. } => {
                self.ids.insert(id.to_string());
            }
            Revocation::Subject { subject } => {
                let seen = self.subjects.entry(subject.clone()).or_insert(at);
                *seen = (*seen).max(at);
            }
            Revocation::All => self.all = self.all.max(Some(at)),
            Revocation::AllUntil { at } => self.all_until = self.all_until.max(Some(*at)),
            Revocation::User { .. } => {}
        }
    }

    /// Whether the store does not say this.
    pub(super) fn misses(&self, revocation: &Revocation, at: Timestamp) -> bool {
        match revocation {
            Revocation::Token { id, .. } => !self.ids.contains(id),
            Revocation::Family { id, .. } => !self.ids.contains(&**id.as_str()),
            Revocation::Subject { subject } => {
                self.subjects.get(subject).is_none_or(|seen| *seen < at)
            }
            Revocation::All => self.all.is_none_or(|seen| seen < at),
            Revocation::AllUntil { at } => self.all_until.is_none_or(|seen| seen < *at),
            Revocation::User { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn raw(name: &str, until: Timestamp) -> Raw {
        let (name, subject) = (name.to_owned(), "alice".to_owned());
        Raw { kind: "token".to_owned(), name, subject, at: 0, until: to_sql(until) }
    }

    // Part 4, item 25.
    #[test]
    fn a_store_that_lacks_what_was_read_is_older_whatever_its_numbers_say() {
        let later = NOW.plus(Duration::from_secs(3600));
        let own = raw("t7", later);
        let known = Known { epoch: 5, last: 7, row: Some(own.clone()) };
        let judge = |newest, epoch, row: Option<&Raw>| {
            known.judge(&Look { newest, epoch, row: row.cloned(), at: 0 }, NOW)
        };
        assert_eq!(judge(7, Some(5), Some(&own)), Verdict::Same);
        assert_eq!(judge(9, Some(5), Some(&own)), Verdict::More);
        assert_eq!(judge(7, Some(6), Some(&own)), Verdict::AnotherEpoch);
        assert_eq!(judge(7, None, Some(&own)), Verdict::AnotherEpoch);
        assert_eq!(judge(6, Some(5), None), Verdict::Older, "numbers went back");
        let other = raw("t8", later);
        assert_eq!(judge(7, Some(5), Some(&other)), Verdict::Older, "the number was used twice");
        assert_eq!(judge(9, Some(5), Some(&other)), Verdict::Older, "and passed");
        assert_eq!(judge(9, Some(5), None), Verdict::Older, "it is gone before its time");
        let over = Known { row: Some(raw("t7", NOW)), ..known.clone() };
        let look = Look { newest: 9, epoch: Some(5), row: None, at: 0 };
        assert_eq!(over.judge(&look, NOW), Verdict::More, "it was over and was deleted");
    }

    // Part 4, item 25.
    #[test]
    fn what_the_store_does_not_say_is_missed() {
        let alice = Subject::parse("alice").unwrap();
        let token = Revocation::Token { id: "t".to_owned(), subject: alice.clone(), until: NOW };
        let subject = Revocation::Subject { subject: alice.clone() };
        let mut seen = Seen::default();
        for known in [token, subject.clone(), Revocation::All, Revocation::AllUntil { at: NOW }] {
            assert!(seen.misses(&known, NOW), "{known:?}");
            seen.note(&known, NOW);
            assert!(!seen.misses(&known, NOW), "{known:?}");
        }
        let later = NOW.plus(Duration::from_secs(1));
        assert!(seen.misses(&subject, later) && seen.misses(&Revocation::All, later));
        assert!(seen.misses(&Revocation::AllUntil { at: later }, later));
    }
}
