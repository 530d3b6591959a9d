//! Does the binary grow when it works hard for long?
//!
//! The real binary with a plain and a TLS listener before an application of the bench's own, as busy as it can be made from
//! one core: requests with a token over kept and over new HTTP/1.1 connections, plain and through TLS, and over HTTP/2; bodies
//! with a length and in chunks, whose length the application tells; logins and refreshes, whose tokens the others use; requests
//! that are refused with 401, 403 and 404; tunnels that open and close; readers that are slow; requests that are given up
//! half-way. Every ten seconds the memory, the descriptors and the threads of the binary are read, and a line a minute is
//! printed.
//!
//! The promises, after a warm-up of three minutes (a quarter of shorter runs): by a straight line through the readings, memory
//! grows by less than 2 % of its level in ten minutes or less than 1 MiB in all; descriptors and threads do not grow (by 8 and
//! 2, since connections come and go between two readings). No honest request fails. At the end nothing is left: requests in
//! flight and open connections are 0. Ends non-zero when one is broken.
//!
//! `cargo bench --bench soak -- [MINUTES]`; 20 when left out.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot go on has nothing to say"
)]

#[path = "../edge/application.rs"]
mod application;
#[path = "../edge/dial.rs"]
mod dial;
#[expect(dead_code, reason = "the benches of tokens ask for more")]
#[path = "../edge/mod.rs"]
mod edge;
#[path = "../edge/site.rs"]
mod site;
mod traffic;
#[expect(dead_code, reason = "the floods look at more than samples")]
#[path = "../edge/vitals.rs"]
mod vitals;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use portcullis::clock::{Clock as _, SystemClock};
use tokio::time::{sleep, timeout};

use site::Site;
use traffic::{KINDS, Traffic};
use vitals::{Vitals, gauge};

const SAMPLED_EVERY: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(180);
const MINUTE: Duration = Duration::from_secs(60);
/// Shorter than the warm-up, so that as many tokens end as begin when growth is measured.
const TOKENS_LAST: &str = "2m";

/// The promises. Memory: the one or the other.
const PERCENT_IN_TEN_MINUTES: f64 = 2.0;
const KIB_IN_ALL: f64 = 1024.0;
const DESCRIPTORS: f64 = 8.0;
const THREADS: f64 = 2.0;

/// How long the last requests, and then the binary, may take to be done.
const END: Duration = Duration::from_secs(30);
/// What has to be 0 then, if it is published.
const GAUGES: &[&str] = &["portcullis_requests_in_flight", "portcullis_connections"];
/// The operator's listener, over which we ask.
const OPERATOR: &str = "listener=\"admin\"";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // `cargo test --benches` only wants to know that this compiles, and does not say this.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let minutes = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(20.0);
    let whole = MINUTE.mul_f64(minutes);
    edge::move_aside();
    let site = Site::start(application::start(), None, TOKENS_LAST).await;
    let traffic = Traffic::new(site.target(), site.login().await);
    let mut honest_clients = traffic.begin();

    println!("| minute | requests/s | core busy | memory, MiB | descriptors | threads | failed |");
    println!("|---|---|---|---|---|---|---|");
    let began = SystemClock.instant();
    let warm = began + WARM_UP.min(whole / 4);
    let mut samples = Vec::new();
    let mut line = Line { minute: 0, at: began, requests: 0, processor: Duration::ZERO };
    while began.elapsed() < whole {
        sleep(SAMPLED_EVERY.min(whole / 60)).await;
        let vitals = Vitals::of(site.edge.pid());
        let now = SystemClock.instant();
        if now >= warm {
            samples.push((now - began, vitals));
        }
        if now - began >= MINUTE * (line.minute + 1) || now - began >= whole {
            line = line.print(&site, &traffic, vitals);
        }
    }
    traffic.stop();
    let ended =
        timeout(END, async { while honest_clients.join_next().await.is_some() {} }).await.is_ok();
    // With them go the connections that they kept.
    drop(honest_clients);

    println!();
    for ((kind, honest_clients), done) in KINDS.iter().zip(traffic.done()) {
        println!("{:12} {done:9} requests, {honest_clients} at once", format!("{kind:?}"));
    }
    let mut met = ended && verdict(&samples);
    met &= is("honest requests that failed", traffic.failed() as f64, 0.0);
    for name in GAUGES {
        met &= left(&site, name).await;
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the last line said.
struct Line {
    minute: u32,
    at: Instant,
    requests: u64,
    processor: Duration,
}

impl Line {
    fn print(self, site: &Site, traffic: &Traffic, vitals: Vitals) -> Self {
        let (at, processor) = (SystemClock.instant(), edge::processor(site.edge.pid()));
        let seconds = (at - self.at).as_secs_f64();
        let requests = traffic.done().iter().sum();
        let minute = self.minute + 1;
        println!(
            "| {minute} | {:.0} | {:.0} % | {:.1} | {} | {} | {} |",
            (requests - self.requests) as f64 / seconds,
            (processor - self.processor).as_secs_f64() * 100.0 / seconds,
            vitals.mib(),
            vitals.descriptors,
            vitals.threads,
            traffic.failed()
        );
        Self { minute, at, requests, processor }
    }
}

/// Whether nothing grew.
fn verdict(samples: &[(Duration, Vitals)]) -> bool {
    let of = |what: fn(&Vitals) -> u64| {
        Trend::of(samples.iter().map(|(at, vitals)| (at.as_secs_f64() / 60.0, what(vitals) as f64)))
    };
    let memory = of(|vitals| vitals.kib);
    let bound =
        (memory.level * PERCENT_IN_TEN_MINUTES / 100.0 * memory.minutes / 10.0).max(KIB_IN_ALL);
    println!(
        "\nafter the warm-up, in {:.1} minutes: memory {:.1} MiB, most {:.1}",
        memory.minutes,
        memory.level / 1024.0,
        memory.most / 1024.0
    );
    let mut met = is("growth of memory, KiB", memory.growth, bound);
    met &= is("growth of descriptors", of(|vitals| vitals.descriptors).growth, DESCRIPTORS);
    met &= is("growth of threads", of(|vitals| vitals.threads).growth, THREADS);
    met
}

/// The straight line with the least squares.
struct Trend {
    level: f64,
    most: f64,
    /// Between the first and the last reading.
    growth: f64,
    minutes: f64,
}

impl Trend {
    fn of(points: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let count = points.clone().count() as f64;
        let mean = |values: f64| values / count;
        let at = mean(points.clone().map(|(at, _)| at).sum());
        let level = mean(points.clone().map(|(_, value)| value).sum());
        let spread: f64 = points.clone().map(|(t, _)| (t - at).powi(2)).sum();
        let together: f64 = points.clone().map(|(t, value)| (t - at) * (value - level)).sum();
        let (first, last) = (points.clone().next().unwrap().0, points.clone().last().unwrap().0);
        let most = points.fold(0.0, |most: f64, (_, value)| most.max(value));
        let minutes = last - first;
        Self { level, most, growth: together / spread * minutes, minutes }
    }
}

fn is(what: &str, found: f64, bound: f64) -> bool {
    let met = found <= bound;
    println!("{what}: {found:.1} (bound {bound:.1}){}", if met { "" } else { "  BROKEN" });
    met
}

/// Whether this gauge comes back to 0.
async fn left(site: &Site, name: &str) -> bool {
    let end = SystemClock.instant() + END;
    loop {
        match gauge(site.edge.admin, name, OPERATOR).await {
            None => {
                println!("{name}: not published");
                return true;
            }
            Some(value) if value <= 0.0 || SystemClock.instant() > end => {
                return is(&format!("{name} at the end"), value, 0.0);
            }
            Some(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}
