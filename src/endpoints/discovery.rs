//! What anybody may read about us: the public keys (RFC 7517 section 5).

use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method, StatusCode};

use crate::answer::Answer;
use crate::clock::Timestamp;
use crate::endpoints::wrong_method;
use crate::keys::{self, KeyRing};

/// The key set as it stands now. Verifiers may keep it for five minutes.
#[must_use]
pub fn jwks(keys: &KeyRing, method: &Method, now: Timestamp) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        return wrong_method("GET, HEAD");
    }
    Answer::json(StatusCode::OK, &keys::jwks(keys, now))
        .with(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))
}
