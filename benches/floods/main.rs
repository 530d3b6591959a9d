//! Does a flood slow those who have a token, or make the binary grow?
//!
//! The real binary with a plain and a TLS listener before an application of the bench's own. Honest clients ask 200 times a
//! second over kept connections, and ten times over new ones; a latency counts from when its request was due. First nobody
//! else is there, then attackers of one class: slow heads, slow bodies, ten thousand idle connections, huge heads,
//! connections with garbage, HTTP/2 requests taken back, floods of its other frames, wrong passwords, invented refresh tokens,
//! large responses that nobody reads, once they have come as far as they do. Each class has several rounds of both, and the
//! medians count.
//!
//! The binary is alone on core 0. On core 1 are the honest clients, the application and, at the lowest priority, a process of
//! attackers, which gets what the others leave: most of a core. The same clients ask the application itself, too (the
//! control): what their p99 gains under attack is the bench's own delay and not the binary's.
//!
//! The promises: the p99 of protected requests under attack is at most 3 times that of the idle rounds; no honest request
//! fails; `/readyz` is 200 whenever it is asked, five times a second; the log of the binary gets at most twenty lines a round;
//! memory never exceeds what was there before by more than 64 KiB for each connection of the attackers (800 for each response
//! that nobody reads) and 32 MiB for what passes through (heads, one password hash of 19 MiB). Ends non-zero when one is
//! broken. Last comes what an idle connection of each kind costs.
//!
//! `cargo bench --bench floods -- [--seconds N] [--rounds N] [NAME…]`, the names being those in the table; 12 seconds, so that
//! the time for a head is over within, and 3 rounds when left out, which takes a quarter of an hour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot go on has nothing to say"
)]

#[path = "../edge/application.rs"]
mod application;
mod attackers;
mod attacks;
#[expect(dead_code, reason = "the soak reads what it is answered")]
#[path = "../edge/dial.rs"]
mod dial;
#[expect(dead_code, reason = "the benches of tokens ask for more")]
#[path = "../edge/mod.rs"]
mod edge;
mod frames;
mod honest_clients;
mod readiness;
#[expect(dead_code, reason = "the soak refreshes its tokens")]
#[path = "../edge/site.rs"]
mod site;
#[expect(dead_code, reason = "the soak looks at gauges")]
#[path = "../edge/vitals.rs"]
mod vitals;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use tokio::time::sleep;

use attacks::{ATTACKS, Attack, Attackers, IDLE, Report};
use honest_clients::{Measured, measure};
use readiness::{Balancer, Readiness};
use site::Site;
use vitals::{Vitals, Watch};

/// The promise about latency.
const RATIO_BOUND: f64 = 3.0;
/// The promise about memory: so much for all, besides what each attacker may hold.
const KIB_IN_ALL: u64 = 32 << 10;
/// The promise about the log of the binary: so many lines in a round.
const LINES_BOUND: u64 = 20;
/// How long the binary may take to get rid of the attackers, once they are gone.
const SETTLES: Duration = Duration::from_secs(15);
/// The limits of the listeners; none are the defaults, which is what they are here to show.
const LIMITS: Option<&str> = None;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--attack", rest)) = arguments.split_first().map(|(a, rest)| (a.as_str(), rest)) {
        attacks::carry_out(rest).await;
        return ExitCode::SUCCESS;
    }
    // `cargo test --benches` only wants to know that this compiles, and does not say this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, default: u32| {
        let mut values = arguments.iter().skip_while(|argument| *argument != name).skip(1);
        values.next().map_or(default, |value| value.parse().unwrap())
    };
    let during = Duration::from_secs(number("--seconds", 12).into());
    let rounds = number("--rounds", 3);
    let named = |attack: &&Attack| arguments.iter().any(|argument| argument == attack.name);
    let all = !ATTACKS.iter().any(|attack| named(&attack));

    edge::move_aside();
    let application = application::start();
    let site = Site::start(application, LIMITS, "12h").await;
    let bench = Bench { token: site.login().await.access, application, site, during };
    let before = Vitals::of(bench.site.edge.pid());
    println!("the binary at first: {:.1} MiB, {} threads", before.mib(), before.threads);
    bench.measure();

    let mut met = true;
    let mut table = Vec::new();
    for attack in ATTACKS.iter().filter(|attack| all || named(attack)) {
        let mut outcome = Vec::new();
        for _ in 0..rounds {
            outcome.push(bench.round(attack).await);
        }
        let outcome = Outcome::of(attack, outcome);
        met &= outcome.print();
        table.push(outcome);
    }
    drop(bench);
    println!(
        "\n| attack | attempts | per second | cut | p99 idle, ms | p99 under it, ms | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for Outcome { attack, report, idle, under, .. } in &table {
        let (attempts, cut) = (report.attempts, report.cut);
        let rate = per_second(report);
        let ratio = under.p99 / idle.p99;
        println!(
            "| {} | {attempts} | {rate:.0} | {cut} | {:.2} | {:.2} | {ratio:.2} |",
            attack.name, idle.p99, under.p99
        );
    }
    if all {
        println!("\nmemory of a connection that is idle after one request:");
        for (attack, _) in IDLE {
            print_idle(attack, application).await;
        }
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Bench {
    site: Site,
    application: SocketAddr,
    token: String,
    during: Duration,
}

impl Bench {
    fn measure(&self) -> Measured {
        measure(self.site.edge.address(), self.application, &self.token, self.during)
    }

    /// Measures without and with the attackers.
    async fn round(&self, attack: &Attack) -> Round {
        let pid = self.site.edge.pid();
        let idle = self.measure();
        let before = Vitals::of(pid);
        let watch = Watch::begin(pid);
        let lines = self.site.edge.lines();
        let attackers = Attackers::send(attack.name, &self.site, &self.token);
        let balancer = Balancer::begin(self.site.edge.admin);
        let (began, used) = (SystemClock.instant(), edge::processor(pid));
        let under = self.measure();
        let used = edge::processor(pid) - used;
        let busy = used.as_secs_f64() / began.elapsed().as_secs_f64();
        let ready = balancer.end();
        let report = attackers.recall();
        let most = watch.end();
        let lines = self.site.edge.lines() - lines;
        let end = SystemClock.instant() + SETTLES;
        // Some connections to the application are kept for later.
        while Vitals::of(pid).descriptors > before.descriptors + 64 && SystemClock.instant() < end {
            sleep(Duration::from_millis(100)).await;
        }
        Round { idle, under, before, most, after: Vitals::of(pid), report, busy, ready, lines }
    }
}

struct Round {
    idle: Measured,
    under: Measured,
    before: Vitals,
    most: Vitals,
    after: Vitals,
    report: Report,
    busy: f64,
    ready: Readiness,
    /// What the binary said in its log.
    lines: u64,
}

/// Medians over the rounds.
struct Latency {
    p50: f64,
    p99: f64,
    control: f64,
}

impl Latency {
    fn of<'a>(measured: impl Iterator<Item = &'a Measured> + Clone) -> Self {
        let protected = |percent| {
            median(measured.clone().map(|one| one.protected.percentile(percent)).collect())
        };
        let control = median(measured.clone().map(|one| one.control.percentile(99)).collect());
        Self { p50: protected(50), p99: protected(99), control }
    }
}

/// What all rounds of an attack found.
struct Outcome {
    attack: &'static Attack,
    report: Report,
    idle: Latency,
    under: Latency,
    before: Vitals,
    most: Vitals,
    after: Vitals,
    busy: f64,
    asked: usize,
    failed: usize,
    failure: Option<String>,
    ready: Readiness,
    lines: u64,
}

impl Outcome {
    fn of(attack: &'static Attack, rounds: Vec<Round>) -> Self {
        let idle = Latency::of(rounds.iter().map(|round| &round.idle));
        let under = Latency::of(rounds.iter().map(|round| &round.under));
        let measured = || rounds.iter().flat_map(|round| [&round.idle, &round.under]);
        let asked = measured().map(|one| one.protected.count()).sum();
        let failed = measured().map(|one| one.failed).sum();
        let failure = measured().find_map(|one| one.failure.clone());
        let busy = median(rounds.iter().map(|round| round.busy).collect());
        let before = rounds.first().unwrap().before;
        let after = rounds.last().unwrap().after;
        let most = rounds.iter().fold(Vitals::default(), |most, round| most.or_more(round.most));
        let ready = rounds.iter().fold(Readiness::default(), |all, round| Readiness {
            asked: all.asked + round.ready.asked,
            missed: all.missed + round.ready.missed,
        });
        let lines = rounds.iter().map(|round| round.lines).max().unwrap();
        let mut report = Report::default();
        rounds.into_iter().for_each(|round| report.add(round.report));
        Self {
            attack,
            report,
            idle,
            under,
            before,
            most,
            after,
            busy,
            asked,
            failed,
            failure,
            ready,
            lines,
        }
    }

    /// Says what was found, and whether the promises were kept.
    fn print(&self) -> bool {
        let Self { attack, report, idle, under, before, most, after, .. } = self;
        let bound = before.kib + attack.kib_each * report.held + KIB_IN_ALL;
        let ratio = under.p99 / idle.p99;
        let answers: Vec<String> =
            report.answers.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        println!("\n{}: {} attackers; {}", attack.name, attack.attackers, attack.what);
        println!(
            "  {} attempts, {:.0}/s; at most {} open at once; {} cut; answers: {}",
            report.attempts,
            per_second(report),
            report.held,
            report.cut,
            if answers.is_empty() { "none".to_owned() } else { answers.join(", ") }
        );
        println!(
            "  p50 {:.2} -> {:.2} ms, p99 {:.2} -> {:.2} ms, ratio {ratio:.2} (control p99 {:.2} -> {:.2} ms); core {:.0} % busy",
            idle.p50,
            under.p50,
            idle.p99,
            under.p99,
            idle.control,
            under.control,
            self.busy * 100.0
        );
        println!(
            "  memory {:.1} MiB before, {:.1} at most (bound {:.1}), {:.1} after; at most {} descriptors, {} threads",
            before.mib(),
            most.mib(),
            bound as f64 / 1024.0,
            after.mib(),
            most.descriptors,
            most.threads
        );
        let Readiness { asked, missed } = self.ready;
        println!(
            "  {} honest requests answered, {} failed; {missed} of {asked} times not ready; at most {} lines of log a round",
            self.asked, self.failed, self.lines
        );
        let broken = [
            (ratio.is_nan() || ratio > RATIO_BOUND, "the p99 is above its bound"),
            (most.kib > bound, "the memory is above its bound"),
            (self.failed > 0, self.failure.as_deref().unwrap_or_default()),
            (missed > 0, "it was not ready"),
            (self.lines > LINES_BOUND, "the log has grown"),
        ];
        let broken: Vec<&str> = broken.iter().filter(|(is, _)| *is).map(|(_, why)| *why).collect();
        broken.iter().for_each(|why| println!("  BROKEN: {why}"));
        broken.is_empty()
    }
}

fn per_second(report: &Report) -> f64 {
    report.attempts as f64 * 1e3 / report.lasted as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}

/// A binary that has answered some requests already, and then many connections that ask once and stay.
async fn print_idle(attack: &Attack, application: SocketAddr) {
    let site = Site::start(application, LIMITS, "12h").await;
    let token = site.login().await.access;
    measure(site.edge.address(), application, &token, Duration::from_secs(2));
    let before = Vitals::of(site.edge.pid());
    let attackers = Attackers::send(attack.name, &site, &token);
    sleep(Duration::from_secs(1)).await;
    let with = Vitals::of(site.edge.pid());
    let held = attackers.recall().held;
    let each = with.kib.saturating_sub(before.kib) as f64 / held as f64;
    println!(
        "  {:22} {each:6.1} KiB ({held} connections, {:.1} -> {:.1} MiB)",
        attack.what,
        before.mib(),
        with.mib()
    );
}
