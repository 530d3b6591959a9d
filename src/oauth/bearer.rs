//! The bearer credential of a request (RFC 6750 section 2.1): not offered, offered, or malformed. Three things, never two:
//! what is malformed is refused everywhere and is never "anonymous".
//!
//! Only the `Authorization` field counts. A token in the query, a form or a cookie is no credential (RFC 9700 section 4.3.2).

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The longest token that is looked at, in bytes; anything longer is malformed before any base64 or signature work.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// What a request offers as its bearer credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// No `Authorization` field at all.
    Absent,
    /// One `Authorization` field of another scheme, such as Basic. It is no bearer token and proves nothing here.
    OtherScheme,
    /// Exactly one token in the syntax of RFC 6750 section 2.1. Nothing is said about its validity.
    Token(&'a str),
    /// The field is there more than once (RFC 9110 section 5.3: it is no list), or is no credential by its grammar.
    Malformed,
}

/// Without the token.
impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::OtherScheme => "OtherScheme",
            Self::Token(_) => "Token",
            Self::Malformed => "Malformed",
        })
    }
}

impl<'a> Bearer<'a> {
    /// Reads the credential of a request.
    #[must_use]
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        match (fields.next(), fields.next()) {
            (None, _) => Self::Absent,
            (Some(field), None) => Self::parse(field.as_bytes()),
            (Some(_), Some(_)) => Self::Malformed,
        }
    }

    /// Whether anybody could read a bearer token in this `Authorization` field, however generously: where it stands among
    /// several credentials that were joined with commas, too, or behind what is no scheme.
    #[must_use]
    pub fn may_be(field: &[u8]) -> bool {
        field.split(|byte| *byte == b',').any(|credential| {
            let start = credential.iter().position(|byte| is_tchar(*byte));
            let (_, credential) = credential.split_at(start.unwrap_or(credential.len()));
            let end = credential.iter().position(|byte| !is_tchar(*byte));
            let (scheme, _) = credential.split_at(end.unwrap_or(credential.len()));
            scheme.eq_ignore_ascii_case(b"bearer")
        })
    }

    /// `credentials = auth-scheme 1*SP token68` (RFC 9110 section 11.4); the scheme in any case.
    fn parse(field: &'a [u8]) -> Self {
        let Ok(field) = std::str::from_utf8(field) else { return Self::Malformed };
        let (scheme, token) = match field.split_once(' ') {
            Some((scheme, rest)) => (scheme, rest.trim_start_matches(' ')),
            None => (field, ""),
        };
        if !is_scheme(scheme) {
            return Self::Malformed;
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Self::OtherScheme;
        }
        if token.len() > MAX_TOKEN_BYTES || !is_token68(token) {
            return Self::Malformed;
        }
        Self::Token(token)
    }
}

/// `auth-scheme = token` (RFC 9110 section 11.1).
fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 9110 section 11.2).
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(fields: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(field).unwrap());
        }
        match Bearer::of(&headers) {
            Bearer::Token(token) => format!("Token({token:?})"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn c5_the_scheme_is_case_insensitive_and_the_token_exact() {
        for good in ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc"] {
            assert_eq!(read(&[good.as_bytes()]), "Token(\"abc\")", "{good}");
        }
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer\tabc",
            "Bearer \"a\"",
            "Bearer a\t",
            "Bearer =",
            "Bearer a=b",
            ", Bearer abc",
            "",
            "Bearer a, Bearer b",
            "Bear\u{e9}r abc",
        ] {
            assert_eq!(read(&[bad.as_bytes()]), "Malformed", "{bad:?}");
        }
    }

    #[test]
    fn c6_two_fields_are_malformed_even_if_equal() {
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), "Malformed");
        assert_eq!(read(&[b"Basic a", b"Bearer a"]), "Malformed");
        assert_eq!(read(&[b"Bearer a", b"Basic a"]), "Malformed");
        assert_eq!(read(&[]), "Absent");
    }

    #[test]
    fn another_scheme_is_neither_absent_nor_a_token() {
        assert_eq!(read(&[b"Basic YTpi"]), "OtherScheme");
        assert_eq!(read(&[b"BearerX abc"]), "OtherScheme");
    }

    // Part 4, item 6.
    #[test]
    fn what_anybody_could_read_as_a_bearer_token_may_be_one() {
        for field in [
            "Bearer abc",
            "bearer abc",
            "BEARER",
            "Bearer\tabc",
            "Bearer=abc",
            "\"Bearer abc\"",
            ", Bearer abc",
            "Basic YTpi, Bearer abc",
            "Basic YTpi,\tbeareR\tabc",
        ] {
            assert!(Bearer::may_be(field.as_bytes()), "{field}");
        }
        for field in [
            "",
            "Basic YTpi",
            "Basic Bearer",
            "BearerX abc",
            "Digest username=\"bearer\", realm=\"a\", nonce=\"b\"",
            "Negotiate YII=",
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c",
            "a/b+c==",
        ] {
            assert!(!Bearer::may_be(field.as_bytes()), "{field}");
        }
    }

    #[test]
    fn b17_a_huge_token_is_malformed_before_any_work() {
        let field = format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1));
        assert_eq!(read(&[field.as_bytes()]), "Malformed");
    }
}
