//! Marks the fields that hold credentials, so that no `Debug` prints them and no HTTP/2 codec puts them into its table
//! (RFC 7541 section 7.1.3).
//!
//! Pingora lends the fields of its heads for reading only: a value is changed by taking it out and putting it back.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

/// Marks the credentials of a request.
///
/// # Errors
/// When a field cannot be put back.
pub(super) fn mark_request(request: &mut RequestHeader) -> Result<()> {
    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        let marked = marked(&request.headers, &name);
        if !marked.is_empty() {
            request.remove_header(&name);
        }
        for value in marked {
            request.append_header(name.clone(), value)?;
        }
    }
    Ok(())
}

/// Marks the credentials of a response.
///
/// # Errors
/// When a field cannot be put back.
pub(super) fn mark_response(response: &mut ResponseHeader) -> Result<()> {
    let marked = marked(&response.headers, &SET_COOKIE);
    if !marked.is_empty() {
        response.remove_header(&SET_COOKIE);
    }
    for value in marked {
        response.append_header(SET_COOKIE, value)?;
    }
    Ok(())
}

/// The values of this name in their order, marked.
fn marked(headers: &HeaderMap, name: &HeaderName) -> Vec<HeaderValue> {
    let mut values: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
    values.iter_mut().for_each(|value| value.set_sensitive(true));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    // Part 4, item 21.
    #[test]
    fn credentials_are_marked_and_keep_their_order() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [("Cookie", "a=1"), ("Authorization", "Basic x"), ("Cookie", "b=2")] {
            request.append_header(name, value).unwrap();
        }
        request.append_header("Accept", "*/*").unwrap();
        mark_request(&mut request).unwrap();
        let cookies: Vec<_> = request.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert!(cookies.iter().all(|value| value.is_sensitive()));
        assert!(request.headers.get(AUTHORIZATION).unwrap().is_sensitive());
        assert!(!request.headers.get("accept").unwrap().is_sensitive());
        let shown = format!("{request:?}");
        assert!(!shown.contains("a=1") && !shown.contains("Basic x"), "{shown}");

        let mut response = ResponseHeader::build(200, None).unwrap();
        for value in ["sid=1; Secure", "csrf=2"] {
            response.append_header("Set-Cookie", value).unwrap();
        }
        mark_response(&mut response).unwrap();
        let cookies: Vec<_> = response.headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["sid=1; Secure", "csrf=2"]);
        assert!(cookies.iter().all(|value| value.is_sensitive()));
    }
}
