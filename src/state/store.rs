//! The durable side: where it is, how it is opened, what can be read from it and written to it.
//!
//! Reads go to the database as it is now; writes go through the writers and return once they are durable. SQLite runs in WAL
//! mode with `synchronous=FULL`, so a commit is fsynced; PostgreSQL is asked for `synchronous_commit`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sqlx::any::AnyPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Executor as _};
use tokio::time::timeout;

use super::families::{self, Family, NewFamily, Rotated, Rotation};
use super::mirror::Mirror;
use super::revocations::{self, Revocation};
use super::time::{StoreTime, seconds};
use super::users::{self, StoredUser, UserChange};
use super::writer::{PATIENCE, Write, Writers, Written};
use super::{FamilyId, StoreError};
use crate::clock::Clock;
use crate::oauth::subject::Subject;
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

/// What speaks to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// How a transaction that writes begins. SQLite takes its one write lock at once: a transaction that begins with reading
    /// could not be let through to writing later.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// How many writers there are: SQLite knows one at a time, elsewhere the way to the database is the longest part.
    pub(super) const fn writers(self) -> usize {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 4,
        }
    }

    /// What every connection is told. The second list is only asked for: not everything that speaks PostgreSQL knows it.
    const fn settings(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Sqlite => (
                &[
                    "PRAGMA busy_timeout = 2500",
                    "PRAGMA journal_mode = WAL",
                    "PRAGMA synchronous = FULL",
                    // Whoever commits meanwhile waits for a checkpoint: four short ones instead of a long one.
                    "PRAGMA wal_autocheckpoint = 250",
                    "PRAGMA foreign_keys = ON",
                ],
                &[],
            ),
            Self::Postgres => (
                &[],
                &[
                    "SET synchronous_commit = on",
                    // A node that hangs inside a transaction must not hold up the others' revocations.
                    "SET idle_in_transaction_session_timeout = '5s'",
                    "SET lock_timeout = '2500ms'",
                ],
            ),
        }
    }
}

/// The store. Cloning it copies references.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    writers: Writers,
    time: StoreTime,
    /// Whose it must be; asked when the tables are prepared.
    issuer: Option<Arc<str>>,
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
        sqlx::any::install_default_drivers();
        let (engine, url) = match place {
            Place::Sqlite(path) => (Engine::Sqlite, sqlite_url(&create(path)?)),
            Place::Postgres(url) => {
                let url = std::str::from_utf8(url.expose()).map_err(|_| StoreError::Driver)?;
                if cfg!(not(feature = "proxy")) || !url.starts_with("postgres") {
                    return Err(StoreError::Driver);
                }
                (Engine::Postgres, url.to_owned())
            }
        };
        let pool = AnyPoolOptions::new()
            .max_connections(match engine {
                Engine::Sqlite => 4,
                Engine::Postgres => 10,
            })
            .acquire_timeout(PATIENCE)
            .max_lifetime(Duration::from_secs(1800))
            .after_connect(move |connection, _| Box::pin(tell(connection, engine)))
            .connect_lazy(&url)?;
        let time = StoreTime::new(engine, Arc::clone(&clock));
        let writers = Writers::start(&pool, engine, clock, &mirror, observer);
        Ok(Self { pool, writers, time, issuer: None })
    }

    /// What a login that begins now notes. It must be asked before anything that the login depends on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn began(&self) -> Result<Began, StoreError> {
        let (number, at) = self.last().await?;
        Ok(Began { number: Some(number), at: seconds(at) })
    }

    /// The number of the last revocation, and the time.
    pub(super) async fn last(&self) -> Result<(i64, SystemTime), StoreError> {
        self.read(async |connection| revocations::last(connection, &self.time).await).await
    }

    /// Begins a family of refresh tokens. `false` when everything of its user was revoked since the login began.
    ///
    /// # Errors
    /// [`StoreError`]; it is then not known whether the family is there, and no token of it may be handed out.
    pub async fn begin(&self, family: Family) -> Result<bool, StoreError> {
        self.changed(Write::Begin(NewFamily { family })).await
    }

    /// The family of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn family(&self, id: &FamilyId) -> Result<Option<Family>, StoreError> {
        self.read(async |connection| families::find(connection, id, &self.time).await).await
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
        self.read(async |connection| users::find(connection, name).await).await
    }

    /// Up to so many users whose names come after one, in their order; after the empty name, the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_after(&self, name: &str, limit: u16) -> Result<Vec<StoredUser>, StoreError> {
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

    /// A connection of its own.
    pub(super) async fn connection(&self) -> Result<PoolConnection<Any>, sqlx::Error> {
        self.pool.acquire().await
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

    pub(super) const fn engine(&self) -> Engine {
        self.time.engine()
    }

    async fn changed(&self, write: Write) -> Result<bool, StoreError> {
        match self.writers.write(write).await? {
            Written::Changed(changed) => Ok(changed),
            Written::Done | Written::Rotated(_) | Written::Purged(_) => Err(StoreError::Closed),
        }
    }

    /// Reads something, in time or not at all.
    pub(super) async fn read<T>(
        &self,
        read: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let reading = async {
            let mut connection = self.pool.acquire().await?;
            read(&mut connection).await
        };
        match timeout(PATIENCE, reading).await {
            Ok(read) => Ok(read?),
            Err(_) => Err(StoreError::Late(PATIENCE)),
        }
    }
}

async fn tell(connection: &mut AnyConnection, engine: Engine) -> Result<(), sqlx::Error> {
    let (wanted, wished) = engine.settings();
    for setting in wanted {
        connection.execute(AssertSqlSafe(*setting)).await?;
    }
    for setting in wished {
        if let Err(error) = connection.execute(AssertSqlSafe(*setting)).await {
            tracing::debug!(%error, setting, "the database does not know this setting");
        }
    }
    Ok(())
}

fn sqlite_url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(*byte));
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

/// Makes the file and its directory, for their owner only: it holds password hashes. Returns where it really is: in a URL
/// `..` is taken out by its text, which may lead elsewhere than the file system does.
fn create(file: &Path) -> Result<PathBuf, std::io::Error> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
    if file.exists() {
        let mode = file.metadata()?.mode() & 0o7777;
        if mode & 0o007 != 0 {
            let file = file.display();
            let message = format!("{file} is open to every user (mode {mode:04o}); chmod o= on it");
            return Err(std::io::Error::other(message));
        }
        return file.canonicalize();
    }
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let created = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(file)?;
    // Made by root on the command line, it would be out of the service's reach.
    let (own, above) = (created.metadata()?, directory.metadata()?);
    if own.uid() != above.uid() {
        std::os::unix::fs::fchown(&created, Some(above.uid()), Some(above.gid()))?;
    }
    file.canonicalize()
}
