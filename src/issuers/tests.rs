//! Whose token passes for whom, from the text of the token on.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::keys::{self, Algorithm, KeyRing, KeySet, KeyUse};
use crate::oauth::scope::Scope;
use crate::random::OsRandom;
use crate::token::{SUBJECT_CLAIM, SubjectPrefix, TokenType};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LEEWAY: Duration = Duration::from_secs(30);
const OWN: &str = "https://edge.example.com";
const FIRST: &str = "https://first.example.com";
const SECOND: &str = "https://second.example.com";

/// Somebody with one key, whose id is everybody's.
fn ring() -> Arc<KeyRing> {
    let file = keys::generate(Algorithm::EdDsa, &OsRandom).unwrap();
    let key = keys::load("k", Algorithm::EdDsa, file.expose(), KeyUse::Sign, None).unwrap();
    Arc::new(KeyRing::new(vec![key]).unwrap())
}

fn sign(ring: &KeyRing, issuer: Value) -> String {
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k" });
    let (exp, iat) = (NOW.as_secs() + 60, NOW.as_secs());
    let claims = json!({
        "iss": issuer, "sub": "alice", "aud": "app", "client_id": "web", "jti": "t", "exp": exp, "iat": iat,
    });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(&header), encode(&claims));
    let signature = ring.signing(NOW).sign(message.as_bytes()).unwrap();
    format!("{message}.{signature}")
}

fn policy(issuer: &str, prefix: &str) -> TrustedIssuerPolicy {
    TrustedIssuerPolicy {
        issuer: Arc::from(issuer),
        audience: "app".to_owned(),
        leeway: LEEWAY,
        types: vec![TokenType::AccessToken],
        subject_prefix: SubjectPrefix::parse(prefix).unwrap(),
        scope_ceiling: Scope::default(),
        subject_claim: SUBJECT_CLAIM.to_owned(),
        scope_claims: Vec::new(),
    }
}

fn file(ring: &KeyRing) -> KeySource {
    let document = keys::jwks(ring, NOW).to_string();
    KeySource::File(Arc::new(KeySet::parse(document.as_bytes(), &[Algorithm::EdDsa]).unwrap()))
}

fn plan(issuer: &str) -> Arc<FetchPlan> {
    Arc::new(FetchPlan {
        issuer: Arc::from(issuer),
        url: format!("{issuer}/keys"),
        authorities: None,
        algorithms: vec![Algorithm::EdDsa],
        refresh: LEEWAY,
        max_stale: LEEWAY,
        timeout: LEEWAY,
        cool_down: LEEWAY,
        required: true,
    })
}

#[test]
fn a_key_speaks_for_its_own_issuer_only_and_where_that_one_is_believed() {
    let (own, first, second) = (ring(), ring(), ring());
    let verifier = Arc::new(Verifier::new(OWN, "app", LEEWAY, Arc::clone(&own)));
    let accepted = vec![
        TrustedIssuer { policy: policy(FIRST, "first:"), source: file(&first) },
        TrustedIssuer { policy: policy(SECOND, "second:"), source: file(&second) },
    ];
    let issuers = Issuers::new(verifier, accepted, &KeyRegistry::default());
    let names =
        [(OWN, &own, "alice"), (FIRST, &first, "first:alice"), (SECOND, &second, "second:alice")];
    let everybody = TrustedIssuers::new(true, [Arc::from(FIRST), Arc::from(SECOND)]);
    let only = |issuer: &str| match issuer {
        OWN => TrustedIssuers::default(),
        other => TrustedIssuers::new(false, [Arc::from(other)]),
    };
    for (claimed, key, subject) in names {
        let token = sign(key, json!(claimed));
        let verified = issuers.verify(&token, &everybody, NOW).unwrap();
        assert_eq!((verified.subject().as_str(), verified.issuer()), (subject, claimed));
        for (other, other_key, _) in names {
            let expected = if other == claimed { Ok(()) } else { Err(VerifyError::WrongIssuer) };
            let verify = issuers.verify(&token, &only(other), NOW).map(|_| ());
            assert_eq!(verify, expected, "{claimed} where only {other} is trusted");
            assert_eq!(
                issuers.recheck(&verified, &only(other), NOW),
                expected,
                "{claimed} {other}"
            );
            if other != claimed {
                let forged = issuers.verify(&sign(other_key, json!(claimed)), &everybody, NOW);
                assert_eq!(forged, Err(VerifyError::BadSignature), "{other} signs as {claimed}");
            }
        }
    }
    for stranger in [json!("https://third.example.com"), json!(7), json!([FIRST])] {
        let token = sign(&own, stranger.clone());
        let refused = issuers.verify(&token, &everybody, NOW);
        assert_eq!(refused, Err(VerifyError::WrongIssuer), "{stranger}");
        assert!(issuers.verify(&sign(&first, stranger), &everybody, NOW).is_err());
    }
}

#[test]
fn without_its_keys_nothing_is_said_about_an_issuers_token() {
    let (own, external) = (ring(), ring());
    let verifier = Arc::new(Verifier::new(OWN, "app", LEEWAY, own));
    let registry = KeyRegistry::default();
    let accepted = vec![TrustedIssuer {
        policy: policy(FIRST, "first:"),
        source: KeySource::Url(plan(FIRST)),
    }];
    let issuers = Issuers::new(verifier, accepted, &registry);
    let trusted = TrustedIssuers::new(false, [Arc::from(FIRST)]);
    let forged = sign(&ring(), json!(FIRST));
    for token in [&sign(&external, json!(FIRST)), &forged] {
        let refused = issuers.verify(token, &trusted, NOW);
        assert_eq!(refused, Err(VerifyError::KeysUnavailable));
        let refused = issuers.verify(token, &TrustedIssuers::default(), NOW);
        assert_eq!(refused, Err(VerifyError::WrongIssuer));
    }
}

#[test]
fn only_an_installed_set_is_found_again_and_only_by_its_whole_definition() {
    let registry = KeyRegistry::default();
    let find = |plan: Arc<FetchPlan>| registry.find(KeySource::Url(plan));
    let first = find(plan(FIRST));
    assert!(!Arc::ptr_eq(&first, &find(plan(FIRST))), "it was never in force");
    registry.install([Arc::clone(&first)]);
    assert!(Arc::ptr_eq(&first, &find(plan(FIRST))));
    let mut changed = FetchPlan::clone(&plan(FIRST));
    changed.algorithms.push(Algorithm::Es256);
    assert!(!Arc::ptr_eq(&first, &find(Arc::new(changed))));
    assert!(!Arc::ptr_eq(&first, &find(plan(SECOND))));
    registry.install([]);
    assert!(registry.current().is_empty());
}
