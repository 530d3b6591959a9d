//! The Wycheproof JOSE vectors against the code that reads and verifies a token's outer form. Their payloads are no claims and
//! their headers have no `typ`, so they stop where the signature is judged.
//!
//! Their keys come as JWKs. We read no JWKs, only PEM and raw secrets, so each key is rewritten into a file that an operator
//! could have, and goes through the loader.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RsaPublicKeyComponents,
    VerificationAlgorithm,
};

use super::super::jws::Compact;
use super::*;
use crate::keys::Key;

const SIGNATURES: &str =
    include_str!("../../../tests/it/fixtures/vectors/json_web_signature_test.json");
const KEYS: &str = include_str!("../../../tests/it/fixtures/vectors/json_web_key_test.json");
const CRYPTO: &str = include_str!("../../../tests/it/fixtures/vectors/json_web_crypto_test.json");

/// Vectors marked `valid` that must not verify here, with the reason.
const VALID_OUT_OF_SCOPE: &[(&str, u64, &str)] = &[
    ("signature", 320, "PS384 is not supported"),
    ("signature", 321, "PS384 is not supported"),
    ("signature", 322, "PS384 is not supported"),
    ("signature", 323, "PS384 is not supported"),
    ("signature", 325, "PS512 is not supported"),
    ("signature", 326, "PS512 is not supported"),
    ("signature", 327, "PS512 is not supported"),
    ("signature", 328, "PS512 is not supported"),
    ("signature", 346, "signed with PS384, which is not supported"),
    ("signature", 347, "P-521 is not supported"),
    ("signature", 350, "signed with PS384, which is not supported"),
    ("signature", 351, "P-521 is not supported"),
    ("signature", 372, "a `?` inside the header: a token has one spelling (B15)"),
    ("signature", 373, "a `?` inside the payload: a token has one spelling (B15)"),
    ("crypto", 50, "JWE"),
    ("crypto", 67, "JWE"),
];

/// Vectors marked `invalid` whose fault lies where we have no such thing, with the reason.
const INVALID_OUT_OF_SCOPE: &[(&str, u64, &str)] = &[
    ("signature", 353, "`use` of a JWK; key files have none"),
    ("signature", 354, "`use` of a JWK; key files have none"),
    ("signature", 355, "`key_ops` of a JWK; key files have none"),
    ("signature", 356, "`key_ops` of a JWK; key files have none"),
    ("signature", 367, "byte for byte vector 357, which is valid"),
    ("signature", 370, "byte for byte vector 357, which is valid"),
    ("key", 1, "keys of two kinds in one set; each of ours is pinned to one algorithm"),
    ("key", 4, "two keys of one id in a JWK set; a ring refuses them, see the ring's tests"),
    ("key", 7, "a key of the ROCA generator; we do not test how an operator's key was made"),
    ("key", 21, "`use` of a JWK; key files have none"),
    ("crypto", 46, "a key of the ROCA generator; we do not test how an operator's key was made"),
    ("crypto", 47, "keys of two kinds in one set; each of ours is pinned to one algorithm"),
];

/// What a vector expects and what happened.
struct Run {
    file: &'static str,
    id: u64,
    valid: bool,
    verified: bool,
}

fn run_all() -> Vec<Run> {
    let mut runs = Vec::new();
    for (file, text) in [("signature", SIGNATURES), ("key", KEYS), ("crypto", CRYPTO)] {
        let suite: Value = serde_json::from_str(text).unwrap();
        for group in suite["testGroups"].as_array().unwrap() {
            let set = group.get("public").unwrap_or(&group["private"]);
            let keys: Vec<Key> = match set.get("keys") {
                Some(list) => list.as_array().unwrap().iter().filter_map(key).collect(),
                None => key(set).into_iter().collect(),
            };
            for test in group["tests"].as_array().unwrap() {
                // Some are absent or in the JSON serialisation: no compact token at all.
                let jws =
                    test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
                runs.push(Run {
                    file,
                    id: test["tcId"].as_u64().unwrap(),
                    valid: test["result"] == "valid",
                    verified: verifies(&jws, &keys),
                });
            }
        }
    }
    runs
}

/// As the verifier does, without `typ` and claims: the key that the token names, then its signature.
fn verifies(token: &str, keys: &[Key]) -> bool {
    let Ok(jws) = Compact::parse(token) else { return false };
    let Some(id) = jws.header.key_id() else { return false };
    keys.iter().find(|key| &**key.id() == id).is_some_and(|key| jws.check_signature(key).is_ok())
}

/// The file that an operator would have for this JWK; `None` where there can be none.
fn key(jwk: &Value) -> Option<Key> {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok();
    let (guess, file) = match jwk["kty"].as_str()? {
        "oct" => (Algorithm::Hs256, part("k")?),
        "RSA" => {
            let key = RsaPublicKeyComponents { n: part("n")?, e: part("e")? };
            (Algorithm::Rs256, spki_pem(key.as_der().ok()?.as_ref()))
        }
        "EC" => {
            let point = [vec![4], part("x")?, part("y")?].concat();
            let curve: &'static dyn VerificationAlgorithm = match jwk["crv"].as_str()? {
                "P-256" => &ECDSA_P256_SHA256_FIXED,
                "P-384" => &ECDSA_P384_SHA384_FIXED,
                _ => return None,
            };
            let key = ParsedPublicKey::new(curve, point).ok()?;
            (Algorithm::Es256, spki_pem(key.as_der().ok()?.as_ref()))
        }
        _ => return None,
    };
    // Without a registered `alg`, the most common one of its kind: a key is always pinned to something.
    let algorithm = match jwk["alg"].as_str() {
        Some(name) => Algorithm::parse(name)?,
        None => guess,
    };
    keys::load(jwk["kid"].as_str()?, algorithm, &file, KeyUse::Verify, None).ok()
}

fn spki_pem(der: &[u8]) -> Vec<u8> {
    pem::encode(&pem::Pem::new("PUBLIC KEY", der)).into_bytes()
}

fn listed(list: &[(&str, u64, &str)], run: &Run) -> bool {
    list.iter().any(|(file, id, _)| *file == run.file && *id == run.id)
}

#[test]
fn b19_published_vectors_verify_exactly_where_they_are_valid() {
    let runs = run_all();
    for run in &runs {
        let (file, id) = (run.file, run.id);
        if listed(VALID_OUT_OF_SCOPE, run) {
            assert!(run.valid && !run.verified, "{file} {id}: listed, but not as it stands");
        } else if !listed(INVALID_OUT_OF_SCOPE, run) {
            assert_eq!(run.verified, run.valid, "{file} {id}");
        } else {
            assert!(!run.valid && run.verified, "{file} {id}: listed, but not as it stands");
        }
    }
    assert_eq!(runs.len(), 401 + 26 + 83);
    let proven = runs.iter().filter(|run| run.valid && run.verified).count();
    assert!(proven >= 30, "only {proven} valid vectors ran");
}
