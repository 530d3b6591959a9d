//! The clients of one listener: how many there are, what each may take, and what a connection and its requests tell each other.
//!
//! Pingora bounds every single read but not their sum, nor how many connections there are. Its sessions do not know their
//! connection, but both hold the same [`SocketDigest`], whose place in memory brings the two together. No address could: to two
//! addresses of ours one client can connect from the same port.

mod active_request;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

pub(super) use active_request::ActiveRequest;
use bytes::Bytes;
use dashmap::DashMap;
use parking_lot::Mutex;
use pingora::protocols::SocketDigest;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::access::certificate::ClientCertificate;
use crate::clock::Clock;
use crate::config::ConnectionLimits;
use crate::observe::ListenerMetrics;
use crate::proxy::acceptor::{drain_grace, shutdown_signalled};
use crate::proxy::head::HeadError;
use crate::proxy::lingering::{Lingering, Lingers};
use crate::proxy::poll_slots::{ConnectionPollSlots, PollSlots, UnauthenticatedSlots};
use crate::proxy::refusal::Refusal;

/// How long a client has to agree to the end of a connection over HTTP/2.
const GO_AWAY: Duration = Duration::from_secs(1);
/// How often a connection that is about to end is looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// How often, while requests that came with its end may still begin. Those that never do were refused by the codec.
const MOST_GLANCES: u32 = 10;

/// How many of the poll slots for unauthenticated work one address may have or await at once.
const POLL_SLOTS_PER_ADDRESS: usize = 2;

/// How many connections there are. It outlives a change of the listener's settings.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    open: AtomicUsize,
    /// How many from each address, and their poll slots.
    by_address: DashMap<IpAddr, (usize, PollSlots)>,
    lingering: Arc<Lingering>,
}

/// The open connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    clock: Arc<dyn Clock>,
    limits: ConnectionLimits,
    counts: Arc<ConnectionCounts>,
    metrics: ListenerMetrics,
    unauthenticated: UnauthenticatedSlots,
    by_socket: DashMap<usize, Arc<ConnectionState>>,
}

/// A counted connection; dropping it takes it off the counts.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
    /// Those of the address.
    poll_slots: Option<PollSlots>,
}

/// An open connection; dropping it removes it from [`Connections`].
#[derive(Debug)]
pub(super) struct ClientConnection {
    slot: ConnectionSlot,
    /// Held, so that no other connection can have its place meanwhile.
    digest: Arc<SocketDigest>,
    state: Arc<ConnectionState>,
}

/// What a connection and its requests tell each other.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// The other end: the peer of the socket, or the client that a trusted proxy reports for it.
    client: SocketAddr,
    /// What the client proved in the handshake.
    certificate: Option<Arc<ClientCertificate>>,
    requests: Mutex<RequestState>,
    /// The slots in which it and its requests are polled.
    pub(super) poll_slots: ConnectionPollSlots,
    /// Requests that were answered.
    finished: AtomicU64,
    /// Streams that were opened over HTTP/2.
    opened: AtomicU64,
    upgraded: AtomicBool,
    broken: AtomicBool,
    flooded: AtomicBool,
    /// The connections of the listener that linger.
    lingering: Arc<Lingering>,
    /// A request over HTTP/2 is to be told to send its body, and who says it when it is.
    wants_continue: AtomicBool,
    speaker: Mutex<Option<Waker>>,
    /// Tells the connection to end with the request that comes next.
    hangup: watch::Sender<bool>,
}

#[derive(Debug)]
struct RequestState {
    /// Requests that are being answered.
    busy: usize,
    /// Those that ever were.
    begun: u64,
    /// A head is arriving, against a deadline of its own.
    reading: bool,
    /// When the next head must have begun, as long as none has.
    due: Instant,
    /// The head that was read last, over HTTP/1.
    received: Option<Received>,
}

/// A head, as it was received.
pub(super) enum Received {
    /// The target of a sound one.
    Head(Bytes),
    /// One that was refused, and what the log will say of it.
    Refused {
        /// Why.
        error: HeadError,
        /// Its method, or nothing.
        method: String,
        /// Its target, or what stands there.
        target: String,
    },
}

/// Without the target, whose query is nobody's business.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(_) => f.write_str("Head"),
            Self::Refused { error, .. } => write!(f, "Refused({error:?})"),
        }
    }
}

impl Connections {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        limits: ConnectionLimits,
        counts: Arc<ConnectionCounts>,
        metrics: ListenerMetrics,
        unauthenticated: UnauthenticatedSlots,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            limits,
            counts,
            metrics,
            unauthenticated,
            by_socket: DashMap::new(),
        })
    }

    pub(super) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) const fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// Counts a connection that has come in.
    ///
    /// # Errors
    /// [`Refusal::Connections`].
    pub(super) fn slot(self: &Arc<Self>) -> Result<ConnectionSlot, Refusal> {
        let slot =
            ConnectionSlot { connections: Arc::clone(self), address: None, poll_slots: None };
        self.metrics.open.inc();
        // From here on dropping the slot counts it off again.
        if self.counts.open.fetch_add(1, Ordering::Relaxed) >= self.limits.connections {
            return Err(self.refuse(Refusal::Connections));
        }
        Ok(slot)
    }

    /// Counts a refusal.
    pub(super) fn refuse(&self, refusal: Refusal) -> Refusal {
        self.metrics.refused(refusal.label());
        refusal
    }

    /// The connection of a session. `None` once it has ended.
    pub(super) fn find(&self, digest: &Arc<SocketDigest>) -> Option<Arc<ConnectionState>> {
        Some(Arc::clone(&*self.by_socket.get(&place_of(digest))?))
    }

    /// A head has arrived on this connection.
    pub(super) fn busy(self: &Arc<Self>, digest: &Arc<SocketDigest>) -> Option<ActiveRequest> {
        let state = self.find(digest)?;
        state.poll_slots.set_authenticated(false);
        let (received, last) = {
            let mut requests = state.requests.lock();
            requests.busy += 1;
            requests.begun += 1;
            requests.reading = false;
            (requests.received.take(), requests.begun >= self.limits.requests)
        };
        if last {
            state.hangup.send_replace(true);
        }
        Some(ActiveRequest { connections: Arc::clone(self), state, received, last })
    }
}

impl ConnectionSlot {
    /// Counts the connection for the client's address.
    ///
    /// # Errors
    /// [`Refusal::PerAddress`].
    pub(super) fn take(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let connections = &self.connections;
        let address = of_one_owner(address);
        let one = || (0, PollSlots::new(POLL_SLOTS_PER_ADDRESS));
        let mut entry = connections.counts.by_address.entry(address).or_insert_with(one);
        let (count, poll_slots) = &mut *entry;
        *count += 1;
        self.address = Some(address);
        self.poll_slots = Some(poll_slots.clone());
        if *count > connections.limits.per_address {
            return Err(connections.refuse(Refusal::PerAddress));
        }
        Ok(())
    }

    /// The connection begins to be served. `client` is its other end, or who a trusted balancer says it is.
    pub(super) fn admit(
        self,
        digest: &Arc<SocketDigest>,
        client: SocketAddr,
        certificate: Option<Arc<ClientCertificate>>,
    ) -> ClientConnection {
        let connections = &self.connections;
        let due = connections.clock.instant() + connections.limits.header_timeout;
        let state = Arc::new(ConnectionState {
            client,
            certificate,
            requests: Mutex::new(RequestState {
                busy: 0,
                begun: 0,
                reading: false,
                due,
                received: None,
            }),
            poll_slots: ConnectionPollSlots::new(
                self.poll_slots.as_ref(),
                &connections.unauthenticated,
            ),
            finished: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            upgraded: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            flooded: AtomicBool::new(false),
            lingering: Arc::clone(&connections.counts.lingering),
            wants_continue: AtomicBool::new(false),
            speaker: Mutex::default(),
            hangup: watch::Sender::new(false),
        });
        connections.by_socket.insert(place_of(digest), Arc::clone(&state));
        ClientConnection { slot: self, digest: Arc::clone(digest), state }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let counts = &self.connections.counts;
        counts.open.fetch_sub(1, Ordering::Relaxed);
        self.connections.metrics.open.dec();
        if let Some(address) = self.address {
            if let Some(mut entry) = counts.by_address.get_mut(&address) {
                entry.0 = entry.0.saturating_sub(1);
            }
            counts.by_address.remove_if(&address, |_, (count, _)| *count == 0);
        }
    }
}

fn place_of(digest: &Arc<SocketDigest>) -> usize {
    Arc::as_ptr(digest).addr()
}

/// One customer has a whole /64 of IPv6 addresses, and would otherwise count as many.
pub(super) fn of_one_owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

impl ClientConnection {
    pub(super) const fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    /// Told when the connection must end with the next request.
    pub(super) fn hangup(&self) -> watch::Receiver<bool> {
        self.state.hangup.subscribe()
    }

    /// Returns once the connection has kept us waiting for too long.
    pub(super) async fn idle_timeout(&self) {
        while let Some(patience) = self.patience() {
            sleep(patience).await;
        }
        if self.state.requests.lock().begun == 0 {
            self.slot.connections.refuse(Refusal::NoRequest);
        }
    }

    /// Tells an idle client over HTTP/2 that the connection ends, and returns once it has had the time to agree and whatever it
    /// still asked is answered.
    pub(super) async fn go_away(&self) {
        self.state.hangup.send_replace(true);
        sleep(GO_AWAY).await;
        self.done().await;
    }

    /// Returns once we drain and the connection has nothing left to answer. HTTP/2 waits for the client to agree to the end,
    /// which one that is dead never does. Who has just connected may ask before he hears that the connection ends: clients
    /// repeat on another what an old connection did not take, but not what a new one did not.
    pub(super) async fn drain(&self, shutdown: &watch::Receiver<bool>) {
        shutdown_signalled(&mut shutdown.clone()).await;
        let end = drain_grace(shutdown);
        tokio::pin!(end);
        let ended = tokio::select! {
            () = &mut end => true,
            () = self.asked() => false,
        };
        self.state.hangup.send_replace(true);
        if !ended {
            end.await;
        }
        self.done().await;
    }

    /// Returns once a request has come.
    async fn asked(&self) {
        while self.state.requests.lock().begun == 0 {
            sleep(GLANCE).await;
        }
    }

    /// Returns once nothing is being answered: a request over HTTP/2 is logged after its connection may have ended.
    pub(super) async fn done(&self) {
        let mut glances = 0;
        while self.state.requests.lock().busy > 0
            || (self.state.has_unseen() && glances < MOST_GLANCES)
        {
            glances += 1;
            sleep(GLANCE).await;
        }
    }

    /// How long there is nothing to see to; none when it is idle_timeout.
    fn patience(&self) -> Option<Duration> {
        let connections = &self.slot.connections;
        let now = connections.clock.instant();
        let requests = self.state.requests.lock();
        if requests.busy > 0 || requests.reading {
            // It will have at least this long after the answer.
            return Some(connections.limits.keepalive_timeout);
        }
        let left = requests.due.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        let connections = &self.slot.connections;
        connections.by_socket.remove(&place_of(&self.digest));
        if self.state.flooded.load(Ordering::Relaxed) {
            connections.refuse(Refusal::Flood);
        }
        // What the codec refused by itself was opened, and never begun.
        let opened = self.state.opened.load(Ordering::Relaxed);
        connections.metrics.early.inc_by(opened.saturating_sub(self.state.requests.lock().begun));
    }
}

impl ConnectionState {
    /// A head has begun to arrive: whoever reads it sees to it that it comes in time.
    pub(super) fn begin_head(&self) {
        self.requests.lock().reading = true;
    }

    /// A head was read.
    pub(super) fn receive(&self, received: Received) {
        let mut requests = self.requests.lock();
        requests.received = Some(received);
        requests.reading = true;
    }

    /// It is about to linger, if not too many do.
    pub(super) fn linger(&self) -> Option<Lingers> {
        self.lingering.begin()
    }

    /// How many requests were begun.
    pub(super) fn begun(&self) -> u64 {
        self.requests.lock().begun
    }

    /// Whether some of the requests that came in were not begun yet.
    fn has_unseen(&self) -> bool {
        self.begun() < self.opened.load(Ordering::Relaxed)
    }

    /// How many requests were answered.
    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Acquire)
    }

    /// Whether a request over HTTP/2 is to be told to send its body.
    pub(super) fn wants_continue(&self) -> bool {
        self.wants_continue.load(Ordering::Acquire)
    }

    /// The client was told.
    pub(super) fn said_continue(&self) {
        self.wants_continue.store(false, Ordering::Release);
    }

    /// Wakes the connection once a request is to be told to send its body.
    pub(super) fn wait_for_continue(&self, connection: &Waker) {
        *self.speaker.lock() = Some(connection.clone());
    }

    /// Whether the connection was given to another protocol.
    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    /// The body of a request broke the grammar.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// So many streams were opened over HTTP/2 so far.
    pub(super) fn opened(&self, count: u64) {
        self.opened.store(count, Ordering::Relaxed);
    }

    /// It sent too many frames without content.
    pub(super) fn flooded(&self) {
        self.flooded.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
