//! Families of refresh tokens: everything that goes back to one login, in one row (RFC 9700 section 4.14.2).
//!
//! The row knows the digest of the token that is good now, and of the one that was spent for it, with the nonce that made the
//! one of the other. A rotation is one conditional update: of two that come at once, on whatever node, one wins, and the
//! other finds its token spent.

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::order::{self, Origin};
pub(super) use super::refresh_token::FamilyId;
use super::refresh_token::{Nonce, TagKey};
use super::revocations::{self, Entry, Revocation, from_sql, to_sql};
use super::time::{StoreTime, seconds};
use crate::clock::Timestamp;
use crate::oauth::client::ClientId;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::token::Began;

/// A family as it stands in the store.
#[derive(Debug, Clone)]
pub struct Family {
    /// Its id.
    pub id: FamilyId,
    /// Who logged in.
    pub subject: Subject,
    /// The client through which; its tokens are good for that client only.
    pub client_id: ClientId,
    /// What was granted; never widened.
    pub scope: Scope,
    /// The version of the user's credential at login.
    pub credential: Arc<str>,
    /// What its tokens' tags are made with.
    pub tag_key: TagKey,
    /// When the login began.
    pub began: Began,
    /// When it ends, however much it is used. This and all other times are by the store's clock.
    pub expires_at: Timestamp,
    /// When it ends unless it is used.
    pub idle_until: Timestamp,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The digest of the token that is good now.
    pub token: String,
    /// When it was read, by the store's clock.
    pub read_at: Timestamp,
}

impl Family {
    /// Whether its time was over when it was read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.read_at >= self.expires_at.min(self.idle_until)
    }

    pub(super) const fn origin(&self) -> Origin<'_> {
        Origin::own(&self.subject, &self.client_id, self.began)
    }
}

/// A family that begins.
#[derive(Debug, Clone)]
pub struct NewFamily {
    /// The family, with the digest of its first token.
    pub family: Family,
}

/// One use of a refresh token. All checks that do not spend it were made before.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The family, as it was read before.
    pub family: Family,
    /// The digest of the token that was presented, which is genuine.
    pub presented: String,
    /// The digest of its successor.
    pub successor: String,
    /// The nonce that makes the one of the other.
    pub nonce: Nonce,
    /// After how long it ends unless it is used again.
    pub idle: Duration,
    /// For how long the same token gives the same successor once more, as long as that one was not used.
    pub grace: Duration,
    /// How long the access tokens of the family may live, if it has to be revoked.
    pub access: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The token is spent, its successor is good.
    Fresh,
    /// The token was spent a moment ago, and its successor, which this nonce makes, is not used yet.
    Again(Nonce),
    /// The token was spent: somebody else has it, or had it. The family is revoked now.
    Reused,
    /// The family was revoked, has ended, or never was.
    Gone,
}

/// Makes a family, unless everything of its user was revoked since the login began: then it is `false`.
pub(super) async fn begin(
    connection: &mut AnyConnection,
    new: &NewFamily,
) -> Result<bool, sqlx::Error> {
    let family = &new.family;
    if order::is_overtaken(&mut *connection, &family.origin()).await? {
        return Ok(false);
    }
    let insert = "INSERT INTO families (id, subject, client_id, scope, credential, tag_key, token, \
                  created_at, expires_at, idle_until, ends_at, seq) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    sqlx::query(insert)
        .bind(&**family.id.as_str())
        .bind(family.subject.as_str())
        .bind(family.client_id.as_str())
        .bind(family.scope.to_string())
        .bind(&*family.credential)
        .bind(family.tag_key.to_text())
        .bind(family.token.as_str())
        .bind(to_sql(family.began.at))
        .bind(to_sql(family.expires_at))
        .bind(to_sql(family.idle_until))
        .bind(to_sql(family.expires_at.min(family.idle_until)))
        .bind(family.began.number)
        .execute(connection)
        .await?;
    Ok(true)
}

pub(super) async fn find(
    connection: &mut AnyConnection,
    id: &FamilyId,
    clock: &StoreTime,
) -> Result<Option<Family>, sqlx::Error> {
    let now = clock.column();
    let select = format!(
        "SELECT id, subject, client_id, scope, credential, tag_key, token, created_at, expires_at, \
         idle_until, revoked_at, seq, {now} FROM families WHERE id = $1"
    );
    let select = sqlx::query(AssertSqlSafe(select)).bind(&**id.as_str());
    let row = select.fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row, clock)).transpose()
}

fn read(row: &AnyRow, clock: &StoreTime) -> Result<Family, sqlx::Error> {
    let text = |index: usize| row.try_get::<String, _>(index);
    let time = |index: usize| row.try_get(index).map(from_sql);
    let corrupt = |what: &'static str| sqlx::Error::Decode(what.into());
    Ok(Family {
        id: FamilyId::of_row(&text(0)?),
        subject: Subject::parse(&text(1)?).map_err(|_| corrupt("subject"))?,
        client_id: ClientId::parse(&text(2)?).map_err(|_| corrupt("client id"))?,
        scope: Scope::parse(&text(3)?).map_err(|_| corrupt("scope"))?,
        credential: Arc::from(text(4)?),
        tag_key: TagKey::parse(&text(5)?).ok_or_else(|| corrupt("tag key"))?,
        token: text(6)?,
        began: Began { number: row.try_get(11)?, at: time(7)? },
        expires_at: time(8)?,
        idle_until: time(9)?,
        revoked: row.try_get::<Option<i64>, _>(10)?.is_some(),
        read_at: seconds(clock.of_column(row.try_get(12)?)),
    })
}

/// Spends a token for its successor, or finds out why it cannot be spent, at this time of the store. What is revoked thereby
/// is returned.
pub(super) async fn rotate(
    connection: &mut AnyConnection,
    rotation: &Rotation,
    at: Timestamp,
) -> Result<(Rotated, Option<Entry>), sqlx::Error> {
    let Rotation { family, access, .. } = rotation;
    if order::is_overtaken(&mut *connection, &family.origin()).await? {
        return Ok((Rotated::Gone, None));
    }
    let now = to_sql(at);
    let id = &**family.id.as_str();
    let update = "UPDATE families SET token = $1, previous = $2, nonce = $3, rotated_at = $4, \
                  idle_until = $5, ends_at = CASE WHEN expires_at < $6 THEN expires_at ELSE $7 END \
                  WHERE id = $8 AND token = $9 AND revoked_at IS NULL AND ends_at > $10";
    let idle_until = to_sql(at.plus(rotation.idle));
    let spent = sqlx::query(update)
        .bind(rotation.successor.as_str())
        .bind(rotation.presented.as_str())
        .bind(rotation.nonce.to_text())
        .bind(now)
        .bind(idle_until)
        .bind(idle_until)
        .bind(idle_until)
        .bind(id)
        .bind(rotation.presented.as_str())
        .bind(now)
        .execute(&mut *connection)
        .await?;
    if spent.rows_affected() == 1 {
        return Ok((Rotated::Fresh, None));
    }
    let select =
        "SELECT previous, nonce, rotated_at, ends_at, revoked_at FROM families WHERE id = $1";
    let row = sqlx::query(select).bind(id).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok((Rotated::Gone, None)) };
    let previous: Option<String> = row.try_get(0)?;
    let nonce: Option<String> = row.try_get(1)?;
    let rotated_at: Option<i64> = row.try_get(2)?;
    let ends_at: i64 = row.try_get(3)?;
    let revoked: Option<i64> = row.try_get(4)?;
    if revoked.is_some() || ends_at <= now {
        return Ok((Rotated::Gone, None));
    }
    // Nobody else draws our nonce: this very rotation was committed before, and its answer was lost on the way to us.
    if nonce.as_deref() == Some(rotation.nonce.to_text().as_str()) {
        return Ok((Rotated::Fresh, None));
    }
    // The one before the current one: the current one was not used, or it would be the one before by now.
    if previous.as_deref() == Some(rotation.presented.as_str())
        && rotated_at.is_some_and(|before| at < from_sql(before).plus(rotation.grace))
        && let Some(nonce) = nonce.as_deref().and_then(Nonce::parse)
    {
        return Ok((Rotated::Again(nonce), None));
    }
    let ended = end(connection, &family.id, &family.subject, *access, at).await?;
    Ok((Rotated::Reused, ended))
}

/// Revokes a family. `None` when it already was, or is not there.
pub(super) async fn end(
    connection: &mut AnyConnection,
    id: &FamilyId,
    subject: &Subject,
    access: Duration,
    now: Timestamp,
) -> Result<Option<Entry>, sqlx::Error> {
    let update = "UPDATE families SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
    let ended = sqlx::query(update)
        .bind(to_sql(now))
        .bind(&**id.as_str())
        .execute(&mut *connection)
        .await?;
    if ended.rows_affected() == 0 {
        return Ok(None);
    }
    let (id, subject) = (id.clone(), subject.clone());
    let revocation = Revocation::Family { id, subject, until: now.plus(access) };
    revocations::record(connection, &revocation, now).await.map(Some)
}

/// Deletes up to so many families whose time is over: they can do nothing any more, and are as good as unknown.
pub(super) async fn purge(
    connection: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let delete = "DELETE FROM families WHERE id IN \
                  (SELECT id FROM families WHERE ends_at <= $1 LIMIT $2)";
    let done = sqlx::query(delete).bind(to_sql(now)).bind(limit).execute(connection).await?;
    Ok(done.rows_affected())
}
