//! Fair scheduling of unauthenticated work on the threads that all requests share.
//!
//! Every task that can make progress stands in one run queue, first come, first served, and joins it again after each poll. Over
//! HTTP/2 a client has a hundred requests at once on each connection, so 450 connections put 45,000 tasks before the next client, and
//! before each further poll of that client: a refresh needs some ten polls, and timed out before the last. So polls of
//! unauthenticated work need a slot: the requests of one connection have one slot between them, those of one address two, and all
//! unauthenticated requests share a few. The others wait outside of the run queue, in order. A connection whose last request had a
//! verified token needs no slot, so it waits for a few unauthenticated polls at most, however many there are. New connections, which
//! may be about to send a token, have slots of their own until their first request has ended.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Slots in which work may be polled. Cloning it copies a reference.
#[derive(Debug, Clone)]
pub(super) struct PollSlots(Arc<Semaphore>);

impl PollSlots {
    /// So many at once.
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }
}

/// The slots that all unauthenticated work shares. Cloning it copies references.
#[derive(Debug, Clone)]
pub(super) struct UnauthenticatedSlots {
    /// For connections on which no request has ended yet.
    first: PollSlots,
    /// For the others.
    further: PollSlots,
}

impl UnauthenticatedSlots {
    /// So many of each kind at once.
    pub(super) fn new(at_once: usize) -> Self {
        Self { first: PollSlots::new(at_once), further: PollSlots::new(at_once) }
    }
}

/// The slots that one connection and its requests take.
#[derive(Debug)]
pub(super) struct ConnectionPollSlots {
    own: PollSlots,
    /// `None` where an address stands for many clients, such as that of a proxy in front.
    address: Option<PollSlots>,
    unauthenticated: UnauthenticatedSlots,
    /// A request on it has ended.
    has_asked: AtomicBool,
    is_authenticated: AtomicBool,
}

impl ConnectionPollSlots {
    /// Those of a connection that has not sent a verified token.
    pub(super) fn new(address: Option<&PollSlots>, unauthenticated: &UnauthenticatedSlots) -> Self {
        let (address, unauthenticated) = (address.cloned(), unauthenticated.clone());
        Self {
            own: PollSlots::new(1),
            address,
            unauthenticated,
            has_asked: AtomicBool::new(false),
            is_authenticated: AtomicBool::new(false),
        }
    }

    /// A request on it has ended.
    pub(super) fn request_ended(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Sets whether its last request had a verified token.
    pub(super) fn set_authenticated(&self, is_authenticated: bool) {
        self.is_authenticated.store(is_authenticated, Ordering::Relaxed);
    }

    /// Drives the connection itself, with a slot for each poll.
    pub(super) async fn drive_connection<T>(&self, work: impl Future<Output = T>) -> T {
        self.drive(None, work).await
    }

    /// Drives one of the concurrent requests of the connection, with a slot for each poll.
    pub(super) async fn drive_request<T>(&self, work: impl Future<Output = T>) -> T {
        self.drive(Some(&self.own), work).await
    }

    /// Work that waits for something holds no slot. Must be called within a runtime.
    async fn drive<T>(&self, own: Option<&PollSlots>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut slots = <[PollSlot; 3]>::default();
        poll_fn(|context| {
            if self.is_authenticated.load(Ordering::Relaxed) {
                slots = <[PollSlot; 3]>::default();
                return work.as_mut().poll(context);
            }
            // Slots that were acquired are kept until the poll is done, so that few requests wait for the next slot at once.
            let [of_connection, of_address, of_unauthenticated] = &mut slots;
            let address = self.address.as_ref();
            let unauthenticated = match self.has_asked.load(Ordering::Relaxed) {
                true => &self.unauthenticated.further,
                false => &self.unauthenticated.first,
            };
            if own.is_some_and(|own| of_connection.poll(own, context).is_pending())
                || address.is_some_and(|address| of_address.poll(address, context).is_pending())
                || of_unauthenticated.poll(unauthenticated, context).is_pending()
            {
                return Poll::Pending;
            }
            let polled = work.as_mut().poll(context);
            tokio::spawn(release_later(mem::take(&mut slots)));
            polled
        })
        .await
    }
}

/// Releases these to the work that has waited longest, after one round of the run queue. Released immediately, the next task in
/// the run queue would take them without waiting.
async fn release_later(slots: [PollSlot; 3]) {
    let mut queued = false;
    // Not tokio's `yield_now`, which waits until the thread is idle or polls for events.
    poll_fn(|context| {
        if mem::replace(&mut queued, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    drop(slots);
}

/// A slot that is taken, awaited, or neither.
#[derive(Default)]
struct PollSlot {
    taken: Option<OwnedSemaphorePermit>,
    awaited: Option<Awaited>,
}

/// A slot that is awaited.
type Awaited = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl PollSlot {
    fn poll(&mut self, slots: &PollSlots, context: &mut Context<'_>) -> Poll<()> {
        let all = || Arc::clone(&slots.0);
        if self.taken.is_none() && self.awaited.is_none() {
            // Fails as well where others wait, so the order is kept.
            self.taken = all().try_acquire_owned().ok();
        }
        if self.taken.is_none() {
            let awaited = self.awaited.get_or_insert_with(|| Box::pin(all().acquire_owned()));
            let Poll::Ready(slot) = awaited.as_mut().poll(context) else { return Poll::Pending };
            self.awaited = None;
            // The semaphore is never closed; if it were, no slots would be needed.
            self.taken = slot.ok();
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
    async fn done_before(address: Option<&PollSlots>, authenticated: bool) -> usize {
        let unauthenticated = UnauthenticatedSlots::new(2);
        let done = Arc::new(Mutex::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let connection = Arc::new(ConnectionPollSlots::new(address, &unauthenticated));
            for _ in 0..REQUESTS {
                let (connection, done) = (Arc::clone(&connection), Arc::clone(&done));
                tasks.spawn(
                    async move { connection.drive_request(async { *done.lock() += 1 }).await },
                );
            }
        }
        let (seen, other) = (Arc::clone(&done), ConnectionPollSlots::new(None, &unauthenticated));
        other.set_authenticated(authenticated);
        let honest = tokio::spawn(async move {
            let steps = async {
                for _ in 0..STEPS {
                    yield_now().await;
                }
                *seen.lock()
            };
            other.drive_request(steps).await
        });
        let before = honest.await.unwrap();
        while tasks.join_next().await.is_some() {}
        assert_eq!(*done.lock(), CONNECTIONS * REQUESTS, "all of them are done");
        before
    }

    // Part 4, item 18.
    #[tokio::test]
    async fn many_requests_do_not_run_before_all_others() {
        // It waits for some in each of its steps; without slots for all before its first one.
        let some = CONNECTIONS * REQUESTS / 4;
        let from_everywhere = done_before(None, false).await;
        assert!(from_everywhere < some, "{from_everywhere}");
        let from_elsewhere = done_before(Some(&PollSlots::new(2)), false).await;
        assert!(from_elsewhere < some, "{from_elsewhere}");
        let before_an_authenticated_one = done_before(None, true).await;
        assert!(before_an_authenticated_one < some, "{before_an_authenticated_one}");
    }

    // Part 4, item 18.
    #[tokio::test]
    async fn a_new_connection_does_not_wait_for_those_that_have_asked() {
        let unauthenticated = UnauthenticatedSlots::new(1);
        let held = Arc::clone(&unauthenticated.further.0).acquire_owned().await.unwrap();
        let [new, other] = [(); 2].map(|()| ConnectionPollSlots::new(None, &unauthenticated));
        other.request_ended();
        let mut waits = pin!(other.drive_request(async {}));
        let polled = poll_fn(|context| Poll::Ready(waits.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        new.drive_request(async {}).await;
        drop(held);
        waits.await;
    }

    #[tokio::test]
    async fn a_slot_skips_dropped_work_and_is_free_while_its_work_waits() {
        let unauthenticated = UnauthenticatedSlots::new(1);
        let slots = Arc::new(ConnectionPollSlots::new(None, &unauthenticated));
        let held = Arc::clone(&unauthenticated.first.0).acquire_owned().await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let slots = Arc::clone(&slots);
            tasks.spawn(async move { slots.drive_request(async {}).await });
        }
        yield_now().await;
        let waits = Arc::clone(&slots);
        let waiting =
            tokio::spawn(async move { waits.drive_request(std::future::pending::<()>()).await });
        yield_now().await;
        assert_eq!(tasks.len(), 3, "it is not their slot");
        tasks.shutdown().await;
        drop(held);
        yield_now().await;
        // The one that is left is waiting for something, without its slot.
        slots.drive_request(async {}).await;
        slots.drive_connection(async {}).await;
        waiting.abort();
        assert!(waiting.await.is_err());
    }
}
