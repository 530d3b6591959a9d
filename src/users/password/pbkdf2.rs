//! PBKDF2 with HMAC-SHA-256 (RFC 8018 section 5.2), as Django writes it: `pbkdf2_sha256$iterations$salt$hash`.
//!
//! The salt is text and hashed as it stands; the hash is in base64 with its padding.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Sha256;

use super::{Cost, Parts, number};

pub(super) const FORM: &str =
    "`pbkdf2_sha256$iterations$salt$hash` with a salt of 8 to 64 characters and a hash of 32 bytes";
pub(super) const BOUNDS: &str = "from 1000 to 2500000 iterations";

/// Django began with 10 000 and is beyond a million; the greatest is about the slowest bcrypt that is accepted.
pub(super) const ITERATIONS: RangeInclusive<u32> = 1_000..=2_500_000;

/// Reads `pbkdf2_sha256$iterations$salt$hash`; `None` for another form.
pub(super) fn parse(text: &str) -> Option<Parts> {
    let text = text.strip_prefix("pbkdf2_sha256$")?;
    let parts: Vec<&str> = text.split('$').collect();
    let [iterations, salt, output] = parts[..] else { return None };
    let cost = Cost::Pbkdf2 { iterations: number(iterations)? };
    let output = STANDARD.decode(output).ok()?;
    let visible = salt.bytes().all(|b| b.is_ascii_graphic());
    let bounded = visible && (8..=64).contains(&salt.len()) && output.len() == 32;
    bounded.then(|| (cost, salt.as_bytes().to_vec(), output))
}

pub(super) fn hash(iterations: u32, password: &[u8], salt: &[u8], output: &mut [u8]) {
    ::pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, output);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{matches, refused};
    use super::super::{Algorithm, PasswordHashError};

    // Made by Django 5 and again by `hashlib.pbkdf2_hmac` of Python.
    const OF_CORRECT_HORSE: &str =
        "pbkdf2_sha256$1000$seasalt9Kq2ZpB$VpmWMDBYMfErosBZYgSz2AH8117DV+oU5ipQUWio4NI=";
    const OF_UMLAUTS: &str =
        "pbkdf2_sha256$10000$seasalt9Kq2ZpB$JRkm8/04Oj2sGyd4Q1g1AJXKdY6l4l2D9+qrpu3+t0g=";

    #[test]
    fn the_hashes_of_other_programs_match_their_password_and_no_other() {
        assert!(matches(OF_CORRECT_HORSE, "correct horse"));
        for wrong in ["", "Correct horse", "correct horse ", "correct horse\0"] {
            assert!(!matches(OF_CORRECT_HORSE, wrong), "{wrong:?}");
        }
        assert!(matches(OF_UMLAUTS, "pässwörd €") && !matches(OF_UMLAUTS, "passwörd €"));
    }

    #[test]
    fn iterations_are_bounded_on_both_sides() {
        for (iterations, good) in [
            ("999", false),
            ("1000", true),
            ("870000", true),
            ("1500000", true),
            ("2500000", true),
            ("2500001", false),
            ("1000000000", false),
            ("4294967295", false),
        ] {
            let error = refused(&OF_UMLAUTS.replace("10000", iterations));
            let bound = PasswordHashError::Cost(Algorithm::Pbkdf2);
            assert_eq!(error, (!good).then_some(bound), "{iterations}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for bad in [
            OF_UMLAUTS.replace("10000", ""),
            OF_UMLAUTS.replace("10000", "0"),
            OF_UMLAUTS.replace("10000", "+10000"),
            OF_UMLAUTS.replace("10000", "010000"),
            OF_UMLAUTS.replace("10000", "4294967296"),
            OF_UMLAUTS.replace("seasalt9Kq2ZpB", "seasalt"),
            OF_UMLAUTS.replace("seasalt9Kq2ZpB", &"s".repeat(65)),
            OF_UMLAUTS.replace("seasalt9Kq2ZpB", "sea salt 9Kq2"),
            OF_UMLAUTS.replace("seasalt9Kq2ZpB", "séasalt9Kq2ZpB"),
            OF_UMLAUTS.replace('=', ""),
            OF_UMLAUTS.replace("t0g=", ""),
            format!("{OF_UMLAUTS}$"),
            "pbkdf2_sha256$".to_owned(),
        ] {
            let error = refused(&bad);
            assert_eq!(error, Some(PasswordHashError::Form(Algorithm::Pbkdf2)), "{bad}");
        }
        let sha1 = OF_UMLAUTS.replace("sha256", "sha1");
        assert_eq!(refused(&sha1), Some(PasswordHashError::Unknown));
    }
}
