//! The control loop of a running process: signals, and changes of the files where they are watched. One command is handled after
//! another; a command to stop is handled at any time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::systemd::{DescriptorStore, tell, tell_reloading};
use crate::cli::upgrade::{Program, Successor};
use crate::cli::watch::changed;
use crate::gateway::live::{Live, Rejected};
use crate::observe;
use crate::proxy::OpenSockets;

/// The signals that the process handles.
pub(super) struct Signals {
    hangup: Signal,
    upgrade: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when a signal to stop arrives.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.hangup.recv() => Command::Reload,
            _ = self.upgrade.recv() => Command::Upgrade,
            _ = self.terminate.recv() => Command::Stop,
            _ = self.interrupt.recv() => Command::Stop,
        }
    }
}

enum Command {
    Reload,
    Upgrade,
    Stop,
}

/// A process that is starting beside us; its id once it is ready.
type Starting = Pin<Box<dyn Future<Output = anyhow::Result<(u32, Successor)>> + Send>>;

/// What the commands act on.
pub(super) struct ControlLoop {
    pub(super) live: Arc<Live>,
    pub(super) program: Program,
    pub(super) sockets: OpenSockets,
    pub(super) store: DescriptorStore,
    /// Becomes true when the server is to stop.
    pub(super) stop: watch::Sender<bool>,
}

impl ControlLoop {
    /// Handles commands until the process ends; a second command to stop ends the process immediately.
    pub(super) async fn run(mut self, mut signals: Signals) {
        let mut starting: Option<Starting> = None;
        let mut is_stopping = false;
        let mut news = Box::pin(changed(Arc::clone(&self.live)));
        loop {
            let busy = starting.is_some() || *self.stop.borrow();
            let command = tokio::select! {
                command = signals.next() => command,
                outcome = ended(&mut starting) => {
                    starting = None;
                    self.conclude(outcome).await;
                    continue;
                }
                () = &mut news, if !busy => {
                    tracing::info!("a file of the configuration has changed");
                    self.reload().await;
                    news = Box::pin(changed(Arc::clone(&self.live)));
                    continue;
                }
            };
            match command {
                Command::Stop if is_stopping => {
                    tracing::warn!("told to stop twice, ending with requests in flight");
                    observe::close_log();
                    std::process::exit(1);
                }
                Command::Stop => {
                    is_stopping = true;
                    // One that was starting is killed.
                    starting = None;
                    if !self.stop.send_replace(true) {
                        tell(&[NotifyState::Stopping]);
                    }
                    tracing::info!("draining");
                }
                Command::Reload | Command::Upgrade if busy => {
                    tracing::warn!(
                        "not now: another process is taking over, or this one is ending"
                    );
                }
                Command::Reload if !self.program.was_replaced() => {
                    self.reload().await;
                    news = Box::pin(changed(Arc::clone(&self.live)));
                }
                Command::Reload | Command::Upgrade => starting = self.upgrade(),
            }
        }
    }

    /// Starts the process that is to take over.
    fn upgrade(&self) -> Option<Starting> {
        tell_reloading();
        match self.program.start(&self.sockets) {
            Ok(mut successor) => {
                tracing::info!("starting the program again, to hand over to it");
                Some(Box::pin(async move { Ok((successor.ready().await?, successor)) }))
            }
            Err(error) => {
                refuse(&error);
                None
            }
        }
    }

    /// Hands over to the process that was started, or stays.
    async fn conclude(&self, outcome: anyhow::Result<(u32, Successor)>) {
        match outcome {
            Ok((id, successor)) => {
                // From us, and before anybody else speaks: systemd listens to the main process only.
                tell(&[NotifyState::Ready, NotifyState::MainPid(id)]);
                self.sockets.hand_over();
                self.stop.send_replace(true);
                successor.take_over().await;
                tracing::info!(successor = id, "handed over, draining");
            }
            Err(error) => refuse(&error),
        }
    }

    /// Reads the configuration again, off the threads that serve: it reads files and resolves names.
    async fn reload(&mut self) {
        tell_reloading();
        let reloading = Arc::clone(&self.live);
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
        self.store.keep(&self.sockets);
        tell(&[NotifyState::Ready]);
    }
}

/// What comes of the process that is starting; never, when none is.
async fn ended(starting: &mut Option<Starting>) -> anyhow::Result<(u32, Successor)> {
    match starting {
        Some(starting) => starting.await,
        None => std::future::pending().await,
    }
}

fn refuse(error: &anyhow::Error) {
    tracing::error!(
        error = format!("{error:#}"),
        "the program cannot take over; this process goes on, with its configuration"
    );
    tell(&[NotifyState::Ready]);
}

fn log_rejected(rejected: &Rejected) {
    for line in rejected.to_string().lines() {
        tracing::error!("{line}");
    }
    tracing::error!("reload refused; the old configuration stays in force");
}
