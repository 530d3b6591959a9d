//! An HTTP answer that portcullis gives itself: a denial, or what one of its own endpoints says.
//!
//! It is a plain value, so that every answer can be tested without a socket; `proxy::respond` alone writes it to one.

use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

/// Status, fields and body. `Content-Length`, `Date` and `Connection` are added by whoever writes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The fields, in no particular order.
    pub headers: HeaderMap,
    /// The whole body; left out by the writer when the request was a HEAD.
    pub body: Bytes,
}

/// Without what it says: bodies of ours hold tokens.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Answer({}, {} fields, {} bytes)",
            self.status,
            self.headers.len(),
            self.body.len()
        )
    }
}

impl Answer {
    /// A JSON answer that no cache may keep (RFC 6749 section 5.1 asks this of every answer with a credential in it; ours
    /// all carry it, since none of them is worth keeping).
    #[must_use]
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self { status, headers, body: Bytes::from(body.to_string()) }
    }

    /// The same answer with one more field, replacing any of that name.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}
