//! The writers: tasks that put many writes into one transaction, so that they share one fsync.
//!
//! A writer takes what waits, up to a bound, writes all of it, commits, and only then answers. While one commit is under way
//! the next batch gathers, so a busy store does few and large commits and an idle one answers at once. A batch that fails is
//! written again one by one, so that nobody pays for another's mistake; a write whose commit may or may not have happened is
//! safe to do twice (`families::rotate` finds its own successor). What nobody waits for goes by itself, so that it holds up
//! nobody who does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, Connection as _};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::clients;
use super::connections::{Connector, Lane, PATIENCE};
use super::engine::Engine;
use super::epoch;
use super::failures;
use super::families::{self, NewFamily, Rotated, Rotation};
use super::mirror::Mirror;
use super::revocations::{self, Entry, Revocation};
use super::time::StoreTime;
use super::users::{self, UserChange};
use super::{FamilyId, Roster, StoreError};
use crate::clock::{Clock, Timestamp};
use crate::oauth::subject::Subject;
use crate::supervise::keep_up;
use crate::throttle::row::Change;

/// The most writes in one transaction.
const BATCH: usize = 128;
/// How many writes may wait.
const QUEUE: usize = 2048;

/// Something to write.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Begin(NewFamily),
    Rotate(Rotation),
    EndFamily {
        id: FamilyId,
        subject: Subject,
        access: Duration,
    },
    Revoke(Revocation),
    User {
        name: Subject,
        change: UserChange,
    },
    Failures(Vec<Change>),
    Purge {
        limit: i64,
    },
    /// A row of a user that no user can have.
    RemoveRow(String),
    /// The epoch of a store that has none.
    Epoch(i64),
    /// Another epoch, since the store is older than it was (`epoch`).
    Renew {
        from: i64,
        to: i64,
        least: i64,
    },
    /// What the store has lost.
    Restore(Vec<Revocation>),
    /// Which clients this node has.
    Roster(Roster),
    /// Nothing; but it has to reach the disk.
    Probe,
}

impl Write {
    /// Whether no client waits for it. It locks what other nodes lock for as long, and takes longer than the rest.
    const fn can_wait(&self) -> bool {
        matches!(self, Self::Failures(_) | Self::Restore(_) | Self::Purge { .. })
    }

    /// Where it stands in its batch: rows are locked in one order by all, and the counter that every revocation needs comes
    /// last, so that it is held for as short as can be.
    fn order(&self) -> (u8, &str) {
        match self {
            Self::Begin(new) => (0, new.family.id.as_str()),
            Self::Rotate(rotation) => (1, rotation.family.id.as_str()),
            Self::EndFamily { id, .. } => (2, id.as_str()),
            Self::User { name, .. } => (3, name.as_str()),
            Self::RemoveRow(name) => (3, name.as_str()),
            Self::Revoke(_) => (4, ""),
            Self::Epoch(_) | Self::Renew { .. } | Self::Restore(_) => (4, ""),
            Self::Roster(_) | Self::Probe => (4, ""),
            Self::Failures(_) => (5, ""),
            Self::Purge { .. } => (6, ""),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// Whether there was anything to change.
    Changed(bool),
    Rotated(Rotated),
    /// How many rows went.
    Purged(u64),
}

struct Job {
    write: Write,
    since: Instant,
    answer: oneshot::Sender<Result<Written, StoreError>>,
}

/// Takes writes to the writers, which end when the last of these is dropped.
#[derive(Clone)]
pub(super) struct Writers {
    jobs: mpsc::Sender<Job>,
    clock: Arc<dyn Clock>,
}

impl Writers {
    /// Starts so many writers.
    pub(super) fn start(
        connector: &Arc<Connector>,
        clock: Arc<dyn Clock>,
        mirror: &Arc<Mirror>,
        observer: Option<Arc<dyn Fn(usize) + Send + Sync>>,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..connector.engine.writers() {
            let writer = Writer {
                lane: Lane::new(connector, 1, 0),
                time: StoreTime::new(connector.engine, Arc::clone(&clock)),
                clock: Arc::clone(&clock),
                mirror: Arc::clone(mirror),
                observer: observer.clone(),
            };
            let (writer, waiting) = (Arc::new(writer), Arc::clone(&waiting));
            tokio::spawn(keep_up("writer", move || {
                let (writer, waiting) = (Arc::clone(&writer), Arc::clone(&waiting));
                async move { writer.run(&waiting).await }
            }));
        }
        Self { jobs, clock }
    }

    /// Writes, and returns once it is durable.
    pub(super) async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Job { write, since: self.clock.instant(), answer };
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }
}

struct Writer {
    /// A connection of its own, which is closed after a transaction that did not end well.
    lane: Lane,
    time: StoreTime,
    clock: Arc<dyn Clock>,
    mirror: Arc<Mirror>,
    observer: Option<Arc<dyn Fn(usize) + Send + Sync>>,
}

impl Writer {
    async fn run(&self, waiting: &Mutex<mpsc::Receiver<Job>>) {
        while let Some(batch) = gather(waiting).await {
            self.serve(batch).await;
        }
    }

    async fn serve(&self, batch: Vec<Job>) {
        let now = self.clock.instant();
        // Whoever has waited that long has been told that the store is late, or is about to be.
        let (mut batch, late): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|job| now.saturating_duration_since(job.since) < PATIENCE);
        for job in late {
            give(job.answer, Err(StoreError::Late(PATIENCE)));
        }
        batch.sort_by(|a, b| a.write.order().cmp(&b.write.order()));
        let (patient, batch): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|job| job.write.can_wait());
        self.settle(batch).await;
        for job in patient {
            self.settle(vec![job]).await;
        }
    }

    /// Writes these together if that can be, and answers.
    async fn settle(&self, batch: Vec<Job>) {
        let writes: Vec<&Write> = batch.iter().map(|job| &job.write).collect();
        match self.commit(&writes).await {
            Ok(written) => {
                for (job, written) in batch.into_iter().zip(written) {
                    give(job.answer, Ok(written));
                }
            }
            Err(error) if batch.len() <= 1 => {
                for job in batch {
                    give(job.answer, Err(retold(&error)));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a batch failed and is written one by one");
                let late = matches!(error, StoreError::Late(_));
                for job in batch {
                    let waited = self.clock.instant().saturating_duration_since(job.since);
                    let outcome = match late || waited >= PATIENCE {
                        true => Err(StoreError::Late(PATIENCE)),
                        false => self.commit(&[&job.write]).await,
                    };
                    give(
                        job.answer,
                        outcome.and_then(|written| {
                            written.into_iter().next().ok_or(StoreError::Closed)
                        }),
                    );
                }
            }
        }
    }

    /// Writes all of them in one transaction. What it revokes is in this node's mirror before this returns.
    async fn commit(&self, writes: &[&Write]) -> Result<Vec<Written>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let engine = self.lane.connector().engine;
        let begin = engine.begin();
        let transact = async |connection: &mut AnyConnection| {
            let mut transaction = connection.begin_with(begin).await?;
            // Whatever is compared with what another node wrote is told by one clock.
            let now = self.time.now(&mut transaction).await?;
            let (mut written, mut revoked) = (Vec::with_capacity(writes.len()), Vec::new());
            for write in writes {
                let (outcome, revocation) = apply(&mut transaction, engine, write, now).await?;
                written.push(outcome);
                revoked.extend(revocation);
            }
            transaction.commit().await?;
            Ok::<_, sqlx::Error>((written, revoked))
        };
        let (written, revoked) = match self.lane.run(transact).await {
            Ok(done) => done,
            Err(error) => {
                if self.mirror.failed_to_write() {
                    tracing::error!(%error, "the state store takes no writes");
                }
                return Err(error);
            }
        };
        if self.mirror.wrote() {
            tracing::info!("the state store takes writes again");
        }
        for entry in &revoked {
            self.mirror.note(entry);
        }
        if let Some(observer) = &self.observer {
            observer(writes.len());
        }
        Ok(written)
    }
}

/// The next writes, as many as wait. `None` when nobody is left who could send one.
async fn gather(waiting: &Mutex<mpsc::Receiver<Job>>) -> Option<Vec<Job>> {
    // The lock is held only while waiting: that is the queue's turnstile.
    let mut waiting = waiting.lock().await;
    let mut batch = vec![waiting.recv().await?];
    while batch.len() < BATCH
        && let Ok(job) = waiting.try_recv()
    {
        batch.push(job);
    }
    Some(batch)
}

async fn apply(
    connection: &mut AnyConnection,
    engine: Engine,
    write: &Write,
    now: Timestamp,
) -> Result<(Written, Vec<Entry>), sqlx::Error> {
    Ok(match write {
        Write::Begin(new) => {
            (Written::Changed(families::begin(connection, new).await?), Vec::new())
        }
        Write::Rotate(rotation) => {
            let (rotated, revoked) = families::rotate(connection, rotation, now).await?;
            (Written::Rotated(rotated), revoked.into_iter().collect())
        }
        Write::EndFamily { id, subject, access } => {
            let ended = families::end(connection, id, subject, *access, now).await?;
            (Written::Changed(ended.is_some()), ended.into_iter().collect())
        }
        Write::Revoke(revocation) => {
            (Written::Done, vec![revocations::record(connection, revocation, now).await?])
        }
        Write::User { name, change } => {
            (Written::Changed(users::change(connection, name, change, now).await?), Vec::new())
        }
        Write::Epoch(epoch) => {
            epoch::begin(connection, *epoch).await?;
            (Written::Done, Vec::new())
        }
        Write::Renew { from, to, least } => {
            epoch::renew(connection, *from, *to, *least).await?;
            (Written::Done, Vec::new())
        }
        Write::Restore(lost) => {
            epoch::restore(connection, lost, now).await?;
            (Written::Done, Vec::new())
        }
        Write::RemoveRow(name) => {
            (Written::Changed(users::remove_row(connection, name).await?), Vec::new())
        }
        Write::Roster(roster) => {
            (Written::Done, clients::keep(connection, engine, roster, now).await?)
        }
        Write::Probe => {
            let update = "UPDATE feed SET seq = seq WHERE name = 'failures'";
            sqlx::query(update).execute(connection).await?;
            (Written::Done, Vec::new())
        }
        Write::Failures(changes) => {
            failures::add(connection, changes).await?;
            (Written::Done, Vec::new())
        }
        Write::Purge { limit } => {
            let families = families::purge(connection, now, *limit).await?;
            let revocations = revocations::purge(connection, now, *limit).await?;
            let failures = failures::purge(connection, now, *limit).await?;
            (Written::Purged(families.max(revocations).max(failures)), Vec::new())
        }
    })
}

fn give(
    answer: oneshot::Sender<Result<Written, StoreError>>,
    outcome: Result<Written, StoreError>,
) {
    if answer.send(outcome).is_err() {
        tracing::trace!("whoever asked has gone away");
    }
}

/// The same error for one more; the database's own cannot be copied.
fn retold(error: &StoreError) -> StoreError {
    match error {
        StoreError::Late(patience) => StoreError::Late(*patience),
        other => StoreError::Database(sqlx::Error::Protocol(other.to_string())),
    }
}
