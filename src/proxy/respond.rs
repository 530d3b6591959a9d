//! Answers of our own on the wire, and bodies of requests that we answer ourselves.
//!
//! Pingora's own error answers always close the connection and name the software; these do neither. After a body could not
//! be read to its end the connection is closed: what follows on it could be anything.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::Error;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::proxy::upstream;
use crate::reason::Reason;

/// The largest unread body that is read and thrown away to keep a connection.
const MAX_DRAINED_BYTES: usize = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// How long a body that we do read may take, from its first byte to its last.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// It is larger than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    Late,
    /// It was malformed.
    #[error("the body is malformed")]
    Broken,
    /// It was cut, or broke the grammar of chunks.
    #[error("the body is cut")]
    Gone,
}

impl BodyError {
    fn of(error: Box<Error>) -> Self {
        match upstream::reason(&error.into_down()) {
            Reason::ClientGone => Self::Gone,
            Reason::RequestTimeout => Self::Late,
            _ => Self::Broken,
        }
    }

    /// The reason in the log and the metrics.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::TooLarge => Reason::ContentTooLarge,
            Self::Late => Reason::RequestTimeout,
            Self::Broken | Self::Gone => Reason::BadRequest,
        }
    }

    /// What the client hears.
    pub(super) fn answer(self) -> Answer {
        let (status, code) = match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "content_too_large"),
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::Broken | Self::Gone => (StatusCode::BAD_REQUEST, "bad_request"),
        };
        Answer::json(status, &serde_json::json!({ "error": code }))
    }
}

/// Writes an answer whole.
///
/// # Errors
/// Pingora's, when the client is gone.
pub(super) async fn write(session: &mut Session, answer: &Answer) -> pingora::Result<()> {
    let mut header = ResponseHeader::build(answer.status, Some(answer.headers.len() + 1))?;
    for (name, value) in &answer.headers {
        header.append_header(name, value)?;
    }
    header.insert_header(CONTENT_LENGTH, HeaderValue::from(answer.body.len()))?;
    let bodiless = answer.body.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(answer.body.clone()), true).await?;
    }
    Ok(())
}

/// Reads what is left of a small body, so that the connection can be kept and the client reads the answer; otherwise lets
/// the connection close after the answer (RFC 9112 section 9.3).
pub(super) async fn drain(session: &mut Session) {
    // A client that waits for 100 has not sent its body and, refused, never will.
    let waits = session.req_header().headers.contains_key(EXPECT);
    if session.is_body_empty() {
        return;
    }
    if waits || declared(session).is_some_and(|length| length > MAX_DRAINED_BYTES) {
        session.set_keepalive(None);
        return;
    }
    if !matches!(timeout(DRAIN_TIME, collect(session, MAX_DRAINED_BYTES)).await, Ok(Ok(_))) {
        session.set_keepalive(None);
    }
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// [`BodyError`]; the connection then closes after the answer.
pub(super) async fn read_body(session: &mut Session, limit: usize) -> Result<Bytes, BodyError> {
    if session.is_body_empty() {
        return Ok(Bytes::new());
    }
    let read = match declared(session) {
        Some(length) if length > limit => Err(BodyError::TooLarge),
        Some(_) | None => match timeout(BODY_TIME, invited(session, limit)).await {
            Ok(read) => read,
            Err(_) => Err(BodyError::Late),
        },
    };
    if read.is_err() {
        session.set_keepalive(None);
    }
    read
}

async fn invited(session: &mut Session, limit: usize) -> Result<Bytes, BodyError> {
    let head = session.req_header();
    if head.version == Version::HTTP_11 && head.headers.contains_key(EXPECT) {
        session.write_continue_response().await.map_err(|_| BodyError::Broken)?;
    }
    collect(session, limit).await
}

async fn collect(session: &mut Session, limit: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await.map_err(BodyError::of)? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn declared(session: &Session) -> Option<usize> {
    session.req_header().headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
