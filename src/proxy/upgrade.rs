//! Connections to an application for a request that asks for an upgrade.
//!
//! An application that is near accepts an upgrade within microseconds of the request's head. Pingora then has the answer and the
//! end of the request (which goes another way within it) at hand at the same moment, and takes them in random order; where the
//! answer comes first, the end of the request is taken for the end of the tunnel, which closes at once. So nothing of the
//! answer may be read before the end of the request is on its way. What Pingora reads from can be ours only on a connection of
//! our own making, which its pool does not keep: each request for an upgrade has a new one, as a tunnel needs anyway.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

/// Whether the answer may be read yet. Shared by the connection and the hooks of the request.
#[derive(Debug, Default)]
pub(super) struct AnswerGate(Mutex<Gate>);

#[derive(Debug, Default)]
enum Gate {
    /// Whatever comes is read: a handshake of TLS at first, and the tunnel in the end.
    #[default]
    Open,
    /// The head of the request goes out; whoever wants to read waits.
    Closed(Option<Waker>),
    /// The end of the request is on its way, and is taken before the next look.
    Opening,
}

impl AnswerGate {
    /// The head of the request is about to be sent.
    pub(super) fn close(&self) {
        *self.0.lock() = Gate::Closed(None);
    }

    /// The end of the request has been passed on.
    pub(super) fn open(&self) {
        let mut gate = self.0.lock();
        if let Gate::Closed(waker) = &mut *gate {
            let waker = waker.take();
            *gate = Gate::Opening;
            drop(gate);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Ready once the answer may be read.
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut gate = self.0.lock();
        match &mut *gate {
            Gate::Open => return Poll::Ready(()),
            Gate::Closed(waker) => *waker = Some(cx.waker().clone()),
            Gate::Opening => {
                // Pingora asks us and the channel with the end of the request in one turn, in random order. Where we are first,
                // the channel is next. Only a task that has used up its turn finds nothing there; then we wait once more.
                if has_budget_remaining() {
                    *gate = Gate::Open;
                }
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

/// Lets a peer be reached over a connection with a gate, for one request only.
pub(super) fn gate(peer: &mut HttpPeer) -> Arc<AnswerGate> {
    let gate = Arc::new(AnswerGate::default());
    peer.options.custom_l4 = Some(Arc::new(Dial(Arc::clone(&gate))));
    // Connections of the pool have no gate, and one with a gate must not stay in it when the upgrade is refused.
    peer.group_key = !peer.group_key;
    peer.options.idle_timeout = Some(Duration::ZERO);
    gate
}

#[derive(Debug)]
struct Dial(Arc<AnswerGate>);

#[async_trait]
impl Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Err(Error::explain(ErrorType::InternalError, "not an IP address").into_in());
        };
        let tcp = TcpStream::connect(address).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    ErrorType::ConnectNoRoute
                }
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "while connecting for an upgrade", error).into_up()
        })?;
        let socket = GatedSocket { tcp, gate: Arc::clone(&self.0) };
        Ok(Stream::from(VirtualSocketStream::new(Box::new(socket))))
    }
}

/// A TCP connection that is read through the gate.
#[derive(Debug)]
struct GatedSocket {
    tcp: TcpStream,
    gate: Arc<AnswerGate>,
}

impl VirtualSocket for GatedSocket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.tcp.set_nodelay(true),
            // Peers have none.
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl AsyncRead for GatedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.gate.poll(cx));
        Pin::new(&mut self.tcp).poll_read(cx, out)
    }
}

impl AsyncWrite for GatedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
