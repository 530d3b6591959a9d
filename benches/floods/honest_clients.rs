//! The honest clients: requests with a valid token at a fixed rate, each counted from when it was due, so that a wait behind
//! a slow one counts too. Threads with blocking sockets, because the timers of a runtime are a millisecond coarse.

use std::io::{self, Error, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use portcullis::clock::{Clock as _, SystemClock};

/// Clients that keep their connection. Together they ask 200 times a second.
const KEPT: u32 = 8;
const PERIOD: Duration = Duration::from_millis(40);
/// Clients that ask the application itself as often each: what they wait, they wait for the bench and the kernel.
const CONTROLS: u32 = 4;
/// One more asks over a new connection each time. What it costs to connect is another matter, so only its failures count.
const FRESH_PERIOD: Duration = Duration::from_millis(100);
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one measurement found.
pub(crate) struct Measured {
    pub(crate) protected: Latencies,
    pub(crate) control: Latencies,
    pub(crate) failed: usize,
    /// The first failure, if any.
    pub(crate) failure: Option<String>,
}

/// In ascending order.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The latency, in milliseconds, that so many percent of the requests did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let found = self.0.get((last * percent).div_ceil(100));
        // Without a single answer there is no end to it.
        found.map_or(f64::INFINITY, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// Asks for so long.
pub(crate) fn measure(
    edge: SocketAddr,
    application: SocketAddr,
    token: &str,
    during: Duration,
) -> Measured {
    let request =
        format!("GET /app/x HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\n\r\n");
    // Time to connect and to ask once, before the first request is due.
    let begin = SystemClock.instant() + Duration::from_millis(300);
    let start = |address, number, of, period: Duration, fresh| {
        let (request, first) = (request.clone(), begin + period * number / of);
        let honest_client =
            HonestClient { address, request, fresh, connection: None, outcome: Outcome::default() };
        spawn(move || honest_client.ask_until(first, period, begin + during))
    };
    let kept = (0..KEPT).map(|n| start(edge, n, KEPT, PERIOD, false)).collect();
    let controls = (0..CONTROLS).map(|n| start(application, n, CONTROLS, PERIOD, false)).collect();
    let fresh = start(edge, 0, 1, FRESH_PERIOD, true).join().unwrap();
    let (kept, controls) = (together(kept), together(controls));
    Measured {
        failed: kept.failed + fresh.failed + controls.failed,
        failure: kept.failure.or(fresh.failure).or(controls.failure),
        protected: sorted(kept.latencies),
        control: sorted(controls.latencies),
    }
}

fn together(honest_clients: Vec<JoinHandle<Outcome>>) -> Outcome {
    honest_clients.into_iter().fold(Outcome::default(), |mut all, honest_client| {
        let one = honest_client.join().unwrap();
        all.latencies.extend(one.latencies);
        all.failed += one.failed;
        all.failure = all.failure.or(one.failure);
        all
    })
}

fn sorted(mut latencies: Vec<Duration>) -> Latencies {
    latencies.sort_unstable();
    Latencies(latencies)
}

#[derive(Default)]
struct Outcome {
    latencies: Vec<Duration>,
    failed: usize,
    failure: Option<String>,
}

struct HonestClient {
    address: SocketAddr,
    request: String,
    /// Whether each request has a connection of its own.
    fresh: bool,
    connection: Option<TcpStream>,
    outcome: Outcome,
}

impl HonestClient {
    fn ask_until(mut self, first: Instant, period: Duration, end: Instant) -> Outcome {
        if self.ask().is_err() {
            self.connection = None;
        }
        let mut due = first;
        while due < end {
            sleep(due.saturating_duration_since(SystemClock.instant()));
            if SystemClock.instant() > end + PATIENCE {
                self.outcome.failed += 1;
                self.outcome
                    .failure
                    .get_or_insert("not asked in time, behind slow ones".to_owned());
                due += period;
                continue;
            }
            match self.ask() {
                Ok(()) => self.outcome.latencies.push(SystemClock.instant() - due),
                Err(error) => {
                    self.outcome.failed += 1;
                    self.outcome.failure.get_or_insert(error.to_string());
                    self.connection = None;
                }
            }
            due += period;
        }
        self.outcome
    }

    fn ask(&mut self) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = TcpStream::connect_timeout(&self.address, PATIENCE)?;
                connection.set_nodelay(true)?;
                connection.set_read_timeout(Some(PATIENCE))?;
                connection
            }
        };
        connection.write_all(self.request.as_bytes())?;
        let (mut answer, mut buffer) = (String::new(), [0; 4096]);
        while !answer.ends_with("\r\n\r\n0") {
            let read = connection.read(&mut buffer)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            answer.extend(buffer.iter().take(read).map(|byte| char::from(*byte)));
            if answer.len() > 12 && !answer.starts_with("HTTP/1.1 200") {
                return Err(Error::other(answer));
            }
        }
        if !self.fresh && !answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n") {
            self.connection = Some(connection);
        }
        Ok(())
    }
}
