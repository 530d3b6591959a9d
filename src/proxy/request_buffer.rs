//! The beginning of a request's body: gathered before an application is asked, and kept for a second try.
//!
//! An application of a few synchronous workers spends one of them on every request that it is given, and a client that sends its
//! body slowly keeps that worker. So a body is gathered here first, up to the upstream's `buffer_request`; what is longer follows
//! as it comes. What the client can only send after it was answered is not waited for.

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::{CONTENT_TYPE, EXPECT};
use pingora::http::RequestHeader;

/// How much of a body is kept at least, so that it can be sent to another server.
const KEPT_BYTES: usize = 64 * 1024;

/// What has come of a body.
#[derive(Default)]
pub(super) struct RequestBuffer {
    bytes: BytesMut,
    /// How much was gathered before an application was asked.
    gathered: usize,
    /// More has come than is kept, so nothing is.
    truncated: bool,
}

impl std::fmt::Debug for RequestBuffer {
    /// Only how much: a body holds what it holds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBuffer")
            .field("bytes", &self.bytes.len())
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

impl RequestBuffer {
    /// Keeps a part that comes before an application is asked.
    pub(super) fn gather(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        self.gathered = self.bytes.len();
    }

    /// Keeps a part that goes to an application at the same time, as long as there is room.
    pub(super) fn keep(&mut self, part: &[u8]) {
        if self.truncated || self.bytes.len() + part.len() > KEPT_BYTES.max(self.gathered) {
            self.truncated = true;
            self.bytes = BytesMut::new();
        } else {
            self.bytes.extend_from_slice(part);
        }
    }

    /// What an application that is asked now is sent first. `None` for nothing yet; an empty body that is complete is empty.
    pub(super) fn replay(&self, complete: bool) -> Option<Bytes> {
        let replays = !self.truncated && (complete || !self.bytes.is_empty());
        replays.then(|| Bytes::copy_from_slice(&self.bytes))
    }

    /// Whether the body cannot be sent again.
    pub(super) const fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Whether a client may wait for the application before it sends all of its body: it has asked to be told to go on (RFC 9110
/// section 10.1.1), or makes a gRPC call, whose messages follow each other in both directions.
pub(super) fn converses(request: &RequestHeader) -> bool {
    let grpc = request.version == Version::HTTP_2
        && request.headers.get(CONTENT_TYPE).is_some_and(|kind| {
            let kind = kind.as_bytes().split_at_checked(GRPC.len());
            kind.is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(GRPC))
        });
    grpc || request.headers.contains_key(EXPECT)
}

/// How the media types of gRPC begin.
const GRPC: &[u8] = b"application/grpc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_gathered_is_replayed_and_what_is_too_much_is_not() {
        let mut buffer = RequestBuffer::default();
        assert_eq!((buffer.replay(false), buffer.replay(true)), (None, Some(Bytes::new())));
        buffer.gather(b"a=");
        buffer.keep(b"1");
        assert_eq!(buffer.replay(false).as_deref(), Some(&b"a=1"[..]));
        buffer.keep(&vec![b'x'; KEPT_BYTES]);
        assert!(buffer.is_truncated());
        assert_eq!(buffer.replay(true), None);
        buffer.keep(b"2");
        assert_eq!(buffer.replay(true), None);
    }

    #[test]
    fn more_than_usual_is_kept_when_it_was_gathered() {
        let mut buffer = RequestBuffer::default();
        buffer.gather(&vec![b'x'; 2 * KEPT_BYTES]);
        assert_eq!(buffer.replay(false).map(|bytes| bytes.len()), Some(2 * KEPT_BYTES));
        buffer.keep(b"y");
        assert!(buffer.is_truncated());
    }

    #[test]
    fn grpc_and_who_waits_for_100_are_not_waited_for() {
        for (version, name, value, expected) in [
            (Version::HTTP_2, "content-type", "application/grpc", true),
            (Version::HTTP_2, "content-type", "Application/gRPC+proto", true),
            (Version::HTTP_2, "content-type", "application/json", false),
            (Version::HTTP_2, "content-type", "application", false),
            // There is no gRPC over HTTP/1.1.
            (Version::HTTP_11, "content-type", "application/grpc", false),
            (Version::HTTP_11, "expect", "100-continue", true),
            (Version::HTTP_2, "expect", "100-continue", true),
        ] {
            let mut request = RequestHeader::build("POST", b"/", None).unwrap();
            request.set_version(version);
            request.insert_header(name, value).unwrap();
            assert_eq!(converses(&request), expected, "{version:?} {name}: {value}");
        }
    }
}
