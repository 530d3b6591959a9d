//! The body of a token request against the `form_urlencoded` crate: both read it alike, and ours refuses what is doubtful.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use portcullis::oauth::form::Form;

/// As `oauth::form` has it; the RFCs define fewer than twenty.
const MAX_PARAMETERS: usize = 64;

fuzz_target!(|body: &[u8]| {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    let names: BTreeSet<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    let repeated = names.len() < pairs.len();
    match Form::parse(body) {
        Ok(form) => {
            assert!(is_plain(body), "read although it is doubtful");
            assert!(!repeated, "a parameter was read twice");
            assert!(pairs.len() <= MAX_PARAMETERS, "too many parameters were read");
            for (name, value) in &pairs {
                let value = Some(value.as_str()).filter(|value| !value.is_empty());
                assert!(form.names(name), "a parameter is missing");
                assert_eq!(form.value(name), value, "a parameter is read in two ways");
            }
        }
        Err(_) => {
            let honest = is_plain(body) && !repeated && pairs.len() <= MAX_PARAMETERS;
            assert!(!honest, "an honest form is refused");
        }
    }
});

/// Whether every escape is whole, and every name and value is UTF-8 without NUL.
fn is_plain(body: &[u8]) -> bool {
    let parts = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let parts = parts.flat_map(|pair| pair.splitn(2, |byte| *byte == b'='));
    parts.into_iter().all(|part| {
        let mut plain = Vec::new();
        let mut at = 0;
        while at < part.len() {
            if part[at] == b'%' {
                let Some(digits) = part.get(at + 1..at + 3) else { return false };
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return false;
                }
                let digits = std::str::from_utf8(digits).expect("hexadecimal digits are ASCII");
                plain.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                at += 3;
            } else {
                plain.push(part[at]);
                at += 1;
            }
        }
        !plain.contains(&0) && std::str::from_utf8(&plain).is_ok()
    })
}
