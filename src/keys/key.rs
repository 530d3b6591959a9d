//! One loaded key: an id, the one algorithm it may be used with, and the operations that are left to do with it.
//!
//! Nothing here reads a token's header: [`Key::verify`] uses the key's own algorithm whatever the token claims.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{DecodingKey, EncodingKey, crypto};

use super::Algorithm;
use super::public::PublicKey;
use crate::clock::Timestamp;

/// The longest key id, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 128;

/// What a key is configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Signs new tokens, from its time on, and verifies them.
    Sign,
    /// Only verifies: a key that signed before.
    Verify,
}

/// A key that fits its algorithm. Made only by [`load`](super::load).
pub struct Key {
    pub(super) id: Arc<str>,
    pub(super) algorithm: Algorithm,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) made: Option<Timestamp>,
    /// Absent for keys that only verify, even where the file held a private key.
    pub(super) signing: Option<EncodingKey>,
    pub(super) verifying: DecodingKey,
    /// Absent for shared secrets.
    pub(super) public: Option<PublicKey>,
}

impl Key {
    /// The id: `kid` in tokens and in the published set.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The only algorithm it is used with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What it is configured for.
    #[must_use]
    pub const fn key_use(&self) -> KeyUse {
        if self.signing.is_some() { KeyUse::Sign } else { KeyUse::Verify }
    }

    /// The same key, which signs from this time on; since ever without one.
    #[must_use]
    pub fn signing_from(self, from: Option<Timestamp>) -> Self {
        Self { from, ..self }
    }

    /// The same key, known to be there since this time. Only its age hangs on it.
    #[must_use]
    pub fn made_at(self, made: Option<Timestamp>) -> Self {
        Self { made, ..self }
    }

    /// From when it signs; since ever without a time.
    #[must_use]
    pub const fn from(&self) -> Option<Timestamp> {
        self.from
    }

    /// Whether its time to sign has come.
    #[must_use]
    pub fn has_begun(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| now >= from)
    }

    /// How long it has signed; without a time from which it signs, how long it has been there, if that is known.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let since = self.from.or(self.made)?;
        Some(Duration::from_secs(now.as_secs().saturating_sub(since.as_secs())))
    }

    /// When it stops verifying, if ever.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether its time is over: from `until` on it verifies nothing and is not published.
    #[must_use]
    pub fn is_retired(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Signs the message: the signature in base64url, as it stands in a token.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<String, SignError> {
        let signing = self.signing.as_ref().ok_or(SignError)?;
        crypto::sign(message, signing, self.algorithm.of_library()).map_err(|_| SignError)
    }

    /// Whether `signature` (base64url) is this key's over `message`, by this key's algorithm. Says nothing about times.
    pub(crate) fn verify(&self, message: &[u8], signature: &str) -> bool {
        crypto::verify(signature, message, &self.verifying, self.algorithm.of_library())
            .unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .field("use", &self.key_use())
            .field("from", &self.from)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// The library refused to sign, or the key only verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign")]
pub struct SignError;
