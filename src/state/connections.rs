//! Connections to the database: who has which, and when one is closed.
//!
//! What keeps the node alive (the feed, each writer, the exchange of failed logins) has a [`Lane`] of its own, and the reads of
//! requests have others, cut by what is known of whoever asks ([`Lanes`]). So a flood of requests that nobody authenticated
//! waits for itself and for nobody else; beyond a bound it does not wait but is refused at once. Those reads run on the store's
//! own threads ([`Lane::run_apart`]): on those of the requests, each of their steps would wait behind whatever floods these, and
//! hold its connection and its place meanwhile.
//!
//! A connection on which anything failed, or that did not answer in time, is closed and never used again: it may stand in the
//! middle of a transaction, or in a session that is read-only by now. Several connections are closed together
//! ([`Connector::renew`]) when they may speak to another database than the one that is there now.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::StoreError;
use super::engine::Engine;
use super::file::Identity;
use crate::clock::Clock;

/// How long the store may take for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// A connection is not used for longer, so that a database that moved is found where it is now.
const LIFETIME: Duration = Duration::from_secs(1800);

/// A connection that was used so recently is not asked whether it still is one.
const ASSUMED_ALIVE: Duration = Duration::from_secs(1);

/// Opens connections to one database.
pub(super) struct Connector {
    pub(super) engine: Engine,
    options: AnyConnectOptions,
    /// The file, where there is one.
    file: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// Where the reads of requests run.
    runtime: Handle,
    /// Connections of an older generation are not used any more.
    generation: AtomicU64,
}

/// An open connection.
struct Open {
    connection: AnyConnection,
    generation: u64,
    since: Instant,
    /// When it was used last.
    used: Instant,
    /// Which file it opened.
    identity: Option<Identity>,
}

impl Connector {
    /// Takes a URL. Nothing is connected to yet. Must be called within the runtime that is the store's.
    ///
    /// # Errors
    /// [`StoreError::Database`] for what is not a URL.
    pub(super) fn new(
        engine: Engine,
        url: &str,
        file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        // The statements are ours and always the same; what fails is reported by whoever asked, bounded.
        let options: AnyConnectOptions = url.parse()?;
        let options = options.disable_statement_logging();
        let (runtime, generation) = (Handle::current(), AtomicU64::new(0));
        Ok(Self { engine, options, file, clock, runtime, generation })
    }

    /// Lets every open connection be closed instead of being used again.
    pub(super) fn renew(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the file that a connection opened is still the one in its place.
    ///
    /// # Errors
    /// [`StoreError::Replaced`] or [`StoreError::Deleted`].
    fn look(&self, identity: Option<Identity>) -> Result<(), StoreError> {
        match (&self.file, identity) {
            (Some(file), Some(identity)) => match Identity::of(file) {
                Some(now) if now == identity => Ok(()),
                Some(_) => Err(StoreError::Replaced(file.clone())),
                None => Err(StoreError::Deleted(file.clone())),
            },
            _ => Ok(()),
        }
    }

    fn is_fresh(&self, open: &Open) -> bool {
        open.generation == self.generation.load(Ordering::Acquire)
            && self.clock.instant().saturating_duration_since(open.since) < LIFETIME
            && self.look(open.identity).is_ok()
    }

    async fn connect(&self) -> Result<Open, StoreError> {
        let generation = self.generation.load(Ordering::Acquire);
        let before = self
            .file
            .as_ref()
            .map(|file| Identity::of(file).ok_or_else(|| StoreError::Deleted(file.clone())));
        let identity = before.transpose()?;
        let opening = async {
            let mut connection = self.options.connect().await?;
            for setting in self.engine.settings() {
                connection.execute(AssertSqlSafe(*setting)).await?;
            }
            Ok::<_, sqlx::Error>(connection)
        };
        let connection = match timeout(PATIENCE, opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(StoreError::Late(PATIENCE)),
        };
        self.look(identity)?;
        let since = self.clock.instant();
        Ok(Open { connection, generation, since, used: since, identity })
    }
}

/// What is done on a connection, apart from whoever asked for it.
type Work<T> = Box<
    dyn for<'a> FnOnce(
            &'a mut AnyConnection,
        ) -> Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'a>>
        + Send,
>;

/// Some connections, used by one kind of asker only.
pub(super) struct Lane {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Open>>,
    /// How many may ask, waiting or not.
    admitted: Arc<Semaphore>,
    /// How many connections there are.
    running: Semaphore,
    /// How often one was lent.
    #[cfg(test)]
    pub(super) lent: AtomicU64,
}

impl Lane {
    /// So many connections, for which so many more may wait.
    pub(super) fn new(connector: &Arc<Connector>, connections: usize, waiting: usize) -> Self {
        Self {
            connector: Arc::clone(connector),
            idle: Mutex::default(),
            admitted: Arc::new(Semaphore::new(connections + waiting)),
            running: Semaphore::new(connections),
            #[cfg(test)]
            lent: AtomicU64::new(0),
        }
    }

    /// What opens its connections.
    pub(super) const fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Does something on a connection, in time or not at all.
    ///
    /// # Errors
    /// [`StoreError::Busy`] at once where too many wait already; otherwise [`StoreError`], and then the connection is closed.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut lent = self.lend().await?;
        // Whatever does not end well, drops the connection, which closes it.
        let done = in_time(work(lent.connection())).await;
        lent.settle(done)
    }

    /// Does something on a connection like [`Lane::run`], but on the store's threads. It goes on when whoever asked has left,
    /// and ends in its time all the same.
    ///
    /// # Errors
    /// As [`Lane::run`].
    pub(super) async fn run_apart<T: Send + 'static>(
        self: &Arc<Self>,
        work: Work<T>,
    ) -> Result<T, StoreError> {
        // Here, and not there: who is too many is to cost nothing there.
        let admitted = self.admit()?;
        let lane = Arc::clone(self);
        let working = self.connector.runtime.spawn(async move {
            let mut lent = lane.lend_to(admitted).await?;
            let done = in_time(work(lent.connection())).await;
            lent.settle(done)
        });
        // It fails when the store is being dropped.
        working.await.unwrap_or(Err(StoreError::Closed))
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| StoreError::Busy)
    }

    /// A connection of this lane.
    ///
    /// # Errors
    /// As [`Lane::run`].
    pub(super) async fn lend(&self) -> Result<Lent<'_>, StoreError> {
        self.lend_to(self.admit()?).await
    }

    async fn lend_to(&self, admitted: OwnedSemaphorePermit) -> Result<Lent<'_>, StoreError> {
        #[cfg(test)]
        self.lent.fetch_add(1, Ordering::AcqRel);
        let running = match timeout(PATIENCE, self.running.acquire()).await {
            Ok(running) => running.map_err(|_| StoreError::Closed)?,
            Err(_) => return Err(StoreError::Late(PATIENCE)),
        };
        let open = match self.alive().await {
            Some(open) => open,
            None => self.connector.connect().await?,
        };
        Ok(Lent { open, lane: self, _permits: (admitted, running) })
    }

    /// A connection that may be used and, if it was not a moment ago, has answered.
    async fn alive(&self) -> Option<Open> {
        while let Some(mut open) = self.idle() {
            let idle = self.connector.clock.instant().saturating_duration_since(open.used);
            if idle < ASSUMED_ALIVE
                || timeout(PATIENCE, open.connection.ping()).await.is_ok_and(|pong| pong.is_ok())
            {
                return Some(open);
            }
        }
        None
    }

    /// A connection that may be used.
    fn idle(&self) -> Option<Open> {
        let mut idle = self.idle.lock();
        while let Some(open) = idle.pop() {
            if self.connector.is_fresh(&open) {
                return Some(open);
            }
        }
        None
    }
}

/// Does something in time or not at all.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout(PATIENCE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(StoreError::Late(PATIENCE)),
    }
}

/// A connection in use. It is closed unless it is settled well.
pub(super) struct Lent<'a> {
    open: Open,
    lane: &'a Lane,
    _permits: (OwnedSemaphorePermit, SemaphorePermit<'a>),
}

impl Lent<'_> {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.open.connection
    }

    /// Gives it back after something that ended like this, which is an error all the same if the file is another one by now.
    ///
    /// # Errors
    /// That of the outcome, [`StoreError::Replaced`] or [`StoreError::Deleted`].
    pub(super) fn settle<T>(self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        let Self { mut open, lane, .. } = self;
        open.used = lane.connector.clock.instant();
        let done = done.and_then(|done| lane.connector.look(open.identity).map(|()| done));
        match &done {
            Ok(_) => lane.idle.lock().push(open),
            // All sessions of that server are read-only, or were when they began.
            Err(error) if error.is_read_only() => lane.connector.renew(),
            Err(_) => {}
        }
        done
    }
}

/// The lanes of a store, but for those of its writers.
pub(super) struct Lanes {
    /// The feed's.
    pub(super) feed: Lane,
    /// For what a node or a command asks for itself.
    pub(super) node: Lane,
    /// For who was authenticated once: a refresh token of ours, a client.
    pub(super) proven: Arc<Lane>,
    /// For users who log in: anybody may say to be one.
    pub(super) logins: Arc<Lane>,
    /// For texts that may be tokens of ours and cannot be told from others without the database.
    pub(super) unproven: Arc<Lane>,
}

impl Lanes {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        let several = connector.engine.readers();
        let apart = |connections, waiting| Arc::new(Lane::new(connector, connections, waiting));
        Self {
            feed: Lane::new(connector, 1, 4),
            node: Lane::new(connector, 1, 64),
            proven: apart(several, 1024),
            logins: apart(several, 256),
            unproven: apart(1, 7),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::clock::SystemClock;

    fn connector(directory: &tempfile::TempDir) -> Arc<Connector> {
        let file = super::super::file::create(&directory.path().join("state.db")).unwrap();
        let url = super::super::file::url(&file);
        let clock = Arc::new(SystemClock);
        Arc::new(Connector::new(Engine::Sqlite, &url, Some(file), clock).unwrap())
    }

    async fn depth(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT 1").fetch_one(connection).await
    }

    // Part 4, item 18.
    #[tokio::test]
    async fn whoever_finds_a_lane_full_is_refused_at_once_and_other_lanes_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let lanes = Arc::new(Lanes::new(&connector(&directory)));
        let mut held = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let lanes = Arc::clone(&lanes);
            held.spawn(async move {
                let _lent = lanes.unproven.lend().await;
                pending::<()>().await;
            });
        }
        while lanes.unproven.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(lanes.unproven.run(depth).await, Err(StoreError::Busy)));
        for lane in [&lanes.feed, &lanes.node, &*lanes.proven, &*lanes.logins] {
            assert_eq!(lane.run(depth).await.unwrap(), 1);
        }
        held.shutdown().await;
        assert_eq!(lanes.unproven.run(depth).await.unwrap(), 1);
    }

    // Part 4, item 18: threads of requests that are busy with a flood come back to each of its reads late.
    #[test]
    fn a_read_ends_and_gives_its_place_back_although_nobody_attends_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = tokio::runtime::Builder::new_multi_thread();
        let store = store.worker_threads(1).enable_all().build().unwrap();
        let lane = store.block_on(async { Arc::new(Lane::new(&connector(&directory), 1, 0)) });
        let requests = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        requests.block_on(async {
            let read = || lane.run_apart(Box::new(|connection| Box::pin(depth(connection))));
            let mut begun = Box::pin(read());
            std::future::poll_fn(|context| {
                assert!(begun.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            while lane.admitted.available_permits() == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(read().await.unwrap(), 1);
            assert_eq!(begun.await.unwrap(), 1);
        });
    }

    // Part 4, item 23.
    #[tokio::test]
    async fn a_connection_on_which_anything_failed_is_not_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let lane = Lane::new(&connector(&directory), 1, 0);
        let open = |lane: &Lane| lane.idle.lock().len();
        lane.run(depth).await.unwrap();
        assert_eq!(open(&lane), 1, "kept");
        let fails = async |connection: &mut AnyConnection| {
            connection.execute("BEGIN IMMEDIATE").await?;
            connection.execute("no SQL at all").await
        };
        assert!(lane.run(fails).await.is_err());
        assert_eq!(open(&lane), 0, "closed, and so is its transaction");
        {
            let mut dropped = lane.lend().await.unwrap();
            dropped.connection().execute("BEGIN IMMEDIATE").await.unwrap();
        }
        assert_eq!(open(&lane), 0);
        let writes = async |connection: &mut AnyConnection| {
            connection.execute("BEGIN IMMEDIATE").await?;
            connection.execute("COMMIT").await
        };
        lane.run(writes).await.unwrap();
        lane.connector().renew();
        assert!(lane.idle().is_none(), "of another generation");
    }

    // Part 4, item 24.
    #[tokio::test]
    async fn a_connection_to_a_file_that_was_replaced_is_not_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let (connector, path) = (connector(&directory), directory.path().join("state.db"));
        let lane = Lane::new(&connector, 1, 0);
        lane.run(depth).await.unwrap();
        let replaces = async |connection: &mut AnyConnection| {
            std::fs::rename(&path, directory.path().join("old")).unwrap();
            std::fs::write(&path, "").unwrap();
            depth(connection).await
        };
        assert!(matches!(lane.run(replaces).await, Err(StoreError::Replaced(_))), "during it");
        lane.run(depth).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(lane.run(depth).await, Err(StoreError::Deleted(_))), "not made anew");
        assert!(!path.exists());
    }
}
