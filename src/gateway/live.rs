//! The snapshot in force, and how another takes its place.
//!
//! A reload reads, checks, loads every key and user, and runs the file's own tests before anything changes; then one atomic
//! swap. Requests in flight keep the snapshot they began with. On any failure the old one stays. Nothing is written to disk,
//! so there is no fsync to name; a second node sees nothing of it and reloads on its own.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;

use crate::access::connection::Transport;
use crate::config::{self, Config, Problem, Sources, StateConfig};
use crate::gateway::rehearsal::{self, TestFailure};
use crate::gateway::{Gateway, Shared};

/// The snapshot in force.
#[derive(Debug)]
pub struct Live {
    file: PathBuf,
    sources: Box<dyn Sources>,
    shared: Arc<Shared>,
    current: ArcSwap<Gateway>,
    generations: AtomicU64,
    sockets: Sockets,
}

/// What is opened once, at start. A reload that would change it is refused: a listener that was to become stricter would
/// otherwise go on as it was, and nobody would know.
#[derive(Debug, PartialEq, Eq)]
struct Sockets {
    listeners: Vec<(SocketAddr, Transport, Option<HeaderValue>)>,
    admin: Option<SocketAddr>,
    state: Option<StateConfig>,
}

impl Sockets {
    fn of(config: &Config) -> Self {
        let settings = |own: &config::Listener| (own.address, own.transport(), own.hsts.clone());
        let listeners = config.listeners.iter().map(settings).collect();
        Self { listeners, admin: config.admin, state: config.state.clone() }
    }
}

/// Why a configuration does not come into force.
#[derive(Debug)]
pub enum Rejected {
    /// It is invalid.
    Invalid(Vec<Problem>),
    /// Its own tests fail.
    Tests(Vec<TestFailure>),
    /// It is valid, but its listeners are not those that are open.
    Restart,
}

impl fmt::Display for Rejected {
    /// One line for each thing that is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(problems) => problems.iter().try_for_each(|p| writeln!(f, "error: {p}")),
            Self::Restart => writeln!(
                f,
                "error: `listeners`, `admin`, `state` or `users.database` changed, which takes a restart; nothing was reloaded"
            ),
            Self::Tests(failures) => {
                failures.iter().try_for_each(|t| writeln!(f, "test failed: {t}"))
            }
        }
    }
}

impl Live {
    /// Puts a first configuration, read from `file`, into force.
    ///
    /// # Errors
    /// [`Rejected::Tests`] when the file's own tests fail.
    pub fn start(
        file: &Path,
        sources: Box<dyn Sources>,
        config: Config,
        shared: Arc<Shared>,
    ) -> Result<Self, Rejected> {
        let sockets = Sockets::of(&config);
        let limits = config.login.limits;
        let gateway = build(config, &shared, 0)?;
        shared.throttle.set_limits(limits);
        come_into_force(&gateway);
        Ok(Self {
            file: file.to_owned(),
            sources,
            shared,
            current: ArcSwap::from_pointee(gateway),
            generations: AtomicU64::new(1),
            sockets,
        })
    }

    /// The snapshot in force. A request takes it once and keeps it.
    #[must_use]
    pub fn current(&self) -> Arc<Gateway> {
        self.current.load_full()
    }

    /// What outlives the snapshots.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Reads the file again and swaps, or changes nothing. Returns the warnings.
    ///
    /// # Errors
    /// [`Rejected`] with everything that is wrong; the old snapshot stays in force.
    pub fn reload(&self) -> Result<Vec<Problem>, Rejected> {
        let outcome = self.try_reload();
        self.shared.metrics.reloaded(outcome.is_ok());
        outcome
    }

    fn try_reload(&self) -> Result<Vec<Problem>, Rejected> {
        let loaded = config::load(&self.file, &*self.sources);
        let config = loaded.config.ok_or(Rejected::Invalid(loaded.problems))?;
        if Sockets::of(&config) != self.sockets {
            return Err(Rejected::Restart);
        }
        let generation = self.generations.fetch_add(1, Ordering::SeqCst);
        let limits = config.login.limits;
        let gateway = build(config, &self.shared, generation)?;
        self.shared.throttle.set_limits(limits);
        come_into_force(&gateway);
        self.current.store(Arc::new(gateway));
        Ok(loaded.warnings)
    }
}

/// Tells what outlives the snapshots about the one that is about to be theirs.
fn come_into_force(gateway: &Gateway) {
    gateway.shared().issuer_keys.install(gateway.issuers().keys().cloned());
    let metrics = &gateway.shared().metrics;
    metrics.forget_key_expiries();
    for key in gateway.keys().iter() {
        if let Some(until) = key.until() {
            metrics.set_key_expiry(key.id(), until);
        }
    }
}

fn build(config: Config, shared: &Arc<Shared>, generation: u64) -> Result<Gateway, Rejected> {
    let tests = config.tests.clone();
    let gateway = Gateway::build(config, Arc::clone(shared), generation);
    let failures = rehearsal::run(&gateway, &tests);
    if failures.is_empty() { Ok(gateway) } else { Err(Rejected::Tests(failures)) }
}
