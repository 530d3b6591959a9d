//! Sockets that accept: from a TCP connection, through TLS where it is ours to end, to an application of Pingora's.
//!
//! Pingora's own server could do this, but it lives on when it cannot bind, never says which port it got, and sleeps out its
//! whole grace period when told to stop.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream as TcpIo;
use pingora::protocols::{GetSocketDigest as _, SocketDigest, Stream};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::sign::SingleCertAndKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::TlsIdentity;
use crate::proxy::inherited::Inherited;
use crate::proxy::patience::{Connections, Guest};
use crate::proxy::sockets::Sockets;

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket and what ends TLS on it.
pub(super) struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
    tls: Option<Acceptor>,
}

impl Listener {
    pub(super) async fn bind(
        address: SocketAddr,
        identity: Option<&TlsIdentity>,
        inherited: &mut Inherited,
        sockets: &Sockets,
    ) -> io::Result<Self> {
        let tls = identity.map(acceptor).transpose().map_err(io::Error::other)?;
        let socket = match inherited.take(address) {
            Some(socket) => TcpListener::from_std(socket)?,
            None => TcpListener::bind(address).await?,
        };
        let (address, socket) = (socket.local_addr()?, Arc::new(socket));
        sockets.add(address, &socket);
        Ok(Self { socket, address, tls })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until told to stop, then waits until the last connection has ended.
    pub(super) async fn serve<A>(
        self,
        app: Arc<A>,
        guests: Arc<Connections>,
        shutdown: watch::Receiver<bool>,
    ) where
        A: ServerApp + Send + Sync + 'static,
    {
        let tls = self.tls.map(Arc::new);
        let mut stopping = shutdown.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = told(&mut stopping) => break,
                Some(_) = connections.join_next() => {}
                accepted = self.socket.accept() => match accepted {
                    Ok((tcp, peer)) => {
                        let (app, tls) = (Arc::clone(&app), tls.clone());
                        let (guests, shutdown) = (Arc::clone(&guests), shutdown.clone());
                        connections.spawn(async move {
                            let mut stopping = shutdown.clone();
                            let stream = tokio::select! {
                                stream = open(tcp, peer, tls.as_deref()) => stream,
                                // Nothing was asked yet, so nothing is lost.
                                () = told(&mut stopping) => None,
                            };
                            if let Some(stream) = stream {
                                converse(&app, stream, guests.admit(peer), &shutdown).await;
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(address = %self.address, %error, "cannot accept");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.socket);
        app.cleanup().await;
        while connections.join_next().await.is_some() {}
    }
}

/// Returns once the word is given, or nobody is left who could give it.
pub(super) async fn told(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

async fn converse<A: ServerApp>(
    app: &Arc<A>,
    stream: Stream,
    guest: Guest,
    shutdown: &watch::Receiver<bool>,
) {
    let talk = async {
        let mut next = Some(stream);
        while let Some(stream) = next {
            next = app.process_new(stream, shutdown).await;
        }
    };
    tokio::select! {
        () = talk => {}
        () = guest.overdue() => {}
        () = guest.farewell(shutdown) => {}
    }
    guest.done().await;
}

async fn open(tcp: TcpStream, peer: SocketAddr, tls: Option<&Acceptor>) -> Option<Stream> {
    let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
    // Asked for later, it would be unknown if the client had gone by then.
    if digest.peer_addr.set(Some(peer.into())).is_err() {
        return None;
    }
    let mut stream = TcpIo::from(tcp);
    stream.set_nodelay().ok()?;
    stream.set_socket_digest(digest);
    let Some(tls) = tls else { return Some(Box::new(stream)) };
    match timeout(HANDSHAKE_TIME, tls.tls_handshake(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake took too long");
            None
        }
    }
}

fn acceptor(identity: &TlsIdentity) -> Result<Acceptor, rustls::Error> {
    let resolver = SingleCertAndKey::from((*identity.key).clone());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Acceptor::from_server_config(Arc::new(config)))
}
