//! Does a reload, a restart or an upgrade lose a request?
//!
//! The real binary over loopback under steady load, in two parts: ten reloads a minute, each of a file that has changed; then
//! two changes of the process a minute, in turn a restart with the descriptor store (the bench plays systemd: it is told what
//! systemd is told, keeps the listening sockets, and gives them to the next process) and an upgrade by SIGUSR2. Requests come
//! over kept connections of HTTP/1.1, over a new connection each, and over HTTP/2 in TLS, all as a client library that people
//! use sends them; and over kept connections of a client that repeats nothing, ever. One line for each and part: answers, failures, and the
//! longest wait, which over a restart is the time that nobody serves.
//!
//! `cargo bench --bench churn -- --reload-minutes 10 --restart-minutes 10` is the long trial; one minute each when nothing is
//! said. Ends non-zero when a single request failed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a bench that cannot go on has nothing to say"
)]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::keys::{Algorithm, generate};
use portcullis::random::OsRandom;
use portcullis::secret::Secret;
use portcullis::users::PasswordHash;
use reqwest::{Certificate, Client, ClientBuilder};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

const HOST: &str = "edge.example.com";
const RELOADS_PER_MINUTE: u32 = 10;
const CHANGES_PER_MINUTE: u32 = 2;
/// So many clients of each kind, with such a pause between two requests of one.
const CLIENTS: usize = 4;
const PACE: Duration = Duration::from_millis(20);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);
const GLANCE: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only wants to know that this compiles.
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let minutes = |name: &str| -> u32 {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(1, |at| arguments[at + 1].parse().expect("a number of minutes"))
    };
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let mut service = Service::start().await;
    let mut failed = 0;

    let (load, reloads) = (service.load().await, minutes("--reload-minutes") * RELOADS_PER_MINUTE);
    let mut beat = interval(Duration::from_secs(60) / RELOADS_PER_MINUTE);
    for number in 0..reloads {
        beat.tick().await;
        service.reload(number).await;
    }
    beat.tick().await;
    failed += load.report(&format!("{reloads} reloads")).await;

    let (load, changes) = (service.load().await, minutes("--restart-minutes") * CHANGES_PER_MINUTE);
    let mut beat = interval(Duration::from_secs(60) / CHANGES_PER_MINUTE);
    for number in 0..changes {
        beat.tick().await;
        if number % 2 == 0 { service.restart().await } else { service.upgrade().await }
    }
    beat.tick().await;
    failed += load.report(&format!("{changes} restarts and upgrades, in turn")).await;

    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    println!("{failed} failed; the binary said:");
    print!("{}", fs::read_to_string(service.directory.path().join("log")).unwrap());
    ExitCode::FAILURE
}

/// The binary with its files and with what plays systemd.
struct Service {
    directory: TempDir,
    plain: SocketAddr,
    tls: SocketAddr,
    certificate: Certificate,
    config: String,
    socket: UnixDatagram,
    store: BTreeMap<String, OwnedFd>,
    /// Who serves.
    main: u32,
    /// Those that we started ourselves.
    children: Vec<Child>,
}

impl Service {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sockets = Vec::from([(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()));
        let [plain, tls] = [0, 1].map(|at| sockets[at].local_addr().unwrap());
        let identity = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let config = config(plain, tls, application().await);
        let password = PasswordHash::create(&Secret::from("right"), &OsRandom).unwrap();
        let users =
            format!("users: [{{ name: alice, password: \"{password}\", scopes: [read] }}]\n");
        for (name, bytes) in [
            ("portcullis.yaml", config.as_bytes()),
            ("users.yaml", users.as_bytes()),
            ("key.pem", generate(Algorithm::EdDsa, &OsRandom).unwrap().expose()),
            ("edge.pem", identity.cert.pem().as_bytes()),
            ("edge.key", identity.signing_key.serialize_pem().as_bytes()),
        ] {
            write(&directory.path().join(name), bytes);
        }
        let mut service = Self {
            plain,
            tls,
            certificate: Certificate::from_der(identity.cert.der()).unwrap(),
            config,
            socket: UnixDatagram::bind(directory.path().join("notify")).unwrap(),
            store: BTreeMap::new(),
            main: 0,
            children: Vec::new(),
            directory,
        };
        service.spawn(sockets.into_iter().map(OwnedFd::from).collect()).await;
        service
    }

    /// Starts the binary with these sockets, and waits until it is ready.
    async fn spawn(&mut self, sockets: Vec<OwnedFd>) {
        let log = File::options().create(true).append(true).open(self.directory.path().join("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["run", "-c", "portcullis.yaml"]).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap());
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        command.env("LISTEN_FDS", sockets.len().to_string());
        let mappings =
            (3..).zip(sockets).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        let child = command.fd_mappings(mappings.collect()).unwrap().spawn().unwrap();
        self.main = child.id();
        self.children.push(child);
        self.until_told("READY=1").await;
    }

    async fn reload(&mut self, number: u32) {
        let changed = self.config.replace("read: Read", &format!("read: Read it {number}"));
        write(&self.directory.path().join("portcullis.yaml"), changed.as_bytes());
        self.signal("HUP");
        self.until_told("READY=1").await;
    }

    async fn restart(&mut self) {
        let old = self.main;
        self.signal("TERM");
        self.until_told("STOPPING=1").await;
        self.is_gone(old).await;
        let sockets = self.store.values().map(|own| own.try_clone().unwrap()).collect();
        self.spawn(sockets).await;
    }

    async fn upgrade(&mut self) {
        let old = self.main;
        self.signal("USR2");
        self.until_told("MAINPID=").await;
        assert_ne!(self.main, old, "the process that was to take over could not");
        self.until_told("READY=1").await;
        self.is_gone(old).await;
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.main);
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    async fn is_gone(&mut self, process: u32) {
        let gone = async {
            loop {
                for child in &mut self.children {
                    child.try_wait().unwrap();
                }
                let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
                // Not every container has somebody who sees to orphans.
                if stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')) {
                    return;
                }
                sleep(GLANCE).await;
            }
        };
        timeout(PATIENCE, gone).await.expect("it does not end");
    }

    /// Reads messages up to one with a line that begins like this.
    async fn until_told(&mut self, wanted: &str) {
        loop {
            let lines = timeout(PATIENCE, self.told()).await;
            let lines = lines.unwrap_or_else(|_| panic!("no {wanted} came"));
            if lines.iter().any(|line| line.starts_with(wanted)) {
                return;
            }
        }
    }

    /// The next message; descriptors that come with it are kept.
    async fn told(&mut self) -> Vec<String> {
        let (mut text, mut received) = ([0; 512], Vec::new());
        let received_too = &mut received;
        let read = self.socket.async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(&mut text)];
            let message = recvmsg(&self.socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    received_too.extend(descriptors);
                }
            }
            Ok(message.bytes)
        });
        let length = read.await.unwrap();
        let text = std::str::from_utf8(&text[..length]).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for line in &lines {
            match line.split_once('=') {
                Some(("FDNAME", name)) => {
                    drop(self.store.insert(name.to_owned(), received.remove(0)))
                }
                Some(("MAINPID", process)) => self.main = process.parse().unwrap(),
                _ => {}
            }
        }
        lines
    }

    async fn load(&self) -> Load {
        let plain = || Client::builder().no_proxy();
        let encrypted = plain().tls_certs_only([self.certificate.clone()]).resolve(HOST, self.tls);
        let (url, encrypted_url) = (
            format!("http://{}/app/x", self.plain),
            format!("https://{HOST}:{}/app/x", self.tls.port()),
        );
        let login = [("grant_type", "password"), ("username", "alice"), ("password", "right")];
        let token_url = format!("http://{}/token", self.plain);
        let answer = plain().build().unwrap().post(token_url).form(&login).send().await.unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        let token = answer["access_token"].as_str().expect("no token").to_owned();

        let mut load = Load::new();
        for (name, client, url) in [
            ("HTTP/1.1, kept", plain(), &url),
            ("HTTP/1.1, a new connection each", plain().pool_max_idle_per_host(0), &url),
            ("HTTP/2 in TLS", encrypted, &encrypted_url),
        ] {
            load.add_library(name, client, url, &token);
        }
        load.add_strict("HTTP/1.1, kept, nothing repeated", self.plain, &token);
        load
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.signal("KILL");
        for child in &mut self.children {
            child.wait().unwrap();
        }
    }
}

/// What came of the requests of one kind of client.
#[derive(Default)]
struct Figures {
    answers: usize,
    failures: Vec<String>,
    longest: Duration,
}

impl Figures {
    fn note(&mut self, began: Instant, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.answers += 1,
            Err(failure) => self.failures.push(failure),
        }
        self.longest = self.longest.max(began.elapsed());
    }

    fn join(&mut self, other: Self) {
        self.answers += other.answers;
        self.failures.extend(other.failures);
        self.longest = self.longest.max(other.longest);
    }
}

/// Clients of every kind, asking.
struct Load {
    stop: watch::Sender<bool>,
    tasks: JoinSet<(&'static str, Figures)>,
}

impl Load {
    fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: JoinSet::new() }
    }

    fn add_library(&mut self, name: &'static str, client: ClientBuilder, url: &str, token: &str) {
        let client = client.build().unwrap();
        for _ in 0..CLIENTS {
            let stopping = self.stop.subscribe();
            let (client, url, token) = (client.clone(), url.to_owned(), token.to_owned());
            self.tasks.spawn(async move {
                let (mut figures, mut beat) = (Figures::default(), interval(PACE));
                while !*stopping.borrow() {
                    beat.tick().await;
                    let began = SystemClock.instant();
                    let answer = client.get(&url).bearer_auth(&token).send().await;
                    let outcome = match answer {
                        Ok(answer) if answer.status() == 200 => Ok(()),
                        Ok(answer) => Err(answer.status().to_string()),
                        Err(error) => Err(format!("{error:?}")),
                    };
                    figures.note(began, outcome);
                }
                (name, figures)
            });
        }
    }

    /// A connection is left when the server says so, and in no other case.
    fn add_strict(&mut self, name: &'static str, address: SocketAddr, token: &str) {
        for _ in 0..CLIENTS {
            let stopping = self.stop.subscribe();
            let request = format!(
                "GET /app/x HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            self.tasks.spawn(async move {
                let (mut figures, mut beat) = (Figures::default(), interval(PACE));
                let mut kept = None;
                while !*stopping.borrow() {
                    beat.tick().await;
                    let began = SystemClock.instant();
                    let outcome = ask(&mut kept, address, &request).await;
                    figures.note(began, outcome);
                }
                (name, figures)
            });
        }
    }

    /// Ends it, prints a line for each kind, and says how many requests failed.
    async fn report(self, title: &str) -> usize {
        self.stop.send_replace(true);
        let mut kinds: BTreeMap<&str, Figures> = BTreeMap::new();
        for (name, figures) in self.tasks.join_all().await {
            kinds.entry(name).or_default().join(figures);
        }
        println!("\n{title:40} {:>9} {:>9} {:>12}", "answers", "failures", "longest");
        let mut failed = 0;
        for (name, figures) in kinds {
            let Figures { answers, failures, longest } = figures;
            println!(
                "{name:40} {answers:9} {:9} {:9.0} ms",
                failures.len(),
                longest.as_secs_f64() * 1e3
            );
            for failure in failures.iter().take(3) {
                println!("    {failure}");
            }
            failed += failures.len();
        }
        failed
    }
}

async fn ask(
    kept: &mut Option<TcpStream>,
    address: SocketAddr,
    request: &str,
) -> Result<(), String> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?,
    };
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
    let mut received = Vec::new();
    loop {
        match stream.read_buf(&mut received).await {
            Ok(0) => return Err(format!("hung up after {} bytes", received.len())),
            Ok(_) => {}
            Err(error) => return Err(format!("read: {error}")),
        }
        let text = String::from_utf8_lossy(&received);
        // The application's body is its last line.
        if text.ends_with("\r\n\r\nok") {
            if !text.to_ascii_lowercase().contains("connection: close") {
                *kept = Some(stream);
            }
            let status = &text[9..12];
            return if status == "200" { Ok(()) } else { Err(status.to_owned()) };
        }
    }
}

/// An application that says "ok".
async fn application() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut received = Vec::new();
                while matches!(stream.read_buf(&mut received).await, Ok(1..)) {
                    if received.ends_with(b"\r\n\r\n") {
                        received.clear();
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn config(plain: SocketAddr, tls: SocketAddr, application: SocketAddr) -> String {
    format!(
        "listeners:\n  - {{ address: '{plain}' }}\n  \
         - {{ address: '{tls}', tls: {{ certificate: edge.pem, private_key: edge.key }} }}\n\
         scopes: {{ read: Read }}\n\
         tokens:\n  issuer: http://127.0.0.1\n  audience: bench\n  access: {{ lifetime: 2h }}\n  \
         keys: [{{ id: one, algorithm: EdDSA, file: key.pem, use: sign }}]\n\
         state: {{ sqlite: state.db }}\n\
         users: {{ file: users.yaml }}\n\
         clients: [{{ id: web, default: true, grants: [password], scopes: [read] }}]\n\
         upstreams: {{ app: {{ servers: ['{application}'] }} }}\n\
         routes: [{{ id: app, path: /app/**, upstream: app, scopes: [read] }}]\n\
         tests: [{{ request: GET /app/x, expect: 401 }}]\n"
    )
}

/// Writes a file that only its owner may read, in one step.
fn write(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}
