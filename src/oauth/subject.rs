//! The authenticated identity: what `sub` says (RFC 7519 section 4.1.2) and what the upstream reads in `X-User`.
//!
//! A [`Subject`] is header-safe by construction: visible ASCII without a comma, so that no upstream can read one value as
//! two, and nothing ever needs trimming or escaping. People are `alice`; machine clients are `client:ID` (RFC 9068
//! section 5: the two must not collide), so a user's name holds no colon. The subjects of a trusted issuer begin with its
//! prefix, `idp:alice`.

use std::fmt;
use std::sync::Arc;

use super::client::ClientId;

/// The longest subject, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 256;

/// What the subject of a machine client of ours begins with (RFC 9068 section 5); the rest is its client id.
pub const CLIENT_PREFIX: &str = "client:";

/// An identity that can stand in a header field as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Reads a `sub` claim. Nothing is trimmed: `" alice"` is refused, not made `alice`.
    ///
    /// # Errors
    /// [`SubjectError`] when it could not be a header value that everybody reads alike.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        if text.is_empty() || text.len() > MAX_SUBJECT_BYTES {
            return Err(SubjectError::Length);
        }
        if !text.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b',') {
            return Err(SubjectError::Character);
        }
        Ok(Self(Arc::from(text)))
    }

    /// Reads a user's name, from the user file or a login form.
    ///
    /// # Errors
    /// As [`Subject::parse`], and [`SubjectError::Colon`] for the character that marks machine clients and trusted issuers.
    pub fn user(name: &str) -> Result<Self, SubjectError> {
        if name.contains(':') {
            return Err(SubjectError::Colon);
        }
        Self::parse(name)
    }

    /// The subject of a machine client: `client:ID`.
    ///
    /// # Errors
    /// As [`Subject::parse`], for an id that no header could carry.
    pub fn client(id: &ClientId) -> Result<Self, SubjectError> {
        Self::parse(&format!("{CLIENT_PREFIX}{id}"))
    }

    /// The client's id, where this is a machine client.
    #[must_use]
    pub fn as_client(&self) -> Option<&str> {
        self.0.strip_prefix(CLIENT_PREFIX)
    }

    /// Whether this is no machine client of ours. Trusted issuers have machines too, which only their tokens tell apart.
    #[must_use]
    pub fn is_user(&self) -> bool {
        !self.0.starts_with(CLIENT_PREFIX)
    }

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is no subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Empty, or longer than [`MAX_SUBJECT_BYTES`].
    #[error("a name has 1 to {MAX_SUBJECT_BYTES} characters")]
    Length,
    /// A byte that is not visible ASCII, or a comma.
    #[error("a name is visible ASCII without spaces and commas, since it becomes a header value")]
    Character,
    /// A colon in a user's name.
    #[error("a user's name has no `:`, which marks machine clients and trusted issuers")]
    Colon,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b14_what_cannot_be_a_header_value_is_refused_not_trimmed() {
        for bad in [
            "",
            " alice",
            "alice ",
            "al ice",
            "alice\r\nX: y",
            "alice\0",
            "al\tice",
            "zoë",
            "\u{7f}",
        ] {
            assert!(Subject::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Subject::parse(&"a".repeat(MAX_SUBJECT_BYTES + 1)).is_err());
        assert_eq!(Subject::parse("alice@example.com").unwrap().as_str(), "alice@example.com");
    }

    #[test]
    fn g6_a_comma_cannot_make_two_values_of_one() {
        assert_eq!(Subject::parse("alice,admin"), Err(SubjectError::Character));
    }

    #[test]
    fn a37_a_user_cannot_be_named_like_a_client() {
        assert_eq!(Subject::user("client:nightly"), Err(SubjectError::Colon));
        let id = ClientId::parse("nightly").unwrap();
        let nightly = Subject::client(&id).unwrap();
        assert_eq!((nightly.as_str(), nightly.as_client()), ("client:nightly", Some("nightly")));
        assert!(!nightly.is_user());
        assert_eq!(Subject::user("nightly").unwrap().as_client(), None);
        let id = ClientId::parse("a,b").unwrap();
        assert_eq!(Subject::client(&id), Err(SubjectError::Character));
        assert!(Subject::user("nightly").unwrap().is_user());
        assert!(Subject::parse("idp:alice").unwrap().is_user());
    }
}
