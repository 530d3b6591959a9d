//! A node in this process whose clock differs from the machine's: like `portcullis run` in everything else.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use portcullis::clock::{Clock, SystemClock, Timestamp};
use portcullis::config::{self, SystemSources};
use portcullis::gateway::Shared;
use portcullis::gateway::live::Live;
use portcullis::proxy::{Inherited, Server};
use portcullis::random::OsRandom;
use portcullis::state::Roster;
use tokio::sync::watch;

/// The machine's clock, and so many seconds.
#[derive(Debug)]
pub(crate) struct OffsetClock(AtomicI64);

impl OffsetClock {
    pub(crate) fn new(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds)))
    }

    /// Sets it.
    #[cfg(feature = "external-tests")]
    pub(crate) fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let since = self.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_secs(since.as_secs())
    }

    fn wall(&self) -> SystemTime {
        let seconds = self.0.load(Ordering::SeqCst);
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { SystemClock.wall() - by } else { SystemClock.wall() + by }
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }
}

/// A running node. It ends with the test.
pub(crate) struct Clocked {
    pub(crate) edge: SocketAddr,
    #[cfg(feature = "external-tests")]
    pub(crate) admin: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Clocked {
    /// Starts one with this configuration file.
    pub(crate) async fn start(file: &Path, clock: Arc<OffsetClock>) -> Self {
        let loaded = config::load(file, &SystemSources);
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let config = loaded.config.unwrap_or_else(|| panic!("{}", problems.join("\n")));
        let (listeners, admin) = (config.listeners.clone(), config.admin);
        let log = Box::new(std::io::sink());
        let mut shared = Shared::start(clock, Arc::new(OsRandom), 1, log).unwrap();
        if let Some(state) = &config.state {
            let roster = Roster::new(file, config.clients.iter().map(|client| &client.id));
            shared = shared.with_state(state, config.login.limits, roster).unwrap();
            assert!(shared.state.as_ref().unwrap().filled(Duration::from_secs(20)).await);
        }
        let shared = Arc::new(shared);
        let live = Live::start(file, Box::new(SystemSources), config, Arc::clone(&shared));
        let live = Arc::new(live.unwrap_or_else(|rejected| panic!("{rejected}")));
        let server = Server::bind(live, shared, &listeners, admin, &mut Inherited::none());
        let server = server.unwrap();
        let edge = server.addresses()[0];
        #[cfg(feature = "external-tests")]
        let admin = server.admin_address().unwrap();
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(server.run(stopping));
        Self {
            edge,
            #[cfg(feature = "external-tests")]
            admin,
            _stop: stop,
        }
    }
}
