//! Sockets that accept: from a TCP connection, through the PROXY protocol and TLS where they are ours to end, to an application
//! of Pingora's.
//!
//! Pingora's own server could do this, but it lives on when it cannot bind, never says which port it got, counts nobody, and
//! sleeps out its whole grace period when told to stop.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::apps::ServerApp;
use pingora::protocols::{ALPN, SocketDigest, Stream};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::gateway::live::Live;
use crate::log_limit::LogLimit;
use crate::proxy::connections::{ClientConnection, ConnectionSlot, Connections};
use crate::proxy::head::HeadBounds;
use crate::proxy::proxy_protocol::{self, HeaderError};
use crate::proxy::refusal::Refusal;
use crate::proxy::tls;
use crate::proxy::wire::{Spoken, Wire};

/// Of connections that the system does not give us.
static CANNOT_ACCEPT: LogLimit = LogLimit::new();
/// The pause after a connection could not be accepted, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection without requests is kept once we drain: time for one more request, which is answered with
/// `Connection: close`, so that a client that uses its connections never meets a closed one.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How many of them are still taken in when a listener closes.
const LAST_CONNECTIONS: usize = BACKLOG as usize;

/// Opens a socket. Must be called within a runtime.
///
/// # Errors
/// The system's.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What stands behind a socket.
pub(super) struct Acceptor<A> {
    pub(super) app: Arc<A>,
    pub(super) connections: Arc<Connections>,
    /// What TLS is made with, where it ends here; another may take its place at any time.
    pub(super) tls: Option<Arc<ArcSwap<ServerConfig>>>,
    pub(super) live: Arc<Live>,
    /// Whether each connection begins with a PROXY header.
    pub(super) proxy_protocol: bool,
    /// Whether the messages of clients are looked at as they pass.
    pub(super) strict: bool,
}

impl<A> Clone for Acceptor<A> {
    fn clone(&self) -> Self {
        Self {
            app: Arc::clone(&self.app),
            connections: Arc::clone(&self.connections),
            tls: self.tls.clone(),
            live: Arc::clone(&self.live),
            proxy_protocol: self.proxy_protocol,
            strict: self.strict,
        }
    }
}

impl<A: ServerApp + Send + Sync + 'static> Acceptor<A> {
    /// Accepts until told to stop, then waits until the last connection has ended.
    pub(super) async fn serve(self, socket: Arc<TcpListener>, shutdown: watch::Receiver<bool>) {
        let mut stopping = shutdown.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown_signalled(&mut stopping) => break,
                Some(_) = connections.join_next() => {}
                accepted = socket.accept() => match accepted {
                    Ok((tcp, peer)) => self.spawn_connection(tcp, peer, &shutdown, &mut connections),
                    Err(error) => {
                        if let Some(left_out) = CANNOT_ACCEPT.allow("accept", self.live.shared().clock.now()) {
                            tracing::warn!(%error, left_out, "cannot accept");
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Who waits to be accepted was told by the system that he is connected. Where the socket lives on, its new edge comes for
        // him, with its own settings; otherwise nobody else may.
        let last = if Arc::strong_count(&socket) > 1 { 0 } else { LAST_CONNECTIONS };
        for _ in 0..last {
            match timeout(Duration::ZERO, socket.accept()).await {
                Ok(Ok((tcp, peer))) => {
                    self.spawn_connection(tcp, peer, &shutdown, &mut connections)
                }
                Ok(Err(_)) | Err(_) => break,
            }
        }
        drop(socket);
        while connections.join_next().await.is_some() {}
    }

    fn spawn_connection(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        shutdown: &watch::Receiver<bool>,
        connections: &mut JoinSet<()>,
    ) {
        let Ok(slot) = self.connections.slot() else { return };
        let (acceptor, shutdown) = (self.clone(), shutdown.clone());
        connections.spawn(async move {
            let opened = tokio::select! {
                opened = acceptor.open(tcp, peer, slot) => opened,
                // Nothing was asked yet, so nothing is lost.
                () = drain_grace(&shutdown) => None,
            };
            if let Some((stream, connection)) = opened {
                serve_connection(&acceptor.app, stream, connection, &shutdown).await;
            }
        });
    }

    /// Lets a connection in, or counts why not.
    async fn open(
        &self,
        mut tcp: TcpStream,
        peer: SocketAddr,
        mut slot: ConnectionSlot,
    ) -> Option<(Stream, ClientConnection)> {
        let connections = &self.connections;
        let limits = connections.limits();
        tcp.set_nodelay(true).ok()?;
        let trusted = self.live.current().trusts(peer.ip());
        let mut client = peer;
        if self.proxy_protocol {
            let header = async {
                if trusted {
                    proxy_protocol::read(&mut tcp).await
                } else {
                    Err(HeaderError::Untrusted)
                }
            };
            match timeout(limits.header_timeout, header).await {
                Ok(Ok(said)) => client = said.unwrap_or(peer),
                outcome => {
                    connections.refuse(Refusal::ProxyProtocol);
                    tracing::debug!(%peer, error = failure(outcome), "no PROXY header");
                    return None;
                }
            }
        }
        // A proxy in front brings everybody's connections.
        if !(trusted && client == peer) {
            slot.take(client.ip()).ok()?;
        }
        let id = tcp.as_raw_fd();
        let digest = SocketDigest::from_raw_fd(id);
        // Asked for later, it would be unknown if the client had gone by then.
        digest.peer_addr.set(Some(peer.into())).ok()?;
        let digest = Arc::new(digest);
        let Some(config) = &self.tls else {
            let connection = slot.admit(&digest, client, None);
            let state = Arc::clone(connection.state());
            return Some((
                Box::new(Wire::new(tcp, id, digest, state, self.spoken(false))),
                connection,
            ));
        };
        let handshake = TlsAcceptor::from(config.load_full()).accept(tcp);
        match timeout(limits.header_timeout, handshake).await {
            Ok(Ok(stream)) => {
                let certificate = tls::client_certificate(stream.get_ref().1);
                let connection = slot.admit(&digest, client, certificate);
                let state = Arc::clone(connection.state());
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Some((Box::new(Wire::new(stream, id, digest, state, self.spoken(h2))), connection))
            }
            outcome => {
                connections.refuse(Refusal::Handshake);
                tracing::debug!(%peer, error = failure(outcome), "TLS handshake failed");
                None
            }
        }
    }

    fn spoken(&self, h2: bool) -> Spoken {
        match (self.strict, h2) {
            (false, _) => Spoken::Anything,
            (true, true) => Spoken::http2(Arc::clone(self.connections.clock())),
            (true, false) => Spoken::http1(HeadBounds::from(self.connections.limits())),
        }
    }
}

/// Returns once the word is given, or nobody is left who could give it.
pub(super) async fn shutdown_signalled(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

/// Returns once the word is given and whoever was about to ask something had the time to.
pub(super) async fn drain_grace(shutdown: &watch::Receiver<bool>) {
    shutdown_signalled(&mut shutdown.clone()).await;
    sleep(DRAIN_GRACE).await;
}

/// What went wrong, where it was not the time.
fn failure<T, E: Display>(outcome: Result<Result<T, E>, Elapsed>) -> String {
    match outcome {
        Ok(Ok(_)) => String::new(),
        Ok(Err(error)) => error.to_string(),
        Err(elapsed) => elapsed.to_string(),
    }
}

async fn serve_connection<A: ServerApp>(
    app: &Arc<A>,
    stream: Stream,
    connection: ClientConnection,
    shutdown: &watch::Receiver<bool>,
) {
    let hangup = connection.hangup();
    let http2 = stream.selected_alpn_proto() == Some(ALPN::H2);
    let state = Arc::clone(connection.state());
    {
        let talk = state.poll_slots.drive_connection(async {
            let mut next = Some(stream);
            while let Some(stream) = next {
                next = app.process_new(stream, &hangup).await;
            }
        });
        tokio::pin!(talk);
        tokio::select! {
            () = &mut talk => {}
            // HTTP/2 says that a connection ends, and which requests it took (RFC 9113 section 6.8).
            () = connection.idle_timeout() => if http2 {
                tokio::select! {
                    () = talk => {}
                    () = connection.go_away() => {}
                }
            },
            () = connection.drain(shutdown) => {}
        }
        // Here it ends, with the turn that it may have been given.
    }
    connection.done().await;
}
