//! What one verification costs, for each algorithm, and how much of it is allowed.
//!
//! The parameters come from the stored text, so their bounds are what stands between a user file and the machine: a hash
//! that would take minutes or gigabytes is refused when it is read, and so is one that protects nobody.

use std::collections::HashMap;
use std::fmt;

use argon2::Block;

use super::{
    MAX_PASSWORD_BYTES, PasswordHashError, argon2id, bcrypt, pbkdf2, scrypt, sha512_crypt,
};

/// The algorithms whose hashes can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// crypt(3) with SHA-512.
    Sha512Crypt,
    /// PBKDF2 with HMAC-SHA-256 (RFC 8018 section 5.2), as Django writes it.
    Pbkdf2,
    /// bcrypt.
    Bcrypt,
    /// scrypt (RFC 7914).
    Scrypt,
    /// argon2id (RFC 9106): the only one that new hashes are made with.
    Argon2id,
}

impl Algorithm {
    /// The algorithm that a stored text claims to be of.
    pub(super) fn of(text: &str) -> Option<Self> {
        let prefixes = [
            ("$argon2id$", Self::Argon2id),
            ("$2", Self::Bcrypt),
            ("$scrypt$", Self::Scrypt),
            ("pbkdf2_sha256$", Self::Pbkdf2),
            ("$6$", Self::Sha512Crypt),
        ];
        prefixes.into_iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, found)| found)
    }

    /// How its stored text looks.
    pub(super) const fn form(self) -> &'static str {
        match self {
            Self::Argon2id => argon2id::FORM,
            Self::Bcrypt => bcrypt::FORM,
            Self::Scrypt => scrypt::FORM,
            Self::Pbkdf2 => pbkdf2::FORM,
            Self::Sha512Crypt => sha512_crypt::FORM,
        }
    }

    /// The parameters that are accepted.
    pub(super) const fn bounds(self) -> &'static str {
        match self {
            Self::Argon2id => argon2id::BOUNDS,
            Self::Bcrypt => bcrypt::BOUNDS,
            Self::Scrypt => scrypt::BOUNDS,
            Self::Pbkdf2 => pbkdf2::BOUNDS,
            Self::Sha512Crypt => sha512_crypt::BOUNDS,
        }
    }

    /// How many bytes it gives, where the stored text does not say otherwise.
    pub(super) const fn output_bytes(self) -> usize {
        match self {
            Self::Argon2id | Self::Scrypt | Self::Pbkdf2 => 32,
            Self::Bcrypt => bcrypt::OUTPUT_BYTES,
            Self::Sha512Crypt => sha512_crypt::OUTPUT_BYTES,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id => "argon2id",
            Self::Bcrypt => "bcrypt",
            Self::Scrypt => "scrypt",
            Self::Pbkdf2 => "pbkdf2_sha256",
            Self::Sha512Crypt => "sha512-crypt",
        })
    }
}

/// What one verification costs. Ordered only so that a tie is always decided alike: argon2id is the greatest, and within an
/// algorithm more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cost {
    /// sha512-crypt.
    Sha512Crypt {
        /// How often the digest is taken.
        rounds: u32,
    },
    /// PBKDF2.
    Pbkdf2 {
        /// How often the HMAC is taken.
        iterations: u32,
    },
    /// bcrypt.
    Bcrypt {
        /// The binary logarithm of the number of key expansions.
        exponent: u32,
    },
    /// scrypt.
    Scrypt {
        /// The binary logarithm of N.
        log_n: u8,
        /// The block size.
        r: u32,
        /// How often the whole is done.
        p: u32,
    },
    /// argon2id.
    Argon2id {
        /// Memory in KiB.
        memory: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes; they are computed one after the other.
        lanes: u32,
    },
}

impl Default for Cost {
    /// What new hashes are made with: argon2id with 19 MiB, two passes, one lane.
    fn default() -> Self {
        argon2id::DEFAULT
    }
}

impl Cost {
    /// The cost that most have, which who does not exist must cost too; on a tie the greatest, and the default of none.
    #[must_use]
    pub fn usual(costs: impl IntoIterator<Item = Self>) -> Self {
        let mut counts: HashMap<Self, usize> = HashMap::new();
        for cost in costs {
            *counts.entry(cost).or_default() += 1;
        }
        Self::usual_of(counts)
    }

    /// The same, of costs that were counted already.
    #[must_use]
    pub fn usual_of(counts: impl IntoIterator<Item = (Self, usize)>) -> Self {
        let usual = counts.into_iter().max_by_key(|(cost, count)| (*count, *cost));
        usual.map_or_else(Self::default, |(cost, _)| cost)
    }

    /// The algorithm it is a cost of.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Argon2id { .. } => Algorithm::Argon2id,
            Self::Bcrypt { .. } => Algorithm::Bcrypt,
            Self::Scrypt { .. } => Algorithm::Scrypt,
            Self::Pbkdf2 { .. } => Algorithm::Pbkdf2,
            Self::Sha512Crypt { .. } => Algorithm::Sha512Crypt,
        }
    }

    pub(super) fn check(self) -> Result<Self, PasswordHashError> {
        let bounded = match self {
            Self::Argon2id { memory, passes, lanes } => argon2id::is_bounded(memory, passes, lanes),
            Self::Bcrypt { exponent } => bcrypt::EXPONENTS.contains(&exponent),
            Self::Scrypt { log_n, r, p } => scrypt::is_bounded(log_n, r, p),
            Self::Pbkdf2 { iterations } => pbkdf2::ITERATIONS.contains(&iterations),
            Self::Sha512Crypt { rounds } => sha512_crypt::ROUNDS.contains(&rounds),
        };
        bounded.then_some(self).ok_or(PasswordHashError::Cost(self.algorithm()))
    }

    /// Whether the algorithm tells this password from all others: bcrypt and crypt(3) cut it somewhere, C programs end it at
    /// a NUL, and HMAC, which is within scrypt and PBKDF2, takes `a` and `a` with a NUL for one key.
    pub(super) fn tells_apart(self, password: &[u8]) -> bool {
        let most = match self {
            Self::Bcrypt { .. } => bcrypt::MAX_PASSWORD_BYTES,
            Self::Sha512Crypt { .. } => sha512_crypt::MAX_PASSWORD_BYTES,
            Self::Argon2id { .. } | Self::Scrypt { .. } | Self::Pbkdf2 { .. } => MAX_PASSWORD_BYTES,
        };
        let whole = self.algorithm() == Algorithm::Argon2id || !password.contains(&0);
        password.len() <= most && whole
    }

    /// Hashes into the output. What is too long for the algorithm is cut and hashed, so that it costs no less than others.
    pub(super) fn hash(
        self,
        password: &[u8],
        salt: &[u8],
        output: &mut [u8],
        arena: &mut Vec<Block>,
    ) -> Result<(), PasswordHashError> {
        match self {
            Self::Argon2id { memory, passes, lanes } => {
                let params = argon2id::params(memory, passes, lanes, output.len())?;
                argon2id::hash(params, password, salt, output, arena)
            }
            Self::Bcrypt { exponent } => bcrypt::hash(exponent, password, salt, output),
            Self::Scrypt { log_n, r, p } => {
                // scrypt has memory of its own. One of the two at a time keeps a thread's memory within the largest hash.
                *arena = Vec::new();
                scrypt::hash(scrypt::params(log_n, r, p)?, password, salt, output)
            }
            Self::Pbkdf2 { iterations } => {
                pbkdf2::hash(iterations, password, salt, output);
                Ok(())
            }
            Self::Sha512Crypt { rounds } => sha512_crypt::hash(rounds, password, salt, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_the_usual_cost_is_what_most_have_whatever_the_algorithm() {
        let argon2id = Cost::default();
        let [quick, slow] = [10, 12].map(|exponent| Cost::Bcrypt { exponent });
        assert_eq!(Cost::usual([]), argon2id);
        assert_eq!(Cost::usual([slow, quick, argon2id, quick]), quick);
        assert_eq!(Cost::usual([quick, slow]), slow);
        assert_eq!(Cost::usual([slow, argon2id]), argon2id, "a tie: the rest is on its way there");
        let django = Cost::Pbkdf2 { iterations: 870_000 };
        assert_eq!(Cost::usual([django, argon2id, django]), django);
    }
}
