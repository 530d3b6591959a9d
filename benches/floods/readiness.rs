//! A balancer that asks `/readyz` all the time: a flood that takes a healthy node out of the fleet has won.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// How often it asks, and how long it waits for a response.
const PERIOD: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);

/// What it was told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Readiness {
    pub(crate) asked: u64,
    /// How often the response was not 200, or did not come in time.
    pub(crate) missed: u64,
}

/// The balancer at work.
pub(crate) struct Balancer {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Readiness>,
}

impl Balancer {
    pub(crate) fn begin(admin: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = spawn(move || {
            let mut told = Readiness::default();
            while !stopped.load(Ordering::Relaxed) {
                told.asked += 1;
                told.missed += u64::from(!is_ready(admin).unwrap_or(false));
                sleep(PERIOD);
            }
            told
        });
        Self { stop, asking }
    }

    pub(crate) fn end(self) -> Readiness {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}

fn is_ready(admin: SocketAddr) -> io::Result<bool> {
    let mut connection = TcpStream::connect_timeout(&admin, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n")?;
    let mut status = [0; 12];
    connection.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
