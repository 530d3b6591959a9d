//! The sockets: the only code that names Pingora.
//!
//! [`Server`] binds every listener before any of them answers, and serves until it is told to stop and the last request is
//! done. Every decision is made by `gateway`, from plain values; this module takes them off the wire and puts the outcome
//! back on it.

mod admin;
mod exchange;
mod filter;
mod head;
mod listener;
mod patience;
mod respond;
mod upstream;
mod upstream_tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use pingora::apps::HttpServerOptions;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config;
use crate::gateway::Shared;
use crate::gateway::live::Live;
use crate::issuers::tend;
use crate::proxy::admin::Admin;
use crate::proxy::filter::EdgeProxy;
use crate::proxy::listener::{Listener, told};
use crate::proxy::patience::Connections;
use crate::proxy::upstream_tls::NO_AUTHORITIES;

/// Idle connections that are kept to upstreams, per listener.
const UPSTREAM_POOL: usize = 1024;
/// The most attempts at one request: other servers after a refused connection, or after an idle one that had gone stale.
const MAX_ATTEMPTS: usize = 4;
/// How long an HTTP/2 connection without requests is kept.
const H2_IDLE: Duration = Duration::from_secs(60);

/// Whose lines below `error` speak of single connections and retries, with the request's target; the access log has the path
/// already, and leaves out the query.
pub const QUIET_TARGETS: [&str; 2] = ["pingora_core", "pingora_proxy"];

/// A listener that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct BindError {
    /// The address in the configuration.
    pub address: SocketAddr,
    /// Why.
    pub cause: io::Error,
}

/// A listener with the proxy behind it.
struct Edge {
    listener: Listener,
    proxy: Arc<HttpProxy<EdgeProxy>>,
    guests: Arc<Connections>,
}

/// Every listener, bound.
pub struct Server {
    edges: Vec<Edge>,
    addresses: Vec<SocketAddr>,
    admin: Option<(Listener, Arc<Admin>, Arc<Connections>)>,
    draining: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Server {
    /// Binds every listener, and the operator's if there is one. From here on connections wait; none is answered before
    /// [`Server::run`].
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be had.
    pub async fn bind(
        live: Arc<Live>,
        shared: Arc<Shared>,
        listeners: &[config::Listener],
        admin: Option<SocketAddr>,
    ) -> Result<Self, BindError> {
        let conf = Arc::new(ServerConf {
            threads: available_parallelism().map_or(1, usize::from),
            upstream_keepalive_pool_size: UPSTREAM_POOL,
            max_retries: MAX_ATTEMPTS,
            ca_file: Some(NO_AUTHORITIES.to_owned()),
            ..ServerConf::default()
        });
        let mut edges = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let address = listener.address;
            let bound = Listener::bind(address, listener.tls.as_ref()).await;
            let bound = bound.map_err(|cause| BindError { address, cause })?;
            if let Some(identity) = &listener.tls {
                shared.metrics.set_certificate_expiry(&address.to_string(), identity.not_after);
            }
            let transport = listener.transport();
            let guests = Connections::new(Arc::clone(&shared.clock));
            let app = EdgeProxy {
                live: Arc::clone(&live),
                shared: Arc::clone(&shared),
                transport,
                hsts: listener.hsts.clone(),
                guests: Arc::clone(&guests),
            };
            let mut proxy = http_proxy(&conf, app);
            let mut options = HttpServerOptions::default();
            options.h2_idle_timeout = Some(H2_IDLE);
            proxy.server_options = Some(options);
            edges.push(Edge { listener: bound, proxy: Arc::new(proxy), guests });
        }
        let draining = Arc::new(AtomicBool::new(false));
        let admin = match admin {
            None => None,
            Some(address) => {
                let bound = Listener::bind(address, None).await;
                let bound = bound.map_err(|cause| BindError { address, cause })?;
                let guests = Connections::new(Arc::clone(&shared.clock));
                let admin = Admin {
                    live: Arc::clone(&live),
                    shared: Arc::clone(&shared),
                    draining: Arc::clone(&draining),
                };
                Some((bound, Arc::new(admin), guests))
            }
        };
        let addresses = edges.iter().map(|edge| edge.listener.address()).collect();
        Ok(Self { edges, addresses, admin, draining, shared })
    }

    /// The addresses that are listened on, in the order they were given; a port 0 is now the one that was had.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The operator's address.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(listener, ..)| listener.address())
    }

    /// Serves until `shutdown` becomes true (or its sender is gone), and returns once the last request is done. Idle
    /// connections end at once; a tunnel is a request and holds us as long as it lasts.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut edges = JoinSet::new();
        let (close, closing) = watch::channel(false);
        for Edge { listener, proxy, guests } in self.edges {
            edges.spawn(listener.serve(proxy, guests, closing.clone()));
        }
        // It outlives the others, and is dropped with whatever it is doing.
        let mut operator = JoinSet::new();
        let (_until_drained, never) = watch::channel(false);
        if let Some((listener, admin, guests)) = self.admin {
            operator.spawn(listener.serve(admin, guests, never));
        }
        let (shared, metrics) = (Arc::clone(&self.shared), Arc::clone(&self.shared.metrics));
        operator.spawn(async move {
            let clock = Arc::clone(&shared.clock);
            let observer = Arc::new(move |issuer: &str, ok| metrics.issuer_fetched(issuer, ok));
            tend(&shared.issuer_keys, clock, observer).await;
        });
        told(&mut shutdown).await;
        self.draining.store(true, Ordering::Release);
        // Only now: who finds a listener closed must find that /readyz says so.
        close.send_replace(true);
        while edges.join_next().await.is_some() {}
        operator.shutdown().await;
        let shared = self.shared;
        if tokio::task::spawn_blocking(move || shared.log.close()).await.is_err() {
            tracing::error!("the access log was not closed");
        }
    }
}
