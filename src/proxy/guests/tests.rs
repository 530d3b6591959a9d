//! Counting guests, and their patience.

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

fn guests(clock: Arc<dyn Clock>, change: impl Fn(&mut ConnectionLimits)) -> Arc<Guests> {
    let mut limits = ConnectionLimits::default();
    change(&mut limits);
    let metrics = Metrics::new().unwrap().listener("web");
    Guests::new(clock, limits, Arc::default(), metrics)
}

fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 1))
}

#[test]
fn a_connection_has_so_long_for_each_head_and_any_time_for_the_answer() {
    let clock = Arc::new(Hand::default());
    let guests = guests(Arc::clone(&clock) as _, |_| {});
    let keepalive = guests.limits.keepalive_timeout;
    let pass = |time: Duration| *clock.1.lock() += time;
    let guest = guests.seat().unwrap().admit(peer(1), peer(1), None);
    pass(guests.limits.header_timeout - Duration::from_secs(1));
    assert_eq!(guest.patience(), Some(Duration::from_secs(1)));
    let request = guests.busy(peer(1)).unwrap();
    let other = guests.busy(peer(1)).unwrap();
    pass(Duration::from_secs(10_000));
    drop(request);
    assert_eq!(guest.patience(), Some(keepalive));
    drop(other);
    pass(keepalive - Duration::from_secs(1));
    assert_eq!(guest.patience(), Some(Duration::from_secs(1)));
    pass(Duration::from_secs(1));
    assert_eq!(guest.patience(), None);
    drop(guest);
    assert!(guests.busy(peer(1)).is_none() && guests.by_peer.is_empty());
}

#[test]
fn a_connection_that_never_asks_is_overdue_and_an_address_can_return() {
    let clock = Arc::new(Hand::default());
    let guests = guests(Arc::clone(&clock) as _, |_| {});
    let first = guests.seat().unwrap().admit(peer(1), peer(1), None);
    *clock.1.lock() += guests.limits.header_timeout;
    assert_eq!(first.patience(), None);
    let second = guests.seat().unwrap().admit(peer(1), peer(1), None);
    drop(first);
    assert!(guests.busy(peer(1)).is_some());
    assert!(second.patience().is_some());
}

#[test]
fn connections_are_limited_in_all_and_from_one_address() {
    let guests = guests(Arc::new(SystemClock), |limits| {
        (limits.connections, limits.per_address) = (3, 2);
    });
    let mut first = guests.seat().unwrap();
    let mut second = guests.seat().unwrap();
    let mut third = guests.seat().unwrap();
    assert_eq!(guests.seat().err(), Some(Refusal::Connections));
    let one: IpAddr = "2001:db8::1".parse().unwrap();
    let neighbour: IpAddr = "2001:db8::ffff:0:0:2".parse().unwrap();
    let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();
    assert_eq!((first.take(one), second.take(neighbour)), (Ok(()), Ok(())));
    assert_eq!(third.take(one), Err(Refusal::PerAddress));
    drop(third);
    let mut third = guests.seat().unwrap();
    assert_eq!(third.take(other), Ok(()));
    drop((first, third));
    assert_eq!(guests.seat().unwrap().take(neighbour), Ok(()));
    drop(second);
    assert_eq!(guests.crowd.open.load(Ordering::Relaxed), 0);
    assert!(guests.crowd.by_address.is_empty());
    assert_eq!(guests.metrics.open.get(), 0);
}

#[test]
fn a_connection_ends_after_so_many_requests() {
    let guests = guests(Arc::new(SystemClock), |limits| limits.requests = 2);
    let guest = guests.seat().unwrap().admit(peer(1), peer(1), None);
    assert!(!guests.busy(peer(1)).unwrap().last && !*guest.hangup().borrow());
    assert!(guests.busy(peer(1)).unwrap().last && *guest.hangup().borrow());
}

#[test]
fn a_panic_leaves_no_count_wrong() {
    let guests = guests(Arc::new(SystemClock), |_| {});
    let fault = std::thread::scope(|scope| {
        let request = scope.spawn(|| {
            let mut seat = guests.seat().unwrap();
            seat.take(peer(1).ip()).unwrap();
            let _guest = seat.admit(peer(1), peer(1), None);
            let _busy = guests.busy(peer(1)).unwrap();
            std::panic::resume_unwind(Box::new(()));
        });
        request.join()
    });
    assert!(fault.is_err());
    assert_eq!(guests.crowd.open.load(Ordering::Relaxed), 0);
    assert!(guests.crowd.by_address.is_empty() && guests.by_peer.is_empty());
    assert_eq!(guests.metrics.open.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn j10_a_drain_waits_for_answers_and_hardly_for_anything_else() {
    let guests = guests(Arc::new(SystemClock), |_| {});
    let guest = guests.seat().unwrap().admit(peer(1), peer(1), None);
    let (stop, stopping) = watch::channel(false);
    let patience = Duration::from_secs(60);
    assert!(timeout(patience, guest.farewell(&stopping)).await.is_err(), "nobody said stop");
    stop.send_replace(true);
    let request = guests.busy(guest.peer).unwrap();
    assert!(timeout(patience, guest.farewell(&stopping)).await.is_err(), "a request is left");
    drop(request);
    assert!(timeout(Duration::from_secs(5), guest.farewell(&stopping)).await.is_ok());
}
