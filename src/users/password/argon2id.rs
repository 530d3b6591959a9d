//! argon2id (RFC 9106) in the PHC string format: what new hashes are made with, and the bounds of the old ones.
//!
//! The floors are what OWASP's password storage cheat sheet accepts.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{Cost, Parts, PasswordHashError, numbers};

pub(super) const FORM: &str =
    "`$argon2id$v=19$m=…,t=…,p=…$salt$hash` with a salt of 8 to 64 bytes and a hash of 16 to 64";
pub(super) const BOUNDS: &str = "at least m=19456,t=2 (or as strong), at most m=262144,t=16,p=4";
pub(super) const DEFAULT: Cost = Cost::Argon2id { memory: MEMORY, passes: PASSES, lanes: LANES };

const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The most memory one hash may ask for, in KiB.
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 4;
/// Memory in KiB against the passes that make up for it, cheapest first.
const FLOORS: [(u32, u32); 5] = [(7_168, 5), (9_216, 4), (12_288, 3), (19_456, 2), (47_104, 1)];

/// Reads `$argon2id$v=19$m=…,t=…,p=…$salt$hash`; `None` for another form.
pub(super) fn parse(text: &str) -> Option<Parts> {
    let text = text.strip_prefix("$argon2id$v=19$")?;
    let parts: Vec<&str> = text.split('$').collect();
    let [parameters, salt, output] = parts[..] else { return None };
    let [memory, passes, lanes] = numbers(["m=", "t=", "p="], parameters)?;
    let salt = STANDARD_NO_PAD.decode(salt).ok()?;
    let output = STANDARD_NO_PAD.decode(output).ok()?;
    let bounded = (8..=64).contains(&salt.len()) && (16..=64).contains(&output.len());
    bounded.then_some((Cost::Argon2id { memory, passes, lanes }, salt, output))
}

/// The text of a new hash of the default cost, for [`parse`].
pub(super) fn text(salt: &[u8], output: &[u8]) -> String {
    let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
    format!("$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}${salt}${output}")
}

pub(super) fn is_bounded(memory: u32, passes: u32, lanes: u32) -> bool {
    let strong = |(least, passes_of_it): &(u32, u32)| memory >= *least && passes >= *passes_of_it;
    memory <= MAX_MEMORY
        && (1..=MAX_PASSES).contains(&passes)
        && (1..=MAX_LANES).contains(&lanes)
        && FLOORS.iter().any(strong)
}

pub(super) fn params(
    memory: u32,
    passes: u32,
    lanes: u32,
    output: usize,
) -> Result<Params, PasswordHashError> {
    Params::new(memory, passes, lanes, Some(output))
        .map_err(|_| PasswordHashError::Cost(super::Algorithm::Argon2id))
}

pub(super) fn hash(
    params: Params,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    arena: &mut Vec<Block>,
) -> Result<(), PasswordHashError> {
    let blocks = params.block_count();
    if arena.len() < blocks {
        // A plain `resize` would end the process when memory is short.
        let missing = blocks - arena.len();
        arena.try_reserve_exact(missing).map_err(|_| PasswordHashError::Memory)?;
        arena.resize(blocks, Block::new());
    }
    let memory = arena.get_mut(..blocks).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, output, memory)
        .map_err(|_| PasswordHashError::Memory)
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, PasswordHash};
    use super::*;

    const TAIL: &str = "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn j12_parameters_are_bounded_on_both_sides() {
        for good in [
            "m=19456,t=2,p=1",
            "m=65536,t=3,p=4",
            "m=7168,t=5,p=1",
            "m=47104,t=1,p=1",
            "m=262144,t=16,p=4",
        ] {
            assert!(PasswordHash::parse(&format!("$argon2id$v=19${good}{TAIL}")).is_ok(), "{good}");
        }
        for bad in [
            "m=4194304,t=2,p=1",
            "m=262145,t=2,p=1",
            "m=19456,t=1,p=1",
            "m=19455,t=2,p=1",
            "m=7167,t=5,p=1",
            "m=8,t=1,p=1",
            "m=19456,t=17,p=1",
            "m=19456,t=2,p=5",
        ] {
            let error = PasswordHash::parse(&format!("$argon2id$v=19${bad}{TAIL}")).err();
            assert_eq!(error, Some(PasswordHashError::Cost(Algorithm::Argon2id)), "{bad}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for bad in [
            "$argon2i$v=19$m=19456,t=2,p=1",
            "$argon2id$v=16$m=19456,t=2,p=1",
            "$argon2id$m=19456,t=2,p=1",
            "$argon2id$v=19$t=2,m=19456,p=1",
            "$argon2id$v=19$m=19456,t=2,p=1,x=1",
            "$argon2id$v=19$m=19456,t=2",
            "$argon2id$v=19$m=19456,t=2,p=0",
            "$argon2id$v=19$m=+19456,t=2,p=1",
            "$argon2id$v=19$m=019456,t=2,p=1",
            "x$argon2id$v=19$m=19456,t=2,p=1",
        ] {
            assert!(PasswordHash::parse(&format!("{bad}{TAIL}")).is_err(), "{bad}");
        }
        assert!(PasswordHash::parse("$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA").is_err());
        assert!(PasswordHash::parse("$argon2id$v=19$m=19456,t=2,p=1$zz zz$éé").is_err());
    }
}
