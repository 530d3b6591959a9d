//! bcrypt, as `$2a$`, `$2b$` and `$2y$`: three names for one computation. `$2x$` marks hashes of a broken one.
//!
//! The stored text is taken apart here, so that the crate sees bytes of the right lengths and nothing else
//! (RUSTSEC-2026-0199 was a panic on text that is not ASCII).

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use zeroize::Zeroizing;

use super::{Algorithm, Cost, Parts, PasswordHashError};

pub(super) const FORM: &str =
    "`$2b$cost$` (or `$2a$`, `$2y$`), a cost of two digits, and 53 letters, digits, `.` and `/`";
pub(super) const BOUNDS: &str = "a cost from 4 to 14";

/// Beyond the greatest, one login takes a core for seconds. The least is that of the algorithm.
pub(super) const EXPONENTS: RangeInclusive<u32> = 4..=14;
/// What bcrypt looks at; the rest it would leave out without a word.
pub(super) const MAX_PASSWORD_BYTES: usize = 72;
pub(super) const OUTPUT_BYTES: usize = 23;
const SALT_BYTES: usize = 16;
const SALT_CHARACTERS: usize = 22;
const OUTPUT_CHARACTERS: usize = 31;

/// Some programs leave bits in the last character of a salt that no byte has room for, and others ignore them.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

/// Reads `$2b$NN$` and the two in their own base64; `None` for another form.
pub(super) fn parse(text: &str) -> Option<Parts> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let (cost, rest) = rest.split_once('$')?;
    let two_digits = cost.len() == 2 && cost.bytes().all(|b| b.is_ascii_digit());
    let exponent = if two_digits { cost.parse().ok()? } else { return None };
    let (salt, output) = rest.split_at_checked(SALT_CHARACTERS)?;
    if output.len() != OUTPUT_CHARACTERS {
        return None;
    }
    let (salt, output) = (BASE64.decode(salt).ok()?, BASE64.decode(output).ok()?);
    Some((Cost::Bcrypt { exponent }, salt, output))
}

/// Hashes the first 72 bytes, with the NUL that ends a shorter password.
pub(super) fn hash(
    exponent: u32,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
) -> Result<(), PasswordHashError> {
    let salt: [u8; SALT_BYTES] =
        salt.try_into().map_err(|_| PasswordHashError::Form(Algorithm::Bcrypt))?;
    let mut key = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_BYTES));
    key.extend(password.iter().chain(&[0]).take(MAX_PASSWORD_BYTES));
    let hashed = Zeroizing::new(::bcrypt::bcrypt(exponent, salt, &key));
    for (to, from) in output.iter_mut().zip(hashed.iter()) {
        *to = *from;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{matches, refused};
    use super::*;

    // Made by the `bcrypt` package of Python, but the `$2y$` one, which only names itself so.
    const OF_CORRECT_HORSE: [&str; 3] = [
        "$2a$04$.3ytjcIZp06YpQpa4iusB.oGTXKL.GF5XGOmgLuXs0eK5ignMq0Ea",
        "$2b$04$H.zj3W3PRsXXBn0xfDhvhebSUIs7b6sz/feqRphkzH4XtNp1SBfY2",
        "$2y$05$UJ/EHPVXE2dVlHh1Y2FxLernxpf9L/k7NTeS7hdv6HM73.cVqNz1i",
    ];
    const OF_UMLAUTS: &str = "$2b$05$xAPp2guXmTwApz66TvOM/e9SQ3TbJarOeRMlVUKvbpYSwPEL.ElIe";
    const OF_72_BYTES: &str = "$2b$04$.iF66Fh2VOOKf6Bj/nmnve5C5jUT6az0Mg5XQWjvj164PDxAA63Re";
    const OF_NOTHING: &str = "$2b$04$8rk7Pi6OtniUNxdD2Vfvd.x7O1SjGbyCmUTLUgCimLcj0s/GHKtCm";
    const OF_AB: &str = "$2b$04$jULwqMS1qqfZayCWhN/Aj.deLM4k936AbvIXRvXnd1vlSzTorRvr6";

    #[test]
    fn the_hashes_of_other_programs_match_their_password_and_no_other() {
        for stored in OF_CORRECT_HORSE {
            assert!(matches(stored, "correct horse"), "{stored}");
            for wrong in ["", "Correct horse", "correct horse ", "correct hors"] {
                assert!(!matches(stored, wrong), "{stored} {wrong:?}");
            }
        }
        assert!(matches(OF_UMLAUTS, "pässwörd €") && !matches(OF_UMLAUTS, "password"));
        assert!(matches(OF_NOTHING, "") && !matches(OF_NOTHING, "x"));
    }

    #[test]
    fn a_password_of_more_than_72_bytes_is_never_cut_to_one_that_matches() {
        let whole = format!("{}y", "x".repeat(71));
        assert!(matches(OF_72_BYTES, &whole));
        for longer in [format!("{whole}y"), format!("{whole}{}", "z".repeat(900))] {
            assert!(!matches(OF_72_BYTES, &longer), "{}", longer.len());
        }
        assert!(!matches(OF_72_BYTES, &"x".repeat(71)));
    }

    #[test]
    fn a_nul_makes_no_second_password() {
        // bcrypt repeats the key with its NUL, so these two are one key to it.
        assert!(matches(OF_AB, "ab") && !matches(OF_AB, "ab\0ab"));
        assert!(!matches(OF_NOTHING, "\0"));
    }

    #[test]
    fn the_cost_is_bounded_on_both_sides() {
        let tail = OF_UMLAUTS.strip_prefix("$2b$05").unwrap();
        for cost in ["04", "10", "12", "14"] {
            assert_eq!(refused(&format!("$2b${cost}{tail}")), None, "{cost}");
        }
        for cost in ["00", "03", "15", "31", "32", "99"] {
            let error = refused(&format!("$2b${cost}{tail}"));
            assert_eq!(error, Some(PasswordHashError::Cost(Algorithm::Bcrypt)), "{cost}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let cut = OF_UMLAUTS.strip_suffix('e').unwrap();
        let tail = OF_UMLAUTS.strip_prefix("$2b$05$").unwrap();
        for bad in [
            OF_UMLAUTS.replace("$2b$", "$2x$"),
            OF_UMLAUTS.replace("$2b$", "$2$"),
            OF_UMLAUTS.replace("$05$", "$5$"),
            OF_UMLAUTS.replace("$05$", "$+5$"),
            OF_UMLAUTS.replace("$05$", "$005$"),
            cut.to_owned(),
            format!("{OF_UMLAUTS}e"),
            format!("{cut} "),
            format!("{cut}+"),
            // As many bytes as it must have, and not ASCII; also across the borders of its parts.
            OF_UMLAUTS.replace("Ie", "é"),
            OF_UMLAUTS.replace("e9", "é"),
            format!("$2b$é${tail}"),
            "$2b$".to_owned(),
        ] {
            let error = refused(&bad);
            assert_eq!(error, Some(PasswordHashError::Form(Algorithm::Bcrypt)), "{bad}");
        }
    }
}
