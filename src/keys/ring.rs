//! The keys of one issuer: one that signs, and any number that verify what was signed before a rotation.

use std::sync::Arc;

use super::{Key, KeyUse};

/// Keys by id. Exactly one signs.
#[derive(Debug)]
pub struct KeyRing {
    signing: Key,
    verifying: Vec<Key>,
}

impl KeyRing {
    /// Takes the keys over.
    ///
    /// # Errors
    /// [`KeyRingError`] unless exactly one key signs and no two share an id.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyRingError> {
        for (position, key) in keys.iter().enumerate() {
            if keys.iter().skip(position + 1).any(|other| other.id() == key.id()) {
                return Err(KeyRingError::DuplicateId(Arc::clone(key.id())));
            }
        }
        let (mut signing, verifying): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| key.key_use() == KeyUse::Sign);
        match (signing.pop(), signing.pop()) {
            (None, _) => Err(KeyRingError::NoSigningKey),
            (Some(signing), None) => Ok(Self { signing, verifying }),
            (Some(second), Some(first)) => Err(KeyRingError::TwoSigningKeys {
                first: Arc::clone(first.id()),
                second: Arc::clone(second.id()),
            }),
        }
    }

    /// The key that signs new tokens.
    #[must_use]
    pub const fn signing(&self) -> &Key {
        &self.signing
    }

    /// The key with this id. There is no other way to a key: never "any that fits".
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.iter().find(|key| &**key.id() == id)
    }

    /// Every key, the signing one first.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.signing).chain(&self.verifying)
    }
}

/// Why the keys make no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// Nothing could be issued.
    #[error("no key has `use: sign`; exactly one must")]
    NoSigningKey,
    /// It would be open which one signs.
    #[error("keys `{first}` and `{second}` both have `use: sign`; exactly one may")]
    TwoSigningKeys {
        /// One of them.
        first: Arc<str>,
        /// The other.
        second: Arc<str>,
    },
    /// Two keys share an id, so a token's `kid` would not name one.
    #[error("key id `{0}` is used twice; an id is never reused for another key")]
    DuplicateId(Arc<str>),
}
