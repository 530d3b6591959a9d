//! Where randomness comes from: token ids, salts, request ids, generated secrets.
//!
//! Everything else takes a [`Random`] as a parameter; the operating system's generator is named only here.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The operating system gave no random bytes. Nothing that needs them can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomError;

/// A source of unpredictable bytes.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills the buffer.
    ///
    /// # Errors
    /// [`RandomError`] when the source failed; the buffer must then not be used.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for bytes")]
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(buffer).map_err(|_| RandomError)
    }
}

/// `N` fresh bytes.
///
/// # Errors
/// [`RandomError`] when the source failed.
pub fn bytes<const N: usize>(random: &dyn Random) -> Result<[u8; N], RandomError> {
    let mut buffer = [0; N];
    random.fill(&mut buffer)?;
    Ok(buffer)
}

/// A fresh 128-bit identifier in base64url without padding (22 characters), for `jti` (RFC 7519 section 4.1.7).
///
/// # Errors
/// [`RandomError`] when the source failed.
pub fn identifier(random: &dyn Random) -> Result<String, RandomError> {
    Ok(URL_SAFE_NO_PAD.encode(bytes::<16>(random)?))
}

/// Draws lots where nobody may foresee the outcome and nothing secret hangs on it: a keyed hash over a counter, under a key of its
/// own that the system's randomness gave.
#[derive(Debug, Default)]
pub struct Draw {
    key: RandomState,
    drawn: u64,
}

impl Draw {
    /// A number below `count`; 0 when there is none.
    pub fn below(&mut self, count: usize) -> usize {
        self.drawn = self.drawn.wrapping_add(1);
        let lot = usize::try_from(self.key.hash_one(self.drawn) >> 1).unwrap_or_default();
        lot.checked_rem(count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Broken;

    impl Random for Broken {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError)
        }
    }

    #[test]
    fn identifiers_are_22_characters_and_differ() {
        let one = identifier(&OsRandom).unwrap();
        let other = identifier(&OsRandom).unwrap();
        assert_eq!(one.len(), 22);
        assert_ne!(one, other);
    }

    #[test]
    fn every_lot_is_drawn_about_as_often() {
        let mut draw = Draw::default();
        let mut counts = [0; 5];
        for _ in 0..5000 {
            counts[draw.below(5)] += 1;
        }
        assert!(counts.iter().all(|count| (700..1300).contains(count)), "{counts:?}");
        assert_eq!((draw.below(0), draw.below(1)), (0, 0));
    }

    #[test]
    fn a_broken_source_gives_no_identifier() {
        assert_eq!(identifier(&Broken), Err(RandomError));
    }
}
