//! Who is next for the threads that requests share.
//!
//! Whatever can go on stands in one queue for them, first come, first served, and joins it anew for each of its steps. Over HTTP/2
//! a client has a hundred requests at once on each connection, so 450 connections put 45,000 before whoever came next, and before
//! each further step of his: a refresh has some ten, and its time was over before it came to its last. So there are turns: the
//! requests of one connection have one between them, those of one address two, and all those that nobody has authenticated share
//! a few. The others wait outside of the queue, in an order of their own. A connection whose last request had a verified token
//! needs none, so that it waits for a few strangers at most, however many there are.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Turns for some kind of work. Cloning it copies a reference.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    /// So many at once.
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }
}

/// The turns of one connection and of its requests.
#[derive(Debug)]
pub(super) struct ConnectionTurns {
    own: Turns,
    /// None where an address stands for many, such as that of a proxy in front.
    address: Option<Turns>,
    strangers: Turns,
    is_known: AtomicBool,
}

impl ConnectionTurns {
    /// Those of a connection about which nothing is known yet.
    pub(super) fn among(address: Option<&Turns>, strangers: &Turns) -> Self {
        let (address, strangers) = (address.cloned(), strangers.clone());
        Self { own: Turns::new(1), address, strangers, is_known: AtomicBool::new(false) }
    }

    /// Whether its last request had a verified token.
    pub(super) fn know(&self, is_known: bool) {
        self.is_known.store(is_known, Ordering::Relaxed);
    }

    /// Does the work of the connection itself, each step of it in turn.
    pub(super) async fn converse<T>(&self, work: impl Future<Output = T>) -> T {
        self.take(None, work).await
    }

    /// Does the work of one of the requests that it has at once, each step of it in turn.
    pub(super) async fn serve<T>(&self, work: impl Future<Output = T>) -> T {
        self.take(Some(&self.own), work).await
    }

    /// While the work waits for something, it has no turn. Must be called within a runtime.
    async fn take<T>(&self, own: Option<&Turns>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut turns = <[Turn; 3]>::default();
        poll_fn(|context| {
            if self.is_known.load(Ordering::Relaxed) {
                turns = <[Turn; 3]>::default();
                return work.as_mut().poll(context);
            }
            // What has come is kept until the step is done, so that few of them all wait for what comes next.
            let [among_own, of_address, among_strangers] = &mut turns;
            let address = self.address.as_ref();
            if own.is_some_and(|own| among_own.poll(own, context).is_pending())
                || address.is_some_and(|address| of_address.poll(address, context).is_pending())
                || among_strangers.poll(&self.strangers, context).is_pending()
            {
                return Poll::Pending;
            }
            let step = work.as_mut().poll(context);
            tokio::spawn(pass_on(mem::take(&mut turns)));
            step
        })
        .await
    }
}

/// Gives these to those who have waited longest, once everybody else who can go on has had a step: at once, whoever comes next
/// would take them in the place in the queue that he has anyway.
async fn pass_on(turns: [Turn; 3]) {
    let mut queued = false;
    // Not tokio's `yield_now`, which waits until the thread has nothing else to do, or looks for events.
    poll_fn(|context| {
        if mem::replace(&mut queued, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    drop(turns);
}

/// A turn that is taken, or waited for, or neither.
#[derive(Default)]
struct Turn {
    taken: Option<OwnedSemaphorePermit>,
    coming: Option<Coming>,
}

/// A turn that will come.
type Coming = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl Turn {
    fn poll(&mut self, turns: &Turns, context: &mut Context<'_>) -> Poll<()> {
        let all = || Arc::clone(&turns.0);
        if self.taken.is_none() && self.coming.is_none() {
            // Fails as well where others wait: nobody is overtaken.
            self.taken = all().try_acquire_owned().ok();
        }
        if self.taken.is_none() {
            let coming = self.coming.get_or_insert_with(|| Box::pin(all().acquire_owned()));
            let Poll::Ready(turn) = coming.as_mut().poll(context) else { return Poll::Pending };
            self.coming = None;
            // Nobody ever closes the semaphore; if somebody did, there would be no turns.
            self.taken = turn.ok();
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    const CONNECTIONS: usize = 20;
    const REQUESTS: usize = 100;
    const STEPS: usize = 10;

    /// How many requests, on many connections of this address, are done before the steps of somebody else's.
    async fn done_before(address: Option<&Turns>, known: bool) -> usize {
        let strangers = Turns::new(2);
        let done = Arc::new(Mutex::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let connection = Arc::new(ConnectionTurns::among(address, &strangers));
            for _ in 0..REQUESTS {
                let (connection, done) = (Arc::clone(&connection), Arc::clone(&done));
                tasks.spawn(async move { connection.serve(async { *done.lock() += 1 }).await });
            }
        }
        let (seen, other) = (Arc::clone(&done), ConnectionTurns::among(None, &strangers));
        other.know(known);
        let honest = tokio::spawn(async move {
            let steps = async {
                for _ in 0..STEPS {
                    yield_now().await;
                }
                *seen.lock()
            };
            other.serve(steps).await
        });
        let before = honest.await.unwrap();
        while tasks.join_next().await.is_some() {}
        assert_eq!(*done.lock(), CONNECTIONS * REQUESTS, "nobody is forgotten");
        before
    }

    // Part 4, item 18.
    #[tokio::test]
    async fn whoever_has_many_requests_is_not_before_everybody_else() {
        // It waits for some in each of its steps; without turns for all before its first one.
        let some = CONNECTIONS * REQUESTS / 4;
        let from_everywhere = done_before(None, false).await;
        assert!(from_everywhere < some, "{from_everywhere}");
        let from_elsewhere = done_before(Some(&Turns::new(2)), false).await;
        assert!(from_elsewhere < some, "{from_elsewhere}");
        let before_a_known_one = done_before(None, true).await;
        assert!(before_a_known_one < some, "{before_a_known_one}");
    }

    #[tokio::test]
    async fn a_turn_passes_over_who_has_left_and_is_nobodys_while_its_owner_waits() {
        let strangers = Turns::new(1);
        let turns = Arc::new(ConnectionTurns::among(None, &strangers));
        let held = Arc::clone(&strangers.0).acquire_owned().await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let turns = Arc::clone(&turns);
            tasks.spawn(async move { turns.serve(async {}).await });
        }
        yield_now().await;
        let waits = Arc::clone(&turns);
        let waiting = tokio::spawn(async move { waits.serve(std::future::pending::<()>()).await });
        yield_now().await;
        assert_eq!(tasks.len(), 3, "it is not their turn");
        tasks.shutdown().await;
        drop(held);
        yield_now().await;
        // The one that is left is waiting for something, without its turn.
        turns.serve(async {}).await;
        turns.converse(async {}).await;
        waiting.abort();
        assert!(waiting.await.is_err());
    }
}
