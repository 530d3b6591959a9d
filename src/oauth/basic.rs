//! A client's HTTP Basic credential at the token endpoint (RFC 6749 section 2.3.1, RFC 7617).
//!
//! The RFC has id and secret form-encoded before base64; many clients do not. So a credential is read in both ways, the
//! encoded one first, and whoever checks it tries them in this order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use crate::oauth::form;
use crate::secret::Secret;

/// What the `Authorization` field of a token request says.
#[derive(Debug)]
pub enum Basic {
    /// There is none, or it names nobody (`:`, which Swagger UI sends for a client without an id).
    Absent,
    /// An id and a secret, in every way they can be read: decoded, then raw when that differs.
    Credentials(Vec<BasicCredential>),
    /// One field of another scheme: a way to authenticate that is not done here.
    OtherScheme,
    /// Anything else: several fields, no base64, no colon, an empty id.
    Malformed,
}

/// One reading of a credential.
#[derive(Debug, PartialEq, Eq)]
pub struct BasicCredential {
    /// The client's id.
    pub id: String,
    /// Its secret, which may be empty.
    pub secret: Secret,
}

impl Basic {
    /// Reads the credential of a request.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        match (fields.next(), fields.next()) {
            (None, _) => Self::Absent,
            (Some(field), None) => Self::parse(field.as_bytes()).unwrap_or(Self::Malformed),
            (Some(_), Some(_)) => Self::Malformed,
        }
    }

    fn parse(field: &[u8]) -> Option<Self> {
        let field = std::str::from_utf8(field).ok()?;
        let (scheme, encoded) = field.split_once(' ').unwrap_or((field, ""));
        if !scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::OtherScheme);
        }
        let plain = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
        let plain = std::str::from_utf8(&plain).ok()?;
        let (id, secret) = plain.split_once(':')?;
        if id.is_empty() {
            return secret.is_empty().then_some(Self::Absent);
        }
        let raw = BasicCredential { id: id.to_owned(), secret: Secret::from(secret) };
        let decoded = form::decode(id.as_bytes()).ok().zip(form::decode(secret.as_bytes()).ok());
        let decoded = decoded.map(|(id, secret)| BasicCredential {
            id: id.to_string(),
            secret: Secret::from(secret.as_str()),
        });
        let mut readings: Vec<_> = decoded.into_iter().collect();
        if !readings.contains(&raw) {
            readings.push(raw);
        }
        Some(Self::Credentials(readings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(value: &str) -> Basic {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        Basic::of(&headers)
    }

    fn readings(plain: &str) -> Vec<(String, String)> {
        match read(&format!("Basic {}", STANDARD.encode(plain))) {
            Basic::Credentials(all) => {
                let text = |s: &Secret| String::from_utf8(s.expose().to_vec()).unwrap();
                all.iter().map(|one| (one.id.clone(), text(&one.secret))).collect()
            }
            other => panic!("{plain}: {other:?}"),
        }
    }

    #[test]
    fn a24_a_credential_is_read_decoded_first_and_then_raw() {
        let pair = |id: &str, secret: &str| (id.to_owned(), secret.to_owned());
        assert_eq!(readings("web:secret"), [pair("web", "secret")]);
        assert_eq!(readings("web:a%2Bb"), [pair("web", "a+b"), pair("web", "a%2Bb")]);
        assert_eq!(readings("web:a+b"), [pair("web", "a b"), pair("web", "a+b")]);
        assert_eq!(readings("web:100%"), [pair("web", "100%")]);
        assert_eq!(readings("web:a:b/c"), [pair("web", "a:b/c")]);
        assert_eq!(readings("web:"), [pair("web", "")]);
    }

    #[test]
    fn a25_what_is_malformed_is_told_apart_from_what_is_absent() {
        for bad in
            ["Basic", "Basic ", "Basic !!", "Basic d2Vi", "Basic /////w==", "Basic OnNlY3JldA=="]
        {
            assert!(matches!(read(bad), Basic::Malformed), "{bad}");
        }
        for other in ["Bearer x", "Digest username=\"web\"", "Negotiate", "Basic2 d2ViOg==", ""] {
            assert!(matches!(read(other), Basic::OtherScheme), "{other}");
        }
        assert!(matches!(read("basic Og=="), Basic::Absent), "Swagger UI names nobody");
        assert!(matches!(Basic::of(&HeaderMap::new()), Basic::Absent));
        let mut twice = HeaderMap::new();
        twice.append(AUTHORIZATION, HeaderValue::from_static("Basic d2ViOg=="));
        twice.append(AUTHORIZATION, HeaderValue::from_static("Basic d2ViOg=="));
        assert!(matches!(Basic::of(&twice), Basic::Malformed));
    }
}
