//! Remembers verified tokens, so that a client that sends the same token a thousand times pays for one signature.
//!
//! Bounded by construction: the digest chooses one of a fixed number of sets, a set has a few places, and a full set gives
//! up its expired entry, else the one that expires first. A find is one map look-up and a few comparisons of whole digests.
//! The cache never says that a token is *still* valid: callers ask [`Verifier::recheck`](super::Verifier::recheck) and the
//! user store on every hit. Only verified tokens get in, so nobody without one can push entries out.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use sha2::{Digest as _, Sha256};

use super::VerifiedToken;
use crate::clock::Timestamp;

/// How many entries share a set.
const WAYS: usize = 8;

/// What a token is remembered by: SHA-256 over the token and the generation of the configuration that verified it. A reload
/// changes the generation, so no entry outlives the keys and names it was verified against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token as it was sent.
    #[must_use]
    pub fn of(token: &str, generation: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(generation.to_be_bytes());
        hash.update(token.as_bytes());
        Self(hash.finalize().into())
    }

    fn head(&self) -> u64 {
        self.0.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }
}

/// A bounded map from digests to verified tokens, shared by all threads.
#[derive(Debug)]
pub struct TokenCache {
    sets: DashMap<SetIndex, Set, BuildHasherDefault<IndexHasher>>,
    set_count: u64,
    capacity: usize,
    len: AtomicUsize,
}

impl TokenCache {
    /// A cache for about `capacity` tokens, rounded up to whole sets. Zero remembers nothing.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS);
        Self {
            sets: DashMap::default(),
            set_count: sets as u64,
            capacity: sets.saturating_mul(WAYS),
            len: AtomicUsize::new(0),
        }
    }

    /// The token that was remembered by this digest. It may have expired since.
    #[must_use]
    pub fn find(&self, digest: &TokenDigest) -> Option<Arc<VerifiedToken>> {
        let set = self.sets.get(&self.index(digest)?)?;
        let entry = set.0.iter().flatten().find(|entry| entry.digest == *digest)?;
        Some(Arc::clone(&entry.token))
    }

    /// Remembers a verified token in place of an expired one, or of the one in its set that expires first.
    pub fn remember(&self, digest: TokenDigest, token: Arc<VerifiedToken>, now: Timestamp) {
        let Some(index) = self.index(&digest) else { return };
        if now >= token.expires_at() {
            return;
        }
        let mut set = self.sets.entry(index).or_default();
        // The same token again, then a free place, then whichever ends first: that is an expired one if there is any.
        let place = set.0.iter_mut().min_by_key(|place| match place {
            Some(entry) if entry.digest == digest => (0, 0),
            None => (1, 0),
            Some(entry) => (2, entry.token.expires_at().as_secs()),
        });
        if let Some(place) = place
            && place.replace(Entry { digest, token }).is_none()
        {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many tokens it holds, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tokens it can hold.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    fn index(&self, digest: &TokenDigest) -> Option<SetIndex> {
        digest.head().checked_rem(self.set_count).map(SetIndex)
    }
}

#[derive(Debug, Default)]
struct Set([Option<Entry>; WAYS]);

#[derive(Debug)]
struct Entry {
    digest: TokenDigest,
    token: Arc<VerifiedToken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SetIndex(u64);

impl Hash for SetIndex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// The index comes out of a SHA-256 already, so one multiplication that spreads it over the map's shards is enough.
#[derive(Debug, Default)]
struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, index: u64) {
        // 2^64 divided by the golden ratio.
        self.0 = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
