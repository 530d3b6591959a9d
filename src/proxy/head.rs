//! Whether a request's head can be read in one way only (RFC 9112).
//!
//! Pingora's parser is lenient where the standard lets it be: bare LF, `Content-Length` next to `Transfer-Encoding`, no `Host`.
//! What it accepts could be read otherwise by whoever stands in front of or behind us, so the bytes themselves are read here
//! first and everything doubtful is refused. It also refuses whatever Pingora would refuse by itself, unseen by our log.
//! What the target means is `route::target`'s business; `wire` brings the bytes.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::answer::Answer;
use crate::config::ConnectionLimits;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadBounds {
    /// In bytes, all of it.
    pub(super) bytes: usize,
    /// In fields.
    pub(super) fields: usize,
    /// Its target, in bytes.
    pub(super) target: usize,
    /// How long it may take, from its first byte to its last.
    pub(super) time: Duration,
}

impl From<&ConnectionLimits> for HeadBounds {
    fn from(limits: &ConnectionLimits) -> Self {
        Self {
            bytes: limits.header_bytes,
            fields: limits.header_count,
            target: limits.target_bytes,
            time: limits.header_timeout,
        }
    }
}

/// A head that can be read in one way only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// The target exactly as received.
    pub(super) target: &'a [u8],
    /// Where the body ends.
    pub(super) body: BodyLength,
}

/// Without the target, whose query is nobody's business.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({:?})", self.body)
    }
}

/// Where a body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// After so many bytes, which may be none.
    Fixed(u64),
    /// Where its last chunk ends.
    Chunked,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    /// It breaks the grammar, or two readers could frame it differently.
    #[error("the head is malformed or ambiguous")]
    Malformed,
    /// It has too many bytes or fields.
    #[error("the head is too large")]
    TooLarge,
    /// Its target is too long.
    #[error("the target is too long")]
    TargetTooLong,
    /// It expects something other than `100-continue`.
    #[error("the expectation is unknown")]
    Expectation,
    /// It asks for a tunnel (RFC 9110 section 9.3.6), which nobody gets.
    #[error("CONNECT is not offered")]
    Connect,
    /// It did not arrive in time.
    #[error("the head did not arrive in time")]
    Late,
}

impl HeadError {
    /// What the client hears.
    pub(super) fn answer(self) -> Answer {
        let (status, code) = match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::TooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request_header_fields_too_large")
            }
            Self::TargetTooLong => (StatusCode::URI_TOO_LONG, "uri_too_long"),
            Self::Expectation => (StatusCode::EXPECTATION_FAILED, "expectation_failed"),
            Self::Connect => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
        };
        Answer::json(status, &serde_json::json!({ "error": code }))
    }
}

/// Reads the bytes of an HTTP/1 head.
///
/// # Errors
/// [`HeadError`].
pub(super) fn read(head: &[u8], bounds: HeadBounds) -> Result<Head<'_>, HeadError> {
    if head.len() > bounds.bytes {
        return Err(HeadError::TooLarge);
    }
    // RFC 9112 section 2.2: one empty line before the request line is ignored.
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let head = head.strip_suffix(b"\r\n\r\n").ok_or(HeadError::Malformed)?;
    let mut lines = Lines(Some(head));
    let line = request_line(lines.next().ok_or(HeadError::Malformed)??)?;
    let mut framing = Framing::default();
    for (count, line) in lines.enumerate() {
        if count >= bounds.fields {
            return Err(HeadError::TooLarge);
        }
        framing.field(line?)?;
    }
    let body = framing.check(line.version)?;
    if line.target.len() > bounds.target {
        return Err(HeadError::TargetTooLong);
    }
    if line.method == b"CONNECT" {
        return Err(HeadError::Connect);
    }
    check_target(line.target, framing.host)?;
    Ok(Head { target: line.target, body })
}

/// The method and the target of a head that may be anything, for the log.
pub(super) fn glimpse(head: &[u8]) -> (&[u8], &[u8]) {
    let line = head.strip_prefix(b"\r\n").unwrap_or(head).split(|byte| *byte == b'\n').next();
    let mut parts = line.unwrap_or_default().split(|byte| matches!(byte, b' ' | b'\r'));
    let method = parts.next().filter(|method| is_token(method)).unwrap_or_default();
    (method, parts.next().unwrap_or_default())
}

/// Checks the fields of an HTTP/2 head, whose grammar the decoder has checked.
///
/// # Errors
/// [`HeadError`].
pub(super) fn check_h2(
    target: &[u8],
    headers: &HeaderMap,
    bounds: HeadBounds,
) -> Result<(), HeadError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    // However many pieces a client splits it into, `Cookie` is one field (RFC 9113 section 8.2.3).
    let pieces = headers.get_all(COOKIE).iter().count();
    let fields = headers.len().saturating_sub(pieces.saturating_sub(1));
    if fields > bounds.fields || bytes.saturating_add(target.len()) > bounds.bytes {
        return Err(HeadError::TooLarge);
    }
    if target.len() > bounds.target {
        return Err(HeadError::TargetTooLong);
    }
    let all = |name: HeaderName| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let mut lengths = all(CONTENT_LENGTH);
    let lengths = lengths.next().is_some_and(|length| parse_length(length).is_none())
        || lengths.next().is_some();
    // RFC 9113 section 8.2.1; the decoder leaves the ends of values to us.
    let padded = |value: &HeaderValue| value.as_bytes().trim_ascii() != value.as_bytes();
    if lengths || headers.values().any(padded) {
        return Err(HeadError::Malformed);
    }
    if all(EXPECT).all(is_continue) { Ok(()) } else { Err(HeadError::Expectation) }
}

/// The lines of a head, each of which ends in CRLF and holds neither CR, LF nor NUL.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], HeadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.take()?;
        let line = match rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            None => rest,
            Some(end) => {
                let (line, after) = rest.split_at(end);
                match after.strip_prefix(b"\r\n") {
                    Some(after) => self.0 = Some(after),
                    None => return Some(Err(HeadError::Malformed)),
                }
                line
            }
        };
        Some(Ok(line))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

fn request_line(line: &[u8]) -> Result<RequestLine<'_>, HeadError> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::Malformed);
    };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(HeadError::Malformed),
    };
    if is_token(method) && !target.is_empty() {
        Ok(RequestLine { method, target, version })
    } else {
        Err(HeadError::Malformed)
    }
}

/// Whether a target is in origin-form or `*`, or in absolute-form with the authority of `Host` (RFC 9112 section 3.2).
/// Pingora would rewrite what is no URI, and refuse the rest before we see it.
fn check_target(target: &[u8], host: Option<&[u8]>) -> Result<(), HeadError> {
    let rest = match strip_scheme(target) {
        None => target,
        Some(after) => {
            let end = after.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            let (authority, rest) = after.split_at(end.unwrap_or(after.len()));
            if authority.is_empty() || host.is_some_and(|host| host != authority) {
                return Err(HeadError::Malformed);
            }
            if http::uri::Authority::try_from(authority).is_err() || authority.contains(&b'@') {
                return Err(HeadError::Malformed);
            }
            if rest.is_empty() { b"/" } else { rest }
        }
    };
    let mark = rest.iter().position(|byte| *byte == b'?').unwrap_or(rest.len());
    let (path, query) = rest.split_at(mark);
    let doubtful = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>');
    let form = path.starts_with(b"/") || rest == b"*";
    let query_is_sound = !query.iter().any(u8::is_ascii_control);
    if form && !path.iter().any(doubtful) && query_is_sound && PathAndQuery::try_from(path).is_ok()
    {
        Ok(())
    } else {
        Err(HeadError::Malformed)
    }
}

/// The bytes of a sound head as Pingora can read them: without the query where it holds what Pingora takes for no URI. What was
/// received stays with the connection, and that is what is judged and forwarded.
pub(super) fn for_pingora(head: Bytes, target: &[u8]) -> Bytes {
    let mark = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let odd = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>');
    if !target.get(mark..).unwrap_or_default().iter().any(odd) {
        return head;
    }
    // No method has a space.
    let start = head.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
    let (before, after) = (head.get(..start + mark), head.get(start + target.len()..));
    Bytes::from([before.unwrap_or_default(), after.unwrap_or_default()].concat())
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    [b"http://".as_slice(), b"https://"].iter().find_map(|scheme| {
        let (found, rest) = target.split_at_checked(scheme.len())?;
        found.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// The fields on which the message's boundaries hang.
#[derive(Default)]
struct Framing<'a> {
    hosts: usize,
    host: Option<&'a [u8]>,
    lengths: usize,
    length: u64,
    codings: usize,
    unknown_expectation: bool,
}

impl<'a> Framing<'a> {
    fn field(&mut self, line: &'a [u8]) -> Result<(), HeadError> {
        // A folded line begins with white space, which is no token either.
        let colon = line.iter().position(|byte| *byte == b':').ok_or(HeadError::Malformed)?;
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        if !is_token(name) || value.iter().any(control) {
            return Err(HeadError::Malformed);
        }
        let value = value.trim_ascii();
        let is = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
        let mut well_formed = true;
        if is("host") {
            self.hosts += 1;
            self.host = Some(value);
            well_formed = !value.contains(&b'@');
        } else if is("content-length") {
            self.lengths += 1;
            let length = parse_length(value);
            well_formed = length.is_some();
            self.length = length.unwrap_or_default();
        } else if is("transfer-encoding") {
            self.codings += 1;
            well_formed = value.eq_ignore_ascii_case(b"chunked");
        } else if is("expect") {
            self.unknown_expectation |= !is_continue(value);
        }
        if well_formed { Ok(()) } else { Err(HeadError::Malformed) }
    }

    const fn check(&self, version: Version) -> Result<BodyLength, HeadError> {
        let hosts = match version {
            Version::Http11 => self.hosts == 1,
            Version::Http10 => self.hosts <= 1,
        };
        let chunked = self.codings > 0;
        let http10 = matches!(version, Version::Http10);
        if !hosts || self.lengths + self.codings > 1 || (chunked && http10) {
            return Err(HeadError::Malformed);
        }
        if self.unknown_expectation {
            return Err(HeadError::Expectation);
        }
        Ok(if chunked { BodyLength::Chunked } else { BodyLength::Fixed(self.length) })
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    // `parse` alone would take a sign.
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(name: &[u8]) -> bool {
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(of_token)
}

#[cfg(test)]
mod tests;
