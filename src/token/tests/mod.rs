//! The requirements on access tokens, against the whole verifier; a test that covers a line of the requirements' section B
//! starts with its id. What is common to them is here: keys of every kind, and a mint for tokens that nobody should accept.

mod cache;
mod claims;
mod external;
mod form;
mod header;
mod vectors;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Began, Content, Issuer, VerifiedToken, Verifier, VerifyError};
use crate::clock::Timestamp;
use crate::keys::{self, Algorithm, KeyKind, KeyRing, KeyUse};
use crate::oauth::client::ClientId;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::random::OsRandom;
use crate::secret::Secret;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ISSUER: &str = "https://edge.example.com";
const AUDIENCE: &str = "legacy";
const KEY_ID: &str = "2026-11";
const LEEWAY: Duration = Duration::from_secs(30);

/// One private key per kind: an RSA key takes long to make.
fn key_file(algorithm: Algorithm) -> &'static Secret {
    static FILES: [OnceLock<Secret>; Algorithm::ALL.len()] =
        [const { OnceLock::new() }; Algorithm::ALL.len()];
    let position = Algorithm::ALL.iter().position(|a| a.kind() == algorithm.kind()).unwrap();
    FILES[position].get_or_init(|| keys::generate(algorithm, &OsRandom).unwrap())
}

fn ring(algorithm: Algorithm) -> Arc<KeyRing> {
    let file = key_file(algorithm).expose();
    let key = keys::load(KEY_ID, algorithm, file, KeyUse::Sign, None).unwrap();
    Arc::new(KeyRing::new(vec![key]).unwrap())
}

/// Keys, and what an attacker or an honest issuer could make with them.
struct Mint {
    algorithm: Algorithm,
    keys: Arc<KeyRing>,
    verifier: Verifier,
}

impl Mint {
    fn new(algorithm: Algorithm) -> Self {
        let keys = ring(algorithm);
        let verifier = Verifier::new(ISSUER, AUDIENCE, LEEWAY, Arc::clone(&keys));
        Self { algorithm, keys, verifier }
    }

    /// The cheapest key that has a public half.
    fn any() -> Self {
        Self::new(Algorithm::EdDsa)
    }

    fn header(&self) -> Value {
        json!({ "alg": self.algorithm.name(), "typ": "at+jwt", "kid": KEY_ID })
    }

    /// Signs whatever it is given with the honest key.
    fn sign(&self, header: &[u8], payload: &[u8]) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.keys.signing(NOW).sign(message.as_bytes()).unwrap();
        format!("{message}.{signature}")
    }

    fn good(&self) -> String {
        self.sign(self.header().to_string().as_bytes(), claims().to_string().as_bytes())
    }

    fn with_header(&self, header: &Value) -> Result<VerifiedToken, VerifyError> {
        self.verify(&self.sign(header.to_string().as_bytes(), claims().to_string().as_bytes()))
    }

    /// The honest header with one member changed, or removed where the value is `None`.
    fn with_member(&self, name: &str, value: Option<Value>) -> Result<VerifiedToken, VerifyError> {
        self.with_header(&changed(self.header(), name, value))
    }

    fn with_claim(&self, name: &str, value: Option<Value>) -> Result<VerifiedToken, VerifyError> {
        self.with_payload(changed(claims(), name, value).to_string().as_bytes())
    }

    fn with_payload(&self, payload: &[u8]) -> Result<VerifiedToken, VerifyError> {
        self.verify(&self.sign(self.header().to_string().as_bytes(), payload))
    }

    fn verify(&self, token: &str) -> Result<VerifiedToken, VerifyError> {
        self.verifier.verify(token, NOW)
    }
}

fn changed(mut object: Value, name: &str, value: Option<Value>) -> Value {
    let members = object.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    object
}

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "exp": NOW.as_secs() + 900,
        "iat": NOW.as_secs(),
        "nbf": NOW.as_secs(),
        "jti": "t-1",
        "client_id": "web",
        "scope": "orders:read orders:write",
    })
}

/// A token of this much, and of no family.
fn content<'a>(subject: &'a Subject, client_id: &'a ClientId, scope: &'a Scope) -> Content<'a> {
    Content { subject, client_id, scope, family: None, credential: None, began: None }
}

fn malformed(result: Result<VerifiedToken, VerifyError>) -> bool {
    matches!(result, Err(VerifyError::Malformed(_)))
}

#[test]
fn b2_an_issued_token_has_the_claims_of_rfc_9068_and_verifies_with_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let mint = Mint::new(algorithm);
        let lifetime = Duration::from_secs(900);
        let issuer = Issuer::new(ISSUER, AUDIENCE, lifetime, Arc::clone(&mint.keys));
        let subject = Subject::parse("alice").unwrap();
        let client = ClientId::parse("web").unwrap();
        let scope = Scope::parse("orders:write orders:read").unwrap();
        let issued = issuer.issue(&content(&subject, &client, &scope), NOW, &OsRandom).unwrap();

        let shown = super::inspect::decode(&issued.token).unwrap();
        assert_eq!(shown.header, mint.header());
        let expected = changed(claims(), "jti", Some(json!(&*issued.token_id)));
        let expected = changed(expected, "scope", Some(json!("orders:read orders:write")));
        assert_eq!(shown.claims, expected);
        assert_eq!((issued.expires_in, issued.expires_at), (900, NOW.plus(lifetime)));

        let verified = mint.verify(&issued.token).unwrap();
        assert_eq!(verified.subject(), &subject);
        assert_eq!(verified.client_id(), Some(&client));
        assert_eq!(verified.token_id(), Some(&issued.token_id));
        assert_eq!(verified.scope(), &scope);
        assert_eq!(verified.expires_at(), issued.expires_at);
        assert_eq!(verified.issuer(), ISSUER);
        assert!(!format!("{issued:?}").contains(&issued.token));
    }
}

#[test]
fn tokens_differ_and_one_without_scope_says_nothing_of_it() {
    let mint = Mint::any();
    let issuer = Issuer::new(ISSUER, AUDIENCE, LEEWAY, Arc::clone(&mint.keys));
    let (subject, client) = (Subject::parse("alice").unwrap(), ClientId::parse("web").unwrap());
    let issue =
        || issuer.issue(&content(&subject, &client, &Scope::default()), NOW, &OsRandom).unwrap();
    let (one, other) = (issue(), issue());
    assert_ne!(one.token_id, other.token_id);
    assert_ne!(one.token, other.token);
    assert_eq!(super::inspect::decode(&one.token).unwrap().claims.get("scope"), None);
    assert!(mint.verify(&one.token).unwrap().scope().is_empty());
}

#[test]
fn a_token_that_no_verifier_would_read_is_not_issued() {
    let mint = Mint::any();
    let audience = "x".repeat(7000);
    let issuer = Issuer::new(ISSUER, &audience, LEEWAY, Arc::clone(&mint.keys));
    let (subject, client) = (Subject::parse("alice").unwrap(), ClientId::parse("web").unwrap());
    assert_eq!(
        issuer.issue(&content(&subject, &client, &Scope::default()), NOW, &OsRandom),
        Err(super::IssueError::TooLong)
    );
}

#[test]
fn b24_tokens_are_signed_with_the_key_of_the_moment() {
    let from = NOW.plus(Duration::from_secs(600));
    let keys = [("old", Algorithm::Es256, None), ("new", Algorithm::EdDsa, Some(from))];
    let keys = keys.map(|(id, algorithm, from)| {
        let file = key_file(algorithm).expose();
        keys::load(id, algorithm, file, KeyUse::Sign, None).unwrap().signing_from(from)
    });
    let ring = Arc::new(KeyRing::new(keys.into()).unwrap());
    let lifetime = Duration::from_secs(900);
    let issuer = Issuer::new(ISSUER, AUDIENCE, lifetime, Arc::clone(&ring));
    let verifier = Verifier::new(ISSUER, AUDIENCE, LEEWAY, ring);
    let (subject, client) = (Subject::parse("alice").unwrap(), ClientId::parse("web").unwrap());
    let scope = Scope::default();
    let last = Timestamp::from_secs(from.as_secs() - 1);
    for (now, algorithm, id) in
        [(NOW, "ES256", "old"), (last, "ES256", "old"), (from, "EdDSA", "new")]
    {
        let issued = issuer.issue(&content(&subject, &client, &scope), now, &OsRandom).unwrap();
        let header = super::inspect::decode(&issued.token).unwrap().header;
        assert_eq!((&header["alg"], &header["kid"]), (&json!(algorithm), &json!(id)));
        // The other key's time changes nothing about it.
        for later in [now, from] {
            assert!(verifier.verify(&issued.token, later).is_ok(), "{id}");
        }
    }
}

#[test]
fn what_a_token_can_be_revoked_by_is_read_back() {
    let mint = Mint::any();
    let issuer = Issuer::new(ISSUER, AUDIENCE, LEEWAY, Arc::clone(&mint.keys));
    let (subject, client) = (Subject::parse("alice").unwrap(), ClientId::parse("web").unwrap());
    let scope = Scope::default();
    let issue = |began| {
        let content = Content {
            family: Some("family"),
            credential: Some("version"),
            began,
            ..content(&subject, &client, &scope)
        };
        mint.verify(&issuer.issue(&content, NOW, &OsRandom).unwrap().token).unwrap()
    };
    let began = Began { number: Some(7), at: NOW.minus(LEEWAY) };
    let token = issue(Some(began));
    assert_eq!(token.family().map(|family| &**family), Some("family"));
    assert_eq!(token.credential(), Some("version"));
    assert_eq!(token.issued_at(), NOW);
    // Part 4, item 24b: a token says when its login began, however late it is issued itself.
    assert_eq!(token.began(), began);
    let unnumbered = Began { number: None, ..began };
    assert_eq!(issue(Some(unnumbered)).began(), unnumbered);
    assert_eq!(issue(None).began(), Began { number: None, at: NOW });
    assert_eq!(mint.verify(&mint.good()).unwrap().family(), None);
    for (name, value) in [
        ("sid", json!(7)),
        ("sid", json!("")),
        ("cv", json!("a b")),
        ("cv", json!([])),
        ("seq", json!(-1)),
        ("seq", json!("7")),
        ("seq", json!(u64::MAX)),
        ("auth_time", json!("now")),
        ("auth_time", json!(0.5)),
    ] {
        assert!(malformed(mint.with_claim(name, Some(value))), "{name} is never taken for absent");
    }
}

#[test]
fn b24_an_old_key_verifies_until_it_is_retired() {
    let old = key_file(Algorithm::Es256).expose();
    let new = key_file(Algorithm::EdDsa).expose();
    let until = NOW.plus(Duration::from_secs(60));
    let token = {
        let key = keys::load("old", Algorithm::Es256, old, KeyUse::Sign, None).unwrap();
        let ring = Arc::new(KeyRing::new(vec![key]).unwrap());
        let issuer = Issuer::new(ISSUER, AUDIENCE, Duration::from_secs(900), ring);
        let (subject, client) = (Subject::parse("alice").unwrap(), ClientId::parse("web").unwrap());
        issuer.issue(&content(&subject, &client, &Scope::default()), NOW, &OsRandom).unwrap().token
    };
    let verifier = |old_id: &str, until| {
        let ring = KeyRing::new(vec![
            keys::load("new", Algorithm::EdDsa, new, KeyUse::Sign, None).unwrap(),
            keys::load(old_id, Algorithm::Es256, old, KeyUse::Verify, until).unwrap(),
        ]);
        Verifier::new(ISSUER, AUDIENCE, LEEWAY, Arc::new(ring.unwrap()))
    };
    let rotated = verifier("old", Some(until));
    let verified = rotated.verify(&token, NOW).unwrap();
    let last = Timestamp::from_secs(until.as_secs() - 1);
    assert!(rotated.verify(&token, last).is_ok());
    assert_eq!(rotated.recheck(&verified, last), Ok(()));
    // From `until` on, verified before or not.
    assert_eq!(rotated.verify(&token, until), Err(VerifyError::RetiredKey));
    assert_eq!(rotated.recheck(&verified, until), Err(VerifyError::RetiredKey));
    // Ids and keys are not mixed: the same key under another id, another key under the same id.
    assert_eq!(verifier("older", None).verify(&token, NOW), Err(VerifyError::UnknownKey));
    assert_eq!(verifier("older", None).recheck(&verified, NOW), Err(VerifyError::UnknownKey));
    let other = keys::generate(Algorithm::Es256, &OsRandom).unwrap();
    let key = keys::load("old", Algorithm::Es256, other.expose(), KeyUse::Sign, None).unwrap();
    let swapped =
        Verifier::new(ISSUER, AUDIENCE, LEEWAY, Arc::new(KeyRing::new(vec![key]).unwrap()));
    assert_eq!(swapped.verify(&token, NOW), Err(VerifyError::BadSignature));
}
