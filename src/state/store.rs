//! The durable side: where it is, how it is opened, what can be read from it and written to it.
//!
//! Reads go to the database as it is now; writes go through the writers and return once they are durable. SQLite runs in WAL
//! mode with `synchronous=FULL`, so a commit is fsynced; PostgreSQL is asked for `synchronous_commit`. Who uses which
//! connection is in `connections`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use sqlx::{AnyConnection, Executor as _, Row as _};
use tokio::time::timeout;

use super::connections::{Connector, Lane, Lanes, PATIENCE};
use super::engine::Engine;
use super::families::{self, Family, NewFamily, Rotated, Rotation};
use super::mirror::Mirror;
use super::revocations::{self, Revocation};
use super::time::{StoreTime, seconds};
use super::users::{self, StoredRow, StoredUser, UserChange};
use super::writer::{Write, Writers, Written};
use super::{FamilyId, RefreshToken, Roster, StoreError, StoreKey, TagKey, file};
use crate::clock::Clock;
use crate::oauth::subject::Subject;
use crate::random::{OsRandom, RandomError};
use crate::secret::Secret;
use crate::token::Began;

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file of this machine.
    Sqlite(PathBuf),
    /// In PostgreSQL; the URL may hold a password.
    Postgres(Secret),
}

/// The store. Cloning it copies references.
#[derive(Clone)]
pub struct Store {
    lanes: Arc<Lanes>,
    writers: Writers,
    time: StoreTime,
    /// Whose it must be; asked when the tables are prepared.
    issuer: Option<Arc<str>>,
    /// What the keys of new families come from; `None` before the store was reached.
    key: Arc<RwLock<Option<StoreKey>>>,
    /// The clients of the node whose store this is; a command is no node.
    roster: Arc<RwLock<Option<Roster>>>,
}

/// What a text that may be a refresh token is.
#[derive(Debug, Clone)]
pub enum Presented {
    /// A token that we made, for this family, which may be revoked or over.
    Ours(Box<Family>),
    /// A token that we made, for a family that has ended long ago.
    Forgotten,
    /// We never made it.
    Invented,
}

impl Presented {
    /// The family, if there is one.
    #[must_use]
    pub fn family(self) -> Option<Family> {
        match self {
            Self::Ours(family) => Some(*family),
            Self::Forgotten | Self::Invented => None,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Takes a place, and makes the file where there is none. It is connected to when it is first needed. What this store
    /// revokes is noted in the mirror.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::File`] for a file that cannot be made or that every user may open, [`StoreError::Database`] for an URL
    /// that is none, [`StoreError::Driver`] for one that this build cannot speak to.
    pub fn open(
        place: &Place,
        clock: Arc<dyn Clock>,
        mirror: Arc<Mirror>,
        observer: Option<Arc<dyn Fn(usize) + Send + Sync>>,
    ) -> Result<Self, StoreError> {
        let (engine, url, file) = match place {
            Place::Sqlite(path) => {
                let file = file::create(path)?;
                (Engine::Sqlite, file::url(&file), Some(file))
            }
            Place::Postgres(url) => {
                let url = std::str::from_utf8(url.expose()).map_err(|_| StoreError::Driver)?;
                if cfg!(not(feature = "proxy")) || !url.starts_with("postgres") {
                    return Err(StoreError::Driver);
                }
                (Engine::Postgres, url.to_owned(), None)
            }
        };
        let connector = Arc::new(Connector::new(engine, &url, file, Arc::clone(&clock))?);
        let time = StoreTime::new(engine, Arc::clone(&clock));
        let writers = Writers::start(&connector, clock, &mirror, observer);
        Ok(Self {
            lanes: Arc::new(Lanes::new(&connector)),
            writers,
            time,
            issuer: None,
            key: Arc::default(),
            roster: Arc::default(),
        })
    }

    /// What a login that begins now notes. It must be asked before anything that the login depends on.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Busy`] at once where too many ask.
    pub async fn began(&self) -> Result<Began, StoreError> {
        let time = self.time.clone();
        let logins = &self.lanes.logins;
        let (number, at) = logins
            .run_apart(Box::new(move |connection| {
                Box::pin(async move { revocations::last(connection, &time).await })
            }))
            .await?;
        Ok(Began { number: Some(number), at: seconds(at) })
    }

    /// Takes the key that tells our refresh tokens from invented ones.
    pub(super) fn take_key(&self, key: StoreKey) {
        *self.key.write() = Some(key);
    }

    pub(super) const fn time(&self) -> &StoreTime {
        &self.time
    }

    /// Whether each connection is a session of its own, which whoever prepares statements needs. A pooler that hands out
    /// sessions by transaction gives the one that was just free to whoever asks next, and another to the first while that
    /// one has it.
    pub(super) async fn is_not_pooled(&self) -> Result<(), StoreError> {
        let (mut one, mut other) = (self.lanes.feed.lend().await?, self.lanes.node.lend().await?);
        let asking = async {
            let before = session(one.connection()).await?;
            other.connection().execute("BEGIN").await?;
            let held = session(other.connection()).await?;
            let is_ours = held != before && session(one.connection()).await? == before;
            other.connection().execute("COMMIT").await?;
            Ok::<_, sqlx::Error>(is_ours)
        };
        // Whatever fails, drops both connections, which closes them.
        let asked = timeout(2 * PATIENCE, asking).await;
        let is_ours = asked.map_err(|_| StoreError::Late(2 * PATIENCE))??;
        one.settle(Ok(()))?;
        other.settle(Ok(()))?;
        if is_ours { Ok(()) } else { Err(StoreError::Pooled) }
    }

    /// The tag key of a family that begins.
    ///
    /// # Errors
    /// [`RandomError`] when there is no randomness.
    pub fn tag_key(&self, id: &FamilyId) -> Result<TagKey, RandomError> {
        match &*self.key.read() {
            Some(key) => Ok(TagKey::derived(key, id)),
            // Such a token is as good, but is looked up among those that anybody may invent.
            None => TagKey::new(&OsRandom),
        }
    }

    /// Begins a family of refresh tokens. `false` when everything of its user was revoked since the login began.
    ///
    /// # Errors
    /// [`StoreError`]; it is then not known whether the family is there, and no token of it may be handed out.
    pub async fn begin(&self, family: Family) -> Result<bool, StoreError> {
        self.changed(Write::Begin(NewFamily { family })).await
    }

    /// What this text is. Nearly every invented one is told without asking the database: families that began since this
    /// version was there have tag keys that come from the store's own.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Busy`] at once where too many ask.
    pub async fn present(&self, token: &RefreshToken) -> Result<Presented, StoreError> {
        let proven = self.is_proven(token);
        let lane = if proven { &self.lanes.proven } else { &self.lanes.unproven };
        let (id, time) = (token.family().clone(), self.time.clone());
        let family = lane
            .run_apart(Box::new(move |connection| {
                Box::pin(async move { families::find(connection, &id, &time).await })
            }))
            .await?;
        Ok(match family {
            Some(family) if token.is_genuine(&family.tag_key) => Presented::Ours(Box::new(family)),
            None if proven => Presented::Forgotten,
            Some(_) | None => Presented::Invented,
        })
    }

    /// Whether the store's key alone shows that we made this token.
    #[must_use]
    pub fn is_proven(&self, token: &RefreshToken) -> bool {
        self.key.read().as_ref().is_some_and(|key| token.is_of(key))
    }

    /// Spends a refresh token.
    ///
    /// # Errors
    /// [`StoreError`]; it is then not known whether the token is spent. Whoever presents it again within the grace finds out.
    pub async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        match self.writers.write(Write::Rotate(rotation)).await? {
            Written::Rotated(rotated) => Ok(rotated),
            Written::Done | Written::Changed(_) | Written::Purged(_) => Err(StoreError::Closed),
        }
    }

    /// Revokes a family, whose access tokens may live for so long, and says whether it was still good.
    ///
    /// # Errors
    /// [`StoreError`]; it is then not known whether it is revoked.
    pub async fn end_family(&self, family: &Family, access: Duration) -> Result<bool, StoreError> {
        let (id, subject) = (family.id.clone(), family.subject.clone());
        self.changed(Write::EndFamily { id, subject, access }).await
    }

    /// Revokes something.
    ///
    /// # Errors
    /// [`StoreError`]; it is then not known whether it is revoked.
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
        self.writers.write(Write::Revoke(revocation)).await.map(|_| ())
    }

    /// The user of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, name: &str) -> Result<Option<StoredUser>, StoreError> {
        self.find_user(&self.lanes.proven, name).await
    }

    /// The user whom somebody says to be. Whoever asks so waits for others that do, and keeps nobody else waiting.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Busy`] at once where too many ask.
    pub async fn user_who_logs_in(&self, name: &str) -> Result<Option<StoredUser>, StoreError> {
        self.find_user(&self.lanes.logins, name).await
    }

    async fn find_user(
        &self,
        lane: &Arc<Lane>,
        name: &str,
    ) -> Result<Option<StoredUser>, StoreError> {
        let name = name.to_owned();
        lane.run_apart(Box::new(move |connection| {
            Box::pin(async move { users::find(connection, &name).await })
        }))
        .await
    }

    /// Up to so many users whose names come after one, in their order; after the empty name, the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_after(&self, name: &str, limit: u16) -> Result<Vec<StoredRow>, StoreError> {
        self.read(async |connection| users::after(connection, name, i64::from(limit)).await).await
    }

    /// Changes a user. `false` when there was nothing to change: no such user, one of that name already, one who is not
    /// disabled, or another hash by now.
    ///
    /// # Errors
    /// [`StoreError`]; it is then not known whether the user is changed.
    pub async fn change_user(
        &self,
        name: &Subject,
        change: UserChange,
    ) -> Result<bool, StoreError> {
        self.changed(Write::User { name: name.clone(), change }).await
    }

    /// Removes the row of a user of whatever name, one that nobody can have. `false` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_row(&self, name: &str) -> Result<bool, StoreError> {
        self.changed(Write::RemoveRow(name.to_owned())).await
    }

    /// Deletes up to so many rows of each kind whose time is over, and says how many of the kind that had the most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge(&self, limit: u16) -> Result<u64, StoreError> {
        match self.writers.write(Write::Purge { limit: i64::from(limit) }).await? {
            Written::Purged(rows) => Ok(rows),
            Written::Done | Written::Changed(_) | Written::Rotated(_) => Err(StoreError::Closed),
        }
    }

    /// Writes something.
    pub(super) async fn write(&self, write: Write) -> Result<Written, StoreError> {
        self.writers.write(write).await
    }

    /// The same store, which must belong to this issuer or to nobody yet: [`Store::prepare`] fails for another's.
    #[must_use]
    pub fn owned_by(mut self, issuer: &str) -> Self {
        self.issuer = Some(Arc::from(issuer));
        self
    }

    pub(super) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    pub(super) const fn roster(&self) -> &Arc<RwLock<Option<Roster>>> {
        &self.roster
    }

    pub(super) const fn engine(&self) -> Engine {
        self.time.engine()
    }

    async fn changed(&self, write: Write) -> Result<bool, StoreError> {
        match self.writers.write(write).await? {
            Written::Changed(changed) => Ok(changed),
            Written::Done | Written::Rotated(_) | Written::Purged(_) => Err(StoreError::Closed),
        }
    }

    /// Reads something for this node or a command, in time or not at all.
    pub(super) async fn read<T>(
        &self,
        read: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.lanes.node.run(read).await
    }

    /// The connection of the feed.
    pub(super) fn feed(&self) -> &Lane {
        &self.lanes.feed
    }
}

/// The number of the server's process for this session.
async fn session(connection: &mut AnyConnection) -> Result<i32, sqlx::Error> {
    let rows = connection.fetch_all("SELECT pg_backend_pid()").await?;
    rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}
