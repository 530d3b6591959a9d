//! `portcullis run`: start, tell systemd, serve, drain. What a running process is told is in `orders`.
//!
//! Nothing is served before everything stands: an invalid configuration, a failing test of it, or a listener that cannot
//! bind ends the process before any other listener answers. A process that is to take over from another says so no earlier.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::disable_transparent_huge_pages;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::cli::control::{ControlLoop, Signals};
use crate::cli::output::errln;
use crate::cli::systemd::{DescriptorStore, tell};
use crate::cli::upgrade::{Predecessor, Program};
use crate::cli::{INVALID, print_problems, read};
use crate::clock::SystemClock;
use crate::config::SystemSources;
use crate::gateway::Shared;
use crate::gateway::live::Live;
use crate::observe;
use crate::proxy::{Inherited, LOG_FILTER, Server};
use crate::random::OsRandom;
use crate::state::{Roster, Store, StoreError};

/// After how many tasks a thread looks at the queue that all share. What does not fit into a thread's own queue goes there, be it
/// the task that accepts connections; with the usual 61, a flood that kept the own queues full left it there for seconds.
const GLOBAL_QUEUE_INTERVAL: u32 = 1;
/// After how many tasks a busy thread looks for what has come over the sockets: it decides how long whoever needs a few steps waits
/// for each of them.
const EVENT_INTERVAL: u32 = 8;
/// How long a start waits for the state store.
const STATE_PATIENCE: Duration = Duration::from_secs(5);
/// How long whoever takes over waits for the keys of trusted issuers that are required, and how often it looks.
const KEY_PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(20);

pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    // Before any key is read: nobody but root may look into this process, or have an image of its memory on the disk.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // While there is one thread: this takes variables out of the environment.
    let (mut inherited, predecessor) = (Inherited::from_env(), Predecessor::from_env()?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()?;
    let _within = runtime.enter();
    // From the first moment: what comes while we start is done once we have, but for the word to stop.
    let signals = Signals::new().context("signals")?;
    let starting = runtime.spawn(stopped_while_starting().context("signals")?);
    let program = Program::of_this_process().context("where this program is")?;
    let read = read(file);
    print_problems(&read.problems, &read.warnings);
    let Some(config) = read.config else { return Ok(ExitCode::from(INVALID)) };
    observe::init_logging(&LOG_FILTER).context("the log")?;
    if let Err(error) = hidden {
        tracing::warn!(%error, "other processes of this user may be able to read the memory of this one");
    }
    keep_small_pages();
    raise_file_limit(config.listeners.iter().map(|listener| listener.limits.connections).sum());
    let (listeners, admin) = (config.listeners.clone(), config.admin);
    let hashes = config.login.parallel_hashes;
    let mut shared = Shared::start(
        Arc::new(SystemClock),
        Arc::new(OsRandom),
        hashes,
        Box::new(std::io::stdout()),
    )?;
    observe::count_panics(Arc::clone(&shared.metrics));
    if let Some(state) = &config.state {
        let roster = Roster::new(file, config.clients.iter().map(|client| &client.id));
        shared = shared.with_state(state, config.login.limits, roster)?;
    }
    let shared = Arc::new(shared);
    let live = match Live::start(file, Box::new(SystemSources), config, Arc::clone(&shared)) {
        Ok(live) => Arc::new(live),
        Err(rejected) => {
            errln!("{rejected}");
            return Ok(ExitCode::from(INVALID));
        }
    };
    runtime.block_on(async {
        let server = Server::bind(
            Arc::clone(&live),
            Arc::clone(&shared),
            &listeners,
            admin,
            &mut inherited,
        )?;
        let mut store = DescriptorStore::holding(&inherited.close_rest());
        fill(&shared, predecessor.is_some()).await?;
        let (stop, stopping) = watch::channel(false);
        let sockets = server.sockets();
        let cut = overdue(Arc::clone(&live), Arc::clone(&shared), stopping.clone());
        starting.abort();
        let mut control = tokio::spawn(async move {
            if let Some(predecessor) = predecessor {
                predecessor.notify().await;
            }
            store.keep(&sockets);
            tell(&[NotifyState::Ready]);
            ControlLoop { live, program, sockets, store, stop }.run(signals).await;
        });
        tokio::select! {
            () = server.run(stopping) => tracing::info!("drained, ending"),
            // Without it no signal is handled: the process ends, and its supervisor starts it again.
            Err(error) = &mut control => {
                bail!("the control loop ended by an internal error: {error}");
            }
            requests = cut => {
                tracing::warn!(requests, "the time to drain is over, ending with requests in flight");
                tokio::task::spawn_blocking(move || shared.log.close()).await?;
            }
        }
        control.abort();
        Ok(ExitCode::SUCCESS)
    })
}

/// Ends the process when it is told to stop before it serves: nothing was answered yet, so nothing is lost.
fn stopped_while_starting() -> std::io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new()?;
    Ok(async move {
        signals.stop().await;
        tracing::info!("told to stop while starting, ending");
        observe::close_log();
        std::process::exit(0);
    })
}

/// Waits for what requests are judged by. Whoever connects meanwhile waits, instead of being told to come back; and the
/// process before us has it all, so nobody takes over without.
async fn fill(shared: &Shared, taking_over: bool) -> anyhow::Result<()> {
    if let Some(state) = &shared.state
        && !tokio::select! {
            filled = state.filled(STATE_PATIENCE) => filled,
            error = refused(state.store()) => return Err(error.into()),
        }
    {
        if taking_over {
            bail!("the state store does not answer");
        }
        tracing::warn!("starting without the state store: protected routes answer 503");
    }
    if taking_over {
        let keys = async {
            while shared.issuer_keys.current().iter().any(|keys| keys.are_missed()) {
                sleep(GLANCE).await;
            }
        };
        timeout(KEY_PATIENCE, keys).await.context("no keys of a trusted issuer")?;
    }
    Ok(())
}

/// Returns if the store is another issuer's. One that cannot be reached may still be ours.
async fn refused(store: &Store) -> StoreError {
    match store.prepare().await {
        Err(error @ StoreError::Issuer { .. }) => error,
        Ok(()) | Err(_) => std::future::pending().await,
    }
}

/// Returns once the process was told to stop and has had the time to drain, and says how many requests are in flight then: whoever
/// asks for it later may find them cut.
async fn overdue(live: Arc<Live>, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) -> i64 {
    drop(stopping.wait_for(|stop| *stop).await);
    sleep(live.operation().drain).await;
    shared.metrics.requests_in_flight()
}

/// Keeps the kernel from joining pages into huge ones: it would join those that a flood has used and the allocator has given
/// back, so that what is not used any more would count, and stay, as memory of ours.
fn keep_small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "memory that is not used any more may not be given back");
    }
}

/// Files that we need besides connections.
const OTHER_FILES: u64 = 256;

/// Lets us open as many files as we may: the usual limit is for programs of another age. Each connection may need one to an
/// application.
fn raise_file_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    let wanted = (connections as u64).saturating_mul(2).saturating_add(OTHER_FILES);
    if let Some(limit) = limit.filter(|limit| *limit < wanted) {
        tracing::warn!(
            limit,
            wanted,
            "too few open files are allowed for the connections that the listeners allow"
        );
    }
}
