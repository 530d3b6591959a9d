//! What a header may say, and what it may not make us do.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RsaKeyPair,
};
use jsonwebtoken::{EncodingKey, crypto};

use super::*;

#[test]
fn b1_only_at_jwt_is_an_access_token() {
    let mint = Mint::any();
    for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(mint.with_member("typ", Some(json!(good))).is_ok(), "{good}");
    }
    for bad in [
        json!("JWT"),
        json!("jwt"),
        json!("at+jwt "),
        json!("at jwt"),
        json!(" at+jwt"),
        json!("text/at+jwt"),
        json!("application/application/at+jwt"),
        json!(""),
        json!(null),
        json!(["at+jwt"]),
        json!(1),
    ] {
        assert_eq!(
            mint.with_member("typ", Some(bad.clone())),
            Err(VerifyError::WrongType),
            "{bad}"
        );
    }
    assert_eq!(mint.with_member("typ", None), Err(VerifyError::WrongType));
}

#[test]
fn b3_the_header_names_the_algorithm_of_the_key_or_is_refused() {
    for algorithm in Algorithm::ALL {
        let mint = Mint::new(algorithm);
        assert!(mint.with_header(&mint.header()).is_ok(), "{algorithm}");
        for bad in [
            "none",
            "None",
            "NONE",
            "nOnE",
            "",
            " ",
            "HS256 ",
            "hs256",
            "eddsa",
            "PBES2-HS256+A128KW",
        ] {
            let refused = mint.with_member("alg", Some(json!(bad)));
            assert_eq!(refused, Err(VerifyError::WrongAlgorithm), "{algorithm} {bad:?}");
        }
        for bad in [Some(json!(null)), Some(json!([algorithm.name()])), Some(json!(1)), None] {
            assert!(malformed(mint.with_member("alg", bad.clone())), "{algorithm} {bad:?}");
        }
        // No signature at all, under `none` and under the right name.
        let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
        for alg in ["none", "nOnE", algorithm.name()] {
            let header = changed(mint.header(), "alg", Some(json!(alg))).to_string();
            let token = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header));
            assert!(mint.verify(&token).is_err(), "{alg}");
        }
    }
}

/// Every byte form in which somebody may hold a public key.
fn public_forms(algorithm: Algorithm) -> Vec<Vec<u8>> {
    if algorithm.is_symmetric() {
        return Vec::new();
    }
    let file = pem::parse(key_file(algorithm).expose()).unwrap();
    let der = file.contents();
    let (spki, raw) = match algorithm.kind() {
        KeyKind::Rsa => {
            let pair = RsaKeyPair::from_pkcs8(der).unwrap();
            let public = pair.public_key();
            (public.as_der().unwrap().as_ref().to_vec(), public.as_ref().to_vec())
        }
        KeyKind::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8(der).unwrap();
            let public = pair.public_key();
            (public.as_der().unwrap().as_ref().to_vec(), public.as_ref().to_vec())
        }
        KeyKind::P256 | KeyKind::P384 => {
            let curve = if algorithm == Algorithm::Es256 {
                &ECDSA_P256_SHA256_FIXED_SIGNING
            } else {
                &ECDSA_P384_SHA384_FIXED_SIGNING
            };
            let pair = EcdsaKeyPair::from_pkcs8(curve, der).unwrap();
            let public = pair.public_key();
            (public.as_der().unwrap().as_ref().to_vec(), public.as_ref().to_vec())
        }
        KeyKind::Secret { .. } => unreachable!(),
    };
    let set = keys::jwks(&ring(algorithm), NOW);
    let mut forms = vec![
        spki.clone(),
        raw.clone(),
        set.to_string().into_bytes(),
        set["keys"][0].to_string().into_bytes(),
    ];
    for (label, der) in [("PUBLIC KEY", &spki), ("RSA PUBLIC KEY", &raw)] {
        for ending in [pem::LineEnding::LF, pem::LineEnding::CRLF] {
            let config = pem::EncodeConfig::new().set_line_ending(ending);
            let text = pem::encode_config(&pem::Pem::new(label, der.as_slice()), config);
            forms.push(text.trim_end().as_bytes().to_vec());
            forms.push(format!("{}\n", text.trim_end()).into_bytes());
            forms.push(text.into_bytes());
        }
    }
    forms
}

#[test]
fn b4_a_public_key_is_no_shared_secret_in_any_byte_form() {
    for algorithm in Algorithm::ALL {
        let mint = Mint::new(algorithm);
        let forms = public_forms(algorithm);
        assert_eq!(forms.len(), if algorithm.is_symmetric() { 0 } else { 16 });
        for form in forms {
            for (name, hmac) in [
                ("HS256", jsonwebtoken::Algorithm::HS256),
                ("HS384", jsonwebtoken::Algorithm::HS384),
                ("HS512", jsonwebtoken::Algorithm::HS512),
                (algorithm.name(), jsonwebtoken::Algorithm::HS256),
            ] {
                let header = changed(mint.header(), "alg", Some(json!(name))).to_string();
                let message = format!(
                    "{}.{}",
                    URL_SAFE_NO_PAD.encode(header),
                    URL_SAFE_NO_PAD.encode(claims().to_string())
                );
                let secret = EncodingKey::from_secret(&form);
                let signature = crypto::sign(message.as_bytes(), &secret, hmac).unwrap();
                assert!(mint.verify(&format!("{message}.{signature}")).is_err(), "{algorithm}");
            }
        }
        assert!(mint.verify(&mint.good()).is_ok());
    }
}

#[test]
fn b5_a_sibling_algorithm_with_the_same_key_is_refused() {
    for (pinned, siblings) in [
        (Algorithm::Rs256, &[Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256][..]),
        (Algorithm::Ps256, &[Algorithm::Rs256]),
        (Algorithm::Hs512, &[Algorithm::Hs256, Algorithm::Hs384]),
    ] {
        let mint = Mint::new(pinned);
        for sibling in siblings {
            let file = key_file(pinned).expose();
            let key = keys::load(KEY_ID, *sibling, file, KeyUse::Sign, None).unwrap();
            let keys = Arc::new(KeyRing::new(vec![key]).unwrap());
            let verifier = Verifier::new(ISSUER, AUDIENCE, LEEWAY, Arc::clone(&keys));
            let sibling = Mint { algorithm: *sibling, keys, verifier };
            let token = sibling.good();
            assert_eq!(mint.verify(&token), Err(VerifyError::WrongAlgorithm), "{pinned}");
            // The same signature under the pinned name.
            let token =
                sibling.sign(mint.header().to_string().as_bytes(), claims().to_string().as_bytes());
            assert_eq!(mint.verify(&token), Err(VerifyError::BadSignature), "{pinned}");
            assert!(sibling.verify(&sibling.good()).is_ok());
        }
    }
}

#[test]
fn b6_keys_and_addresses_in_the_header_are_never_used() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}/jwks.json", listener.local_addr().unwrap());

    let mint = Mint::any();
    let foreign = keys::generate(Algorithm::EdDsa, &OsRandom).unwrap();
    let foreign =
        keys::load(KEY_ID, Algorithm::EdDsa, foreign.expose(), KeyUse::Sign, None).unwrap();
    let foreign = Arc::new(KeyRing::new(vec![foreign]).unwrap());
    let jwk = keys::jwks(&foreign, NOW)["keys"][0].clone();
    let mallory = Mint {
        algorithm: Algorithm::EdDsa,
        verifier: Verifier::new(ISSUER, AUDIENCE, LEEWAY, Arc::clone(&foreign)),
        keys: foreign,
    };
    for (name, value) in
        [("jwk", jwk), ("jku", json!(address)), ("x5u", json!(address)), ("x5c", json!(["MIIB"]))]
    {
        let header = changed(mint.header(), name, Some(value)).to_string();
        let claims = claims().to_string();
        let forged = mallory.sign(header.as_bytes(), claims.as_bytes());
        assert_eq!(mint.verify(&forged), Err(VerifyError::BadSignature), "{name}");
        // The honest twin: what is ignored does no harm either.
        assert!(mint.verify(&mint.sign(header.as_bytes(), claims.as_bytes())).is_ok(), "{name}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn b7_an_unknown_key_id_never_falls_back_to_another_key() {
    let mint = Mint::any();
    for bad in [
        "",
        "2026-1",
        "2026-11 ",
        "2026-11\0",
        "2026-11\0x",
        "../../etc/passwd",
        "/dev/null",
        "' OR '1'='1",
        "x' UNION SELECT 'key",
        "2026-1\u{ff11}",
        &"k".repeat(5_000),
    ] {
        let refused = mint.with_member("kid", Some(json!(bad)));
        assert_eq!(refused, Err(VerifyError::UnknownKey), "{bad:.20}");
    }
    assert_eq!(mint.with_member("kid", None), Err(VerifyError::UnknownKey));
    for bad in [json!(null), json!(0), json!([KEY_ID]), json!({ "kid": KEY_ID }), json!(true)] {
        assert!(malformed(mint.with_member("kid", Some(bad.clone()))), "{bad}");
    }
}

#[test]
fn b8_critical_headers_are_refused() {
    let mint = Mint::any();
    for bad in [
        json!(["exp"]),
        json!(["b64"]),
        json!(["alg"]),
        json!(["nobody-knows"]),
        json!([]),
        json!([1]),
        json!("exp"),
        json!({}),
        json!(null),
        json!(false),
    ] {
        assert!(malformed(mint.with_member("crit", Some(bad.clone()))), "{bad}");
    }
    for bad in [json!(false), json!(true), json!(null)] {
        assert!(malformed(mint.with_member("b64", Some(bad.clone()))), "{bad}");
        let both = changed(mint.header(), "crit", Some(json!(["b64"])));
        assert!(malformed(mint.with_header(&changed(both, "b64", Some(bad)))));
    }
    assert!(mint.with_member("nobody-knows", Some(json!({ "a": [1] }))).is_ok());
}

#[test]
fn b9_duplicate_header_members_are_refused() {
    let mint = Mint::any();
    for bad in [
        r#"{"alg":"EdDSA","alg":"EdDSA","typ":"at+jwt","kid":"2026-11"}"#,
        r#"{"alg":"none","typ":"at+jwt","kid":"2026-11","\u0061lg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11","k\u0069d":"other"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11","x":{"y":1,"\u0079":2}}"#,
        r#"{"alg":"EdDSA","typ":"JWT","typ":"at+jwt","kid":"2026-11"}"#,
    ] {
        let token = mint.sign(bad.as_bytes(), claims().to_string().as_bytes());
        assert!(malformed(mint.verify(&token)), "{bad}");
    }
    let honest = br#" { "kid" : "2026-11", "typ" : "at+jwt", "\u0061lg" : "EdDSA" } "#;
    assert!(mint.verify(&mint.sign(honest, claims().to_string().as_bytes())).is_ok());
}

#[test]
fn b21_what_is_no_access_token_is_refused() {
    let mint = Mint::any();
    // An id token and a logout token of our own key, with all the claims of an access token.
    for typ in [Some(json!("JWT")), Some(json!("logout+jwt")), None] {
        let header = changed(mint.header(), "typ", typ);
        assert_eq!(mint.with_header(&header), Err(VerifyError::WrongType));
    }
    // Opaque tokens and codes.
    for opaque in ["rt_0123456789abcdef", "SplxlOBeZQQYbYS6WxSbIA", "a.b", "0.0.0"] {
        assert!(malformed(mint.verify(opaque)), "{opaque}");
    }
}
