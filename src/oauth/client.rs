//! The name of a registered client (RFC 6749 section 2.2).

use std::fmt;
use std::sync::Arc;

/// The longest client id, in bytes.
pub const MAX_CLIENT_ID_BYTES: usize = 128;

/// A client's id: visible ASCII without `:`, since HTTP Basic splits there (RFC 7617 section 2) and not every client
/// encodes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Reads an id, from the configuration, a form or a token.
    ///
    /// # Errors
    /// [`ClientIdError`] when it is empty, too long, or holds a byte that is not visible ASCII, or a colon.
    pub fn parse(text: &str) -> Result<Self, ClientIdError> {
        let allowed = |b: u8| matches!(b, 0x21..=0x7e) && b != b':';
        if text.is_empty() || text.len() > MAX_CLIENT_ID_BYTES || !text.bytes().all(allowed) {
            return Err(ClientIdError);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The text is no client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client id has 1 to {MAX_CLIENT_ID_BYTES} characters of visible ASCII without `:`")]
pub struct ClientIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_basic_can_carry_are_read() {
        for bad in ["", "a:b", "a b", "é", "a\n", &"x".repeat(MAX_CLIENT_ID_BYTES + 1)] {
            assert!(ClientId::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(ClientId::parse("web-1").unwrap().as_str(), "web-1");
    }
}
