//! What anybody may read about us: the public keys (RFC 7517 section 5), and what we can do (RFC 8414 section 3).
//!
//! Readers may keep a document for [`MAX_AGE`], and ask after that whether theirs is still the current one (RFC 9110 section
//! 13.1.2).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::answer::Answer;
use crate::clock::Timestamp;
use crate::endpoints::{Served, wrong_method};
use crate::keys::{self, KeyRing};

/// How long a document may be kept. A key is published for longer than this before it signs.
pub const MAX_AGE: Duration = Duration::from_secs(300);
const CACHEABLE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The key set as it stands now.
#[must_use]
pub fn jwks(keys: &KeyRing, method: &Method, headers: &HeaderMap, now: Timestamp) -> Served {
    publish(Bytes::from(keys::jwks(keys, now).to_string()), method, headers)
}

/// The metadata of this configuration, as [`metadata::document`](crate::endpoints::metadata::document) wrote it.
#[must_use]
pub fn metadata(document: &Bytes, method: &Method, headers: &HeaderMap) -> Served {
    publish(document.clone(), method, headers)
}

/// A JSON document that everybody may read and keep; 304 for who has it already.
fn publish(document: Bytes, method: &Method, headers: &HeaderMap) -> Served {
    if method != Method::GET && method != Method::HEAD {
        return wrong_method("GET, HEAD");
    }
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&document));
    let tag = format!("\"{digest}\"");
    let mut fields = HeaderMap::new();
    fields.insert(CACHE_CONTROL, CACHEABLE);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(ETAG, tag);
    }
    if has_already(headers, &tag) {
        let status = StatusCode::NOT_MODIFIED;
        return Served::from(Answer { status, headers: fields, body: Bytes::new() });
    }
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Served::from(Answer { status: StatusCode::OK, headers: fields, body: document })
}

/// Whether `If-None-Match` names this document. Our tags hold no comma, so the list can simply be cut there.
fn has_already(headers: &HeaderMap, tag: &str) -> bool {
    let fields = headers.get_all(IF_NONE_MATCH).iter().filter_map(|field| field.to_str().ok());
    let mut tags = fields.flat_map(|field| field.split(',')).map(str::trim);
    tags.any(|own| own == "*" || own.strip_prefix("W/").unwrap_or(own) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &Method, known: &[&str]) -> Answer {
        let field = |text: &&str| (IF_NONE_MATCH, HeaderValue::from_str(text).unwrap());
        let headers: HeaderMap = known.iter().map(field).collect();
        publish(Bytes::from_static(b"{}"), method, &headers).answer
    }

    #[test]
    fn f4_a_document_is_kept_for_minutes_and_asked_for_again_cheaply() {
        let whole = ask(&Method::GET, &[]);
        assert_eq!((whole.status, &whole.body[..]), (StatusCode::OK, &b"{}"[..]));
        assert_eq!(whole.headers[CACHE_CONTROL], format!("public, max-age={}", MAX_AGE.as_secs()));
        let tag = whole.headers[ETAG].to_str().unwrap().to_owned();
        let weak = format!("\"other\", W/{tag}");
        for known in [&[tag.as_str()][..], &["\"other\"", &tag], &[&weak], &["*"]] {
            let same = ask(&Method::HEAD, known);
            assert_eq!((same.status, same.body.len()), (StatusCode::NOT_MODIFIED, 0), "{known:?}");
            assert_eq!(same.headers[ETAG], tag);
        }
        for known in ["", "\"other\"", tag.trim_matches('"'), "W/\"*\""] {
            assert_eq!(ask(&Method::GET, &[known]).status, StatusCode::OK, "{known}");
        }
        assert_eq!(ask(&Method::POST, &[&tag]).status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
