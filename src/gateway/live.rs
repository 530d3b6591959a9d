//! The snapshot in force, and how another takes its place.
//!
//! A reload reads, checks, loads every key and user, and runs the file's own tests before anything changes; then one atomic
//! swap. Requests in flight keep the snapshot they began with. On any failure the old one stays. Nothing is written to disk,
//! so there is no fsync to name; a second node sees nothing of it and reloads on its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::{fmt, io};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::config::{
    self, Config, Files, Listener, Problem, ProcessSettings, Sources, StateConfig, Tls,
};
use crate::gateway::dry_run::{self, TestFailure};
use crate::gateway::{Gateway, Shared, removed};

/// The snapshot in force.
#[derive(Debug)]
pub struct Live {
    file: PathBuf,
    sources: Box<dyn Sources>,
    shared: Arc<Shared>,
    current: ArcSwap<Gateway>,
    generations: AtomicU64,
    /// Opened once, at start; a reload that would change it is refused.
    state: Option<StateConfig>,
    /// Where connections come in, once they do.
    sockets: OnceLock<Weak<dyn Sockets>>,
    operation: ArcSwap<ProcessSettings>,
    /// What was read last, in force or refused.
    files: Mutex<Files>,
}

/// Where connections come in. A reload changes it together with the snapshot: a listener that was to become stricter would
/// otherwise go on as it was, and nobody would know.
pub trait Sockets: fmt::Debug + Send + Sync {
    /// Opens what a new configuration needs that is not open yet, and returns the rest of the change, which cannot fail.
    /// Dropped instead of called, it closes again what was opened.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be had; nothing has changed then.
    fn prepare(
        &self,
        listeners: &[Listener],
        admin: Option<SocketAddr>,
    ) -> Result<Box<dyn FnOnce() + '_>, BindError>;
}

/// An address that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct BindError {
    /// The address in the configuration.
    pub address: SocketAddr,
    /// Why.
    pub cause: io::Error,
}

/// Why a configuration does not come into force.
#[derive(Debug)]
pub enum Rejected {
    /// It is invalid.
    Invalid(Vec<Problem>),
    /// Its own tests fail.
    Tests(Vec<TestFailure>),
    /// It is valid, but its state is not the one that is open, or it has another issuer.
    Restart,
    /// It is valid, but one of its addresses cannot be had.
    Bind(BindError),
}

impl fmt::Display for Rejected {
    /// One line for each thing that is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(problems) => problems.iter().try_for_each(|p| writeln!(f, "error: {p}")),
            Self::Restart => writeln!(
                f,
                "error: `state`, `users.database` or, with a state store, `tokens.issuer` changed, which takes a restart; nothing was reloaded"
            ),
            Self::Bind(error) => writeln!(f, "error: {error}; nothing was reloaded"),
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
        let state = config.state.clone();
        let (limits, listeners) = (config.login.limits, config.listeners.clone());
        let operation = ArcSwap::from_pointee(config.operation);
        let files = Mutex::new(config.files.clone());
        let gateway = build(config, &shared, 0)?;
        shared.throttle.set_limits(limits);
        come_into_force(&gateway, &listeners);
        Ok(Self {
            file: file.to_owned(),
            sources,
            shared,
            current: ArcSwap::from_pointee(gateway),
            generations: AtomicU64::new(1),
            state,
            sockets: OnceLock::new(),
            operation,
            files,
        })
    }

    /// The snapshot in force. A request takes it once and keeps it.
    #[must_use]
    pub fn current(&self) -> Arc<Gateway> {
        self.current.load_full()
    }

    /// How the process is run, by the configuration in force.
    #[must_use]
    pub fn operation(&self) -> ProcessSettings {
        **self.operation.load()
    }

    /// The files as they are now, if they are not as they were at the last reload. Files that were refused then are not news.
    #[must_use]
    pub fn changed_files(&self) -> Option<Files> {
        let last = self.files.lock().clone();
        let now = last.read_again(&*self.sources);
        (now != last).then_some(now)
    }

    /// What outlives the snapshots.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// From now on reloads change these, too. Only the first call counts.
    pub fn attach(&self, sockets: Weak<dyn Sockets>) {
        // Whoever comes second has no sockets of this configuration.
        drop(self.sockets.set(sockets));
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
        *self.files.lock() = loaded.files;
        let config = loaded.config.ok_or(Rejected::Invalid(loaded.problems))?;
        if config.state != self.state {
            return Err(Rejected::Restart);
        }
        let operation = config.operation;
        let generation = self.generations.fetch_add(1, Ordering::SeqCst);
        let limits = config.login.limits;
        let (listeners, admin) = (config.listeners.clone(), config.admin);
        let gateway = build(config, &self.shared, generation)?;
        let sockets = self.sockets.get().and_then(Weak::upgrade);
        let change = match &sockets {
            Some(sockets) => Some(sockets.prepare(&listeners, admin).map_err(Rejected::Bind)?),
            None => None,
        };
        self.shared.throttle.set_limits(limits);
        come_into_force(&gateway, &listeners);
        inherit_health(&gateway, &self.current());
        self.operation.store(Arc::new(operation));
        let gateway = Arc::new(gateway);
        let before = self.current.swap(Arc::clone(&gateway));
        removed::end(&before, &gateway);
        // After the swap: whoever comes in through a new listener is judged by the snapshot that it belongs to.
        if let Some(change) = change {
            change();
        }
        Ok(loaded.warnings)
    }
}

/// Tells what outlives the snapshots about the one that is about to be theirs.
fn come_into_force(gateway: &Gateway, listeners: &[Listener]) {
    gateway.shared().issuer_keys.install(gateway.issuers().keys().cloned());
    let metrics = &gateway.shared().metrics;
    metrics.forget_key_expiries();
    for key in gateway.keys().iter() {
        if let Some(until) = key.until() {
            metrics.set_key_expiry(key.id(), until);
        }
    }
    metrics.forget_certificate_expiries();
    for Listener { address, tls, .. } in listeners {
        for (file, at) in tls.iter().flat_map(Tls::expiries) {
            metrics.set_certificate_expiry(&address.to_string(), file, at);
        }
    }
}

/// What is known of servers that stay holds on: a reload must not send requests to the dead among them again.
fn inherit_health(gateway: &Gateway, former: &Gateway) {
    let known = former.routes().upstreams();
    for (name, upstream) in gateway.routes().upstreams() {
        if let Some(former) = known.get(name).filter(|former| upstream.succeeds(former)) {
            upstream.servers.inherit(&former.servers);
        }
    }
}

fn build(config: Config, shared: &Arc<Shared>, generation: u64) -> Result<Gateway, Rejected> {
    let tests = config.tests.clone();
    let gateway = Gateway::build(config, Arc::clone(shared), generation);
    let failures = dry_run::run(&gateway, &tests);
    if failures.is_empty() { Ok(gateway) } else { Err(Rejected::Tests(failures)) }
}
