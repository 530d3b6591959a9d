//! How long `/token` takes for a user who does not exist, one who is disabled and one whose password is wrong: the medians are
//! within a tenth of each other, so an answer's time names nobody. Over real sockets, since that is what an attacker has.
//!
//! The three take turns, so that whatever else the machine does meets all of them alike. A machine that is too busy to tell is
//! given two more chances; a leak does not pass by trying again.

use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use super::harness::node::report;
use super::harness::{Edge, edge};

/// How many logins of each kind are measured.
const LOGINS: usize = 60;
const ATTEMPTS: usize = 3;
/// The most by which the largest median may exceed the smallest.
const TOLERANCE: f64 = 0.10;

/// Whatever slows down repeated failures, which all of these are, must be off here.
const UNTHROTTLED: &str = "login: { per_user: off, per_address: off }";

/// One measurement at a time: two would be each other's noise.
static TURN: Mutex<()> = Mutex::const_new(());

const KINDS: [(&str, &str); 3] =
    [("unknown", "nobody"), ("disabled", "carol"), ("wrong password", "alice")];

#[tokio::test]
async fn a14_users_of_the_file_are_not_told_from_unknown_ones_by_time() {
    no_leak("file", &edge().stateful().with(UNTHROTTLED).start().await).await;
}

#[tokio::test]
async fn a14_users_of_the_database_are_not_told_from_unknown_ones_by_time() {
    let edge = edge().stateful().users_in_database().with(UNTHROTTLED).start().await;
    no_leak("database", &edge).await;
}

async fn no_leak(users: &str, edge: &Edge) {
    let _turn = TURN.lock().await;
    for attempt in 1..=ATTEMPTS {
        let medians = measure(edge).await;
        let (most, least) = (medians.iter().max().unwrap(), medians.iter().min().unwrap());
        let spread = most.as_secs_f64() / least.as_secs_f64() - 1.0;
        let shown: Vec<_> =
            KINDS.iter().zip(medians).map(|((kind, _), m)| format!("{kind} {m:.1?}")).collect();
        let (shown, percent) = (shown.join(", "), spread * 100.0);
        report(&format!("logins of users in the {users}: {shown}; they differ by {percent:.1} %"));
        if spread <= TOLERANCE {
            return;
        }
        assert!(attempt < ATTEMPTS, "{percent:.1} % between them, {ATTEMPTS} times");
    }
}

/// The median of each kind.
async fn measure(edge: &Edge) -> [Duration; 3] {
    let mut taken: [Vec<Duration>; 3] = Default::default();
    for round in 0..LOGINS {
        for turn in 0..KINDS.len() {
            // Whoever comes first after whom is another each time.
            let kind = (turn + round) % KINDS.len();
            let form = format!("grant_type=password&username={}&password=wrong", KINDS[kind].1);
            let began = Instant::now();
            let answer = edge.token(&form).await;
            taken[kind].push(began.elapsed());
            answer.is_refused(400, "invalid_grant");
        }
    }
    taken.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}
