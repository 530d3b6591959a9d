//! Counting connections, and their patience.

use super::*;
use crate::clock::{SystemClock, Timestamp};
use crate::observe::Metrics;
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

fn connections(clock: Arc<dyn Clock>, change: impl Fn(&mut ConnectionLimits)) -> Arc<Connections> {
    let mut limits = ConnectionLimits::default();
    change(&mut limits);
    let metrics = Metrics::new().unwrap().listener("web");
    Connections::new(clock, limits, Arc::default(), metrics, UnauthenticatedSlots::new(1))
}

fn socket() -> Arc<SocketDigest> {
    Arc::new(SocketDigest::from_raw_fd(-1))
}

fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 1))
}

#[test]
fn a_connection_has_so_long_for_each_head_and_any_time_for_the_answer() {
    let socket = socket();
    let clock = Arc::new(Hand::default());
    let connections = connections(Arc::clone(&clock) as _, |_| {});
    let keepalive = connections.limits.keepalive_timeout;
    let pass = |time: Duration| *clock.1.lock() += time;
    let connection = connections.slot().unwrap().admit(&socket, peer(1), None);
    pass(connections.limits.header_timeout - Duration::from_secs(1));
    assert_eq!(connection.patience(), Some(Duration::from_secs(1)));
    let request = connections.busy(&socket).unwrap();
    let other = connections.busy(&socket).unwrap();
    pass(Duration::from_secs(10_000));
    drop(request);
    assert_eq!(connection.patience(), Some(keepalive));
    drop(other);
    pass(keepalive - Duration::from_secs(1));
    assert_eq!(connection.patience(), Some(Duration::from_secs(1)));
    pass(Duration::from_secs(1));
    assert_eq!(connection.patience(), None);
    drop(connection);
    assert!(connections.busy(&socket).is_none() && connections.by_socket.is_empty());
}

#[test]
fn a_connection_that_never_asks_is_overdue_and_a_client_can_have_two_from_one_port() {
    let clock = Arc::new(Hand::default());
    let connections = connections(Arc::clone(&clock) as _, |_| {});
    let (one, other) = (socket(), socket());
    let first = connections.slot().unwrap().admit(&one, peer(1), None);
    *clock.1.lock() += connections.limits.header_timeout;
    assert_eq!(first.patience(), None);
    let second = connections.slot().unwrap().admit(&other, peer(1), None);
    assert!(second.patience().is_some());
    let asked = connections.busy(&other).unwrap();
    assert!(Arc::ptr_eq(&asked.state, &second.state));
    drop(first);
    assert!(connections.busy(&one).is_none() && connections.busy(&other).is_some());
}

#[test]
fn connections_are_limited_in_all_and_from_one_address() {
    let connections = connections(Arc::new(SystemClock), |limits| {
        (limits.connections, limits.per_address) = (3, 2);
    });
    let mut first = connections.slot().unwrap();
    let mut second = connections.slot().unwrap();
    let mut third = connections.slot().unwrap();
    assert_eq!(connections.slot().err(), Some(Refusal::Connections));
    let one: IpAddr = "2001:db8::1".parse().unwrap();
    let neighbour: IpAddr = "2001:db8::ffff:0:0:2".parse().unwrap();
    let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();
    assert_eq!((first.take(one), second.take(neighbour)), (Ok(()), Ok(())));
    assert_eq!(third.take(one), Err(Refusal::PerAddress));
    drop(third);
    let mut third = connections.slot().unwrap();
    assert_eq!(third.take(other), Ok(()));
    drop((first, third));
    assert_eq!(connections.slot().unwrap().take(neighbour), Ok(()));
    drop(second);
    assert_eq!(connections.counts.open.load(Ordering::Relaxed), 0);
    assert!(connections.counts.by_address.is_empty());
    assert_eq!(connections.metrics.open.get(), 0);
}

#[test]
fn a_connection_ends_after_so_many_requests() {
    let socket = socket();
    let connections = connections(Arc::new(SystemClock), |limits| limits.requests = 2);
    let connection = connections.slot().unwrap().admit(&socket, peer(1), None);
    assert!(!connections.busy(&socket).unwrap().last && !*connection.hangup().borrow());
    assert!(connections.busy(&socket).unwrap().last && *connection.hangup().borrow());
}

#[test]
fn a_panic_leaves_no_count_wrong() {
    let socket = socket();
    let connections = connections(Arc::new(SystemClock), |_| {});
    let fault = std::thread::scope(|scope| {
        let request = scope.spawn(|| {
            let mut slot = connections.slot().unwrap();
            slot.take(peer(1).ip()).unwrap();
            let _guest = slot.admit(&socket, peer(1), None);
            let _busy = connections.busy(&socket).unwrap();
            std::panic::resume_unwind(Box::new(()));
        });
        request.join()
    });
    assert!(fault.is_err());
    assert_eq!(connections.counts.open.load(Ordering::Relaxed), 0);
    assert!(connections.counts.by_address.is_empty() && connections.by_socket.is_empty());
    assert_eq!(connections.metrics.open.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn j10_a_drain_waits_for_answers_and_hardly_for_anything_else() {
    let socket = socket();
    let connections = connections(Arc::new(SystemClock), |_| {});
    let connection = connections.slot().unwrap().admit(&socket, peer(1), None);
    let (stop, stopping) = watch::channel(false);
    let patience = Duration::from_secs(60);
    assert!(timeout(patience, connection.drain(&stopping)).await.is_err(), "nobody said stop");
    stop.send_replace(true);
    let request = connections.busy(&socket).unwrap();
    assert!(timeout(patience, connection.drain(&stopping)).await.is_err(), "a request is left");
    drop(request);
    assert!(timeout(Duration::from_secs(5), connection.drain(&stopping)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_has_just_connected_may_ask_before_he_hears_of_the_end() {
    let socket = socket();
    let connections = connections(Arc::new(SystemClock), |_| {});
    let connection = connections.slot().unwrap().admit(&socket, peer(1), None);
    let hangup = connection.hangup();
    let (_stop, stopping) = watch::channel(true);
    let drain = connection.drain(&stopping);
    tokio::pin!(drain);
    let moment = Duration::from_millis(500);
    assert!(timeout(moment, &mut drain).await.is_err() && !*hangup.borrow());
    let request = connections.busy(&socket).unwrap();
    assert!(timeout(moment, &mut drain).await.is_err() && *hangup.borrow());
    drop(request);
    assert!(timeout(Duration::from_secs(2), &mut drain).await.is_ok());
    // Nobody is waited for who never asks.
    let idle = connections.slot().unwrap().admit(&socket, peer(1), None);
    assert!(timeout(Duration::from_secs(3), idle.drain(&stopping)).await.is_ok());
}
