//! What changes in the head of a request because it goes on over another connection (RFC 9110 section 7.6.1), where Pingora
//! does otherwise.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::proxy::upstream::internal;

/// What a client cannot take out of its request by naming it in `Connection`: without these the message would have another
/// end, go elsewhere, or wait for a word that nobody says. Pingora refuses a request that names the last three, which are
/// written anew anyway.
const KEPT: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    EXPECT,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// Takes the names that must not be there out of `Connection`. It must run before Pingora's own pass, which removes every field
/// that is still named, as it should.
///
/// # Errors
/// None that a client could bring about.
pub(super) fn keep_framing(request: &mut RequestHeader) -> pingora::Result<()> {
    if !options(&request.headers).any(is_kept) {
        return Ok(());
    }
    let others: Vec<&[u8]> = options(&request.headers).filter(|option| !is_kept(option)).collect();
    let others = HeaderValue::from_bytes(&others.join(&b", "[..]));
    request.remove_header(&CONNECTION);
    let others = others.map_err(|_| internal("a part of a field is no field"))?;
    if others.is_empty() { Ok(()) } else { request.insert_header(CONNECTION, others) }
}

/// Joins the `Cookie` fields into one. HTTP/2 splits it for the sake of compression (RFC 9113 section 8.2.3), and what
/// applications make of several in HTTP/1.1 differs (RFC 6265 section 5.4 knows one).
///
/// # Errors
/// None that a client could bring about.
pub(super) fn join_cookies(request: &mut RequestHeader) -> pingora::Result<()> {
    let fields = || request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    if fields().nth(1).is_none() {
        return Ok(());
    }
    // An empty one between two delimiters would end the list for some readers.
    let cookies: Vec<&[u8]> = fields().filter(|field| !field.is_empty()).collect();
    let cookies = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
    let mut cookies = cookies.map_err(|_| internal("parts of a field are no field"))?;
    // As the fields were of which it is made (`sensitive`).
    cookies.set_sensitive(true);
    request.insert_header(COOKIE, cookies)
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(CONNECTION).iter();
    let options = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}

fn is_kept(option: impl AsRef<[u8]>) -> bool {
    KEPT.iter().any(|name| name.as_str().as_bytes().eq_ignore_ascii_case(option.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn request(name: &'static str, values: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build(Method::GET, b"/", None).unwrap();
        for value in values {
            request.append_header(name, *value).unwrap();
        }
        request
    }

    fn values(request: &RequestHeader, name: &str) -> Vec<String> {
        let values = request.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    // Part 4, item 5.
    #[test]
    fn only_the_framing_is_taken_out_of_the_connection_options() {
        for (before, after) in [
            (&["Content-Length"][..], &[][..]),
            (&["TRANSFER-ENCODING ,\tx-private"], &["x-private"]),
            (&["close, Host", "X-A"], &["close, X-A"]),
            (&[" connection,,Expect"], &[]),
            (&["X-Forwarded-For, upgrade"], &["upgrade"]),
            (&["close", "X-A"], &["close", "X-A"]),
            (&["X-User, content-type"], &["X-User, content-type"]),
            (&["content_length"], &["content_length"]),
            (&[], &[]),
        ] {
            let mut request = request("Connection", before);
            keep_framing(&mut request).unwrap();
            assert_eq!(values(&request, "connection"), after, "{before:?}");
        }
    }

    // Part 4, item 4.
    #[test]
    fn cookies_are_joined_in_their_order() {
        for (before, after) in [
            (&["a=1", "b=2", "c=3"][..], &["a=1; b=2; c=3"][..]),
            (&["a=1; b=2", "c=3"], &["a=1; b=2; c=3"]),
            (&["a=1", "", "c=3"], &["a=1; c=3"]),
            (&["", ""], &[""]),
            (&["a=\u{e9}", "b=\"2\""], &["a=\u{e9}; b=\"2\""]),
            (&["a=1;"], &["a=1;"]),
            (&[], &[]),
        ] {
            let mut request = request("Cookie", before);
            join_cookies(&mut request).unwrap();
            let values = request.headers.get_all(COOKIE).iter();
            let values: Vec<_> = values.map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
            assert_eq!(values, after, "{before:?}");
            let joined = before.len() > 1;
            assert_eq!(request.headers.get(COOKIE).is_some_and(HeaderValue::is_sensitive), joined);
        }
    }
}
