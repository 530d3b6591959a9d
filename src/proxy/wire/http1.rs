//! The bytes of an HTTP/1 connection, cut into messages before Pingora sees them.
//!
//! Pingora gets one head at a time, which [`head::read`] has found to be readable in one way only, then its body and not a
//! byte more. What cannot be read that way is replaced by a harmless head, and the refusal is left with the connection, where
//! the filter finds it: so it is answered, logged and counted like any other. Nothing after it is read.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::proxy::connections::{ConnectionState, Received};
use crate::proxy::head::{self, BodyLength, HeadBounds, HeadError};
use crate::proxy::wire::chunks::Chunks;

/// Stands for a head that was refused. It asks for nothing: the filter answers before anybody looks at it.
const SUBSTITUTE: &[u8] = b"GET / HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n";
/// How much of what a client sends ahead is taken while it waits for an answer, in bytes.
const MOST_AHEAD: usize = 8 * 1024;
/// How much of a refused target is kept for the log, in bytes.
const MOST_LOGGED: usize = 1024;

/// Where in its conversation the client is.
enum Phase {
    /// Sending a head.
    Head,
    /// Its head is on its way to Pingora; then comes what follows it.
    HandOver(Bytes, After),
    /// Sending a body of so many more bytes.
    Fixed(u64),
    /// Sending a chunked body.
    Chunked(Chunks),
    /// Waiting for the answer.
    Answer,
    /// The connection belongs to another protocol now.
    Tunnel,
    /// It was refused, or broke its body off; nothing more is read.
    Refused,
}

#[derive(Debug, Clone, Copy)]
enum After {
    Body(BodyLength),
    Nothing,
}

/// The reader of one connection.
pub(in crate::proxy) struct Http1 {
    phase: Phase,
    bounds: HeadBounds,
    /// Received, and not passed on yet.
    ahead: BytesMut,
    /// How much of it is known to hold no end of a head.
    scanned: usize,
    /// When the head must be complete; there is none while none has begun.
    deadline: Option<Pin<Box<Sleep>>>,
    /// The heads that were passed on.
    heads: u64,
    /// The client has finished sending.
    ended: bool,
}

/// Without the bytes that are on their way.
impl fmt::Debug for Http1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1").field("heads", &self.heads).finish_non_exhaustive()
    }
}

impl Http1 {
    pub(super) fn new(bounds: HeadBounds) -> Self {
        Self {
            phase: Phase::Head,
            bounds,
            ahead: BytesMut::new(),
            scanned: 0,
            deadline: None,
            heads: 0,
            ended: false,
        }
    }

    /// Whether there may be bytes of the client that nobody has read: closing would then reset the connection, and take the
    /// answer with it.
    pub(super) fn has_unread(&self) -> bool {
        let between = matches!(self.phase, Phase::Head | Phase::Answer | Phase::Tunnel);
        !self.ended && (!between || !self.ahead.is_empty())
    }

    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        connection: &ConnectionState,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.phase {
                Phase::Head => {
                    if let Some(end) = self.look() {
                        self.receive(end, connection);
                        continue;
                    }
                    if !self.ahead.is_empty() && self.is_late(connection, cx) {
                        self.receive(Err(HeadError::Late), connection);
                        continue;
                    }
                    if ready!(self.poll_fill(io, cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::HandOver(head, after) => {
                    let count = head.len().min(out.remaining());
                    out.put_slice(&head.split_to(count));
                    if head.is_empty() {
                        self.phase = match *after {
                            After::Body(BodyLength::Fixed(length)) => Phase::Fixed(length),
                            After::Body(BodyLength::Chunked) => Phase::Chunked(Chunks::new()),
                            After::Nothing => Phase::Refused,
                        };
                    }
                    return Poll::Ready(Ok(()));
                }
                Phase::Fixed(0) => self.phase = Phase::Answer,
                Phase::Fixed(_) | Phase::Chunked(_) => {
                    return self.poll_body(io, connection, cx, out);
                }
                Phase::Answer if connection.is_upgraded() => self.phase = Phase::Tunnel,
                Phase::Answer if connection.finished() == self.heads => self.phase = Phase::Head,
                Phase::Answer => {
                    // Only to notice that the client has gone.
                    if self.ended && self.ahead.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    if self.ended || self.ahead.len() >= MOST_AHEAD {
                        return Poll::Pending;
                    }
                    ready!(self.poll_fill(io, cx))?;
                }
                Phase::Tunnel if self.ahead.is_empty() => return Pin::new(io).poll_read(cx, out),
                Phase::Tunnel => {
                    let count = self.ahead.len().min(out.remaining());
                    out.put_slice(&self.ahead.split_to(count));
                    return Poll::Ready(Ok(()));
                }
                Phase::Refused => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Looks for the end of a head, or for what shows that it will never be one.
    fn look(&mut self) -> Option<Result<usize, HeadError>> {
        let first = self.ahead.first()?;
        // A client that speaks TLS, or another protocol, is told so at its first byte.
        if !(first.is_ascii_graphic() || *first == b'\r') {
            return Some(Err(HeadError::Malformed));
        }
        let mut from = self.scanned;
        while let Some(found) = self.ahead.get(from..)?.iter().position(|byte| *byte == b'\n') {
            let end = from + found + 1;
            let line = self.ahead.get(..end)?;
            if end > self.bounds.bytes {
                break;
            }
            if !line.ends_with(b"\r\n") {
                return Some(Err(HeadError::Malformed));
            }
            if line.ends_with(b"\r\n\r\n") {
                return Some(Ok(end));
            }
            from = end;
        }
        if self.ahead.len() > self.bounds.bytes {
            return Some(Err(HeadError::TooLarge));
        }
        self.scanned = self.ahead.len();
        None
    }

    /// Passes a head on, or its substitute.
    fn receive(&mut self, end: Result<usize, HeadError>, connection: &ConnectionState) {
        (self.scanned, self.deadline) = (0, None);
        let read = end.and_then(|end| {
            let head = self.ahead.get(..end).unwrap_or_default();
            head::read(head, self.bounds)
                .map(|head| (end, Bytes::copy_from_slice(head.target), head.body))
        });
        self.phase = match read {
            Ok((end, target, body)) => {
                let head = head::for_pingora(self.ahead.split_to(end).freeze(), &target);
                connection.receive(Received::Head(target));
                Phase::HandOver(head, After::Body(body))
            }
            Err(error) => {
                let (method, target) = head::glimpse(&self.ahead);
                let kept = |text: &[u8]| {
                    String::from_utf8_lossy(text.get(..MOST_LOGGED).unwrap_or(text)).into_owned()
                };
                connection.receive(Received::Refused {
                    error,
                    method: kept(method),
                    target: kept(target),
                });
                Phase::HandOver(Bytes::from_static(SUBSTITUTE), After::Nothing)
            }
        };
        self.heads += 1;
    }

    fn is_late(&mut self, connection: &ConnectionState, cx: &mut Context<'_>) -> bool {
        let time = self.bounds.time;
        let deadline = self.deadline.get_or_insert_with(|| {
            connection.begin_head();
            Box::pin(sleep(time))
        });
        deadline.as_mut().poll(cx).is_ready()
    }

    fn poll_body<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        connection: &ConnectionState,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(io).poll_read(cx, out))?;
        } else {
            let count = self.ahead.len().min(out.remaining());
            out.put_slice(self.ahead.chunk().get(..count).unwrap_or_default());
            self.ahead.advance(count);
        }
        let came = out.filled().get(before..).unwrap_or_default();
        let ours = match &mut self.phase {
            Phase::Fixed(left) => {
                let ours = came.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left = left.saturating_sub(ours as u64);
                ours
            }
            Phase::Chunked(chunks) => match chunks.read(came) {
                Ok(ours) => {
                    if chunks.is_done() {
                        self.phase = Phase::Answer;
                    }
                    ours
                }
                Err(malformed) => {
                    out.set_filled(before);
                    connection.break_off();
                    self.phase = Phase::Refused;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, malformed)));
                }
            },
            _ => came.len(),
        };
        // What follows the body goes back in front of what was received later.
        if let Some(excess) = came.get(ours..).filter(|excess| !excess.is_empty()) {
            let mut ahead = BytesMut::from(excess);
            ahead.extend_from_slice(&self.ahead);
            self.ahead = ahead;
            out.set_filled(before + ours);
        }
        if out.filled().len() == before {
            // Pingora sees that the body is cut.
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on into what is not passed on yet.
    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let mut room = [0; 4096];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        self.ahead.extend_from_slice(buffer.filled());
        self.ended = count == 0;
        Poll::Ready(Ok(count))
    }
}
