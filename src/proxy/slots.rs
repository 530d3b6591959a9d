//! How many requests may be with applications at once: in all on a listener, from one address, and with one upstream. A request
//! whose body is gathered counts for the first two; a place with the upstream is taken when that is done.
//!
//! An answer that its client does not take keeps some hundred KiB of memory, so what is at once is what bounds the memory. A
//! quarter of all places is kept for requests with a verified token: what anybody may send cannot take those, and while both
//! wait, requests with a token are first.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use pingora_proxy::Session;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::ConnectionLimits;
use crate::proxy::connections::of_one_owner;
use crate::route::upstream_limits::UpstreamLimits;

/// The places of one kind.
#[derive(Debug, Default)]
struct Slots(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// Those with a verified token.
    authenticated: VecDeque<oneshot::Sender<Slot>>,
    anonymous: VecDeque<oneshot::Sender<Slot>>,
}

/// A place that is taken; dropping it gives it to who waits, or back.
#[derive(Debug)]
struct Slot {
    slots: Arc<Slots>,
    limits: UpstreamLimits,
}

/// How many places there are for a request, which has a verified token or not.
const fn places(most: usize, authenticated: bool) -> usize {
    if authenticated { most } else { most - most / 4 }
}

impl Slots {
    /// Takes a place, waiting in the queue for it. `None` when the queue is full, or has taken too long.
    async fn take(self: &Arc<Self>, limits: UpstreamLimits, authenticated: bool) -> Option<Slot> {
        let waiting = {
            let mut taken = self.0.lock();
            if taken.count < places(limits.max_requests, authenticated) {
                taken.count += 1;
                return Some(Slot { slots: Arc::clone(self), limits });
            }
            // Whoever has given up is no longer in the queue.
            taken.authenticated.retain(|waiting| !waiting.is_closed());
            taken.anonymous.retain(|waiting| !waiting.is_closed());
            if taken.authenticated.len() + taken.anonymous.len()
                >= places(limits.queue, authenticated)
            {
                return None;
            }
            let (give, waiting) = oneshot::channel();
            match authenticated {
                true => taken.authenticated.push_back(give),
                false => taken.anonymous.push_back(give),
            }
            waiting
        };
        timeout(limits.queue_timeout, waiting).await.ok()?.ok()
    }

    /// One place less is taken; whose turn it is then.
    fn give_back(&self, most: usize) -> Option<oneshot::Sender<Slot>> {
        let mut taken = self.0.lock();
        taken.count = taken.count.saturating_sub(1);
        for authenticated in [true, false] {
            while taken.count < places(most, authenticated) {
                let queue = match authenticated {
                    true => &mut taken.authenticated,
                    false => &mut taken.anonymous,
                };
                let Some(next) = queue.pop_front() else { break };
                if !next.is_closed() {
                    taken.count += 1;
                    return Some(next);
                }
            }
        }
        None
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(next) = self.slots.give_back(self.limits.max_requests) {
            // Where it has just gone, dropping what comes back asks the next.
            drop(next.send(Self { slots: Arc::clone(&self.slots), limits: self.limits }));
        }
    }
}

/// The requests of one listener that are with applications.
#[derive(Debug)]
pub(super) struct RequestSlots {
    all: Arc<Slots>,
    by_address: DashMap<IpAddr, usize>,
    limits: ConnectionLimits,
    upstreams: Arc<UpstreamSlots>,
}

/// The requests that are with each upstream, from every listener. It outlives reloads.
#[derive(Debug, Default)]
pub(super) struct UpstreamSlots(DashMap<Arc<str>, Arc<Slots>>);

/// Returns once the client of a request that has come as a whole is gone, which whoever waits for a place is told: the place in the queue is
/// for others then.
pub(super) async fn left(session: &mut Session) {
    // Whatever comes of it, it is no part of this request.
    drop(session.as_downstream_mut().read_body_or_idle(true).await);
}

/// The places that one request takes on its listener, from the moment at which it is let through.
#[derive(Debug)]
pub(super) struct RequestSlot {
    _all: Slot,
    _address: AddressSlot,
}

/// The place that it takes with its upstream, from the moment at which the application may be asked.
#[derive(Debug)]
pub(super) struct UpstreamSlot {
    _slot: Slot,
}

#[derive(Debug)]
struct AddressSlot {
    slots: Arc<RequestSlots>,
    address: IpAddr,
}

impl RequestSlots {
    pub(super) fn new(limits: ConnectionLimits, upstreams: Arc<UpstreamSlots>) -> Arc<Self> {
        Arc::new(Self { all: Arc::default(), by_address: DashMap::new(), limits, upstreams })
    }

    /// Takes what a request of this client needs on the listener. `None` when there is not enough left.
    pub(super) async fn take(
        self: &Arc<Self>,
        client: IpAddr,
        authenticated: bool,
    ) -> Option<RequestSlot> {
        let address = self.take_address(of_one_owner(client))?;
        // No queue here: whoever waits would hold a place as well.
        let limits = UpstreamLimits {
            max_requests: self.limits.max_requests,
            queue: 0,
            queue_timeout: Duration::ZERO,
        };
        let all = self.all.take(limits, authenticated).await?;
        Some(RequestSlot { _all: all, _address: address })
    }

    /// Takes what it needs to be with this upstream besides, waiting for it where the upstream has a queue.
    pub(super) async fn take_upstream(
        &self,
        upstream: &Arc<str>,
        limits: UpstreamLimits,
        authenticated: bool,
    ) -> Option<UpstreamSlot> {
        let slots = Arc::clone(&*self.upstreams.0.entry(Arc::clone(upstream)).or_default());
        Some(UpstreamSlot { _slot: slots.take(limits, authenticated).await? })
    }

    fn take_address(self: &Arc<Self>, address: IpAddr) -> Option<AddressSlot> {
        let slot = AddressSlot { slots: Arc::clone(self), address };
        let mut count = self.by_address.entry(address).or_default();
        *count += 1;
        let fits = *count <= self.limits.max_requests_per_address;
        // Dropping the slot takes the lock of its entry.
        drop(count);
        fits.then_some(slot)
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        if let Some(mut count) = self.slots.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
        }
        self.slots.by_address.remove_if(&self.address, |_, count| *count == 0);
    }
}
