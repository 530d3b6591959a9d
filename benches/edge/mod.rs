//! The built binary as a process of its own, asked over loopback with kept connections, for the benches that measure it.
//!
//! On a machine with two cores or more it has the first for itself, and the bench with whatever else it starts has the second:
//! what the binary needs then is its processor time, read from `/proc`, and nobody else's work is in it.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::keys::{Algorithm, generate};
use portcullis::random::OsRandom;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The kernel counts processor time in hundredths of a second for everybody who reads `/proc`.
const TICK: Duration = Duration::from_millis(10);
/// How many lines of the binary are shown, once it runs.
const MOST_LINES: usize = 20;

/// Moves this process to the second core, if there is one. Call it before anything is started.
pub(crate) fn move_aside() {
    match fs::metadata("/sys/devices/system/cpu/cpu1").is_ok() {
        true => {
            let pid = std::process::id().to_string();
            let mut taskset = Command::new("taskset");
            taskset.args(["-a", "-p", "-c", "1", &pid]).stdout(Stdio::null());
            assert!(taskset.status().unwrap().success());
            println!(
                "the binary on core 0; the load, and the database if it is another process, on core 1"
            );
        }
        false => println!("one core for all: the figures mean little"),
    }
}

/// Writes the files of a configuration: one user, `alice`, and a key that signs.
pub(crate) fn write_files(
    directory: &Path,
    state: &str,
    algorithm: Algorithm,
    password: &str,
    clients: &str,
) {
    let config = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         scopes: {{ read: Read }}\n\
         tokens:\n  issuer: http://127.0.0.1\n  audience: bench\n  \
         keys: [{{ id: one, algorithm: {}, file: key.pem, use: sign }}]\n\
         state: {state}\n\
         users: {{ file: users.yaml }}\n\
         clients:\n{clients}\
         login: {{ parallel_hashes: 1, per_user: off, per_address: off }}\n\
         upstreams: {{ app: {{ servers: ['127.0.0.1:9'] }} }}\n\
         routes: [{{ id: app, path: /app/**, upstream: app, scopes: [read] }}]\n\
         tests: [{{ request: GET /app/x, expect: 401 }}]\n",
        algorithm.name()
    );
    let users = format!("users: [{{ name: alice, password: \"{password}\", scopes: [read] }}]\n");
    let key = generate(algorithm, &OsRandom).unwrap();
    for (name, bytes) in [
        ("portcullis.yaml", config.as_bytes()),
        ("users.yaml", users.as_bytes()),
        ("key.pem", key.expose()),
    ] {
        write(directory, name, bytes);
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write(directory: &Path, name: &str, bytes: &[u8]) {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}

/// The binary, killed when dropped.
pub(crate) struct Edge {
    process: Child,
    /// How many lines it has said since it started.
    said: Arc<AtomicU64>,
    /// Where it listens, in the order of its configuration.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
    /// From the spawn to the line that says that it listens.
    pub(crate) listening: Duration,
    /// From the spawn to the first time that it said it was ready.
    pub(crate) ready: Duration,
}

impl Edge {
    /// Starts it in a directory with its files, and waits until it is ready.
    pub(crate) async fn start(directory: &Path) -> Self {
        let binary = env!("CARGO_BIN_EXE_portcullis");
        let alone = fs::metadata("/sys/devices/system/cpu/cpu1").is_ok();
        let mut command = Command::new(if alone { "taskset" } else { binary });
        if alone {
            command.args(["-c", "0", binary]);
        }
        command.args(["run", "-c", "portcullis.yaml"]).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let began = SystemClock.instant();
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (mut addresses, mut listening) = (Vec::new(), Duration::ZERO);
        let admin = lines.find_map(|line| {
            let line = line.ok()?;
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = || said.get("address")?.as_str()?.parse().ok();
            match said.get("message").and_then(Value::as_str) {
                Some("listening") => {
                    addresses.extend(address());
                    listening = began.elapsed();
                }
                Some("admin listening") => return address(),
                _ => eprintln!("{line}"),
            }
            None
        });
        let admin = admin.expect("the binary did not start");
        // Whoever stops reading a pipe stops its writer sooner or later.
        let said = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&said);
        std::thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            let mut lines = lines.inspect(|_| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            lines.by_ref().take(MOST_LINES).for_each(|line| eprintln!("{line}"));
            lines.for_each(drop);
        });
        let mut operator = Wire::connect(admin).await;
        while operator.ask(&get("/readyz")).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Self { process, said, addresses, admin, listening, ready: began.elapsed() }
    }

    /// The first address where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap()
    }

    /// How many lines it has said in its log since it started.
    pub(crate) fn lines(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has used and done up to now.
    pub(crate) async fn meter(&self) -> Meter {
        let (_, text) = Wire::connect(self.admin).await.ask(&get("/metrics")).await;
        let metric = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
        };
        Meter {
            at: SystemClock.instant(),
            processor: processor(self.pid()),
            writes: metric("portcullis_state_writes_per_commit_sum"),
            commits: metric("portcullis_state_writes_per_commit_count"),
        }
    }

    /// The memory that it has now, and the most that it ever had, in MiB.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let kib = |name: &str| -> u64 {
            status(self.pid(), name).trim_end_matches(" kB").parse().unwrap()
        };
        (kib("VmRSS:") / 1024, kib("VmHWM:") / 1024)
    }
}

/// The processor time that a process has used.
pub(crate) fn processor(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything; user and system time are the 14th and 15th field.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    TICK * fields.split(' ').skip(11).take(2).map(|t| t.parse::<u32>().unwrap()).sum::<u32>()
}

/// What the kernel says of a process under this name.
pub(crate) fn status(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("the binary could not be ended: {error}");
        }
    }
}

/// A reading of the binary's meters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    at: Instant,
    processor: Duration,
    writes: f64,
    commits: f64,
}

/// What happened between two readings. Prints itself as one line.
pub(crate) struct Figures {
    elapsed: Duration,
    processor: Duration,
    writes: f64,
    commits: f64,
    /// In ascending order.
    latencies: Vec<Duration>,
}

impl Figures {
    /// Between these two readings, as many requests were answered as there are latencies.
    pub(crate) fn between(from: Meter, to: Meter, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self {
            elapsed: to.at - from.at,
            processor: to.processor.saturating_sub(from.processor),
            writes: to.writes - from.writes,
            commits: to.commits - from.commits,
            latencies,
        }
    }

    /// How many requests one core answers in a second.
    pub(crate) fn per_core(&self) -> f64 {
        self.latencies.len() as f64 / self.processor.as_secs_f64()
    }

    /// The latency that this many of a thousand requests did not exceed.
    pub(crate) fn latency(&self, per_mille: usize) -> Duration {
        let last = self.latencies.len() - 1;
        self.latencies.get((last * per_mille).div_ceil(1000)).copied().unwrap()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let requests = self.latencies.len() as f64;
        let milliseconds = |per_mille| self.latency(per_mille).as_secs_f64() * 1e3;
        write!(
            f,
            "{:8.0}/s {:9.1} us CPU each {:8.0} per core and second   p50 {:7.2} ms  p99 {:7.2}  max {:7.2}",
            requests / seconds,
            self.processor.as_secs_f64() * 1e6 / requests,
            self.per_core(),
            milliseconds(500),
            milliseconds(990),
            milliseconds(1000),
        )?;
        if self.commits > 0.0 {
            let (each, per_second) = (self.writes / self.commits, self.commits / seconds);
            write!(f, "   {each:.1} writes a commit, {per_second:.0} commits/s")?;
        }
        Ok(())
    }
}

/// A kept connection.
pub(crate) struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::with_capacity(8192) }
    }

    /// Sends a request; the status and the body of its answer.
    pub(crate) async fn ask(&mut self, request: &str) -> (u16, String) {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.received.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.received).await.unwrap() > 0, "it hung up");
            if let Some(answer) = whole(&self.received) {
                return answer;
            }
        }
    }

    /// Asks for tokens, which must be given; how long it took, and the refresh token if there is one.
    pub(crate) async fn exchange(&mut self, request: &str) -> (Duration, Option<String>) {
        let began = SystemClock.instant();
        let (status, body) = self.ask(request).await;
        let taken = began.elapsed();
        assert_eq!(status, 200, "{body}");
        let token =
            body.split_once("\"refresh_token\":\"").and_then(|(_, rest)| rest.split_once('"'));
        (taken, token.map(|(token, _)| token.to_owned()))
    }
}

/// An answer, once all of it has come.
fn whole(received: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
    });
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (body.len() >= length.expect("an answer without a length")).then(|| (status, body.to_owned()))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")
}

/// A token request with this form, and these header fields if any.
pub(crate) fn token_request(form: &str, fields: &str) -> String {
    let length = form.len();
    format!(
        "POST /token HTTP/1.1\r\nHost: edge\r\n{fields}Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\n\r\n{form}"
    )
}

/// A refresh.
pub(crate) fn refresh_request(token: &str) -> String {
    token_request(&format!("grant_type=refresh_token&refresh_token={token}"), "")
}
