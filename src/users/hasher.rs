//! The threads that hash passwords, so that a flood of logins cannot slow down anything else.
//!
//! A fixed number of threads, each with one arena that it keeps; a bounded queue; a deadline. Memory is bounded by threads
//! times the largest hash. Who finds the queue full, or waits past the deadline, is told to come back, without a hash done.
//! The threads are nicer than others, because a hash keeps a core for milliseconds that a request would have to wait out.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use argon2::Block;
use parking_lot::Mutex;
use rustix::process::nice;
use tokio::sync::oneshot;

use crate::clock::{Clock as _, SystemClock};
use crate::random::Random;
use crate::secret::Secret;
use crate::users::password::{MAX_PASSWORD_BYTES, PasswordHash, PasswordHashError};

/// By how much the threads are nicer. Where requests take all of a core, a hash still gets a tenth of it.
const NICER: i32 = 10;

/// Bounds of the pool.
#[derive(Clone)]
pub struct HashPoolSettings {
    /// How many threads hash at the same time.
    pub workers: usize,
    /// How many may wait.
    pub queue: usize,
    /// How long each may wait.
    pub deadline: Duration,
    /// Told how long a login waited for its thread.
    pub observer: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
}

impl fmt::Debug for HashPoolSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, queue, deadline, observer: _ } = self;
        write!(f, "HashPoolSettings({workers} workers, queue {queue}, deadline {deadline:?})")
    }
}

/// The pool. Cloning it copies references; its threads end when the last is dropped.
#[derive(Debug, Clone)]
pub struct HashPool {
    jobs: SyncSender<Job>,
    depth: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}

struct Job {
    since: Instant,
    work: Work,
}

enum Work {
    Verify { password: Secret, hash: Arc<PasswordHash>, answer: Answer<bool> },
    Create { password: Secret, random: Arc<dyn Random>, answer: Answer<String> },
}

type Answer<T> = oneshot::Sender<Result<T, HashError>>;

impl HashPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(settings: HashPoolSettings) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(settings.queue.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        let (depth, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for number in 0..settings.workers.max(1) {
            let worker = Worker {
                waiting: Arc::clone(&waiting),
                depth: Arc::clone(&depth),
                done: Arc::clone(&done),
                settings: settings.clone(),
            };
            std::thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || worker.work())?;
        }
        Ok(Self { jobs, depth, done })
    }

    /// Whether this is the password.
    ///
    /// # Errors
    /// [`HashError::Busy`] when the queue is full or the deadline passed before a thread was free.
    pub async fn verify(
        &self,
        password: Secret,
        hash: Arc<PasswordHash>,
    ) -> Result<bool, HashError> {
        self.ask(|answer| Work::Verify { password, hash, answer }).await
    }

    /// The stored form of a new password, as [`PasswordHash::create`] makes it.
    ///
    /// # Errors
    /// [`HashError::TooLong`] for a password that is never hashed, otherwise as [`HashPool::verify`].
    pub async fn create(
        &self,
        password: Secret,
        random: Arc<dyn Random>,
    ) -> Result<String, HashError> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(HashError::TooLong);
        }
        self.ask(|answer| Work::Create { password, random, answer }).await
    }

    async fn ask<T>(&self, work: impl FnOnce(Answer<T>) -> Work) -> Result<T, HashError> {
        let (answer, answered) = oneshot::channel();
        let job = Job { since: SystemClock.instant(), work: work(answer) };
        self.depth.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(job).map_err(|error| {
            self.depth.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => HashError::Busy,
                TrySendError::Disconnected(_) => HashError::Stopped,
            }
        })?;
        answered.await.unwrap_or(Err(HashError::Stopped))
    }

    /// How many logins wait or are being hashed.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// How many hashes were computed.
    #[must_use]
    pub fn hashed(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }
}

struct Worker {
    waiting: Arc<Mutex<Receiver<Job>>>,
    depth: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    settings: HashPoolSettings,
}

impl Worker {
    fn work(self) {
        // Linux knows niceness for each thread.
        if let Err(error) = nice(NICER) {
            tracing::warn!(%error, "hashing has the priority of everything else: logins can slow requests down");
        }
        let mut arena: Vec<Block> = Vec::new();
        loop {
            // The lock is held only while waiting: that is the queue's turnstile.
            let next = self.waiting.lock().recv();
            let Ok(job) = next else { return };
            match job.work {
                Work::Verify { password, hash, answer } => {
                    self.answer(job.since, answer, || hash.matches(&password, &mut arena));
                }
                Work::Create { password, random, answer } => {
                    let random = &*random;
                    self.answer(job.since, answer, || {
                        PasswordHash::create_in(&password, random, &mut arena)
                    });
                }
            }
        }
    }

    fn answer<T>(
        &self,
        since: Instant,
        answer: Answer<T>,
        hash: impl FnOnce() -> Result<T, PasswordHashError>,
    ) {
        let waited = SystemClock.instant().saturating_duration_since(since);
        if let Some(observer) = &self.settings.observer {
            observer(waited);
        }
        let outcome = if waited > self.settings.deadline || answer.is_closed() {
            Err(HashError::Busy)
        } else {
            // No memory or no randomness: that passes too.
            hash().map_err(|_| HashError::Busy).inspect(|_| {
                self.done.fetch_add(1, Ordering::Relaxed);
            })
        };
        self.depth.fetch_sub(1, Ordering::Relaxed);
        if answer.send(outcome).is_err() {
            tracing::trace!("whoever asked has gone away");
        }
    }
}

/// Why a password was not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many others wait.
    #[error("too many logins are waiting")]
    Busy,
    /// No password is as long as this.
    #[error("a password has at most {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    /// The pool is gone.
    #[error("the hashing threads are gone")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;
    use crate::users::password::Cost;

    fn settings(queue: usize, deadline: Duration) -> HashPoolSettings {
        HashPoolSettings { workers: 1, queue, deadline, observer: None }
    }

    fn hash() -> Arc<PasswordHash> {
        let cost = Cost::Argon2id { memory: 7_168, passes: 5, lanes: 1 };
        Arc::new(PasswordHash::unmatchable(cost, &OsRandom).unwrap())
    }

    #[tokio::test]
    async fn a_password_is_checked_on_a_thread_of_the_pool() {
        let pool = HashPool::start(settings(4, Duration::from_secs(60))).unwrap();
        let stored = PasswordHash::create(&Secret::from("pw"), &OsRandom).unwrap();
        let stored = Arc::new(PasswordHash::parse(&stored).unwrap());
        assert_eq!(pool.verify(Secret::from("pw"), Arc::clone(&stored)).await, Ok(true));
        assert_eq!(pool.verify(Secret::from("PW"), stored).await, Ok(false));
        assert_eq!((pool.depth(), pool.hashed()), (0, 2));
    }

    #[tokio::test]
    async fn a_new_password_is_hashed_on_a_thread_of_the_pool() {
        let pool = HashPool::start(settings(4, Duration::from_secs(60))).unwrap();
        let stored = pool.create(Secret::from("pw"), Arc::new(OsRandom)).await.unwrap();
        let stored = Arc::new(PasswordHash::parse(&stored).unwrap());
        assert!(!stored.is_legacy());
        assert_eq!(pool.verify(Secret::from("pw"), stored).await, Ok(true));
        assert_eq!((pool.depth(), pool.hashed()), (0, 2));

        let longest = "x".repeat(MAX_PASSWORD_BYTES);
        assert!(pool.create(Secret::from(&*longest), Arc::new(OsRandom)).await.is_ok());
        let longer = Secret::from(&*format!("{longest}x"));
        assert_eq!(pool.create(longer, Arc::new(OsRandom)).await, Err(HashError::TooLong));
    }

    #[tokio::test]
    async fn a34_beyond_the_queue_nobody_waits() {
        let pool = HashPool::start(settings(1, Duration::from_secs(60))).unwrap();
        let many = (0..16).map(|_| pool.verify(Secret::from("x"), hash()));
        let mut busy = 0;
        let mut all = Vec::from_iter(many.map(Box::pin));
        // Every future is polled once before any is awaited, so that all stand in the queue at the same time.
        for future in &mut all {
            if let std::task::Poll::Ready(outcome) = futures_poll_once(future).await {
                assert_eq!(outcome, Err(HashError::Busy));
                busy += 1;
            }
        }
        assert!(busy >= 13, "one is hashed, one waits, one may have slipped in between: {busy}");
    }

    async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))
        })
        .await
    }

    #[tokio::test]
    async fn a34_past_the_deadline_nothing_is_hashed() {
        let pool = HashPool::start(settings(4, Duration::ZERO)).unwrap();
        assert_eq!(pool.verify(Secret::from("x"), hash()).await, Err(HashError::Busy));
        let created = pool.create(Secret::from("x"), Arc::new(OsRandom)).await;
        assert_eq!(created, Err(HashError::Busy));
        assert_eq!((pool.depth(), pool.hashed()), (0, 0));
    }
}
