//! The threads that hash passwords, so that a flood of logins cannot slow down anything else.
//!
//! A fixed number of threads, each with one arena that it keeps; a bounded queue, whose places and turns are shared out fairly
//! ([`FairQueue`]); a deadline. Memory is bounded by threads times the largest hash. Who finds no place in the queue, loses it to
//! somebody who has fewer, or waits past the deadline, is told to come back, without a hash done. The threads are nicer than others, because a hash keeps a core for milliseconds that a request would have to wait out.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use argon2::Block;
use parking_lot::{Condvar, Mutex};
use rustix::process::nice;
use tokio::sync::oneshot;

use crate::clock::{Clock as _, SystemClock};
use crate::random::Random;
use crate::secret::Secret;
use crate::supervise::keep_up_thread;
use crate::users::password::{MAX_PASSWORD_BYTES, PasswordHash, PasswordHashError};
use crate::users::queue::{Asker, FairQueue, Queued};

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
    open: Arc<Open>,
}

/// Closes the queue when the last handle of the pool is dropped.
#[derive(Debug)]
struct Open(Arc<Shared>);

/// What the handles and the threads share.
#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Told when a job has come, or when none will come any more.
    came: Condvar,
    depth: AtomicUsize,
    done: AtomicUsize,
}

#[derive(Debug)]
struct Waiting {
    queue: FairQueue<Job>,
    closed: bool,
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
        let queue = FairQueue::new(settings.queue);
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting { queue, closed: false }),
            came: Condvar::new(),
            depth: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        });
        // Made first: a thread that cannot be started lets the others end.
        let pool = Self { open: Arc::new(Open(Arc::clone(&shared))) };
        for number in 0..settings.workers.max(1) {
            let worker = Worker { shared: Arc::clone(&shared), settings: settings.clone() };
            std::thread::Builder::new().name(format!("hash-{number}")).spawn(move || {
                give_way();
                keep_up_thread("hashing", || worker.work());
            })?;
        }
        Ok(pool)
    }

    /// Whether this is the password.
    ///
    /// # Errors
    /// [`HashError::Busy`] when there is no place in the queue for this asker, or the deadline passed before a thread was free.
    pub async fn verify(
        &self,
        asker: Asker,
        password: Secret,
        hash: Arc<PasswordHash>,
    ) -> Result<bool, HashError> {
        self.ask(asker, |answer| Work::Verify { password, hash, answer }).await
    }

    /// The stored form of a new password, as [`PasswordHash::create`] makes it.
    ///
    /// # Errors
    /// [`HashError::TooLong`] for a password that is never hashed, otherwise as [`HashPool::verify`].
    pub async fn create(
        &self,
        asker: Asker,
        password: Secret,
        random: Arc<dyn Random>,
    ) -> Result<String, HashError> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(HashError::TooLong);
        }
        self.ask(asker, |answer| Work::Create { password, random, answer }).await
    }

    async fn ask<T>(
        &self,
        asker: Asker,
        work: impl FnOnce(Answer<T>) -> Work,
    ) -> Result<T, HashError> {
        let (answer, answered) = oneshot::channel();
        self.open.0.queue(asker, Job { since: SystemClock.instant(), work: work(answer) });
        answered.await.unwrap_or(Err(HashError::Stopped))
    }

    /// How many logins wait or are being hashed.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.0.depth.load(Ordering::Relaxed)
    }

    /// How many hashes were computed.
    #[must_use]
    pub fn hashed(&self) -> usize {
        self.open.0.done.load(Ordering::Relaxed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.waiting.lock().closed = true;
        self.0.came.notify_all();
    }
}

impl Shared {
    /// Queues a job. Whoever has to give way for it, perhaps itself, is told.
    fn queue(&self, asker: Asker, job: Job) {
        self.depth.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        let mut gone = match waiting.queue.is_full() {
            true => waiting.queue.forget(Job::is_given_up),
            false => Vec::new(),
        };
        match waiting.queue.push(asker, job) {
            Queued::Waits => {}
            Queued::Instead(job) | Queued::Refused(job) => gone.push(job),
        }
        drop(waiting);
        self.came.notify_one();
        self.refuse(gone);
    }

    fn refuse(&self, jobs: Vec<Job>) {
        self.depth.fetch_sub(jobs.len(), Ordering::Relaxed);
        jobs.into_iter().for_each(Job::refuse);
    }

    /// The next job; waits for one. `None` once no more will come.
    fn next(&self, deadline: Duration) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        loop {
            // Turns are drawn: whoever was not drawn in time would else learn so only when it is.
            let now = SystemClock.instant();
            let is_late = |job: &Job| now.saturating_duration_since(job.since) > deadline;
            self.refuse(waiting.queue.forget(|job| job.is_given_up() || is_late(job)));
            if let Some(job) = waiting.queue.pop() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            self.came.wait(&mut waiting);
        }
    }
}

impl Job {
    /// Whether nobody waits for it any more.
    fn is_given_up(&self) -> bool {
        match &self.work {
            Work::Verify { answer, .. } => answer.is_closed(),
            Work::Create { answer, .. } => answer.is_closed(),
        }
    }

    fn refuse(self) {
        let told = match self.work {
            Work::Verify { answer, .. } => answer.send(Err(HashError::Busy)).is_ok(),
            Work::Create { answer, .. } => answer.send(Err(HashError::Busy)).is_ok(),
        };
        if !told {
            tracing::trace!("whoever asked has gone away");
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("since", &self.since).finish_non_exhaustive()
    }
}

struct Worker {
    shared: Arc<Shared>,
    settings: HashPoolSettings,
}

impl Worker {
    fn work(&self) {
        let mut arena: Vec<Block> = Vec::new();
        while let Some(job) = self.shared.next(self.settings.deadline) {
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
        let counted = Counted(&self.shared.depth);
        let waited = SystemClock.instant().saturating_duration_since(since);
        if let Some(observer) = &self.settings.observer {
            observer(waited);
        }
        let outcome = if waited > self.settings.deadline || answer.is_closed() {
            Err(HashError::Busy)
        } else {
            // No memory or no randomness: that passes too.
            hash().map_err(|_| HashError::Busy).inspect(|_| {
                self.shared.done.fetch_add(1, Ordering::Relaxed);
            })
        };
        drop(counted);
        if answer.send(outcome).is_err() {
            tracing::trace!("whoever asked has gone away");
        }
    }
}

/// Makes this thread nicer than others. Linux knows niceness for each thread.
fn give_way() {
    if let Err(error) = nice(NICER) {
        tracing::warn!(%error, "hashing has the priority of everything else: logins can slow requests down");
    }
}

/// A job in the depth of the pool; dropping it, also by a panic, ends that.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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

    fn asker(network: u8, account: &str) -> Asker {
        let address = std::net::IpAddr::from([192, 0, 2, network]);
        Asker { network: address.into(), account: account.into() }
    }

    fn alice() -> Asker {
        asker(1, "user:alice")
    }

    #[tokio::test]
    async fn a_password_is_checked_on_a_thread_of_the_pool() {
        let pool = HashPool::start(settings(4, Duration::from_secs(60))).unwrap();
        let stored = PasswordHash::create(&Secret::from("pw"), &OsRandom).unwrap();
        let stored = Arc::new(PasswordHash::parse(&stored).unwrap());
        assert_eq!(pool.verify(alice(), Secret::from("pw"), Arc::clone(&stored)).await, Ok(true));
        assert_eq!(pool.verify(alice(), Secret::from("PW"), stored).await, Ok(false));
        assert_eq!((pool.depth(), pool.hashed()), (0, 2));
    }

    // Part 4, item 27.
    #[tokio::test]
    async fn a_thread_that_panics_goes_on_with_the_next_password() {
        let faults = AtomicUsize::new(1);
        let observer = move |_| assert_eq!(faults.swap(0, Ordering::SeqCst), 0, "a fault");
        let settings = HashPoolSettings {
            observer: Some(Arc::new(observer)),
            ..settings(4, Duration::from_secs(60))
        };
        let pool = HashPool::start(settings).unwrap();
        let outcome = pool.verify(alice(), Secret::from("pw"), hash()).await;
        assert_eq!(outcome, Err(HashError::Stopped), "the one that met the fault");
        assert_eq!(pool.verify(alice(), Secret::from("pw"), hash()).await, Ok(false));
        assert_eq!((pool.depth(), pool.hashed()), (0, 1));
    }

    #[tokio::test]
    async fn a_new_password_is_hashed_on_a_thread_of_the_pool() {
        let pool = HashPool::start(settings(4, Duration::from_secs(60))).unwrap();
        let stored = pool.create(alice(), Secret::from("pw"), Arc::new(OsRandom)).await.unwrap();
        let stored = Arc::new(PasswordHash::parse(&stored).unwrap());
        assert!(!stored.is_legacy());
        assert_eq!(pool.verify(alice(), Secret::from("pw"), stored).await, Ok(true));
        assert_eq!((pool.depth(), pool.hashed()), (0, 2));

        let longest = "x".repeat(MAX_PASSWORD_BYTES);
        assert!(pool.create(alice(), Secret::from(&*longest), Arc::new(OsRandom)).await.is_ok());
        let longer = Secret::from(&*format!("{longest}x"));
        assert_eq!(pool.create(alice(), longer, Arc::new(OsRandom)).await, Err(HashError::TooLong));
    }

    #[tokio::test]
    async fn a34_beyond_the_queue_nobody_waits() {
        let pool = HashPool::start(settings(1, Duration::from_secs(60))).unwrap();
        let many = (0..16).map(|_| pool.verify(alice(), Secret::from("x"), hash()));
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

    // Part 4, item 19: a client's secret waits in the same queue.
    #[tokio::test]
    async fn a_full_queue_makes_room_for_who_has_fewer_places() {
        let (go_on, let_go) = std::sync::mpsc::channel::<()>();
        let let_go = Mutex::new(let_go);
        let observer = Some(Arc::new(move |_| let_go.lock().recv().unwrap_or_default()) as Arc<_>);
        let pool =
            HashPool::start(HashPoolSettings { observer, ..settings(4, Duration::from_mins(1)) });
        let pool = pool.unwrap();
        let mut hers = Vec::from_iter(
            (0..6).map(|_| Box::pin(pool.verify(alice(), Secret::from("x"), hash()))),
        );
        let mut waits = 0;
        for future in &mut hers {
            waits += usize::from(futures_poll_once(future).await.is_pending());
        }
        assert!(waits == 4 || waits == 5, "four wait, and one may have its thread: {waits}");
        let others = [asker(2, "user:bob"), asker(1, "client:nightly")];
        let ask = |other| Box::pin(pool.verify(other, Secret::from("x"), hash()));
        let mut theirs = others.map(ask);
        for future in &mut theirs {
            assert!(futures_poll_once(future).await.is_pending());
        }
        assert_eq!(pool.depth(), waits, "two of hers have given way");
        for _ in 0..8 {
            go_on.send(()).unwrap();
        }
        for future in theirs {
            assert_eq!(future.await, Ok(false));
        }
    }

    #[tokio::test]
    async fn a34_past_the_deadline_nothing_is_hashed() {
        let pool = HashPool::start(settings(4, Duration::ZERO)).unwrap();
        assert_eq!(pool.verify(alice(), Secret::from("x"), hash()).await, Err(HashError::Busy));
        let created = pool.create(alice(), Secret::from("x"), Arc::new(OsRandom)).await;
        assert_eq!(created, Err(HashError::Busy));
        assert_eq!((pool.depth(), pool.hashed()), (0, 0));
    }
}
