//! Connections that keep us waiting for a request: each gets so long for a whole head, however it trickles.
//!
//! Pingora bounds every single read but not their sum, so a byte a minute would hold a connection for ever (slowloris). Its
//! sessions do not know their connection; the client's address, which no two living connections of one listener share,
//! brings the two together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::proxy::listener::told;

/// How long a new connection has for its first head.
const FIRST_HEAD: Duration = Duration::from_secs(30);
/// How long it has for each later one, the idle time before it included.
pub(super) const NEXT_HEAD: Duration = Duration::from_secs(75);

/// How long a connection without requests may take to say farewell once we drain.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often a connection that is about to end is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// The living connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    clock: Arc<dyn Clock>,
    by_peer: DashMap<SocketAddr, Arc<Mutex<State>>>,
}

#[derive(Debug)]
struct State {
    /// Requests that are being answered.
    busy: usize,
    /// When the next head must be here, as long as none is.
    due: Instant,
}

/// A living connection; dropping it forgets it.
#[derive(Debug)]
pub(super) struct Guest {
    connections: Arc<Connections>,
    peer: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A request that is being answered; dropping it, also by a panic, ends that.
#[derive(Debug)]
pub(super) struct Busy {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

impl Connections {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, by_peer: DashMap::new() })
    }

    /// A connection begins.
    pub(super) fn admit(self: &Arc<Self>, peer: SocketAddr) -> Guest {
        let state = State { busy: 0, due: self.clock.instant() + FIRST_HEAD };
        let state = Arc::new(Mutex::new(state));
        self.by_peer.insert(peer, Arc::clone(&state));
        Guest { connections: Arc::clone(self), peer, state }
    }

    /// A head has arrived on the connection of this client.
    pub(super) fn busy(&self, peer: SocketAddr) -> Option<Busy> {
        let state = Arc::clone(&*self.by_peer.get(&peer)?);
        state.lock().busy += 1;
        Some(Busy { clock: Arc::clone(&self.clock), state })
    }
}

impl Guest {
    /// Returns once the connection has kept us waiting for too long.
    pub(super) async fn overdue(&self) {
        while let Some(patience) = self.patience() {
            sleep(patience).await;
        }
    }

    /// Returns once we drain and the connection has nothing left to answer. HTTP/2 waits for the client to agree to the end,
    /// which one that is dead never does.
    pub(super) async fn farewell(&self, shutdown: &watch::Receiver<bool>) {
        told(&mut shutdown.clone()).await;
        sleep(GOODBYE).await;
        self.done().await;
    }

    /// Returns once nothing is being answered: a request over HTTP/2 is logged after its connection may have ended.
    pub(super) async fn done(&self) {
        while self.state.lock().busy > 0 {
            sleep(GLANCE).await;
        }
    }

    /// How long there is nothing to see to; none when it is overdue.
    fn patience(&self) -> Option<Duration> {
        let now = self.connections.clock.instant();
        let state = self.state.lock();
        if state.busy > 0 {
            // It will have at least this long after the answer.
            return Some(NEXT_HEAD);
        }
        let left = state.due.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // By now another connection may have the address.
        self.connections.by_peer.remove_if(&self.peer, |_, state| Arc::ptr_eq(state, &self.state));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.clock.instant();
        let mut state = self.state.lock();
        state.busy = state.busy.saturating_sub(1);
        state.due = now + NEXT_HEAD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SystemClock, Timestamp};
    use std::sync::OnceLock;
    use tokio::time::timeout;

    /// A monotonic clock that moves only when told to.
    #[derive(Debug, Default)]
    struct Hand(OnceLock<Instant>, Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::MAX
        }
        fn instant(&self) -> Instant {
            *self.0.get_or_init(|| SystemClock.instant()) + *self.1.lock()
        }
    }

    #[test]
    fn a_connection_has_so_long_for_each_head_and_any_time_for_the_answer() {
        let clock = Arc::new(Hand::default());
        let connections = Connections::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let pass = |seconds| *clock.1.lock() += Duration::from_secs(seconds);
        let guest = connections.admit(peer);
        pass(29);
        assert_eq!(guest.patience(), Some(Duration::from_secs(1)));
        let request = connections.busy(peer).unwrap();
        let other = connections.busy(peer).unwrap();
        pass(10_000);
        drop(request);
        assert_eq!(guest.patience(), Some(NEXT_HEAD));
        drop(other);
        pass(74);
        assert_eq!(guest.patience(), Some(Duration::from_secs(1)));
        pass(1);
        assert_eq!(guest.patience(), None);
        drop(guest);
        assert!(connections.busy(peer).is_none() && connections.by_peer.is_empty());
    }

    #[test]
    fn a_connection_that_never_asks_is_overdue_and_an_address_can_return() {
        let clock = Arc::new(Hand::default());
        let connections = Connections::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let first = connections.admit(peer);
        *clock.1.lock() += FIRST_HEAD;
        assert_eq!(first.patience(), None);
        let second = connections.admit(peer);
        drop(first);
        assert!(connections.busy(peer).is_some());
        assert!(second.patience().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn j10_a_drain_waits_for_answers_and_hardly_for_anything_else() {
        let connections = Connections::new(Arc::new(SystemClock));
        let guest = connections.admit("192.0.2.1:1".parse().unwrap());
        let (stop, stopping) = watch::channel(false);
        let patience = Duration::from_secs(60);
        assert!(timeout(patience, guest.farewell(&stopping)).await.is_err(), "nobody said stop");
        stop.send_replace(true);
        let request = connections.busy(guest.peer).unwrap();
        assert!(timeout(patience, guest.farewell(&stopping)).await.is_err(), "a request is left");
        drop(request);
        assert!(timeout(2 * GOODBYE, guest.farewell(&stopping)).await.is_ok());
    }
}
