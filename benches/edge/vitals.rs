//! What the binary holds: memory, descriptors, threads, and the gauges that it publishes.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use crate::edge::{Wire, status};

const SAMPLED_EVERY: Duration = Duration::from_millis(100);

/// One reading, or the most of several.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Vitals {
    /// Resident memory.
    pub(crate) kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

impl Vitals {
    pub(crate) fn of(pid: u32) -> Self {
        let number = |name| status(pid, name).trim_end_matches(" kB").parse().unwrap();
        let folder = format!("/proc/{pid}/fd");
        let descriptors = match fs::metadata(&folder).unwrap().len() {
            // A kernel before 6.2 does not count them for us.
            0 => fs::read_dir(folder).unwrap().map(|_| 1).sum(),
            counted => counted,
        };
        Self { kib: number("VmRSS:"), descriptors, threads: number("Threads:") }
    }

    pub(crate) fn or_more(self, other: Self) -> Self {
        Self {
            kib: self.kib.max(other.kib),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }

    pub(crate) fn mib(&self) -> f64 {
        self.kib as f64 / 1024.0
    }
}

/// Somebody who looks all the time, and remembers the most.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    watching: JoinHandle<Vitals>,
}

impl Watch {
    pub(crate) fn begin(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watching = std::thread::spawn(move || {
            let mut most = Vitals::default();
            while !stopped.load(Ordering::Relaxed) {
                most = most.or_more(Vitals::of(pid));
                sleep(SAMPLED_EVERY);
            }
            most
        });
        Self { stop, watching }
    }

    pub(crate) fn end(self) -> Vitals {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.join().unwrap()
    }
}

/// The sum of a gauge over its labels, of which those with `except` do not count; none when it is not published.
pub(crate) async fn gauge(admin: SocketAddr, name: &str, except: &str) -> Option<f64> {
    let request = "GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n";
    let (_, text) = Wire::connect(admin).await.ask(request).await;
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let counts = rest.starts_with(['{', ' ']) && !rest.contains(except);
            counts.then(|| rest.rsplit_once(' ')?.1.parse().ok())?
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
