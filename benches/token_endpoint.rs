//! How many tokens a second, and for how much processor time?
//!
//! The real binary over loopback, alone on core 0; the load, and PostgreSQL where that keeps the state, on core 1 (see
//! `edge`). One line a case: requests a second, processor time of the binary for each and so how many one core could answer
//! in a second, latency. Where something is written, also how many writes shared one commit: with one client in flight
//! every refresh waits for a sync of its own, with many they share it, so that there are more of them at hardly more
//! commits. What one sync costs here is printed first; in a directory that is in memory (see TMPDIR) it costs nothing.
//!
//! Ends non-zero when a core does fewer than 2,000 `client_credentials` a second, or when a case could not be measured.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a bench that cannot go on has nothing to say"
)]

#[expect(dead_code, reason = "the floods count its lines")]
mod edge;
// The suites' own PostgreSQL. It finds its deadline and its signals in whoever includes it.
#[expect(dead_code, reason = "the suites stop and pause it, too")]
#[path = "../tests/it/harness/postgres.rs"]
mod postgres;

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::keys::Algorithm;
use portcullis::random::{self, OsRandom};
use portcullis::secret::Secret;
use portcullis::users::PasswordHash;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use edge::{Edge, Figures, Wire, refresh_request, token_request, write, write_files};
use postgres::Postgres;

const IN_FLIGHT: usize = 64;
/// More than that only wait in the queue before the one thread that hashes.
const LOGINS_IN_FLIGHT: usize = 4;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
/// The promise, for `client_credentials`.
const BOUND: f64 = 2_000.0;

const LOGIN: &str = "grant_type=password&username=alice&password=right";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // `cargo test --benches` only wants to know that this compiles.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    edge::move_aside();
    println!("one sync of 4 KiB on the disk: {:?}", sync_costs());
    let mut met = true;
    met &= Site::start(None, Algorithm::EdDsa).await.measure("EdDSA, SQLite", true).await;
    met &= Site::start(None, Algorithm::Es256).await.measure("ES256, SQLite", false).await;
    // It panics when it cannot be started, and says why.
    match tokio::spawn(Postgres::start()).await {
        Ok(postgres) => {
            let site = Site::start(Some(postgres.url()), Algorithm::EdDsa).await;
            met &= site.measure("EdDSA, PostgreSQL", true).await;
        }
        Err(_) => {
            println!("PostgreSQL: not measured, it could not be started");
            met = false;
        }
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The binary with its files, and what its machine client says to prove itself.
struct Site {
    edge: Edge,
    basic: String,
    _directory: tempfile::TempDir,
}

impl Site {
    /// With its state in the database of this URL, or else in a file.
    async fn start(database: Option<String>, algorithm: Algorithm) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = match database {
            None => "{ sqlite: state.db }",
            Some(url) => {
                write(directory.path(), "database.url", url.as_bytes());
                "{ postgres: { url: { file: database.url } } }"
            }
        };
        let secret = URL_SAFE_NO_PAD.encode(random::bytes::<32>(&OsRandom).unwrap());
        let digest: String = Sha256::digest(&secret).iter().map(|b| format!("{b:02x}")).collect();
        let clients = format!(
            "  - {{ id: web, default: true, grants: [password, refresh_token], scopes: [read] }}\n  \
             - {{ id: bare, grants: [password], scopes: [read] }}\n  \
             - {{ id: nightly, secret_sha256: '{digest}', grants: [client_credentials], scopes: [read] }}\n"
        );
        let password = PasswordHash::create(&Secret::from("right"), &OsRandom).unwrap();
        write_files(directory.path(), state, algorithm, &password, &clients);
        let edge = Edge::start(directory.path()).await;
        let basic = STANDARD.encode(format!("nightly:{secret}"));
        Self { edge, basic, _directory: directory }
    }

    /// Measures the cases, and says whether the promise was kept.
    async fn measure(&self, name: &str, users_too: bool) -> bool {
        let basic = format!("Authorization: Basic {}\r\n", self.basic);
        let machine = token_request("grant_type=client_credentials", &basic);
        let figures = self.figures(self.honest_clients(IN_FLIGHT, &machine).await).await;
        print(&format!("client_credentials, {name}"), IN_FLIGHT, &figures);
        let met = figures.per_core() >= BOUND;
        if users_too {
            for in_flight in [1, IN_FLIGHT] {
                let mut honest_clients = self.honest_clients(in_flight, "").await;
                for honest_client in &mut honest_clients {
                    // A family for each.
                    let (_, token) = honest_client.wire.exchange(&token_request(LOGIN, "")).await;
                    honest_client.request = refresh_request(&token.unwrap());
                }
                print(&format!("refresh, {name}"), in_flight, &self.figures(honest_clients).await);
            }
            for (client, after) in [("bare", "no refresh token"), ("web", "and a family begins")] {
                let login = token_request(&format!("{LOGIN}&client_id={client}"), "");
                let honest_clients = self.honest_clients(LOGINS_IN_FLIGHT, &login).await;
                let name = format!("login (argon2id, {after}), {name}");
                print(&name, LOGINS_IN_FLIGHT, &self.figures(honest_clients).await);
            }
        }
        let (Edge { listening, ready, .. }, (now, most)) = (&self.edge, self.edge.memory());
        println!(
            "the binary, {name}: listening after {listening:.0?}, ready after {ready:.0?}; {now} MiB, at most {most} MiB"
        );
        met
    }

    async fn honest_clients(&self, number: usize, request: &str) -> Vec<HonestClient> {
        let mut honest_clients = Vec::with_capacity(number);
        for _ in 0..number {
            let wire = Wire::connect(self.edge.address()).await;
            honest_clients.push(HonestClient { wire, request: request.to_owned() });
        }
        honest_clients
    }

    async fn figures(&self, honest_clients: Vec<HonestClient>) -> Figures {
        let (honest_clients, _) = all(honest_clients, SystemClock.instant() + WARM_UP).await;
        let from = self.edge.meter().await;
        let (_, latencies) = all(honest_clients, SystemClock.instant() + MEASURED).await;
        Figures::between(from, self.edge.meter().await, latencies)
    }
}

fn print(name: &str, in_flight: usize, figures: &Figures) {
    println!("{:66} {figures}", format!("{name}, {in_flight} in flight"));
}

/// Somebody who asks for tokens, one request after another.
struct HonestClient {
    wire: Wire,
    request: String,
}

impl HonestClient {
    async fn ask_until(mut self, end: Instant) -> (Self, Vec<Duration>) {
        let mut latencies = Vec::new();
        let refreshes = self.request.contains("grant_type=refresh_token");
        while SystemClock.instant() < end {
            let (taken, token) = self.wire.exchange(&self.request).await;
            latencies.push(taken);
            if refreshes {
                self.request = refresh_request(&token.unwrap());
            }
        }
        (self, latencies)
    }
}

async fn all(
    honest_clients: Vec<HonestClient>,
    end: Instant,
) -> (Vec<HonestClient>, Vec<Duration>) {
    let mut asking = JoinSet::new();
    for honest_client in honest_clients {
        asking.spawn(honest_client.ask_until(end));
    }
    let (honest_clients, latencies): (Vec<_>, Vec<_>) = asking.join_all().await.into_iter().unzip();
    (honest_clients, latencies.concat())
}

/// What the disk needs to make a small write durable, in the median.
fn sync_costs() -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let mut file = File::create(directory.path().join("synced")).unwrap();
    let mut costs: Vec<Duration> = (0..100)
        .map(|_| {
            let began = SystemClock.instant();
            file.write_all(&[0; 4096]).unwrap();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    costs.sort_unstable();
    costs.get(costs.len() / 2).copied().unwrap()
}

/// What the suites' PostgreSQL asks of its surroundings.
mod process {
    /// Sends a signal to all of these.
    pub(crate) fn signal(name: &str, pids: &[u32]) {
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        let kill = format!("kill -s {name} {}", pids.join(" "));
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
}

async fn within<T>(wanted: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), wanted).await.expect("not in time")
}
