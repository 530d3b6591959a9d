//! sha512-crypt, as crypt(3) writes it: `$6$salt$hash` with 5000 rounds, or `$6$rounds=N$salt$hash`.
//!
//! The salt is text and hashed as it stands; the hash is in crypt(3)'s own base64, over bytes in an order of its own.

use std::ops::RangeInclusive;

use sha_crypt::Params;

use super::{Algorithm, Cost, Parts, PasswordHashError, number};

pub(super) const FORM: &str =
    "`$6$salt$hash` or `$6$rounds=…$salt$hash` with a salt of 8 to 16 characters and a hash of 86";
pub(super) const BOUNDS: &str = "from 1000 to 700000 rounds";

/// The least is that of crypt(3), which never writes fewer. Its most, 999 999 999, would take minutes;
/// passlib writes 656 000.
pub(super) const ROUNDS: RangeInclusive<u32> = 1_000..=700_000;
const DEFAULT_ROUNDS: u32 = 5_000;
/// What crypt(3) takes; for a longer password it gives no hash. The time grows with the length.
pub(super) const MAX_PASSWORD_BYTES: usize = 511;
pub(super) const OUTPUT_BYTES: usize = 64;
const OUTPUT_CHARACTERS: usize = 86;

/// Reads `$6$[rounds=N$]salt$hash`; `None` for another form.
pub(super) fn parse(text: &str) -> Option<Parts> {
    let text = text.strip_prefix("$6$")?;
    let (rounds, text) = match text.strip_prefix("rounds=") {
        None => (DEFAULT_ROUNDS, text),
        Some(text) => {
            let (rounds, text) = text.split_once('$')?;
            (number(rounds)?, text)
        }
    };
    let (salt, output) = text.split_once('$')?;
    // A colon would end the field of the password file, so crypt(3) writes none.
    let plain = salt.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    let bounded = plain && (8..=16).contains(&salt.len());
    let parts = (Cost::Sha512Crypt { rounds }, salt.as_bytes().to_vec(), decode(output)?);
    bounded.then_some(parts)
}

/// Four characters are three bytes, the lowest bits first; the last two are one byte. The bytes of a group stand 21 apart, and
/// which of the three comes first changes from group to group.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() != OUTPUT_CHARACTERS {
        return None;
    }
    let mut output = vec![0; OUTPUT_BYTES];
    for (group, characters) in text.as_bytes().chunks(4).enumerate() {
        let mut bits: u32 = 0;
        for character in characters.iter().rev() {
            bits = bits << 6 | value(*character)?;
        }
        let [low, middle, high, _] = bits.to_le_bytes();
        if characters.len() == 4 {
            let [a, b, c] = [group, group + 21, group + 42];
            let places = match group % 3 {
                0 => [c, b, a],
                1 => [a, c, b],
                _ => [b, a, c],
            };
            for (place, byte) in places.into_iter().zip([low, middle, high]) {
                *output.get_mut(place)? = byte;
            }
        } else {
            *output.last_mut()? = low;
            // Four bits are left over, and crypt(3) leaves them empty.
            (middle == 0).then_some(())?;
        }
    }
    Some(output)
}

fn value(character: u8) -> Option<u32> {
    let (first, offset) = match character {
        b'.' | b'/' => (b'.', 0),
        b'0'..=b'9' => (b'0', 2),
        b'A'..=b'Z' => (b'A', 12),
        b'a'..=b'z' => (b'a', 38),
        _ => return None,
    };
    Some(u32::from(character - first) + offset)
}

/// Hashes the first 511 bytes.
pub(super) fn hash(
    rounds: u32,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
) -> Result<(), PasswordHashError> {
    let params =
        Params::new(rounds).map_err(|_| PasswordHashError::Cost(Algorithm::Sha512Crypt))?;
    let password = password.get(..MAX_PASSWORD_BYTES).unwrap_or(password);
    let hashed = zeroize::Zeroizing::new(sha_crypt::sha512_crypt(password, salt, params));
    for (to, from) in output.iter_mut().zip(hashed.iter()) {
        *to = *from;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{matches, refused};
    use super::*;

    // Made by `openssl passwd -6`, crypt(3) of libxcrypt, and passlib.
    const OF_CORRECT_HORSE: [&str; 3] = [
        "$6$saltstring123456$EnhmDinIDwoB9GFJOOk0DN9LLL9I4z1XimOOXaRvN7wUBYSUTlij3KCGi6vDrLMv8Dpwly.itniq1SdVfaami/",
        "$6$rounds=1000$saltstring$YiR6NSM0LQXmu7vAhkMXfkdYk7qtFouVx1Mdr3HmzXspT8kONjlpU3CsV7ezCB62uXJoAdaagsH4ck7/tB9js.",
        "$6$rounds=1234$dZ9J7yYcNto79duZ$ddRLyKjJUUGG4SHhUBo3h9H0y5N1Fv9CxxntMnuupXnxrYp9mTgbZhJqg6ZHp6aRLidoyoTbeZy0Cl.Huyubu1",
    ];
    const OF_UMLAUTS: &str = "$6$rounds=10000$saltst.ing/1234$bxdTQM0ZSD4tL18lBtPQ9WLG/2M8lj8qReMW7Y8YnsyIGJcP7vJQUKaSqVrGM/avH0BcT9EORG9dR1qz5mcfc1";
    const OF_160_BYTES: &str = "$6$abcdefgh$tcVKb3UCpN8XVZxgsGnIz/bXnvlnZ/PYb/IKlB8iSseiJurGACClvvQ00ouuSb0XQbZtbC0G1UN79gV0onLz3.";
    const OF_511_BYTES: &str = "$6$abcdefgh$DqQZnrHJnd1RbXtYVSOYoxD0oq2WszT9.eJms/MKvy9FpSTkzCZ76oIy2T1qtVLydP7hjGpZ6a0FeZ3qGmMON/";
    const OF_NOTHING: &str = "$6$abcdefgh$v7sYNA18/BerGOYQLppYLyjH4yJilp8kqe/ef3KYMK9hOIdzH1yzcmP74Ay.m51y1jP3QqxM7Jl75S4CxDhBq.";

    #[test]
    fn the_hashes_of_other_programs_match_their_password_and_no_other() {
        for stored in OF_CORRECT_HORSE {
            assert!(matches(stored, "correct horse"), "{stored}");
            for wrong in ["", "Correct horse", "correct horse ", "correct horse\0"] {
                assert!(!matches(stored, wrong), "{stored} {wrong:?}");
            }
        }
        assert!(matches(OF_UMLAUTS, "pässwörd €") && !matches(OF_UMLAUTS, "passwörd €"));
        assert!(matches(OF_160_BYTES, &"0123456789abcdef".repeat(10)));
        assert!(matches(OF_NOTHING, "") && !matches(OF_NOTHING, "\0"));
    }

    #[test]
    fn without_rounds_there_are_5000() {
        let named = OF_160_BYTES.replace("$6$", "$6$rounds=5000$");
        assert!(matches(&named, &"0123456789abcdef".repeat(10)));
        assert!(!matches(&named.replace("5000", "5001"), &"0123456789abcdef".repeat(10)));
    }

    #[test]
    fn a_password_that_crypt_would_not_take_is_never_cut_to_one_that_matches() {
        assert!(matches(OF_511_BYTES, &"x".repeat(511)));
        assert!(!matches(OF_511_BYTES, &"x".repeat(512)));
    }

    #[test]
    fn rounds_are_bounded_on_both_sides() {
        for (rounds, good) in [
            ("1", false),
            ("999", false),
            ("1000", true),
            ("656000", true),
            ("700000", true),
            ("700001", false),
            ("999999999", false),
        ] {
            let error = refused(&OF_UMLAUTS.replace("10000", rounds));
            let bound = PasswordHashError::Cost(Algorithm::Sha512Crypt);
            assert_eq!(error, (!good).then_some(bound), "{rounds}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for bad in [
            OF_UMLAUTS.replace("10000", ""),
            OF_UMLAUTS.replace("10000", "010000"),
            OF_UMLAUTS.replace("10000", "-1"),
            OF_UMLAUTS.replace("10000", "4294967296"),
            OF_UMLAUTS.replace("rounds=", "Rounds="),
            OF_UMLAUTS.replace("saltst.ing/1234", "saltstr"),
            OF_UMLAUTS.replace("saltst.ing/1234", "saltstring1234567"),
            OF_UMLAUTS.replace("saltst.ing/1234", "saltst:ing"),
            OF_UMLAUTS.replace("saltst.ing/1234", "saltsträng"),
            OF_UMLAUTS.replace("cfc1", "cfc"),
            OF_UMLAUTS.replace("cfc1", "cfc11"),
            OF_UMLAUTS.replace("cfc1", "cf+1"),
            OF_UMLAUTS.replace("cfc1", "cfé"),
            // Bits beyond the last byte.
            OF_UMLAUTS.replace("cfc1", "cfcz"),
            "$6$".to_owned(),
            "$6$rounds=5000".to_owned(),
        ] {
            let error = refused(&bad);
            assert_eq!(error, Some(PasswordHashError::Form(Algorithm::Sha512Crypt)), "{bad}");
        }
    }
}
