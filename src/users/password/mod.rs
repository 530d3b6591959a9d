//! Stored password hashes: argon2id, which new ones are made with, and those that users bring along from elsewhere.
//!
//! Verifying runs with the parameters inside the stored text, so they are bounded when it is read (see [`Cost`]). Where a hash
//! is kept, and whether an old one is replaced after a login, is for others to decide.

mod argon2id;
mod bcrypt;
mod cost;
mod pbkdf2;
mod scrypt;
mod sha512_crypt;

use std::fmt;
use std::sync::Arc;

use argon2::Block;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub use self::cost::{Algorithm, Cost};
use crate::random::{self, Random, RandomError};
use crate::secret::Secret;

/// The longest password that is looked at, in bytes. Argon2 itself would take gigabytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

const SALT_BYTES: usize = 16;
/// Keeps a version from being the SHA-256 of a stored hash for any other purpose.
const VERSION_LABEL: &[u8] = b"portcullis credential version 1\0";
/// 96 bits, which are 16 characters of base64url.
const VERSION_BYTES: usize = 12;

/// What a stored text says: the cost, the salt and the hash itself.
type Parts = (Cost, Vec<u8>, Vec<u8>);

/// A stored hash.
pub struct PasswordHash {
    cost: Cost,
    salt: Vec<u8>,
    output: Vec<u8>,
    version: Arc<str>,
}

impl PasswordHash {
    /// Reads a stored text of any [`Algorithm`].
    ///
    /// # Errors
    /// [`PasswordHashError`] for any other form, and for parameters out of bounds.
    pub fn parse(text: &str) -> Result<Self, PasswordHashError> {
        let algorithm = Algorithm::of(text).ok_or(PasswordHashError::Unknown)?;
        let parts = match algorithm {
            Algorithm::Argon2id => argon2id::parse(text),
            Algorithm::Bcrypt => bcrypt::parse(text),
            Algorithm::Scrypt => scrypt::parse(text),
            Algorithm::Pbkdf2 => pbkdf2::parse(text),
            Algorithm::Sha512Crypt => sha512_crypt::parse(text),
        };
        let (cost, salt, output) = parts.ok_or(PasswordHashError::Form(algorithm))?;
        Ok(Self { cost: cost.check()?, salt, output, version: version(text.as_bytes()) })
    }

    /// A hash of this cost that no password is known for: for users who do not exist.
    ///
    /// # Errors
    /// [`PasswordHashError`] when the cost is out of bounds or there is no randomness.
    pub fn unmatchable(cost: Cost, random: &dyn Random) -> Result<Self, PasswordHashError> {
        let cost = cost.check()?;
        let salt = random::bytes::<SALT_BYTES>(random)?.to_vec();
        let mut output = vec![0; cost.algorithm().output_bytes()];
        random.fill(&mut output)?;
        let version = version(&output);
        Ok(Self { cost, salt, output, version })
    }

    /// The stored form of a new password: argon2id at the default cost.
    ///
    /// # Errors
    /// [`PasswordHashError`] when the password is longer than [`MAX_PASSWORD_BYTES`] or there is no randomness or memory.
    pub fn create(password: &Secret, random: &dyn Random) -> Result<String, PasswordHashError> {
        Self::create_in(password, random, &mut Vec::new())
    }

    /// As [`PasswordHash::create`], in memory that stays with its owner.
    ///
    /// # Errors
    /// As [`PasswordHash::create`].
    pub fn create_in(
        password: &Secret,
        random: &dyn Random,
        arena: &mut Vec<Block>,
    ) -> Result<String, PasswordHashError> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordHashError::Password);
        }
        let cost = Cost::default();
        let salt = random::bytes::<SALT_BYTES>(random)?;
        let mut output = vec![0; cost.algorithm().output_bytes()];
        cost.hash(password.expose(), &salt, &mut output, arena)?;
        Ok(argon2id::text(&salt, &output))
    }

    /// What a verification costs.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether it is of another algorithm than new hashes, and had better be replaced by one once the password is known.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        self.cost.algorithm() != Algorithm::Argon2id
    }

    /// The version of this credential, for tokens to name: 96 bits of a SHA-256 over the stored text, in base64url. Another
    /// password, or the same one hashed anew, is another version. It tells nothing about the password to anyone who does not
    /// know the salt, which is why short salts are refused.
    #[must_use]
    pub fn version(&self) -> Arc<str> {
        Arc::clone(&self.version)
    }

    /// Whether this is the password. Takes the arena's memory, which grows to what the hash needs and stays with its owner;
    /// the comparison is in constant time. A password that the algorithm would cut, or not tell from another, does not match.
    ///
    /// # Errors
    /// [`PasswordHashError::Memory`] when there is no memory for it.
    pub fn matches(
        &self,
        password: &Secret,
        arena: &mut Vec<Block>,
    ) -> Result<bool, PasswordHashError> {
        let mut output = Zeroizing::new(vec![0; self.output.len()]);
        self.cost.hash(password.expose(), &self.salt, &mut output, arena)?;
        let equal = bool::from(output.ct_eq(&self.output));
        Ok(equal && self.cost.tells_apart(password.expose()))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

fn version(stored: &[u8]) -> Arc<str> {
    let digest = Sha256::new().chain_update(VERSION_LABEL).chain_update(stored).finalize();
    let bytes = digest.get(..VERSION_BYTES).unwrap_or_default();
    Arc::from(URL_SAFE_NO_PAD.encode(bytes))
}

/// A decimal number as programs write it: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok())?
}

/// The numbers of `a=1,b=2,c=3`: these names in this order, and nothing else.
fn numbers(names: [&str; 3], text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(',');
    let mut next = |name: &str| number(parts.next()?.strip_prefix(name)?);
    let [first, second, third] = names;
    let found = [next(first)?, next(second)?, next(third)?];
    parts.next().is_none().then_some(found)
}

/// Why a text is no stored hash, or none can be made. No message holds anything of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordHashError {
    /// No algorithm that is known.
    #[error(
        "a password is stored as argon2id (`portcullis hash-password` makes such a hash), or as it was elsewhere: bcrypt `$2a$` `$2b$` `$2y$`, scrypt `$scrypt$`, Django's `pbkdf2_sha256$`, or sha512-crypt `$6$`"
    )]
    Unknown,
    /// Not the form of its algorithm.
    #[error("a hash of {0} is {form}", form = .0.form())]
    Form(Algorithm),
    /// Parameters that are too weak to protect, or large enough to exhaust the machine.
    #[error("the parameters of this {0} hash are out of bounds: {bounds}", bounds = .0.bounds())]
    Cost(Algorithm),
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
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::OsRandom;

    /// One of each algorithm but argon2id, for `correct horse`.
    pub(in crate::users) const LEGACY: [&str; 4] = [
        "$2b$04$H.zj3W3PRsXXBn0xfDhvhebSUIs7b6sz/feqRphkzH4XtNp1SBfY2",
        "$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$nfkj3u1fRTHCea+fVr03sWV770kp5wLOLoEakziKhqE",
        "pbkdf2_sha256$1000$seasalt9Kq2ZpB$VpmWMDBYMfErosBZYgSz2AH8117DV+oU5ipQUWio4NI=",
        "$6$rounds=1000$saltstring$YiR6NSM0LQXmu7vAhkMXfkdYk7qtFouVx1Mdr3HmzXspT8kONjlpU3CsV7ezCB62uXJoAdaagsH4ck7/tB9js.",
    ];
    const ARGON2ID: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    pub(super) fn matches(stored: &str, password: &str) -> bool {
        let hash = PasswordHash::parse(stored).unwrap();
        hash.matches(&Secret::from(password), &mut Vec::new()).unwrap()
    }

    pub(super) fn refused(stored: &str) -> Option<PasswordHashError> {
        PasswordHash::parse(stored).err()
    }

    #[test]
    fn a29_what_is_created_matches_its_password_byte_for_byte_and_no_other() {
        let stored = PasswordHash::create(&Secret::from("pässword"), &OsRandom).unwrap();
        let hash = PasswordHash::parse(&stored).unwrap();
        assert_eq!((hash.cost(), hash.is_legacy()), (Cost::default(), false));
        let mut arena = Vec::new();
        assert_eq!(hash.matches(&Secret::from("pässword"), &mut arena), Ok(true));
        for wrong in ["", "passwort", "pässword ", "pässword\0", "PÄSSWORD", "pa\u{308}ssword"] {
            assert_eq!(hash.matches(&Secret::from(wrong), &mut arena), Ok(false), "{wrong:?}");
        }
        assert_ne!(stored, PasswordHash::create(&Secret::from("pässword"), &OsRandom).unwrap());
    }

    #[test]
    fn a_new_password_is_bounded() {
        let of = |length| PasswordHash::create(&Secret::from(&*"x".repeat(length)), &OsRandom);
        assert!(of(MAX_PASSWORD_BYTES).is_ok());
        assert_eq!(of(MAX_PASSWORD_BYTES + 1), Err(PasswordHashError::Password));
    }

    #[test]
    fn one_arena_serves_every_algorithm() {
        let mut arena = Vec::new();
        let new = PasswordHash::create(&Secret::from("correct horse"), &OsRandom).unwrap();
        for stored in [&*new].into_iter().chain(LEGACY).chain([&*new]) {
            let hash = PasswordHash::parse(stored).unwrap();
            assert_eq!(hash.is_legacy(), stored != new);
            for (password, right) in [("correct horse", true), ("wrong horse", false)] {
                assert_eq!(hash.matches(&Secret::from(password), &mut arena), Ok(right));
            }
        }
    }

    #[test]
    fn other_formats_are_unknown() {
        for bad in [
            "",
            "secret",
            "$",
            "$1$abcdefgh$hash",
            "$5$abcdefgh$hash",
            "$apr1$abcdefgh$hash",
            "{SHA}hash",
            "argon2$argon2id$v=19$m=102400,t=2,p=8$abc$abc",
            "pbkdf2_sha1$1000$seasalt9Kq2ZpB$hash",
        ] {
            assert_eq!(refused(bad), Some(PasswordHashError::Unknown), "{bad}");
        }
        for good in LEGACY {
            assert!(
                refused(&format!(" {good}")).is_some() && refused(&format!("{good}\n")).is_some()
            );
        }
    }

    #[test]
    fn an_unmatchable_hash_costs_the_same_and_matches_nothing() {
        let weak = Cost::Argon2id { memory: 7_168, passes: 5, lanes: 1 };
        let legacy = LEGACY.map(|stored| PasswordHash::parse(stored).unwrap());
        for cost in legacy.iter().map(PasswordHash::cost).chain([weak]) {
            let hash = PasswordHash::unmatchable(cost, &OsRandom).unwrap();
            assert_eq!(hash.cost(), cost);
            for password in ["", "correct horse", &"x".repeat(MAX_PASSWORD_BYTES)] {
                assert_eq!(hash.matches(&Secret::from(password), &mut Vec::new()), Ok(false));
            }
        }
        for (like, stored) in legacy.iter().zip(LEGACY) {
            let dummy = PasswordHash::unmatchable(like.cost(), &OsRandom).unwrap();
            assert_eq!(dummy.output.len(), like.output.len(), "{stored}");
        }
        let absurd = PasswordHash::unmatchable(Cost::Bcrypt { exponent: 31 }, &OsRandom);
        assert!(matches!(absurd, Err(PasswordHashError::Cost(Algorithm::Bcrypt))));
    }

    #[test]
    fn a_version_is_of_the_stored_text_and_of_nothing_else() {
        let of = |text: &str| PasswordHash::parse(text).unwrap().version();
        // SHA-256 of the label and the text, by another program.
        assert_eq!(&*of(ARGON2ID), "ImgqLqNlpD5dRjG7");
        assert_eq!(of(ARGON2ID), of(ARGON2ID));
        let salted = ARGON2ID.replacen("AAAA", "AAAB", 1);
        assert_ne!(of(ARGON2ID), of(&salted), "the same password hashed anew is another version");
        let dummy = || PasswordHash::unmatchable(Cost::default(), &OsRandom).unwrap().version();
        assert_ne!(dummy(), dummy());
    }

    #[test]
    fn a_hash_does_not_print_itself() {
        let hash = PasswordHash::parse(LEGACY[0]).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash { cost: Bcrypt { exponent: 4 }, .. }");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(
            prefix in "|\\$argon2id\\$v=19\\$|\\$2b\\$|\\$2a\\$[0-9]{2}\\$|\\$scrypt\\$|\\$scrypt\\$ln=1,r=1,p=1|pbkdf2_sha256\\$|\\$6\\$|\\$6\\$rounds=",
            text in "\\PC{0,100}",
        ) {
            let text = format!("{prefix}{text}");
            prop_assert!(PasswordHash::parse(&text).is_err());
        }

        #[test]
        fn a_damaged_hash_never_panics(which in 0..LEGACY.len(), at in 0_usize..120, by in any::<char>()) {
            let mut text = LEGACY[which].to_owned();
            let at = at % text.len();
            text.replace_range(at..=at, by.encode_utf8(&mut [0; 4]));
            if let Ok(hash) = PasswordHash::parse(&text) {
                prop_assert!(hash.cost().check().is_ok());
            }
        }
    }
}
