//! The sockets: the only code that names Pingora.
//!
//! [`Server`] binds every listener before any of them answers, and serves until it is told to stop and the last request is
//! done. Every decision is made by `gateway`, from plain values; this module takes them off the wire and puts the outcome
//! back on it.

mod acceptor;
mod admin;
mod attempts;
mod connections;
mod exchange;
mod exchange_timer;
mod filter;
mod head;
mod hop;
mod inherited;
mod lingering;
mod listeners;
mod open_sockets;
mod own_thread;
mod poll_slots;
mod proxy_protocol;
mod recheck;
mod refusal;
mod request_buffer;
mod respond;
mod response_framing;
mod sensitive;
mod slots;
mod timed_session;
mod tls;
mod upgrade;
mod upstream;
mod upstream_tls;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config;
use crate::gateway::Shared;
use crate::gateway::live::Live;
use crate::issuers;
use crate::proxy::acceptor::shutdown_signalled;
use crate::proxy::listeners::{OpenListeners, Plan};
use crate::supervise::keep_up;

/// What the log leaves out of what is below us. Pingora's lines below `error` speak of single connections and retries, with the
/// request's target; the access log has the path already, and leaves out the query. Its errors about clients that leave or send
/// garbage, and what the codecs of HTTP/2 and TLS think of their peers, could fill any disk; what matters of them is counted.
pub const LOG_FILTER: [&str; 5] =
    ["pingora_core=error", "pingora_core::apps=off", "pingora_proxy=off", "h2=off", "rustls=off"];

pub use crate::gateway::live::BindError;
pub use inherited::Inherited;
pub use open_sockets::OpenSockets;

/// Every listener, bound.
#[derive(Debug)]
pub struct Server {
    live: Arc<Live>,
    shared: Arc<Shared>,
    listeners: Arc<OpenListeners>,
    plan: Plan,
    /// Fetches the keys of trusted issuers.
    refresher: JoinSet<()>,
}

impl Server {
    /// Binds every listener, and the operator's if there is one. From here on connections wait; none is answered before
    /// [`Server::run`]. Sockets that were inherited are taken first. The keys of trusted issuers are fetched from here on, too.
    /// Must be called within the runtime that serves.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be had.
    pub fn bind(
        live: Arc<Live>,
        shared: Arc<Shared>,
        listeners: &[config::Listener],
        admin: Option<SocketAddr>,
        inherited: &mut Inherited,
    ) -> Result<Self, BindError> {
        let open = OpenListeners::new(Arc::clone(&live), Arc::clone(&shared));
        let plan = open.plan(listeners, admin, inherited)?;
        let mut refresher = JoinSet::new();
        let fetching = Arc::clone(&shared);
        refresher.spawn(keep_up("key refresh", move || {
            let fetching = Arc::clone(&fetching);
            async move {
                let metrics = Arc::clone(&fetching.metrics);
                let clock = Arc::clone(&fetching.clock);
                let observer = Arc::new(move |issuer: &str, ok| metrics.issuer_fetched(issuer, ok));
                issuers::refresh(&fetching.issuer_keys, clock, observer).await;
            }
        }));
        Ok(Self { live, shared, listeners: open, plan, refresher })
    }

    /// The addresses that are listened on, in the order they were given; a port 0 is now the one that was had.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.plan.addresses()
    }

    /// The operator's address.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.plan.admin_address()
    }

    /// The open sockets, for handing them on.
    #[must_use]
    pub fn sockets(&self) -> OpenSockets {
        self.listeners.sockets().clone()
    }

    /// Serves until `shutdown` becomes true (or its sender is gone), and returns once the last request is done. Idle
    /// connections end within two seconds; a tunnel is a request and holds us as long as it lasts. Reloads of the
    /// configuration change the listeners meanwhile.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Self { live, shared, listeners, plan, mut refresher } = self;
        listeners.carry_out(plan);
        let sockets = Arc::downgrade(&listeners);
        live.attach(sockets);
        shutdown_signalled(&mut shutdown).await;
        listeners.drain().await;
        refresher.shutdown().await;
        if tokio::task::spawn_blocking(move || shared.log.close()).await.is_err() {
            tracing::error!("the access log was not closed");
        }
    }
}
