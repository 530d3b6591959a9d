//! Revocations: the rows that end tokens before their time, in an order that no reader can miss one of.
//!
//! A row's number is drawn from one counter row, inside the transaction that writes it. That row stays locked until the
//! commit, so numbers are committed in their order: who has seen number 7 can never be surprised by a number 6. It is plain
//! SQL, and a rollback takes its number back.

use std::sync::Once;
use std::time::{Duration, SystemTime};

use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::refresh_token::FamilyId;
use super::time::StoreTime;
use crate::clock::Timestamp;
use crate::oauth::subject::Subject;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// One access token, by its id (`jti`).
    Token {
        /// Its id.
        id: String,
        /// For whom it speaks.
        subject: Subject,
        /// When it would have ended, leeway included.
        until: Timestamp,
    },
    /// A family of refresh tokens, with the access tokens that came with them.
    Family {
        /// Its id.
        id: FamilyId,
        /// For whom they speak.
        subject: Subject,
        /// When the last access token of it will have ended.
        until: Timestamp,
    },
    /// Everything of a subject whose login began before this (`order`), refresh tokens included. For the subject of a client,
    /// also what users got through that client.
    Subject {
        /// The subject.
        subject: Subject,
    },
    /// Everything of anybody whose login began before this.
    All,
    /// Everything of anybody whose login began at a given time or earlier.
    AllUntil {
        /// The time.
        at: Timestamp,
    },
    /// Nothing; but the row of this user was changed.
    User {
        /// The user.
        name: Subject,
    },
}

/// The name of a row of the kind `all` that ends everything up to its own number; without a name, it is up to its time.
pub(super) const NOW: &str = "now";

/// The longest that a refresh token can live, and so that a revocation of everything has to be remembered.
pub(super) const LONGEST_FAMILY: Duration = Duration::from_secs(367 * 24 * 3600);
/// How long a change of a user stays in the feed. A mirror that was cut off for longer is filled anew.
const USER_CHANGE: Duration = Duration::from_secs(24 * 3600);

/// A revocation with its number and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: i64,
    /// When it was made, by the store's clock.
    pub(super) at: Timestamp,
    pub(super) raw: Raw,
    pub(super) revocation: Revocation,
}

/// A row as it stands, but for its number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) at: i64,
    pub(super) until: i64,
}

impl Raw {
    /// What it revokes. A row that cannot be read (a later version wrote it) is never passed over: all of its subject is
    /// revoked, or everything where it names none.
    fn read(&self) -> Revocation {
        let (at, until) = (from_sql(self.at), from_sql(self.until));
        let subject = Subject::parse(&self.subject).ok();
        let known = subject.clone().and_then(|subject| match self.kind.as_str() {
            "token" => Some(Revocation::Token { id: self.name.clone(), subject, until }),
            "family" => {
                Some(Revocation::Family { id: FamilyId::of_row(&self.name), subject, until })
            }
            "subject" => Some(Revocation::Subject { subject }),
            "user" => Some(Revocation::User { name: subject }),
            _ => None,
        });
        let all = match self.name.as_str() {
            NOW => Revocation::All,
            _ => Revocation::AllUntil { at },
        };
        let all = Some(all).filter(|_| self.kind == "all");
        known.or(all).unwrap_or_else(|| {
            static TOLD: Once = Once::new();
            let kind = self.kind.escape_default();
            TOLD.call_once(|| {
                tracing::error!(
                    %kind,
                    "a revocation that this version does not know: all of its subject is revoked"
                );
            });
            subject.map_or(Revocation::All, |subject| Revocation::Subject { subject })
        })
    }
}

/// Writes a revocation with the next number, at this time of the store.
pub(super) async fn record(
    connection: &mut AnyConnection,
    revocation: &Revocation,
    now: Timestamp,
) -> Result<Entry, sqlx::Error> {
    let next = "UPDATE feed SET seq = seq + 1 WHERE name = 'revocations' RETURNING seq";
    let seq: i64 = sqlx::query_scalar(next).fetch_one(&mut *connection).await?;
    let (kind, name, subject, at, until) = match revocation {
        Revocation::Token { id, subject, until } => {
            ("token", id.as_str(), subject.as_str(), *until, *until)
        }
        Revocation::Family { id, subject, until } => {
            ("family", &**id.as_str(), subject.as_str(), *until, *until)
        }
        Revocation::Subject { subject } => {
            ("subject", subject.as_str(), subject.as_str(), now, now.plus(LONGEST_FAMILY))
        }
        Revocation::All => ("all", NOW, "", now, now.plus(LONGEST_FAMILY)),
        Revocation::AllUntil { at } => ("all", "", "", *at, at.plus(LONGEST_FAMILY)),
        Revocation::User { name } => {
            ("user", name.as_str(), name.as_str(), now, now.plus(USER_CHANGE))
        }
    };
    let insert = "INSERT INTO revocations (seq, kind, name, subject, at, until) \
                  VALUES ($1, $2, $3, $4, $5, $6)";
    let raw = Raw {
        kind: kind.to_owned(),
        name: name.to_owned(),
        subject: subject.to_owned(),
        at: to_sql(at),
        until: to_sql(until),
    };
    sqlx::query(insert)
        .bind(seq)
        .bind(kind)
        .bind(name)
        .bind(subject)
        .bind(raw.at)
        .bind(raw.until)
        .execute(connection)
        .await?;
    Ok(Entry { seq, raw, at, revocation: revocation.clone() })
}

/// The number of the last revocation, and the store's time with its fraction.
pub(super) async fn last(
    connection: &mut AnyConnection,
    clock: &StoreTime,
) -> Result<(i64, SystemTime), sqlx::Error> {
    let now = clock.column();
    let last = format!("SELECT seq, {now} FROM feed WHERE name = 'revocations'");
    let row = sqlx::query(AssertSqlSafe(last)).fetch_one(connection).await?;
    Ok((row.try_get(0)?, clock.of_column(row.try_get(1)?)))
}

/// So many revocations after a number, in their order.
pub(super) async fn after(
    connection: &mut AnyConnection,
    seq: i64,
    limit: i64,
) -> Result<Vec<Entry>, sqlx::Error> {
    let select = "SELECT seq, kind, name, subject, at, until FROM revocations \
                  WHERE seq > $1 ORDER BY seq LIMIT $2";
    let rows = sqlx::query(select).bind(seq).bind(limit).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let raw = Raw {
                kind: row.try_get(1)?,
                name: row.try_get(2)?,
                subject: row.try_get(3)?,
                at: row.try_get(4)?,
                until: row.try_get(5)?,
            };
            let (at, revocation) = (from_sql(raw.at), raw.read());
            Ok(Entry { seq: row.try_get(0)?, at, revocation, raw })
        })
        .collect()
}

/// Deletes up to so many revocations of what has ended by itself.
pub(super) async fn purge(
    connection: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let delete = "DELETE FROM revocations WHERE seq IN \
                  (SELECT seq FROM revocations WHERE until <= $1 LIMIT $2)";
    let done = sqlx::query(delete).bind(to_sql(now)).bind(limit).execute(connection).await?;
    Ok(done.rows_affected())
}

/// A point of time as it stands in a row.
pub(super) fn to_sql(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

/// A point of time out of a row.
pub(super) fn from_sql(seconds: i64) -> Timestamp {
    Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0))
}
