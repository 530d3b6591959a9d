//! scrypt (RFC 7914) in the PHC string format, which is also how passlib writes it.

use ::scrypt::Params;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{Algorithm, Cost, Parts, PasswordHashError, numbers};

pub(super) const FORM: &str =
    "`$scrypt$ln=…,r=…,p=…$salt$hash` with a salt of 8 to 64 bytes and a hash of 16 to 64";
pub(super) const BOUNDS: &str =
    "ln at most 20, p at most 16, a memory (128 × 2^ln × r) from 1 MiB, times p at most 256 MiB";

const MAX_LOG_N: u8 = 20;
const MAX_P: u32 = 16;
const MIN_MEMORY: u64 = 1024 * 1024;
/// Also with p counted: what is written and read again in all is the time it takes.
const MAX_MEMORY: u64 = 256 * 1024 * 1024;

/// Reads `$scrypt$ln=…,r=…,p=…$salt$hash`; `None` for another form.
pub(super) fn parse(text: &str) -> Option<Parts> {
    let text = text.strip_prefix("$scrypt$")?;
    let parts: Vec<&str> = text.split('$').collect();
    let [parameters, salt, output] = parts[..] else { return None };
    let [log_n, r, p] = numbers(["ln=", "r=", "p="], parameters)?;
    let log_n = u8::try_from(log_n).ok()?;
    let salt = STANDARD_NO_PAD.decode(salt).ok()?;
    let output = STANDARD_NO_PAD.decode(output).ok()?;
    let bounded = (8..=64).contains(&salt.len()) && (16..=64).contains(&output.len());
    bounded.then_some((Cost::Scrypt { log_n, r, p }, salt, output))
}

pub(super) fn is_bounded(log_n: u8, r: u32, p: u32) -> bool {
    log_n <= MAX_LOG_N
        && (1..=MAX_P).contains(&p)
        && memory(log_n, r) >= MIN_MEMORY
        && memory(log_n, r) * u64::from(p) <= MAX_MEMORY
}

/// In bytes. No overflow: `log_n` is at most 20.
fn memory(log_n: u8, r: u32) -> u64 {
    (128 * u64::from(r)) << log_n.min(MAX_LOG_N)
}

pub(super) fn params(log_n: u8, r: u32, p: u32) -> Result<Params, PasswordHashError> {
    Params::new(log_n, r, p).map_err(|_| PasswordHashError::Cost(Algorithm::Scrypt))
}

pub(super) fn hash(
    params: Params,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
) -> Result<(), PasswordHashError> {
    // The crate takes its memory without asking, and the process ends when there is none. So it is asked for here first.
    let bytes = usize::try_from(memory(params.log_n(), params.r()));
    let mut trial: Vec<u8> = Vec::new();
    trial
        .try_reserve_exact(bytes.map_err(|_| PasswordHashError::Memory)?)
        .map_err(|_| PasswordHashError::Memory)?;
    drop(std::hint::black_box(trial));
    ::scrypt::scrypt(password, salt, &params, output)
        .map_err(|_| PasswordHashError::Form(Algorithm::Scrypt))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{matches, refused};
    use super::*;

    // Made by `hashlib.scrypt` of Python, and the last one by passlib.
    const OF_CORRECT_HORSE: [&str; 3] = [
        "$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$nfkj3u1fRTHCea+fVr03sWV770kp5wLOLoEakziKhqE",
        "$scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$JbN2hANm9NOw4h5BRHZnbjzQ6Jr0QwNWojTOC2WgIbU",
        "$scrypt$ln=10,r=8,p=1$GsM4h9D63ztnTCnF+H/P2Q$lSV5ia7RpuK4KwVhygPCFCex6gUf0SP88c4qA6WZGF0",
    ];
    const OF_UMLAUTS: &str =
        "$scrypt$ln=11,r=8,p=3$AAECAwQFBgcICQoLDA0ODw$VBD5K92L4dI+L8HaWg2r7unM94YTJCzPpToFzMnLg1c";
    const TAIL: &str = "$AAECAwQFBgcICQoLDA0ODw$VBD5K92L4dI+L8HaWg2r7unM94YTJCzPpToFzMnLg1c";

    #[test]
    fn the_hashes_of_other_programs_match_their_password_and_no_other() {
        for stored in OF_CORRECT_HORSE {
            assert!(matches(stored, "correct horse"), "{stored}");
            assert!(!matches(stored, "correct horse "), "{stored}");
            assert!(!matches(stored, "correct horse\0"), "one key to HMAC: {stored}");
        }
        assert!(matches(OF_UMLAUTS, "pässwörd €") && !matches(OF_UMLAUTS, "passwörd €"));
    }

    #[test]
    fn memory_and_time_are_bounded_on_both_sides() {
        for good in [
            "ln=10,r=8,p=1",
            "ln=13,r=1,p=1",
            "ln=13,r=8,p=10",
            "ln=14,r=8,p=5",
            "ln=17,r=8,p=1",
            "ln=17,r=8,p=2",
            "ln=18,r=8,p=1",
            "ln=20,r=2,p=1",
            "ln=10,r=8,p=16",
        ] {
            assert_eq!(refused(&format!("$scrypt${good}{TAIL}")), None, "{good}");
        }
        for bad in [
            "ln=9,r=8,p=1",
            "ln=1,r=1,p=1",
            "ln=19,r=8,p=1",
            "ln=18,r=9,p=1",
            "ln=18,r=8,p=2",
            "ln=17,r=8,p=3",
            "ln=21,r=1,p=1",
            "ln=30,r=8,p=1",
            "ln=63,r=1,p=1",
            "ln=255,r=1,p=1",
            "ln=10,r=8,p=17",
            "ln=10,r=4294967295,p=1",
            "ln=10,r=8,p=4294967295",
        ] {
            let error = refused(&format!("$scrypt${bad}{TAIL}"));
            assert_eq!(error, Some(PasswordHashError::Cost(Algorithm::Scrypt)), "{bad}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for bad in [
            format!("$scrypt$ln=256,r=8,p=1{TAIL}"),
            format!("$scrypt$ln=10,r=0,p=1{TAIL}"),
            format!("$scrypt$r=8,ln=10,p=1{TAIL}"),
            format!("$scrypt$ln=10,r=8{TAIL}"),
            format!("$scrypt$ln=10,r=8,p=1,x=1{TAIL}"),
            format!("$scrypt$ln=10,r=8,p=1{TAIL}$"),
            format!("$scrypt$ln=10,r=8,p=1{TAIL}="),
            format!("$scrypt$v=1$ln=10,r=8,p=1{TAIL}"),
            "$scrypt$ln=10,r=8,p=1$AAAA$VBD5K92L4dI+L8HaWg2r7unM94YTJCzPpToFzMnLg1c".to_owned(),
            "$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$VBD5K92L".to_owned(),
            "$scrypt$ln=10,r=8,p=1$é$é".to_owned(),
            "$scrypt$".to_owned(),
        ] {
            let error = refused(&bad);
            assert_eq!(error, Some(PasswordHashError::Form(Algorithm::Scrypt)), "{bad}");
        }
    }
}
