//! Does a flood of logins slow the requests that carry a token?
//!
//! The real binary in front of an application in this process, over loopback. First the latency of protected requests with
//! nothing else going on; then the same while fifty logins are always in flight. Both p95 are printed with their ratio, which
//! is what counts: absolute figures hold for this machine and this run. The load and the application share the cores with
//! the binary, so the figures are worse than they would be with a machine of its own. Ends non-zero when the ratio is above 2.

#![expect(clippy::unwrap_used, reason = "a bench that cannot start has nothing to say")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::keys::{Algorithm, generate};
use portcullis::random::OsRandom;
use portcullis::secret::Secret;
use portcullis::users::PasswordHash;
use reqwest::{Client, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const LOGINS_IN_FLIGHT: usize = 50;
const REQUESTS: usize = 4_000;
/// The latency is that of a few clients, not of a saturated proxy.
const PARALLEL: usize = 2;
/// The promise: a flood of logins does not slow traffic by more than this.
const BOUND: f64 = 2.0;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    // `cargo test --benches` and `cargo bench --no-run` only want to know that this compiles.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    // The client library wants to be told, although nothing here speaks TLS.
    drop(rustls::crypto::ring::default_provider().install_default());
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), application.local_addr().unwrap().port());
    tokio::spawn(serve(application));
    let edge = Edge::start(directory.path());
    let client = Client::builder().no_proxy().build().unwrap();
    let token = login(&client, &edge.base, "right").await.unwrap();

    measure(&client, &edge.base, &token).await;
    let idle = measure(&client, &edge.base, &token).await;
    let (stop, logins) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut flood = JoinSet::new();
    for _ in 0..LOGINS_IN_FLIGHT {
        let (client, base) = (client.clone(), edge.base.clone());
        let (stop, logins) = (Arc::clone(&stop), Arc::clone(&logins));
        flood.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Wrong passwords cost what right ones cost.
                drop(login(&client, &base, "wrong").await);
                logins.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while logins.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let flooded = measure(&client, &edge.base, &token).await;
    stop.store(true, Ordering::Relaxed);
    flood.join_all().await;

    let ratio = flooded.as_secs_f64() / idle.as_secs_f64();
    println!("{LOGINS_IN_FLIGHT} logins in flight, {} answered", logins.load(Ordering::Relaxed));
    println!("p95 of protected requests: idle {idle:?}, under flood {flooded:?}, ratio {ratio:.2}");
    if ratio <= BOUND { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The p95 of the latency of protected requests.
async fn measure(client: &Client, base: &str, token: &str) -> Duration {
    let mut workers = JoinSet::new();
    for _ in 0..PARALLEL {
        let (client, url, token) = (client.clone(), format!("{base}/app/x"), token.to_owned());
        workers.spawn(async move {
            let mut taken = Vec::with_capacity(REQUESTS / PARALLEL);
            for _ in 0..REQUESTS / PARALLEL {
                let began = SystemClock.instant();
                let answer = client.get(&url).bearer_auth(&token).send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                answer.bytes().await.unwrap();
                taken.push(began.elapsed());
            }
            taken
        });
    }
    let mut taken = workers.join_all().await.concat();
    taken.sort_unstable();
    taken.get(taken.len() * 95 / 100).copied().unwrap()
}

async fn login(client: &Client, base: &str, password: &str) -> Option<String> {
    let form = [("grant_type", "password"), ("username", "alice"), ("password", password)];
    let answer = client.post(format!("{base}/token")).form(&form).send().await.ok()?;
    let answer: serde_json::Value = answer.json().await.ok()?;
    Some(answer.get("access_token")?.as_str()?.to_owned())
}

/// The binary, killed when dropped.
struct Edge {
    process: Child,
    base: String,
}

impl Edge {
    fn start(directory: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "-c"])
            .arg(directory.join("portcullis.yaml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
            Some(line.get("address")?.as_str()?.to_owned())
        });
        // Whoever stops reading a pipe stops its writer sooner or later.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, base: format!("http://{}", address.unwrap()) }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("the binary could not be ended: {error}");
        }
    }
}

fn write_files(directory: &Path, application: u16) {
    let hash = PasswordHash::create(&Secret::from("right"), &OsRandom).unwrap();
    let config = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         scopes: {{ read: Read }}\n\
         tokens:\n  issuer: http://127.0.0.1\n  audience: bench\n  \
         keys: [{{ id: one, algorithm: EdDSA, file: key.pem, use: sign }}]\n\
         users: {{ file: users.yaml }}\n\
         clients: [{{ id: web, default: true, grants: [password], scopes: [read] }}]\n\
         login: {{ per_user: off, per_address: off }}\n\
         upstreams: {{ app: {{ servers: ['127.0.0.1:{application}'] }} }}\n\
         routes: [{{ id: app, path: /app/**, upstream: app, scopes: [read] }}]\n"
    );
    let users = format!("users: [{{ name: alice, password: \"{hash}\", scopes: [read] }}]\n");
    let key = generate(Algorithm::EdDsa, &OsRandom).unwrap();
    for (name, bytes) in [
        ("portcullis.yaml", config.as_bytes()),
        ("users.yaml", users.as_bytes()),
        ("key.pem", key.expose()),
    ] {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

/// An application that answers every head at once.
async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                return;
            }
        }
    }
}
