//! The bytes of a client's connection, between the socket (or TLS) and Pingora.
//!
//! Over HTTP/1 they are cut into messages by [`http1`], over HTTP/2 their frames are counted by [`frames`]. Writes are
//! gathered until they are flushed, so that a head and a small body leave as one packet. What a message means is decided
//! elsewhere.

mod chunks;
mod continues;
mod frames;
mod http1;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::clock::Clock;
use crate::proxy::connections::ConnectionState;
use crate::proxy::head::HeadBounds;
use crate::proxy::lingering::Lingers;
use crate::proxy::wire::frames::Frames;
use crate::proxy::wire::http1::Http1;

/// Writes that are gathered, in bytes; what is larger goes out at once.
const GATHERED: usize = 4 * 1024;
/// How often the end of a client's HTTP/2 is held back: each time the codec hands on one request at least, if there is one.
const MOST_HELD: u16 = 256;

/// What is spoken on a connection.
#[derive(Debug)]
pub(super) enum Spoken {
    /// HTTP/1, cut into messages.
    Http1(Box<Http1>),
    /// HTTP/2, counted.
    Http2(Box<Frames>, Arc<dyn Clock>, Ending),
    /// Whatever; nobody looks.
    Anything,
}

/// The end of a client's HTTP/2, held back until its last requests are seen: the codec below us forgets those that came with
/// the end.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// How it ended.
    result: Option<io::Result<()>>,
    /// How often it was held back.
    held: u16,
}

impl Spoken {
    pub(super) fn http1(bounds: HeadBounds) -> Self {
        Self::Http1(Box::new(Http1::new(bounds)))
    }

    pub(super) fn http2(clock: Arc<dyn Clock>) -> Self {
        Self::Http2(Box::new(Frames::new(clock.instant())), clock, Ending::default())
    }
}

/// One connection.
pub(super) struct Wire<S> {
    io: S,
    /// The number of the socket, which tells it from every other living one.
    id: UniqueIDType,
    digest: Arc<SocketDigest>,
    connection: Arc<ConnectionState>,
    spoken: Spoken,
    /// Written, and not sent yet.
    gathered: BytesMut,
    /// Its end, while it lingers.
    end: Option<Lingers>,
}

/// Without the bytes that are on their way.
impl<S> fmt::Debug for Wire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<S> Wire<S> {
    pub(super) fn new(
        io: S,
        id: UniqueIDType,
        digest: Arc<SocketDigest>,
        connection: Arc<ConnectionState>,
        spoken: Spoken,
    ) -> Self {
        Self { io, id, digest, connection, spoken, gathered: BytesMut::new(), end: None }
    }
}

impl<S> Wire<S> {
    /// Says `100 Continue` where the proxy asked for it and a frame may stand.
    fn say_continue(&mut self) {
        if let Spoken::Http2(frames, ..) = &mut self.spoken
            && self.connection.wants_continue()
            && frames.say_continue(&mut self.gathered)
        {
            self.connection.said_continue();
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &self.gathered))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(sent);
        }
        // An idle connection keeps no memory for it.
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.spoken {
            Spoken::Anything => Pin::new(&mut self.io).poll_read(cx, out),
            Spoken::Http1(http1) => http1.poll_read(&mut self.io, &self.connection, cx, out),
            Spoken::Http2(frames, clock, ending) => {
                let before = out.filled().len();
                if ending.result.is_none() {
                    let result = ready!(Pin::new(&mut self.io).poll_read(cx, out));
                    if result.is_err() || out.filled().len() == before {
                        ending.result = Some(result);
                    }
                }
                if let Some(result) = &mut ending.result {
                    let begun = self.connection.begun();
                    if ending.held < MOST_HELD && begun < frames.opened() {
                        ending.held += 1;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    return Poll::Ready(std::mem::replace(result, Ok(())));
                }
                let came = out.filled().get(before..).unwrap_or_default();
                let counted = frames.received(came, || clock.instant());
                self.connection.opened(frames.opened());
                Poll::Ready(counted.map_err(|flood| {
                    out.set_filled(before);
                    self.connection.flooded();
                    io::Error::new(io::ErrorKind::InvalidData, flood)
                }))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let received = this.poll_receive(cx, out);
        if let Spoken::Http2(frames, ..) = &this.spoken
            && received.is_pending()
            && frames.is_waiting()
        {
            // Before the question whether it is asked for: who asks later wakes us.
            this.connection.wait_for_continue(cx.waker());
        }
        this.say_continue();
        // Who waits for the client has said what there was to say: the beginning of a slow answer is not kept back.
        if received.is_pending()
            && !this.gathered.is_empty()
            && let Poll::Ready(Err(error)) = Pin::new(this).poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        received
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.say_continue();
        if this.gathered.len().saturating_add(bytes.len()) > GATHERED {
            ready!(this.poll_send(cx))?;
        }
        let written = if bytes.len() > GATHERED {
            ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?
        } else {
            this.gathered.extend_from_slice(bytes);
            bytes.len()
        };
        if let Spoken::Http2(frames, ..) = &mut this.spoken {
            frames.sent(bytes.get(..written).unwrap_or_default());
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.end.is_none() {
            ready!(this.poll_send(cx))?;
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            let unread = matches!(&this.spoken, Spoken::Http1(http1) if http1.has_unread());
            this.end = unread.then(|| this.connection.linger()).flatten();
        }
        if let Some(end) = &mut this.end {
            ready!(end.poll_read_on(&mut this.io, cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Shutdown for Wire<S> {
    async fn shutdown(&mut self) {
        // A client that is gone needs no end.
        drop(AsyncWriteExt::shutdown(self).await);
    }
}

impl<S> UniqueID for Wire<S> {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl<S> Ssl for Wire<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.spoken {
            Spoken::Http2(..) => Some(ALPN::H2),
            Spoken::Http1(_) | Spoken::Anything => None,
        }
    }
}

impl<S> GetTimingDigest for Wire<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for Wire<S> {
    fn get_proxy_digest(&self) -> Option<Arc<pingora::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl<S> GetSocketDigest for Wire<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl<S> Peek for Wire<S> {}
