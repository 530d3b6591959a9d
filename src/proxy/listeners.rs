//! The listeners that are open, and how a reload changes them.
//!
//! An address that stays keeps its socket, so that nobody is refused. Where only certificates changed, new handshakes see them
//! and open connections go on. Where anything else changed, the old listener drains while the new one accepts from the same
//! socket: connections that are open get one more answer under the settings they came in under.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;
use std::{fmt, io, mem};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{ConnectionLimits, Listener};
use crate::gateway::Shared;
use crate::gateway::live::{BindError, Live, Sockets};
use crate::proxy::acceptor::{self, Acceptor};
use crate::proxy::admin::Admin;
use crate::proxy::connections::{ConnectionCounts, Connections};
use crate::proxy::filter::EdgeProxy;
use crate::proxy::inherited::Inherited;
use crate::proxy::open_sockets::OpenSockets;
use crate::proxy::own_thread::OwnThread;
use crate::proxy::poll_slots::UnauthenticatedSlots;
use crate::proxy::recheck::RecheckedProxy;
use crate::proxy::slots::{RequestSlots, UpstreamSlots};
use crate::proxy::tls;
use crate::proxy::upstream_tls::NO_AUTHORITIES;

/// Idle connections that are kept to upstreams, per listener.
const UPSTREAM_POOL: usize = 1024;
/// Pingora's bound on the attempts at one request; no upstream has so many addresses. Ours ends with the last server that was
/// not tried ([`crate::proxy::attempts`]).
const MAX_ATTEMPTS: usize = 1024;
/// What a stream of HTTP/2 keeps of an answer that its client does not take, besides what Pingora keeps of any.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// How many poll slots there are for each thread: while one is in use, the next is on its way.
const UNAUTHENTICATED_PER_THREAD: usize = 2;
/// The operator's listener needs few connections.
const ADMIN_CONNECTIONS: usize = 256;
/// What the operator's listener is called in the metrics of connections.
const ADMIN: &str = "admin";

/// Everything that accepts.
pub(super) struct OpenListeners {
    live: Arc<Live>,
    shared: Arc<Shared>,
    draining: Arc<AtomicBool>,
    conf: Arc<ServerConf>,
    runtime: Handle,
    /// For all on all listeners whom nobody has authenticated.
    unauthenticated: UnauthenticatedSlots,
    /// What the operator's listener runs on, once there was one: a balancer that asks whether we are ready must not wait
    /// behind a flood.
    operator: OnceLock<OwnThread>,
    sockets: OpenSockets,
    upstreams: Arc<UpstreamSlots>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    listeners: Vec<OpenListener>,
    admin: Option<AdminListener>,
    tasks: JoinSet<()>,
    operators: JoinSet<()>,
    /// We drain, and open nothing any more.
    closed: bool,
}

/// One listener of the configuration.
struct OpenListener {
    settings: Listener,
    socket: Arc<TcpListener>,
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
    counts: Arc<ConnectionCounts>,
    close: watch::Sender<bool>,
}

/// The open listener for metrics and health.
struct AdminListener {
    configured: SocketAddr,
    socket: Arc<TcpListener>,
    /// Dropping it closes the listener.
    _close: watch::Sender<bool>,
}

/// What a change of the listeners comes to, with every socket that it needs.
#[derive(Debug)]
pub(super) struct Plan {
    listeners: Vec<PlannedListener>,
    admin: Option<(SocketAddr, Option<Arc<TcpListener>>)>,
}

struct PlannedListener {
    settings: Listener,
    socket: Arc<TcpListener>,
    tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for PlannedListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedListener").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Plan {
    /// Where the listeners are, in the order of the configuration.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(PlannedListener::address).collect()
    }

    /// Where a new operator's listener is.
    pub(super) fn admin_address(&self) -> Option<SocketAddr> {
        let (configured, socket) = self.admin.as_ref()?;
        let bound = socket.as_ref().and_then(|socket| socket.local_addr().ok());
        Some(bound.unwrap_or(*configured))
    }
}

impl PlannedListener {
    fn address(&self) -> SocketAddr {
        // A socket that is bound knows where.
        self.socket.local_addr().unwrap_or(self.settings.address)
    }
}

impl fmt::Debug for OpenListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenListeners").field("draining", &self.draining).finish_non_exhaustive()
    }
}

impl OpenListeners {
    /// Nothing is open yet. Must be called within the runtime that will serve.
    pub(super) fn new(live: Arc<Live>, shared: Arc<Shared>) -> Arc<Self> {
        let conf = Arc::new(ServerConf {
            threads: available_parallelism().map_or(1, usize::from),
            upstream_keepalive_pool_size: UPSTREAM_POOL,
            max_retries: MAX_ATTEMPTS,
            // Each upstream names its own.
            ca_file: Some(NO_AUTHORITIES.to_owned()),
            ..ServerConf::default()
        });
        let unauthenticated = UnauthenticatedSlots::new(UNAUTHENTICATED_PER_THREAD * conf.threads);
        Arc::new(Self {
            live,
            shared,
            draining: Arc::default(),
            conf,
            unauthenticated,
            runtime: Handle::current(),
            operator: OnceLock::new(),
            sockets: OpenSockets::default(),
            upstreams: Arc::default(),
            open: Mutex::default(),
        })
    }

    /// Closes everything, and returns once the last request is done. The operator's listener outlives the others, and ends
    /// with whatever it is doing.
    pub(super) async fn drain(&self) {
        // First: who finds a listener closed must find that /readyz says so.
        self.draining.store(true, Ordering::Release);
        let (mut tasks, mut operators) = {
            let mut open = self.open.lock();
            open.closed = true;
            // Dropping their senders tells them.
            open.listeners.clear();
            if self.sockets.are_handed_over() {
                // Whoever asks the operator's address now means the process that took over.
                open.admin = None;
            }
            (mem::take(&mut open.tasks), mem::take(&mut open.operators))
        };
        while tasks.join_next().await.is_some() {}
        operators.shutdown().await;
    }

    /// Every socket that is open.
    pub(super) const fn sockets(&self) -> &OpenSockets {
        &self.sockets
    }

    /// Takes or opens every socket that these need and that is not open yet.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be had.
    pub(super) fn plan(
        &self,
        listeners: &[Listener],
        admin: Option<SocketAddr>,
        inherited: &mut Inherited,
    ) -> Result<Plan, BindError> {
        let open = self.open.lock();
        let _within = self.runtime.enter();
        let mut planned = Vec::with_capacity(listeners.len());
        for settings in listeners {
            let address = settings.address;
            let failed = |cause| BindError { address, cause };
            let tls = settings.tls.as_ref().map(|own| tls::server_config(own, &self.shared.clock));
            let tls = tls.transpose().map_err(|error| failed(io::Error::other(error)))?;
            let socket = match open.listeners.iter().find(|open| open.settings.address == address) {
                // Port 0 asks for a free one, each time another, but not again at a reload.
                Some(listener) => Arc::clone(&listener.socket),
                None => self.socket(address, inherited).map_err(failed)?,
            };
            planned.push(PlannedListener { settings: settings.clone(), socket, tls });
        }
        let admin = match admin {
            None => None,
            Some(address) if open.admin.as_ref().is_some_and(|own| own.configured == address) => {
                Some((address, None))
            }
            Some(address) => {
                let failed = |cause| BindError { address, cause };
                // The socket wakes the runtime in which it was made.
                let _within = self.operator().map_err(failed)?.enter();
                Some((address, Some(self.socket(address, inherited).map_err(failed)?)))
            }
        };
        Ok(Plan { listeners: planned, admin })
    }

    /// What the operator's listener runs on.
    fn operator(&self) -> io::Result<&Handle> {
        if self.operator.get().is_none() {
            let thread = OwnThread::start("admin")?;
            // Whoever was faster has made one that is as good.
            drop(self.operator.set(thread));
        }
        self.operator.get().map(OwnThread::handle).ok_or_else(|| io::ErrorKind::Other.into())
    }

    /// A socket that listens there.
    fn socket(
        &self,
        address: SocketAddr,
        inherited: &mut Inherited,
    ) -> io::Result<Arc<TcpListener>> {
        let socket = match inherited.take(address) {
            Some(socket) => TcpListener::from_std(socket)?,
            None => acceptor::bind(address).map_err(|cause| {
                let others = inherited.addresses().chain(self.sockets.addresses());
                dual_stack(address, others, cause)
            })?,
        };
        let socket = Arc::new(socket);
        self.sockets.add(socket.local_addr()?, &socket);
        Ok(socket)
    }

    /// Serves what was planned, and nothing else any more; nothing at all once we drain.
    pub(super) fn carry_out(&self, plan: Plan) {
        let mut guard = self.open.lock();
        let open = &mut *guard;
        if open.closed {
            return;
        }
        let mut before = mem::take(&mut open.listeners);
        for PlannedListener { settings, socket, tls } in plan.listeners {
            let found = before.iter().position(|listener| Arc::ptr_eq(&listener.socket, &socket));
            let old = found.map(|at| before.swap_remove(at));
            let listener = match old {
                Some(old) if old.settings.has_settings_of(&settings) => {
                    if let (Some(slot), Some(tls)) = (&old.tls, tls) {
                        slot.store(tls);
                    }
                    OpenListener { settings, ..old }
                }
                old => {
                    let counts = old.map(|old| {
                        old.close.send_replace(true);
                        old.counts
                    });
                    let address = socket.local_addr().unwrap_or(settings.address);
                    tracing::info!(%address, "listening");
                    self.start(&mut open.tasks, settings, socket, tls, counts.unwrap_or_default())
                }
            };
            open.listeners.push(listener);
        }
        for listener in before {
            tracing::info!(address = %listener.settings.address, "closing: not configured any more");
            self.sockets.remove(&listener.socket);
        }
        if let Some(old) = &open.admin
            && plan.admin.as_ref().is_none_or(|(_, socket)| socket.is_some())
        {
            self.sockets.remove(&old.socket);
        }
        match plan.admin {
            None => open.admin = None,
            Some((_, None)) => {}
            Some((configured, Some(socket))) => {
                let admin = self.start_admin(&mut open.operators, configured, socket);
                open.admin = Some(admin);
            }
        }
    }

    fn start(
        &self,
        tasks: &mut JoinSet<()>,
        settings: Listener,
        socket: Arc<TcpListener>,
        tls: Option<Arc<ServerConfig>>,
        counts: Arc<ConnectionCounts>,
    ) -> OpenListener {
        let tls = tls.map(|config| Arc::new(ArcSwap::new(config)));
        let name = settings.address.to_string();
        let metrics = self.shared.metrics.listener(&name);
        let clock = Arc::clone(&self.shared.clock);
        let unauthenticated = self.unauthenticated.clone();
        let connections =
            Connections::new(clock, settings.limits, Arc::clone(&counts), metrics, unauthenticated);
        let (close, closing) = watch::channel(false);
        let acceptor = Acceptor {
            app: Arc::new(RecheckedProxy {
                proxy: Arc::new(self.proxy(&settings, &connections)),
                connections: Arc::clone(&connections),
                live: Arc::clone(&self.live),
                shared: Arc::clone(&self.shared),
            }),
            connections,
            tls: tls.clone(),
            live: Arc::clone(&self.live),
            proxy_protocol: settings.proxy_protocol,
            strict: true,
        };
        tasks.spawn_on(acceptor.serve(Arc::clone(&socket), closing), &self.runtime);
        OpenListener { settings, socket, tls, counts, close }
    }

    fn proxy(&self, settings: &Listener, connections: &Arc<Connections>) -> HttpProxy<EdgeProxy> {
        let limits = settings.limits;
        let app = EdgeProxy {
            live: Arc::clone(&self.live),
            shared: Arc::clone(&self.shared),
            transport: settings.transport(),
            hsts: settings.hsts.clone(),
            connections: Arc::clone(connections),
            slots: RequestSlots::new(limits, Arc::clone(&self.upstreams)),
        };
        let mut proxy = http_proxy(&self.conf, app);
        // Pingora's own timeout for idle connections would close without GOAWAY; the listener counts instead.
        let mut h2 = default_h2_options();
        h2.max_send_buffer_size(H2_SEND_BUFFER);
        h2.max_concurrent_streams(limits.h2_streams);
        h2.max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        proxy.h2_options = Some(h2);
        proxy
    }

    fn start_admin(
        &self,
        operators: &mut JoinSet<()>,
        configured: SocketAddr,
        socket: Arc<TcpListener>,
    ) -> AdminListener {
        let limits = ConnectionLimits {
            connections: ADMIN_CONNECTIONS,
            per_address: ADMIN_CONNECTIONS,
            ..ConnectionLimits::default()
        };
        let metrics = self.shared.metrics.listener(ADMIN);
        let clock = Arc::clone(&self.shared.clock);
        let (close, closing) = watch::channel(false);
        let acceptor = Acceptor {
            app: Arc::new(Admin {
                live: Arc::clone(&self.live),
                shared: Arc::clone(&self.shared),
                draining: Arc::clone(&self.draining),
            }),
            connections: Connections::new(
                clock,
                limits,
                Arc::default(),
                metrics,
                UnauthenticatedSlots::new(ADMIN_CONNECTIONS),
            ),
            tls: None,
            live: Arc::clone(&self.live),
            proxy_protocol: false,
            strict: false,
        };
        let address = socket.local_addr().unwrap_or(configured);
        tracing::info!(%address, "admin listening");
        let runtime = self.operator().unwrap_or(&self.runtime);
        operators.spawn_on(acceptor.serve(Arc::clone(&socket), closing), runtime);
        AdminListener { configured, socket, _close: close }
    }
}

impl Sockets for OpenListeners {
    fn prepare(
        &self,
        listeners: &[Listener],
        admin: Option<SocketAddr>,
    ) -> Result<Box<dyn FnOnce() + '_>, BindError> {
        let plan = self.plan(listeners, admin, &mut Inherited::none())?;
        Ok(Box::new(move || self.carry_out(plan)))
    }
}

/// Says why an address is taken, where that is because an IPv6 socket for every address takes IPv4 connections as well, which
/// is the default of Linux (`net.ipv6.bindv6only`, ipv6(7)) and of systemd's sockets.
fn dual_stack(
    address: SocketAddr,
    mut others: impl Iterator<Item = SocketAddr>,
    cause: io::Error,
) -> io::Error {
    let is_wide = |of: SocketAddr| of.is_ipv6() && of.ip().is_unspecified();
    let meets = |other: &SocketAddr| {
        let pair = [(address, *other), (*other, address)];
        other.port() == address.port() && pair.iter().any(|(a, b)| is_wide(*a) && b.is_ipv4())
    };
    if cause.kind() != io::ErrorKind::AddrInUse {
        return cause;
    }
    let Some(other) = others.find(meets) else { return cause };
    let (wide, narrow) = if is_wide(address) { (address, other) } else { (other, address) };
    io::Error::new(
        cause.kind(),
        format!(
            "{cause}: {wide} takes IPv4 connections as well, so {narrow} cannot stand beside it; one listener on {wide} serves \
             both, or say `BindIPv6Only=ipv6-only` where systemd opens it"
        ),
    )
}
