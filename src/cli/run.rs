//! `portcullis run`: start, tell systemd, reload on SIGHUP, drain on SIGTERM or SIGINT.
//!
//! Nothing is served before everything stands: an invalid configuration, a failing test of it, or a listener that cannot
//! bind ends the process before any other listener answers.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{INVALID, print_problems, read};
use crate::clock::SystemClock;
use crate::config::SystemSources;
use crate::gateway::Shared;
use crate::gateway::live::{Live, Rejected};
use crate::observe;
use crate::proxy::{QUIET, Server};
use crate::random::OsRandom;

/// How long a start waits for the state store.
const STATE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let read = read(file);
    print_problems(&read.problems, &read.warnings);
    let Some(config) = read.config else { return Ok(ExitCode::from(INVALID)) };
    observe::init_logging(&QUIET);
    let (listeners, admin) = (config.listeners.clone(), config.admin);
    let hashes = config.login.parallel_hashes;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _within = runtime.enter();
    let mut shared = Shared::start(
        Arc::new(SystemClock),
        Arc::new(OsRandom),
        hashes,
        Box::new(std::io::stdout()),
    )?;
    observe::count_panics(Arc::clone(&shared.metrics));
    if let Some(state) = &config.state {
        shared = shared.with_state(state, config.login.limits)?;
    }
    let shared = Arc::new(shared);
    let live = match Live::start(file, Box::new(SystemSources), config, Arc::clone(&shared)) {
        Ok(live) => Arc::new(live),
        Err(rejected) => {
            eprintln!("{rejected}");
            return Ok(ExitCode::from(INVALID));
        }
    };
    runtime.block_on(async {
        let server = Server::bind(Arc::clone(&live), Arc::clone(&shared), &listeners, admin)?;
        // Whoever connects meanwhile waits, instead of being told to come back.
        if let Some(state) = &shared.state
            && !state.filled(STATE_PATIENCE).await
        {
            tracing::warn!("starting without the state store: protected routes answer 503");
        }
        let (stop, stopping) = watch::channel(false);
        let signals = Signals::new().context("signals")?;
        tell(&[NotifyState::Ready]);
        let obeying = tokio::spawn(signals.obey(live, stop));
        server.run(stopping).await;
        obeying.abort();
        tracing::info!("drained, ending");
        Ok(ExitCode::SUCCESS)
    })
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Obeys until told to stop; a second request to stop ends the process at once.
    async fn obey(mut self, live: Arc<Live>, stop: watch::Sender<bool>) {
        loop {
            let stopping = tokio::select! {
                _ = self.hangup.recv() => false,
                _ = self.terminate.recv() => true,
                _ = self.interrupt.recv() => true,
            };
            if !stopping {
                reload(&live).await;
                continue;
            }
            if stop.send_replace(true) {
                tracing::warn!("told to stop twice, ending with requests in flight");
                std::process::exit(1);
            }
            tell(&[NotifyState::Stopping]);
            tracing::info!("draining");
        }
    }
}

/// Reads the configuration again, off the threads that serve: it reads files and resolves names.
async fn reload(live: &Arc<Live>) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
    let reloading = Arc::clone(live);
    match tokio::task::spawn_blocking(move || reloading.reload()).await {
        Ok(Ok(warnings)) => {
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!("configuration reloaded");
        }
        Ok(Err(rejected)) => log_rejected(&rejected),
        Err(error) => tracing::error!(%error, "the reload broke; the old configuration stays"),
    }
    tell(&[NotifyState::Ready]);
}

fn log_rejected(rejected: &Rejected) {
    for line in rejected.to_string().lines() {
        tracing::error!("{line}");
    }
    tracing::error!("reload refused; the old configuration stays in force");
}

/// Without systemd there is nobody to tell, which is fine.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told");
    }
}
