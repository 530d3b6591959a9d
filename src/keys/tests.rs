//! Every key file that an operator could hand us by mistake, beside the ones that are right.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::random::{OsRandom, Random, RandomError};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/it/fixtures/keys/", $name, ".pem")).as_slice()
    };
}

fn sign(algorithm: Algorithm, file: &[u8]) -> Result<Key, KeyError> {
    load("k", algorithm, file, KeyUse::Sign, None)
}

fn verify(algorithm: Algorithm, file: &[u8]) -> Result<Key, KeyError> {
    load("k", algorithm, file, KeyUse::Verify, None)
}

fn work_together(signing: &Key, verifying: &Key) -> bool {
    let signature = signing.sign(b"message").unwrap();
    verifying.verify(b"message", &signature) && !verifying.verify(b"massage", &signature)
}

#[test]
fn every_generated_key_signs_and_verifies() {
    for algorithm in Algorithm::ALL {
        let file = generate(algorithm, &OsRandom).unwrap();
        let key = sign(algorithm, file.expose()).unwrap();
        assert!(work_together(&key, &key), "{algorithm}");
        assert_eq!((key.algorithm(), key.key_use()), (algorithm, KeyUse::Sign));
        assert_ne!(generate(algorithm, &OsRandom).unwrap(), file, "{algorithm}");
    }
}

#[test]
fn no_secret_is_made_without_randomness() {
    #[derive(Debug)]
    struct Broken;
    impl Random for Broken {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError)
        }
    }
    assert_eq!(generate(Algorithm::Hs256, &Broken), Err(KeyError::Generate));
}

#[test]
fn the_forms_that_openssl_writes_are_read() {
    for (algorithm, private, public) in [
        (Algorithm::EdDsa, fixture!("ed25519"), fixture!("ed25519-public")),
        (Algorithm::Es256, fixture!("p256-sec1"), fixture!("p256-public")),
        (Algorithm::Rs256, fixture!("rsa-2048-pkcs1"), fixture!("rsa-2048-public")),
        (Algorithm::Ps256, fixture!("rsa-2048-pkcs1"), fixture!("rsa-2048-public")),
    ] {
        let signing = sign(algorithm, private).unwrap();
        let verifying = verify(algorithm, public).unwrap();
        assert!(work_together(&signing, &verifying), "{algorithm}");
        assert_eq!(signing.public, verifying.public, "{algorithm}");
        let crlf = String::from_utf8(public.to_vec()).unwrap().replace('\n', "\r\n");
        assert!(verify(algorithm, crlf.as_bytes()).is_ok(), "{algorithm}");
    }
    let p384 = sign(Algorithm::Es384, fixture!("p384-sec1")).unwrap();
    assert!(work_together(&p384, &p384));
}

#[test]
fn a_private_key_that_only_verifies_is_reduced_to_its_public_half() {
    for (algorithm, file) in [(Algorithm::EdDsa, fixture!("ed25519")), (Algorithm::Hs256, &[7; 32])]
    {
        let key = verify(algorithm, file).unwrap();
        assert_eq!(key.key_use(), KeyUse::Verify);
        assert_eq!(key.sign(b"message"), Err(SignError));
        assert!(work_together(&sign(algorithm, file).unwrap(), &key));
    }
}

#[test]
fn b20_small_keys_are_refused_at_start_up() {
    for (algorithm, wanted) in
        [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)]
    {
        for found in [0, 1, 6, wanted - 1] {
            let refused = KeyError::ShortSecret { algorithm, found, wanted };
            assert_eq!(sign(algorithm, &vec![7; found]).unwrap_err(), refused);
            assert_eq!(verify(algorithm, &vec![7; found]).unwrap_err(), refused);
        }
        assert!(sign(algorithm, &vec![7; wanted]).is_ok());
        assert!(sign(algorithm, &vec![7; wanted + 1]).is_ok());
    }
    for algorithm in [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256] {
        for small in [fixture!("rsa-1024"), fixture!("rsa-1024-pkcs1")] {
            assert_eq!(sign(algorithm, small).unwrap_err(), KeyError::SmallRsa);
        }
        let refused = verify(algorithm, fixture!("rsa-1024-public")).unwrap_err();
        assert_eq!(refused, KeyError::RsaSize { bits: 1024 });
        assert!(sign(algorithm, fixture!("rsa-2048-pkcs1")).is_ok());
    }
}

#[test]
fn b4_a_pem_file_is_no_shared_secret() {
    for file in [fixture!("rsa-2048-public"), fixture!("ed25519"), fixture!("certificate")] {
        for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
            let refused = KeyError::PemForSecret { algorithm };
            assert_eq!(sign(algorithm, file).unwrap_err(), refused);
            assert_eq!(
                verify(algorithm, &[b"\n \xef\xbb\xbf", file].concat()).unwrap_err(),
                refused
            );
        }
    }
}

#[test]
fn a_secret_is_the_raw_bytes_newline_and_all() {
    let one = sign(Algorithm::Hs256, &[7; 32]).unwrap();
    let other = sign(Algorithm::Hs256, &[&[7; 32][..], b"\n"].concat()).unwrap();
    assert!(!other.verify(b"message", &one.sign(b"message").unwrap()));
}

#[test]
fn what_does_not_fit_is_refused_with_what_was_found_and_what_is_wanted() {
    for (algorithm, key_use, file, message) in [
        (
            Algorithm::EdDsa,
            KeyUse::Sign,
            fixture!("p256-sec1"),
            "found a key of kind P-256, wanted Ed25519 for EdDSA",
        ),
        (
            Algorithm::Es384,
            KeyUse::Verify,
            fixture!("p256-public"),
            "found a key of kind P-256, wanted P-384 for ES384",
        ),
        (
            Algorithm::Es256,
            KeyUse::Sign,
            fixture!("p384-sec1"),
            "found a key of kind P-384, wanted P-256 for ES256",
        ),
        (
            Algorithm::Es256,
            KeyUse::Sign,
            fixture!("rsa-2048-pkcs1"),
            "found a key of kind RSA, wanted P-256 for ES256",
        ),
        (
            Algorithm::Rs256,
            KeyUse::Verify,
            fixture!("ed25519-public"),
            "found a key of kind Ed25519, wanted RSA for RS256",
        ),
        (
            Algorithm::EdDsa,
            KeyUse::Sign,
            fixture!("ed25519-public"),
            "found a public key, wanted a private one of kind Ed25519 to sign with EdDSA",
        ),
        (
            Algorithm::EdDsa,
            KeyUse::Sign,
            b"0123456789abcdef0123456789abcdef",
            "found nothing in PEM, wanted one key of kind Ed25519 for EdDSA",
        ),
        (
            Algorithm::Es256,
            KeyUse::Verify,
            fixture!("p521-public"),
            "found an ECDSA key on the curve P-521; supported are Ed25519, P-256, P-384 and RSA of 2048 to 8192 bits",
        ),
    ] {
        let refused = load("k", algorithm, file, key_use, None).unwrap_err();
        assert_eq!(refused.to_string(), message);
    }
    for (file, label) in [
        (fixture!("certificate"), "CERTIFICATE"),
        (fixture!("rsa-2048-public-pkcs1"), "RSA PUBLIC KEY"),
    ] {
        let refused = verify(Algorithm::EdDsa, file).unwrap_err();
        assert!(matches!(refused, KeyError::PemLabel { found, .. } if found == label));
    }
    let compressed = fixture!("p256-public-compressed");
    assert_eq!(verify(Algorithm::Es256, compressed).unwrap_err(), KeyError::Unreadable);
    // Part 4, item 31.
    for file in [fixture!("ed25519-encrypted"), fixture!("rsa-encrypted-pkcs1")] {
        for key_use in [KeyUse::Sign, KeyUse::Verify] {
            let refused = load("k", Algorithm::Rs256, file, key_use, None).unwrap_err();
            assert_eq!(refused, KeyError::Encrypted);
        }
    }
    for (file, kind) in [
        (fixture!("p521"), "on the curve P-521"),
        (fixture!("p521-public"), "on the curve P-521"),
        (fixture!("rsa-pss"), "for RSA-PSS only"),
    ] {
        let refused = verify(Algorithm::Es256, file).unwrap_err();
        assert!(matches!(refused, KeyError::Unsupported { found } if found.contains(kind)));
    }
    let two = [fixture!("ed25519"), fixture!("ed25519-public")].concat();
    let refused =
        |found: &str| KeyError::NotOnePem { found: found.to_owned(), algorithm: Algorithm::EdDsa };
    let labels = refused("`PRIVATE KEY`, `PUBLIC KEY`");
    assert_eq!(sign(Algorithm::EdDsa, &two).unwrap_err(), labels);
    assert_eq!(sign(Algorithm::EdDsa, b"").unwrap_err(), refused("nothing"));
    let cut = b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n";
    let refused = KeyError::DamagedPem { algorithm: Algorithm::EdDsa };
    assert_eq!(sign(Algorithm::EdDsa, cut).unwrap_err(), refused);
}

#[test]
fn damaged_keys_are_refused() {
    let public = pem::parse(fixture!("rsa-2048-public")).unwrap();
    let with = |der: &[u8]| pem::encode(&pem::Pem::new("PUBLIC KEY", der)).into_bytes();
    let der = public.contents();
    assert!(verify(Algorithm::Rs256, &with(der)).is_ok());
    // With an exponent of 1 everybody can sign; an even one is none.
    let (modulus, exponent) = der.split_at(der.len() - 3);
    assert_eq!(exponent, [1, 0, 1]);
    for bad in [[0, 0, 1], [0, 0, 0], [0, 0, 2], [1, 0, 0]] {
        let refused = verify(Algorithm::Rs256, &with(&[modulus, &bad].concat()));
        assert!(
            matches!(refused, Err(KeyError::RsaExponent | KeyError::Unreadable)),
            "{bad:?} {refused:?}"
        );
    }
    assert!(verify(Algorithm::Rs256, &with(&[der, &[0]].concat())).is_err());
    assert!(verify(Algorithm::Rs256, &with(&[])).is_err());
    // A point that is not on the curve.
    let point = pem::parse(fixture!("p256-public")).unwrap();
    let mut off = point.contents().to_vec();
    *off.last_mut().unwrap() ^= 1;
    assert_eq!(verify(Algorithm::Es256, &with(&off)).unwrap_err(), KeyError::Unreadable);
    for file in [fixture!("ed25519"), fixture!("p256-sec1"), fixture!("rsa-2048-pkcs1")] {
        let block = pem::parse_many(file).unwrap().pop().unwrap();
        for cut in [0, 1, block.contents().len() / 2, block.contents().len() - 1] {
            let cut = pem::encode(&pem::Pem::new(block.tag(), &block.contents()[..cut]));
            for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
                assert!(sign(algorithm, cut.as_bytes()).is_err());
            }
        }
    }
}

#[test]
fn an_id_can_stand_in_a_token_and_a_key_ends_at_its_time() {
    let file = fixture!("ed25519");
    for bad in ["", "a b", "ä", "a\n", &"k".repeat(MAX_KEY_ID_BYTES + 1)] {
        let refused = load(bad, Algorithm::EdDsa, file, KeyUse::Sign, None);
        assert_eq!(refused.unwrap_err(), KeyError::Id, "{bad:?}");
    }
    let key = load("k", Algorithm::EdDsa, file, KeyUse::Verify, Some(NOW)).unwrap();
    assert!(!key.is_retired(Timestamp::from_secs(NOW.as_secs() - 1)));
    assert!(key.is_retired(NOW));
}

fn named(id: &str, key_use: KeyUse, until: Option<Timestamp>) -> Key {
    load(id, Algorithm::EdDsa, fixture!("ed25519"), key_use, until).unwrap()
}

fn signer(id: &str, from: Option<u64>, until: Option<u64>) -> Key {
    let at = |offset| NOW.plus(Duration::from_secs(offset));
    named(id, KeyUse::Sign, until.map(at)).signing_from(from.map(at))
}

#[test]
fn b24_a_ring_always_has_one_signing_key_and_no_id_twice() {
    let refused = |keys| KeyRing::new(keys).unwrap_err();
    assert_eq!(refused(vec![]), KeyRingError::NoSigningKey);
    assert_eq!(refused(vec![named("a", KeyUse::Verify, None)]), KeyRingError::NoSigningKey);
    let same = KeyRingError::SameStart { first: Arc::from("a"), second: Arc::from("b") };
    assert_eq!(refused(vec![signer("a", None, None), signer("b", None, None)]), same);
    assert_eq!(refused(vec![signer("a", Some(5), None), signer("b", Some(5), None)]), same);
    let twice = vec![signer("a", None, None), named("a", KeyUse::Verify, None)];
    assert_eq!(refused(twice), KeyRingError::DuplicateId(Arc::from("a")));
    // A key that signs ends only when another has taken over.
    let gap = KeyRingError::Gap(Arc::from("a"));
    assert_eq!(refused(vec![signer("a", None, Some(5))]), gap);
    assert_eq!(refused(vec![signer("b", Some(6), None), signer("a", None, Some(5))]), gap);
    assert!(KeyRing::new(vec![signer("b", Some(5), None), signer("a", None, Some(5))]).is_ok());

    let ring =
        KeyRing::new(vec![named("old", KeyUse::Verify, None), named("new", KeyUse::Sign, None)]);
    let ring = ring.unwrap();
    assert_eq!(&**ring.signing(NOW).id(), "new");
    assert!(ring.find("old").is_some() && ring.find("new").is_some());
    assert!(ring.find("").is_none() && ring.find("ol").is_none() && ring.find("NEW").is_none());
    assert_eq!(ring.iter().count(), 2);
}

#[test]
fn f3_a_key_is_published_before_it_signs_and_signs_from_its_time_on() {
    let ring = KeyRing::new(vec![
        signer("c", Some(20), None),
        signer("a", None, Some(15)),
        signer("b", Some(10), Some(30)),
    ]);
    let ring = ring.unwrap();
    for (offset, published) in [
        (0, &["a", "c", "b"][..]),
        (9, &["a", "c", "b"]),
        (10, &["b", "c", "a"]),
        (14, &["b", "c", "a"]),
        (15, &["b", "c"]),
        (20, &["c", "b"]),
        (30, &["c"]),
    ] {
        let now = NOW.plus(Duration::from_secs(offset));
        let set = jwks(&ring, now);
        let ids: Vec<_> =
            set["keys"].as_array().unwrap().iter().map(|k| k["kid"].as_str().unwrap()).collect();
        assert_eq!(ids, published, "after {offset} s");
        assert_eq!(&**ring.signing(now).id(), published[0], "after {offset} s");
    }
    let later = NOW.plus(Duration::from_secs(25));
    assert_eq!(ring.signing(later).age(later), Some(Duration::from_secs(5)));
    assert_eq!(ring.signing(NOW).age(NOW), None, "nobody knows since when");
    let made = signer("a", None, None).made_at(Some(NOW));
    assert_eq!(made.age(later), Some(Duration::from_secs(25)));
    // A clock that is set back before every beginning.
    let ring = KeyRing::new(vec![signer("b", Some(9), None), signer("a", Some(5), None)]).unwrap();
    assert_eq!(&**ring.signing(NOW).id(), "a");
}

#[test]
fn f3_the_published_set_has_public_members_of_living_key_pairs_only() {
    let ring = KeyRing::new(vec![
        load("hs", Algorithm::Hs256, &[7; 32], KeyUse::Verify, None).unwrap(),
        load("ed", Algorithm::EdDsa, fixture!("ed25519"), KeyUse::Verify, Some(NOW)).unwrap(),
        load("ec", Algorithm::Es256, fixture!("p256-sec1"), KeyUse::Verify, None).unwrap(),
        load("ps", Algorithm::Ps256, fixture!("rsa-2048-public"), KeyUse::Verify, None).unwrap(),
        load("es", Algorithm::Es384, fixture!("p384-sec1"), KeyUse::Sign, None).unwrap(),
    ])
    .unwrap();
    let names = |jwk: &Value| {
        let names: Vec<_> = jwk.as_object().unwrap().keys().cloned().collect();
        names.join(" ")
    };
    let set = jwks(&ring, Timestamp::from_secs(NOW.as_secs() - 1));
    let keys = set["keys"].as_array().unwrap();
    let shown: Vec<_> =
        keys.iter().map(|k| (k["kid"].clone(), k["alg"].clone(), names(k))).collect();
    let ec = "alg crv kid kty use x y";
    assert_eq!(
        shown,
        [
            (json!("es"), json!("ES384"), ec.to_owned()),
            (json!("ed"), json!("EdDSA"), "alg crv kid kty use x".to_owned()),
            (json!("ec"), json!("ES256"), ec.to_owned()),
            (json!("ps"), json!("PS256"), "alg e kid kty n use".to_owned()),
        ]
    );
    assert!(keys.iter().all(|key| key["use"] == "sig"));
    // Retired means gone.
    assert!(jwks(&ring, NOW)["keys"].as_array().unwrap().iter().all(|key| key["kid"] != "ed"));
    // What is published is what verifies, in the eyes of a library that reads JWKs.
    for published in keys {
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(published.clone()).unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
        let id = published["kid"].as_str().unwrap();
        let algorithm = ring.find(id).unwrap().algorithm();
        let private = match id {
            "ed" => fixture!("ed25519"),
            "ec" => fixture!("p256-sec1"),
            "ps" => fixture!("rsa-2048-pkcs1"),
            _ => fixture!("p384-sec1"),
        };
        let signature = sign(algorithm, private).unwrap().sign(b"message").unwrap();
        let library = algorithm.of_library();
        assert!(jsonwebtoken::crypto::verify(&signature, b"message", &key, library).unwrap());
    }
}

#[test]
fn keys_never_print_themselves() {
    let key = sign(Algorithm::Hs256, b"hunter2hunter2hunter2hunter2hunter2").unwrap();
    let printed = format!("{key:?}");
    assert!(printed.contains("Hs256") && !printed.contains("hunter2"), "{printed}");
    assert!(!printed.contains("104, 117"), "{printed}");
}
