//! The keys of one issuer: those that sign, each from its time on, and any number that verify what was signed before.
//!
//! Every key verifies and is published from the moment it is configured, so that whoever reads the key set knows a new key
//! before it signs.

use std::sync::Arc;

use super::{Key, KeyUse};
use crate::clock::Timestamp;

/// Keys by id. At any moment exactly one signs.
#[derive(Debug)]
pub struct KeyRing {
    /// The one that signed before all others.
    first: Key,
    /// Those that took over from it or will, by time.
    later: Vec<Key>,
    verifying: Vec<Key>,
}

impl KeyRing {
    /// Takes the keys over.
    ///
    /// # Errors
    /// [`KeyRingError`] unless at any moment exactly one key signs and no two share an id.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyRingError> {
        for (position, key) in keys.iter().enumerate() {
            if keys.iter().skip(position + 1).any(|other| other.id() == key.id()) {
                return Err(KeyRingError::DuplicateId(Arc::clone(key.id())));
            }
        }
        let (mut signing, verifying): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| key.key_use() == KeyUse::Sign);
        signing.sort_by_key(Key::from);
        for pair in signing.windows(2) {
            if let [first, second] = pair
                && first.from() == second.from()
            {
                let (first, second) = (Arc::clone(first.id()), Arc::clone(second.id()));
                return Err(KeyRingError::SameStart { first, second });
            }
        }
        let followers = signing.iter().skip(1).map(Key::from).chain(std::iter::once(None));
        for (key, follower) in signing.iter().zip(followers) {
            if key.until().is_some_and(|until| follower.is_none_or(|from| from > until)) {
                return Err(KeyRingError::Gap(Arc::clone(key.id())));
            }
        }
        let mut signing = signing.into_iter();
        let first = signing.next().ok_or(KeyRingError::NoSigningKey)?;
        Ok(Self { first, later: signing.collect(), verifying })
    }

    /// The key that signs at a point of time: of those that have begun, the one that began last.
    ///
    /// Before any has begun it is the first: the configuration refuses such a ring, but a clock can be set back.
    #[must_use]
    pub fn signing(&self, now: Timestamp) -> &Key {
        self.later.iter().rev().find(|key| key.has_begun(now)).unwrap_or(&self.first)
    }

    /// The key with this id. There is no other way to a key: never "any that fits".
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.iter().find(|key| &**key.id() == id)
    }

    /// Every key: those that sign first, of them the latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.later.iter().rev().chain(std::iter::once(&self.first)).chain(&self.verifying)
    }
}

/// Why the keys make no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// Nothing could be issued.
    #[error("no key has `use: sign`; at least one must")]
    NoSigningKey,
    /// It would be open which one signs.
    #[error("keys `{first}` and `{second}` sign from the same time on")]
    SameStart {
        /// One of them.
        first: Arc<str>,
        /// The other.
        second: Arc<str>,
    },
    /// A key would sign tokens that do not verify.
    #[error("key `{0}` ends before another has begun to sign")]
    Gap(Arc<str>),
    /// Two keys share an id, so a token's `kid` would not name one.
    #[error("key id `{0}` is used twice; an id is never reused for another key")]
    DuplicateId(Arc<str>),
}
