//! Stored password hashes: argon2id in the PHC string format, within bounds.
//!
//! Verifying runs with the parameters inside the stored text, so a hash that asks for gigabytes is refused when it is read,
//! and so is one that is cheaper than what OWASP's password storage cheat sheet accepts.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::random::{self, Random, RandomError};
use crate::secret::Secret;

/// The longest password that is looked at, in bytes. Argon2 itself would take gigabytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// The most memory one hash may ask for, in KiB.
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 4;
/// Memory in KiB against the passes that make up for it, cheapest first.
const FLOORS: [(u32, u32); 5] = [(7_168, 5), (9_216, 4), (12_288, 3), (19_456, 2), (47_104, 1)];
const DEFAULT: Cost = Cost { memory: 19_456, passes: 2, lanes: 1 };
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
const VERSION_LABEL: &str = "portcullis credential version\0";

/// What one verification costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes; they are computed one after the other.
    pub lanes: u32,
}

impl Default for Cost {
    /// What new hashes are made with: 19 MiB, two passes, one lane.
    fn default() -> Self {
        DEFAULT
    }
}

impl Cost {
    fn params(self, output: usize) -> Result<Params, PasswordHashError> {
        Params::new(self.memory, self.passes, self.lanes, Some(output))
            .map_err(|_| PasswordHashError::Cost)
    }

    fn is_bounded(self) -> bool {
        let strong =
            |(memory, passes): &(u32, u32)| self.memory >= *memory && self.passes >= *passes;
        self.memory <= MAX_MEMORY
            && (1..=MAX_PASSES).contains(&self.passes)
            && (1..=MAX_LANES).contains(&self.lanes)
            && FLOORS.iter().any(strong)
    }
}

/// A stored hash.
pub struct PasswordHash {
    cost: Cost,
    params: Params,
    salt: Vec<u8>,
    output: Vec<u8>,
    version: Arc<str>,
}

impl PasswordHash {
    /// Reads `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    ///
    /// # Errors
    /// [`PasswordHashError`] for any other form, and for parameters out of bounds.
    pub fn parse(text: &str) -> Result<Self, PasswordHashError> {
        let parts: Vec<&str> = text.split('$').collect();
        let ["", algorithm, version, parameters, salt, output] = parts[..] else {
            return Err(PasswordHashError::Form);
        };
        if algorithm != "argon2id" || version != "v=19" {
            return Err(PasswordHashError::Algorithm);
        }
        let cost = cost(parameters).ok_or(PasswordHashError::Form)?;
        if !cost.is_bounded() {
            return Err(PasswordHashError::Cost);
        }
        let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| PasswordHashError::Form);
        let (salt, output) = (decode(salt)?, decode(output)?);
        if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&output.len()) {
            return Err(PasswordHashError::Length);
        }
        let version = self::version(text);
        Ok(Self { cost, params: cost.params(output.len())?, salt, output, version })
    }

    /// A hash of this cost that no password is known for: for users who do not exist.
    ///
    /// # Errors
    /// [`PasswordHashError`] when there is no randomness.
    pub fn unmatchable(cost: Cost, random: &dyn Random) -> Result<Self, PasswordHashError> {
        let salt = random::bytes::<SALT_BYTES>(random)?.to_vec();
        let output = random::bytes::<OUTPUT_BYTES>(random)?.to_vec();
        let version = version(&STANDARD_NO_PAD.encode(&salt));
        Ok(Self { cost, params: cost.params(OUTPUT_BYTES)?, salt, output, version })
    }

    /// The stored form of a new password, at the default cost.
    ///
    /// # Errors
    /// [`PasswordHashError`] when the password is longer than [`MAX_PASSWORD_BYTES`] or there is no randomness or memory.
    pub fn create(password: &Secret, random: &dyn Random) -> Result<String, PasswordHashError> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordHashError::Password);
        }
        let salt = random::bytes::<SALT_BYTES>(random)?;
        let mut output = [0; OUTPUT_BYTES];
        let argon2 =
            Argon2::new(Algorithm::Argon2id, Version::V0x13, DEFAULT.params(OUTPUT_BYTES)?);
        argon2
            .hash_password_into(password.expose(), &salt, &mut output)
            .map_err(|_| PasswordHashError::Memory)?;
        let Cost { memory, passes, lanes } = DEFAULT;
        let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        Ok(format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${output}"))
    }

    /// Tells this stored hash from any other: what tokens name, so that another password ends them. It says nothing about
    /// the password to whoever does not have the salt.
    #[must_use]
    pub const fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What a verification costs.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether this is the password. Takes the arena's memory, which grows to what the hash needs and stays with its owner;
    /// the comparison is in constant time.
    ///
    /// # Errors
    /// [`PasswordHashError::Memory`] when there is no memory for it.
    pub fn matches(
        &self,
        password: &Secret,
        arena: &mut Vec<Block>,
    ) -> Result<bool, PasswordHashError> {
        let blocks = self.params.block_count();
        if arena.len() < blocks {
            // A plain `resize` would end the process when memory is short.
            let missing = blocks - arena.len();
            arena.try_reserve_exact(missing).map_err(|_| PasswordHashError::Memory)?;
            arena.resize(blocks, Block::new());
        }
        let mut output = Zeroizing::new(vec![0; self.output.len()]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let memory = arena.get_mut(..blocks).unwrap_or_default();
        let hashed = argon2.hash_password_into_with_memory(
            password.expose(),
            &self.salt,
            &mut output,
            memory,
        );
        hashed.map_err(|_| PasswordHashError::Memory)?;
        Ok(bool::from(output.ct_eq(&self.output)))
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// 96 bits of a digest, in base64url.
fn version(stored: &str) -> Arc<str> {
    let digest = Sha256::new().chain_update(VERSION_LABEL).chain_update(stored).finalize();
    Arc::from(URL_SAFE_NO_PAD.encode(digest.first_chunk::<12>().copied().unwrap_or_default()))
}

fn cost(parameters: &str) -> Option<Cost> {
    let mut values = ["m=", "t=", "p="].into_iter().zip(parameters.split(','));
    let mut next = || {
        let (name, text) = values.next()?;
        let digits = text.strip_prefix(name)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        plain.then(|| digits.parse().ok())?
    };
    let cost = Cost { memory: next()?, passes: next()?, lanes: next()? };
    (parameters.split(',').count() == 3).then_some(cost)
}

/// Why a text is no stored hash, or none can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordHashError {
    /// Not the PHC string format.
    #[error(
        "a password is stored as `$argon2id$v=19$m=…,t=…,p=…$salt$hash`; `portcullis hash-password` makes one"
    )]
    Form,
    /// Another algorithm or version.
    #[error(
        "only argon2id in version 19 is accepted; `portcullis hash-password` makes such a hash"
    )]
    Algorithm,
    /// Parameters that are too weak to protect, or large enough to exhaust the machine.
    #[error(
        "the parameters are out of bounds: at least m=19456,t=2 (or as strong), at most m={MAX_MEMORY},t={MAX_PASSES},p={MAX_LANES}"
    )]
    Cost,
    /// A salt or output of an odd length.
    #[error("the salt has 8 to 64 bytes and the hash 16 to 64")]
    Length,
    /// The new password is too long.
    #[error("a password has at most {MAX_PASSWORD_BYTES} bytes")]
    Password,
    /// There is no memory for it.
    #[error("there is no memory to hash with")]
    Memory,
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    const TAIL: &str = "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a29_what_is_created_matches_its_password_byte_for_byte_and_no_other() {
        let stored = PasswordHash::create(&Secret::from("pässword"), &OsRandom).unwrap();
        let hash = PasswordHash::parse(&stored).unwrap();
        let mut arena = Vec::new();
        assert_eq!(hash.matches(&Secret::from("pässword"), &mut arena), Ok(true));
        for wrong in ["", "passwort", "pässword ", "PÄSSWORD", "pa\u{308}ssword"] {
            assert_eq!(hash.matches(&Secret::from(wrong), &mut arena), Ok(false), "{wrong:?}");
        }
        assert_ne!(stored, PasswordHash::create(&Secret::from("pässword"), &OsRandom).unwrap());
    }

    #[test]
    fn j12_parameters_are_bounded_on_both_sides() {
        for good in ["m=19456,t=2,p=1", "m=65536,t=3,p=4", "m=7168,t=5,p=1", "m=47104,t=1,p=1"] {
            assert!(PasswordHash::parse(&format!("$argon2id$v=19${good}{TAIL}")).is_ok(), "{good}");
        }
        for bad in [
            "m=4194304,t=2,p=1",
            "m=19456,t=1,p=1",
            "m=8,t=1,p=1",
            "m=19456,t=17,p=1",
            "m=19456,t=2,p=5",
            "m=19456,t=2,p=0",
        ] {
            let error = PasswordHash::parse(&format!("$argon2id$v=19${bad}{TAIL}")).err();
            assert!(
                matches!(error, Some(PasswordHashError::Cost | PasswordHashError::Form)),
                "{bad}"
            );
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for bad in [
            "",
            "secret",
            "$2b$12$abc",
            "$argon2i$v=19$m=19456,t=2,p=1",
            "$argon2id$v=16$m=19456,t=2,p=1",
            "$argon2id$m=19456,t=2,p=1",
            "$argon2id$v=19$t=2,m=19456,p=1",
            "$argon2id$v=19$m=19456,t=2,p=1,x=1",
            "$argon2id$v=19$m=+19456,t=2,p=1",
            "$argon2id$v=19$m=019456,t=2,p=1",
            "x$argon2id$v=19$m=19456,t=2,p=1",
        ] {
            assert!(PasswordHash::parse(&format!("{bad}{TAIL}")).is_err(), "{bad}");
        }
        assert!(PasswordHash::parse("$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA").is_err());
        assert!(PasswordHash::parse("$argon2id$v=19$m=19456,t=2,p=1$zz zz$éé").is_err());
    }

    #[test]
    fn an_unmatchable_hash_costs_the_same_and_matches_nothing() {
        let cost = Cost { memory: 7_168, passes: 5, lanes: 1 };
        let hash = PasswordHash::unmatchable(cost, &OsRandom).unwrap();
        assert_eq!(hash.cost(), cost);
        assert_eq!(hash.matches(&Secret::from(""), &mut Vec::new()), Ok(false));
    }

    #[test]
    fn a_hash_does_not_print_itself() {
        let hash = PasswordHash::unmatchable(Cost::default(), &OsRandom).unwrap();
        assert_eq!(
            format!("{hash:?}"),
            "PasswordHash { cost: Cost { memory: 19456, passes: 2, lanes: 1 }, .. }"
        );
    }
}
