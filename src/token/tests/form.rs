//! The outer form: one spelling per token, bounded work, exact signatures.

use proptest::prelude::*;

use super::*;

#[test]
fn b15_a_token_has_one_spelling() {
    for algorithm in [Algorithm::Hs256, Algorithm::Es256, Algorithm::EdDsa] {
        let mint = Mint::new(algorithm);
        let good = mint.good();
        assert!(mint.verify(&good).is_ok());
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else { panic!("three segments") };
        let mut bad = vec![
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{header}..{signature}"),
            format!(".{payload}.{signature}"),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.{signature}"),
            format!(" {good}"),
            format!("{good} "),
            format!("{good}\n"),
            format!("Bearer {good}"),
            format!("{header} .{payload}.{signature}"),
            format!("{header}.{payload}\r\n.{signature}"),
            format!("{good}\0"),
            format!("\u{feff}{good}"),
            good.replace('.', "%2E"),
            good.replace('.', "\u{ff0e}"),
        ];
        for padding in ["=", "=="] {
            bad.push(format!("{header}{padding}.{payload}.{signature}"));
            bad.push(format!("{header}.{payload}{padding}.{signature}"));
            bad.push(format!("{good}{padding}"));
        }
        // Every other letter in the last place: unused bits that are not zero, or another signature.
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/".chars() {
            let (body, last) = good.split_at(good.len() - 1);
            if !last.starts_with(letter) {
                bad.push(format!("{body}{letter}"));
            }
        }
        for token in bad {
            assert!(mint.verify(&token).is_err(), "{algorithm} {token:?}");
        }
        assert!(malformed(mint.verify(&format!("{good}="))));
        let segments = VerifyError::Malformed("it has not exactly three segments");
        assert_eq!(mint.verify(&format!("{header}.{payload}")), Err(segments));
        assert_eq!(
            mint.verify(&format!("{header}.{payload}.{payload}.{signature}")),
            Err(segments)
        );
    }
}

#[test]
fn b15_the_standard_alphabet_is_refused() {
    let mint = Mint::any();
    // Text whose base64 needs both letters that differ.
    let payload = changed(claims(), "x", Some(json!("??>>??>>~~~ÿÿÿ"))).to_string();
    let token = mint.sign(mint.header().to_string().as_bytes(), payload.as_bytes());
    assert!(token.contains('_') && token.contains('-') && mint.verify(&token).is_ok());
    assert!(malformed(mint.verify(&token.replace('_', "/"))));
    assert!(malformed(mint.verify(&token.replace('-', "+"))));
}

#[test]
fn b17_a_huge_token_is_refused_before_any_work() {
    let mint = Mint::any();
    let payload = |filler: usize| {
        changed(claims(), "x", Some(json!("x".repeat(filler)))).to_string().into_bytes()
    };
    let header = mint.header().to_string();
    assert!(mint.verify(&mint.sign(header.as_bytes(), &payload(5_000))).is_ok());
    let too_long = Err(VerifyError::Malformed("it is too long"));
    assert_eq!(mint.verify(&mint.sign(header.as_bytes(), &payload(8_000))), too_long);
    assert_eq!(mint.verify(&"a".repeat(2 * 1024 * 1024)), too_long);
    assert_eq!(mint.verify(&".".repeat(2 * 1024 * 1024)), too_long);
}

#[test]
fn b18_encrypted_nested_and_json_tokens_are_refused() {
    let mint = Mint::any();
    let good = mint.good();
    let segment = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let costly = r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648,"p2s":"AA","typ":"at+jwt","kid":"2026-11"}"#;
    for jwe in [
        format!("{}.AA.AA.AA.AA", segment(costly)),
        format!("{}.AA.AA", segment(costly)),
        format!("{}.AA.AA.AA.AA", segment(r#"{"alg":"dir","enc":"A128GCM","typ":"at+jwt"}"#)),
    ] {
        assert!(mint.verify(&jwe).is_err());
    }
    let nested = changed(mint.header(), "cty", Some(json!("JWT"))).to_string();
    assert!(malformed(mint.verify(&mint.sign(nested.as_bytes(), good.as_bytes()))));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three segments") };
    let flat = json!({ "protected": header, "payload": payload, "signature": signature });
    let general = json!({ "payload": payload,
        "signatures": [{ "protected": header, "signature": signature }] });
    assert!(malformed(mint.verify(&flat.to_string())));
    assert!(malformed(mint.verify(&general.to_string())));
}

#[test]
fn b19_only_the_exact_signature_of_the_right_form_verifies() {
    // (the order of the group, in hexadecimal)
    let order_256 = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order_384 = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
    for (algorithm, order) in [(Algorithm::Es256, order_256), (Algorithm::Es384, order_384)] {
        let mint = Mint::new(algorithm);
        let good = mint.good();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let order: Vec<u8> = order
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let size = order.len();
        let (r, s) = signature.split_at(size);
        let zero = vec![0; size];
        let mut one = zero.clone();
        one[size - 1] = 1;
        let max = vec![0xff; size];
        let mut bad = vec![
            der(r, s),
            Vec::new(),
            [&[0], r, &[0], s].concat(),
            [r, s, &[0]].concat(),
            [&[0][..], r, s].concat(),
            r.to_vec(),
            [s, r].concat(),
            [r, &[0; 16], s].concat(),
        ];
        for first in [&zero, &one, &order, &max] {
            bad.push([first, s].concat());
            bad.push([r, first].concat());
            for second in [&zero, &one, &order, &max] {
                bad.push([&first[..], second].concat());
            }
        }
        for signature in bad {
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&signature));
            assert_eq!(mint.verify(&token), Err(VerifyError::BadSignature), "{signature:02x?}");
        }
        assert!(mint.verify(&good).is_ok());
    }
    // RSA padding and PSS salt length are in the published vectors; here: a longer, a shorter and a shifted signature.
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa, Algorithm::Hs256] {
        let mint = Mint::new(algorithm);
        let good = mint.good();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let short = &signature[1..];
        for bad in [&[&[0], &signature[..]].concat(), &[&signature[..], &[0]].concat(), short, &[]]
        {
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(bad));
            assert_eq!(mint.verify(&token), Err(VerifyError::BadSignature), "{algorithm}");
        }
    }
}

/// The ASN.1 form of an ECDSA signature, which JWS does not use (RFC 7518 section 3.4).
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let body = [&[0], bytes].concat();
        [&[2, u8::try_from(body.len()).unwrap()], &body[..]].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

#[test]
fn b23_no_error_quotes_the_token() {
    let mint = Mint::any();
    for bad in ["hunter2", "hunter2.hunter2.hunter2", "e30.hunter2.hunter2", "e30.e30.e30"] {
        let error = mint.verify(bad).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let error = mint.with_claim("sub", Some(json!("hunter2\n"))).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn b23_every_kind_of_failure_is_known_to_the_operator_only_by_its_reason() {
    for (error, id) in [
        (VerifyError::Malformed("x"), "malformed_token"),
        (VerifyError::WrongType, "wrong_type"),
        (VerifyError::WrongAlgorithm, "wrong_algorithm"),
        (VerifyError::UnknownKey, "unknown_key"),
        (VerifyError::RetiredKey, "retired_key"),
        (VerifyError::BadSignature, "bad_signature"),
        (VerifyError::WrongIssuer, "wrong_issuer"),
        (VerifyError::WrongAudience, "wrong_audience"),
        (VerifyError::Expired, "expired"),
        (VerifyError::NotYetValid, "not_yet_valid"),
    ] {
        assert_eq!(error.reason().id(), id);
    }
}

#[test]
fn no_single_changed_bit_goes_unnoticed() {
    for algorithm in [Algorithm::Hs256, Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let mint = Mint::new(algorithm);
        let good = mint.good();
        for position in 0..good.len() {
            for bit in 0..7 {
                let mut bytes = good.clone().into_bytes();
                bytes[position] ^= 1 << bit;
                let token = String::from_utf8(bytes).unwrap();
                assert!(mint.verify(&token).is_err(), "{algorithm} {position} {bit}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_mutation_of_a_good_token_verifies(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<char>(), "[A-Za-z0-9_-]"), 1..4),
    ) {
        let mint = Mint::any();
        let good = mint.good();
        let mut letters: Vec<char> = good.chars().collect();
        for (place, edit, any, letter) in edits {
            let at = place.index(letters.len());
            let letter = letter.chars().next().unwrap();
            match edit {
                0 => letters[at] = letter,
                1 => letters.insert(at, letter),
                2 => letters[at] = any,
                _ => drop(letters.remove(at)),
            }
        }
        let token: String = letters.into_iter().collect();
        prop_assume!(token != good);
        prop_assert!(mint.verify(&token).is_err());
    }

    #[test]
    fn arbitrary_text_never_panics_and_never_verifies(text in "\\PC{0,64}(\\.\\PC{0,64}){0,4}") {
        prop_assert!(Mint::any().verify(&text).is_err());
    }
}
