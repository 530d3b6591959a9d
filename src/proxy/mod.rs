//! The sockets: the only code that names Pingora.
//!
//! [`Server`] binds every listener before any of them answers, and serves until it is told to stop and the last request is
//! done. Every decision is made by `gateway`, from plain values; this module takes them off the wire and puts the outcome
//! back on it.

mod admin;
mod edges;
mod exchange;
mod filter;
mod guests;
mod head;
mod listener;
mod proxy_protocol;
mod respond;
mod tls;
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
use crate::issuers::tend;
use crate::proxy::edges::{Edges, Plan};
use crate::proxy::listener::told;

/// What the log leaves out of Pingora. Its lines below `error` speak of single connections and retries, with the request's
/// target; the access log has the path already, and leaves out the query. Its errors about clients that leave or send garbage
/// could fill any disk; what matters of them is counted.
pub const QUIET: [&str; 3] = ["pingora_core=error", "pingora_core::apps=off", "pingora_proxy=off"];

pub use crate::gateway::live::BindError;

/// Every listener, bound.
#[derive(Debug)]
pub struct Server {
    live: Arc<Live>,
    shared: Arc<Shared>,
    edges: Arc<Edges>,
    plan: Plan,
}

impl Server {
    /// Binds every listener, and the operator's if there is one. From here on connections wait; none is answered before
    /// [`Server::run`]. Must be called within the runtime that serves.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be had.
    pub fn bind(
        live: Arc<Live>,
        shared: Arc<Shared>,
        listeners: &[config::Listener],
        admin: Option<SocketAddr>,
    ) -> Result<Self, BindError> {
        let edges = Edges::new(Arc::clone(&live), Arc::clone(&shared));
        let plan = edges.plan(listeners, admin)?;
        Ok(Self { live, shared, edges, plan })
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

    /// Serves until `shutdown` becomes true (or its sender is gone), and returns once the last request is done. Idle
    /// connections end within two seconds; a tunnel is a request and holds us as long as it lasts. Reloads of the
    /// configuration change the listeners meanwhile.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Self { live, shared, edges, plan } = self;
        edges.carry_out(plan);
        let sockets = Arc::downgrade(&edges);
        live.attach(sockets);
        let mut background = JoinSet::new();
        let fetching = Arc::clone(&shared);
        background.spawn(async move {
            let metrics = Arc::clone(&fetching.metrics);
            let clock = Arc::clone(&fetching.clock);
            let observer = Arc::new(move |issuer: &str, ok| metrics.issuer_fetched(issuer, ok));
            tend(&fetching.issuer_keys, clock, observer).await;
        });
        told(&mut shutdown).await;
        edges.drain().await;
        background.shutdown().await;
        if tokio::task::spawn_blocking(move || shared.log.close()).await.is_err() {
            tracing::error!("the access log was not closed");
        }
    }
}
