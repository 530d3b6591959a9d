//! The attackers: a process of its own at the lowest priority, so that they take what the honest clients leave of their core.
//!
//! They come from a thousand addresses, so that the limit for each does not spare the edge the work. Each goes on until the
//! bench closes their standard input, and then says in one line what became of it all.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::clock::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::attackers;
use crate::dial::{Speaks, Target};
use crate::site::Site;

/// How long the attackers have to get into position.
const POSITION: Duration = Duration::from_secs(60);
/// How many connect at once.
const CONNECTING: usize = 64;
/// How soon those come back whose connection was refused or ended.
const RETURN: Duration = Duration::from_millis(5);
/// How soon those do who would rather have kept it.
const SLOW_RETURN: Duration = Duration::from_secs(1);

/// One class of attacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// How many attackers there are; none has more than one connection.
    pub(crate) attackers: usize,
    /// What each of what they hold open may take, in KiB of memory.
    pub(crate) kib_each: u64,
}

/// Two buffers of 16 KiB, TLS, and the tasks of both halves of a connection.
const KIB_OF_CONNECTION: u64 = 64;
/// What one response holds whose client does not read it, over HTTP/1.1, where it is more than over HTTP/2: README, "Resources".
const KIB_OF_RESPONSE: u64 = 800;

const fn attack(name: &'static str, attackers: usize, what: &'static str) -> Attack {
    Attack { name, what, attackers, kib_each: KIB_OF_CONNECTION }
}

/// Requests at once on each connection of those who do not read what they asked for.
pub(crate) const STALLED_STREAMS: u32 = 50;

pub(crate) const ATTACKS: &[Attack] = &[
    attack("slowloris", 500, "a head that never ends, a field a second; every fifth through TLS"),
    attack("slow-bodies", 500, "a megabyte, a byte every half second; half of them with a token"),
    attack("idle", 10_000, "connections kept after one request"),
    attack("headers", 8, "a field of 1 MiB, 5,000 fields, a target of 64 KiB, 90 fields of 8 KiB"),
    attack("churn", 16, "connections with garbage, half a request, a TLS hello, or nothing"),
    attack("rapid-reset", 8, "HTTP/2 requests that are taken back at once; half with a token"),
    attack("h2-ping", 8, "HTTP/2 PING without end"),
    attack("h2-settings", 8, "HTTP/2 SETTINGS without end"),
    attack("h2-continuation", 8, "HTTP/2 heads that go on without end"),
    attack("h2-empty-data", 8, "HTTP/2 DATA that holds nothing, without end"),
    attack("logins", 64, "wrong passwords"),
    attack("refresh-tokens", 450, "invented refresh tokens"),
    Attack {
        kib_each: KIB_OF_RESPONSE,
        ..attack(
            "stalled-downloads",
            60,
            "large responses that nobody reads: 50 on each HTTP/2 connection, one on every third, of HTTP/1.1",
        )
    },
];

/// Idle connections of one kind, to see what each costs.
pub(crate) const IDLE: &[(Attack, Speaks)] = &[
    (attack("idle-http1", 2_000, "HTTP/1.1"), Speaks::Plain),
    (attack("idle-tls", 2_000, "HTTP/1.1 through TLS"), Speaks::Tls),
    (attack("idle-h2", 2_000, "HTTP/2 through TLS"), Speaks::H2),
];

/// What became of an attack.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Connections, requests or frames, whatever the attack consists of.
    pub(crate) attempts: u64,
    /// Connections that the edge refused or ended.
    pub(crate) cut: u64,
    /// Answers, by status.
    pub(crate) answers: BTreeMap<u16, u64>,
    /// The most connections that were open.
    pub(crate) held: u64,
    /// Milliseconds from the first connection to the end.
    pub(crate) lasted: u64,
}

impl Report {
    pub(crate) fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.cut += other.cut;
        self.held = self.held.max(other.held);
        self.lasted += other.lasted;
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
    }
}

/// Attackers at work.
pub(crate) struct Attackers {
    process: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Attackers {
    /// Sends them out, and returns once they are in position.
    pub(crate) fn send(name: &str, site: &Site, token: &str) -> Self {
        let (plain, tls) = site.addresses();
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe().unwrap());
        command.args(["--attack", name, &plain.to_string(), &tls.to_string()]);
        command.arg(site.certificate()).arg(token);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut String::new()).unwrap();
        Self { process, input, output }
    }

    /// Calls them back.
    pub(crate) fn recall(mut self) -> Report {
        drop(self.input);
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(self.process.wait().unwrap().success(), "the attackers fell");
        serde_json::from_str(&line).unwrap()
    }
}

/// What the attackers have done, counted by all of them.
#[derive(Default)]
pub(crate) struct Tally {
    attempts: AtomicU64,
    cut: AtomicU64,
    in_position: AtomicU64,
    open: AtomicU64,
    held: AtomicU64,
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Tally {
    pub(crate) fn attempts(&self, number: u64) {
        self.attempts.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answer(&self, status: u16) {
        *self.answers.lock().entry(status).or_default() += 1;
    }

    /// A connection stands, until this is dropped.
    pub(crate) fn open(&self) -> Open<'_> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.held.fetch_max(open, Ordering::Relaxed);
        Open(self)
    }
}

/// An open connection, as it is counted.
pub(crate) struct Open<'a>(&'a Tally);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One attacker.
pub(crate) struct Attacker {
    pub(crate) number: usize,
    pub(crate) target: Target,
    pub(crate) token: String,
    pub(crate) tally: Arc<Tally>,
    /// Who may connect, where not all may at once.
    pub(crate) turn: Arc<Semaphore>,
}

/// What the process of the attackers does. Its arguments are those of [`Attackers::send`].
pub(crate) async fn carry_out(arguments: &[String]) {
    let [name, plain, tls, certificate, token] = arguments else { panic!("{arguments:?}") };
    let all = ATTACKS.iter().chain(IDLE.iter().map(|(attack, _)| attack));
    let attack = all.into_iter().find(|attack| attack.name == name).unwrap();
    let certificate = std::fs::read(certificate).unwrap();
    let target = Target::new(plain.parse().unwrap(), tls.parse().unwrap(), &certificate);
    let (tally, turn) = (Arc::new(Tally::default()), Arc::new(Semaphore::new(CONNECTING)));
    let began = SystemClock.instant();
    let mut attackers = JoinSet::new();
    for number in 0..attack.attackers {
        let (target, token) = (target.clone(), token.clone());
        let (tally, turn) = (Arc::clone(&tally), Arc::clone(&turn));
        let mut attacker = Attacker { number, target, token, tally, turn };
        attackers.spawn(async move {
            for round in 0_usize.. {
                let attempted = attackers::attempt(&mut attacker, attack.name, round).await;
                if round == 0 {
                    attacker.tally.in_position.fetch_add(1, Ordering::Relaxed);
                }
                if attempted.is_err() {
                    attacker.tally.cut();
                    // Those who are kept out come back, the slow ones slowly: else they were another attack.
                    sleep(if attack.attackers > 64 { SLOW_RETURN } else { RETURN }).await;
                }
            }
        });
    }
    // Those who hold a connection are in position with it, the others with their first attempt.
    let wanted = u64::try_from(attack.attackers).unwrap();
    let in_position = async {
        let now =
            || tally.open.load(Ordering::Relaxed).max(tally.in_position.load(Ordering::Relaxed));
        while now() < wanted {
            sleep(Duration::from_millis(20)).await;
        }
    };
    drop(timeout(POSITION, in_position).await);
    println!("in position");
    tokio::task::spawn_blocking(|| io::stdin().read(&mut [0])).await.unwrap().unwrap();
    attackers.abort_all();
    let report = Report {
        attempts: tally.attempts.load(Ordering::Relaxed),
        cut: tally.cut.load(Ordering::Relaxed),
        answers: tally.answers.lock().clone(),
        held: tally.held.load(Ordering::Relaxed),
        lasted: u64::try_from(began.elapsed().as_millis()).unwrap(),
    };
    println!("{}", serde_json::to_string(&report).unwrap());
    io::stdout().flush().unwrap();
}
