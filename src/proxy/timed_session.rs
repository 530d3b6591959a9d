//! A client's session whose silences are counted by an [`ExchangeTimer`].
//!
//! Pingora offers no hook while it waits for the body of a request or for its response, and its own timeouts know one side only.
//! It does take sessions of other protocols, and asks them for the body. So from the time at which a request with a body, or an
//! upgrade, was let through, the session is replaced by this one, which passes everything on and waits with the timer. It is put
//! back before an answer of ours is written and before the connection is used again: what concerns the connection itself
//! (keep-alive) is not known to sessions of other protocols.
//!
//! What is read before Pingora asks for the body is gathered: Pingora takes it as what was kept for another try, and sends it
//! first. Its own buffer for that cannot be used, since it begins to fill with the first try.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora_proxy::Session;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::proxy::exchange_timer::{ExchangeTimer, Turn};
use crate::proxy::request_buffer::RequestBuffer;

/// Where the session of the client is put back, once.
#[derive(Default)]
pub(super) struct Installed(Arc<Mutex<Option<ServerSession>>>);

/// The replacement.
struct TimedSession {
    inner: ServerSession,
    home: Arc<Mutex<Option<ServerSession>>>,
    timer: Arc<ExchangeTimer>,
    clock: Arc<dyn Clock>,
    /// What was gathered, and what is kept for another try.
    buffer: RequestBuffer,
    /// The silence that lasts.
    silence: Option<Silence>,
    /// How long the client has kept us waiting for its body, without the silence that lasts.
    waited: Duration,
    /// All of the body has come.
    complete: bool,
    /// The response has ended.
    answered: bool,
}

/// A silence: whose it is, and since when.
#[derive(Clone, Copy)]
struct Silence {
    turn: Turn,
    /// What the timer counted when it began.
    progress: u64,
    since: Instant,
}

impl std::fmt::Debug for Installed {
    /// Nothing of the session, which holds the head of the request.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Installed")
    }
}

impl Installed {
    /// Lets the timer count the silences of this session.
    pub(super) fn over(
        session: &mut Session,
        timer: Arc<ExchangeTimer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let installed = Self::default();
        // In its place for the moment; nothing is asked of it.
        let nothing = ServerSession::new_custom(Box::new(()));
        let mut inner = std::mem::replace(&mut *session.downstream_session, nothing);
        // The timer counts instead.
        inner.set_read_timeout(None);
        let home = Arc::clone(&installed.0);
        let timed = TimedSession {
            inner,
            home,
            timer,
            clock,
            buffer: RequestBuffer::default(),
            silence: None,
            waited: Duration::ZERO,
            complete: false,
            answered: false,
        };
        *session.downstream_session = ServerSession::new_custom(Box::new(timed));
        installed
    }

    /// Puts the session of the client back.
    pub(super) fn remove(self, session: &mut Session) {
        let nothing = ServerSession::new_custom(Box::new(()));
        drop(std::mem::replace(&mut *session.downstream_session, nothing));
        if let Some(inner) = self.0.lock().take() {
            *session.downstream_session = inner;
        }
    }
}

impl Drop for TimedSession {
    fn drop(&mut self) {
        let nothing = ServerSession::new_custom(Box::new(()));
        *self.home.lock() = Some(std::mem::replace(&mut self.inner, nothing));
    }
}

impl TimedSession {
    /// The turn that it is, and how much longer its silence may last.
    fn silence(&mut self, complete: bool) -> (Turn, Option<Duration>) {
        let (now, progress) = (self.clock.instant(), self.timer.progress());
        let turn = if self.inner.was_upgraded() {
            Turn::Tunnel
        } else if self.answered && !complete {
            // Nothing more comes from the upstream.
            Turn::Client
        } else {
            self.timer.turn(complete, self.inner.body_bytes_read() > 0)
        };
        if turn == Turn::Upstream && !self.timer.is_forwarded() {
            self.silence = None;
            return (turn, None);
        }
        let goes_on = |silence: &Silence| silence.turn == turn && silence.progress == progress;
        let begun = Silence { turn, progress, since: now };
        let silence = *self.silence.insert(self.silence.filter(goes_on).unwrap_or(begun));
        let passed = now.saturating_duration_since(silence.since);
        let left = self.timer.bound(turn).map(|bound| bound.saturating_sub(passed));
        if turn != Turn::Client {
            return (turn, left);
        }
        let patience = self.timer.patience(self.inner.body_bytes_read());
        let patience = patience.map(|bound| bound.saturating_sub(self.waited + passed));
        (turn, left.into_iter().chain(patience).min())
    }

    /// Reads a part of the body, or waits for the end of the connection when there is none left.
    async fn read(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        let complete = no_body_expected || self.inner.is_body_done();
        let (turn, left) = self.silence(complete);
        let reading = self.inner.read_body_or_idle(complete);
        let read = match left {
            None => reading.await,
            Some(left) => timeout(left, reading).await.unwrap_or_else(|_| Err(turn.overdue())),
        };
        if let Some(silence) = self.silence.take().filter(|silence| silence.turn == Turn::Client) {
            self.waited += self.clock.instant().saturating_duration_since(silence.since);
        }
        self.complete = self.inner.is_body_done();
        read
    }
}

#[async_trait]
impl CustomSession for TimedSession {
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        let read = self.read(no_body_expected).await?;
        if let Some(part) = read.as_ref().filter(|_| !self.inner.was_upgraded()) {
            self.buffer.keep(part);
        }
        Ok(read)
    }

    /// Before an application is asked.
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        if self.inner.is_body_done() {
            return Ok(None);
        }
        let read = self.read(false).await?;
        if let Some(part) = &read {
            self.buffer.gather(part);
        }
        Ok(read)
    }

    /// It is enabled as long as this session is.
    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        self.buffer.is_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.buffer.replay(self.complete)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let ended = self.inner.response_duplex_vec(tasks).await?;
        self.answered |= ended;
        Ok(ended)
    }

    // What follows is passed on.

    fn req_header(&self) -> &RequestHeader {
        self.inner.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.req_header_mut()
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.inner.drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _: bool) -> Result<()> {
        self.inner.write_response_header(head).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, _: bool) -> Result<()> {
        self.inner.write_response_header_ref(head).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.inner.write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner.write_response_trailers(trailers).await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.response_written()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.inner.shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        self.inner.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.inner.finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.inner.is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner.to_h1_raw()
    }

    fn is_upgrade_req(&self) -> bool {
        self.inner.is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.inner.was_upgraded()
    }

    // Neither HTTP/1 nor HTTP/2 has messages beside the body.

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
