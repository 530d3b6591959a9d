//! The framing of an upstream's answer: where its body ends (RFC 9112 section 6.3), said in one way or not at all.
//!
//! Pingora has read the body's length by then, and takes the last coding for the whole. An answer that another reader could
//! cut elsewhere is 502: what is left over would be the next client's answer.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};

/// Rewrites the head of an answer so that it frames the body in one way, and in our version of the protocol: a proxy says
/// its own (RFC 9112 section 2.3).
///
/// # Errors
/// The upstream's, when the answer can be read in more than one way, or in none.
pub(super) fn normalise(response: &mut ResponseHeader) -> pingora::Result<()> {
    let is_coded = response.headers.contains_key(TRANSFER_ENCODING);
    let bodiless = response.status.is_informational() || response.status == StatusCode::NO_CONTENT;
    if bodiless {
        // Neither may be there (RFC 9110 section 8.6, RFC 9112 section 6.1), and neither means anything.
        response.remove_header(&CONTENT_LENGTH);
        response.remove_header(&TRANSFER_ENCODING);
    } else if is_coded {
        // RFC 9112 section 6.1: the framing of such an answer is faulty whatever it says.
        if response.version < Version::HTTP_11 {
            return Err(faulty("a transfer coding in HTTP/1.0"));
        }
        if !is_chunked_once(&response.headers) {
            return Err(faulty("transfer codings other than `chunked`, once"));
        }
        if response.status == StatusCode::NOT_MODIFIED {
            response.remove_header(&TRANSFER_ENCODING);
        } else {
            let chunked = HeaderValue::from_static("chunked");
            response.insert_header(TRANSFER_ENCODING, chunked)?;
        }
    }
    response.set_version(Version::HTTP_11);
    Ok(())
}

/// Whether the only coding is `chunked`, named once. We ask for no other (there is no `TE` upstream), and what HTTP/2 clients
/// get has none.
fn is_chunked_once(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked =
        |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    codings.next().is_some_and(is_chunked) && codings.next().is_none()
}

fn faulty(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}
