//! Revocations: the rows that end tokens before their time, in an order that no reader can miss one of.
//!
//! A row's number is drawn from one counter row, inside the transaction that writes it. That row stays locked until the
//! commit, so numbers are committed in their order: who has seen number 7 can never be surprised by a number 6. It is plain
//! SQL, and a rollback takes its number back.

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
    pub(super) revocation: Revocation,
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
    sqlx::query(insert)
        .bind(seq)
        .bind(kind)
        .bind(name)
        .bind(subject)
        .bind(to_sql(at))
        .bind(to_sql(until))
        .execute(connection)
        .await?;
    Ok(Entry { seq, at, revocation: revocation.clone() })
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

/// So many revocations after a number, in their order. A row that cannot be read (written by a later version) is an error,
/// never skipped: what it revokes would go on.
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
            let kind: String = row.try_get(1)?;
            let name: String = row.try_get(2)?;
            let subject: String = row.try_get(3)?;
            let (at, until) = (from_sql(row.try_get(4)?), from_sql(row.try_get(5)?));
            let subject = || Subject::parse(&subject).map_err(|e| sqlx::Error::Decode(e.into()));
            let revocation = match kind.as_str() {
                "token" => Revocation::Token { id: name, subject: subject()?, until },
                "family" => {
                    let id = FamilyId::of_row(&name);
                    Revocation::Family { id, subject: subject()?, until }
                }
                "subject" => Revocation::Subject { subject: subject()? },
                "all" if name == NOW => Revocation::All,
                "all" => Revocation::AllUntil { at },
                "user" => Revocation::User { name: subject()? },
                _ => return Err(sqlx::Error::Decode("an unknown kind of revocation".into())),
            };
            Ok(Entry { seq: row.try_get(0)?, at, revocation })
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
