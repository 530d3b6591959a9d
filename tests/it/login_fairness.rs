//! The hashing threads are shared out between networks and accounts: nobody who logs in again and again keeps others from it.
// Part 4, item 19.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::harness::captured::Captured;
use super::harness::{Edge, Wire, edge};
use super::metrics::{metrics, value};

const CONNECTIONS: usize = 100;
const LOGINS: usize = 10;
const FLOOD: &str = "203.0.113.9";

fn login(edge: &Edge, user: &str, address: &str) -> Vec<u8> {
    let form = format!("grant_type=password&username={user}&password=correct+horse+battery+staple");
    edge.token(&form).field(&format!("X-Forwarded-For: {address}")).bytes()
}

/// Connections on which somebody logs in without end, rightly, until they are stopped. How often it was told 200, and 503.
struct Flood {
    stop: Arc<AtomicBool>,
    connections: JoinSet<()>,
    told: Arc<[AtomicUsize; 2]>,
    /// Counts what alice was told 200: who was told 503 waits for it, so that this test leaves the machine to the others.
    served: watch::Sender<usize>,
}

impl Flood {
    async fn start(edge: &Edge) -> Self {
        let (stop, told) =
            (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicUsize::new(0) }; 2]));
        let (mut connections, served) = (JoinSet::new(), watch::Sender::new(0));
        for _ in 0..CONNECTIONS {
            let (to, request) = (edge.address, login(edge, "alice", FLOOD));
            let (stop, told) = (Arc::clone(&stop), Arc::clone(&told));
            let (serves, mut others) = (served.clone(), served.subscribe());
            connections.spawn(async move {
                let mut wire = Wire::connect(to).await;
                while !stop.load(Ordering::Relaxed) {
                    let answer = wire.ask(&request).await;
                    let busy = answer.status == 503;
                    if busy {
                        assert_eq!(answer.values("retry-after"), ["1"]);
                        assert_eq!(answer.json()["error"], "temporarily_unavailable");
                    } else {
                        answer.is(200);
                    }
                    told[usize::from(busy)].fetch_add(1, Ordering::Relaxed);
                    if busy {
                        others.changed().await.unwrap();
                    } else {
                        serves.send_modify(|count| *count += 1);
                    }
                }
            });
        }
        // Every place of the queue is taken, and more are asked for.
        while told[1].load(Ordering::Relaxed) < CONNECTIONS {
            tokio::task::yield_now().await;
        }
        Self { stop, connections, told, served }
    }

    async fn end(self) -> [usize; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.served.send_modify(|count| *count += 1);
        self.connections.join_all().await;
        [0, 1].map(|at| self.told[at].load(Ordering::Relaxed))
    }
}

/// How many of bob's logins are refused, one after the other.
async fn refused(edge: &Edge, address: &str) -> usize {
    let (mut wire, request) = (Wire::connect(edge.address).await, login(edge, "bob", address));
    let mut refused = 0;
    for _ in 0..LOGINS {
        let status = wire.ask(&request).await.status;
        assert!(status == 200 || status == 503, "{status}");
        refused += usize::from(status == 503);
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_that_logs_in_without_end_keeps_nobody_from_it() {
    let log = Captured::default();
    let more = "trusted_proxies: ['127.0.0.1']\nadmin: { address: '127.0.0.1:0' }";
    let edge = edge().with(more).log_to(&log).start().await;
    // That one account comes from everywhere is tested where the queue is.
    for (what, bob) in [("from another address", "198.51.100.1"), ("from the same address", FLOOD)]
    {
        let flood = Flood::start(&edge).await;
        let refused = refused(&edge, bob).await;
        let told = flood.end().await;
        println!(
            "{what}: {refused} of {LOGINS} of bob's logins are 503; alice: 200, 503: {told:?}"
        );
        assert_eq!(refused, 0, "{what}: {refused} of {LOGINS} of bob's logins are 503");
        // Alice has what is left: she is not kept out either.
        assert!(told[0] > 0, "{what}: {told:?}");
    }
    let text = metrics(&edge).await;
    assert!(
        value(&text, "portcullis_login_failures_total{reason=\"throttled\"}") >= 100.0,
        "{text}"
    );
    let written = log.text();
    let line = written.lines().find(|line| line.contains("\"status\":503")).unwrap();
    assert!(line.contains("\"decision\":\"refuse\",\"reason\":\"throttled\""), "{line}");
    assert!(line.contains("\"subject\":\"alice\""), "{line}");
}
