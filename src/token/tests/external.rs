//! Tokens of trusted issuers: what their policy may widen, and what it may not.

use super::*;
use crate::keys::KeySet;
use crate::token::{PrefixError, SCOPE_CLAIMS, SubjectPrefix, TokenType, TrustedIssuerPolicy};

const IDP: &str = "https://idp.example.com/realms/main";

/// A trusted issuer with a key, and what is trusted of it.
struct Idp {
    mint: Mint,
    policy: TrustedIssuerPolicy,
    keys: Arc<KeySet>,
}

impl Idp {
    fn new(algorithm: Algorithm) -> Self {
        let mint = Mint::new(algorithm);
        let keys = published(&mint.keys, &[algorithm]);
        let policy = TrustedIssuerPolicy {
            issuer: Arc::from(IDP),
            audience: AUDIENCE.to_owned(),
            leeway: LEEWAY,
            types: vec![TokenType::AccessToken],
            subject_prefix: SubjectPrefix::parse("idp:").unwrap(),
            scope_ceiling: Scope::parse("orders:read orders:list").unwrap(),
            subject_claim: "sub".to_owned(),
            scope_claims: SCOPE_CLAIMS.map(str::to_owned).to_vec(),
        };
        Self { mint, policy, keys }
    }

    fn any() -> Self {
        Self::new(Algorithm::EdDsa)
    }

    /// The least that such a token can say.
    fn claims() -> Value {
        json!({ "iss": IDP, "sub": "alice", "aud": AUDIENCE, "exp": NOW.as_secs() + 900 })
    }

    fn verify(&self, header: &Value, claims: &Value) -> Result<VerifiedToken, VerifyError> {
        let (header, claims) = (header.to_string(), claims.to_string());
        let token = self.mint.sign(header.as_bytes(), claims.as_bytes());
        self.policy.verify(&token, &self.keys, NOW)
    }

    fn with(&self, changes: Value) -> Result<VerifiedToken, VerifyError> {
        let mut claims = Self::claims();
        for (name, value) in changes.as_object().unwrap() {
            claims = changed(claims, name, Some(value.clone()).filter(|value| !value.is_null()));
        }
        self.verify(&self.mint.header(), &claims)
    }

    fn scope(&self, changes: Value) -> String {
        self.with(changes).unwrap().scope().to_string()
    }
}

fn published(ring: &KeyRing, allowed: &[Algorithm]) -> Arc<KeySet> {
    let document = keys::jwks(ring, NOW).to_string();
    Arc::new(KeySet::parse(document.as_bytes(), allowed).unwrap())
}

#[test]
fn a_token_needs_little_and_is_known_by_its_prefix() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_symmetric()) {
        let idp = Idp::new(algorithm);
        let token = idp.with(json!({})).unwrap();
        assert_eq!(token.subject().as_str(), "idp:alice");
        assert!(token.is_external() && token.is_of_user() && token.scope().is_empty());
        assert_eq!((token.issuer(), token.client_id(), token.token_id()), (IDP, None, None));
        assert_eq!(idp.policy.recheck(&token, &idp.keys, NOW), Ok(()));
    }
    let idp = Idp::any();
    let token = idp.with(json!({ "azp": "web", "jti": "t-1" })).unwrap();
    assert_eq!(token.client_name().as_deref(), Some("idp:web"), "it is not our client `web`");
    assert_eq!(token.token_id().map(|id| &**id), Some("t-1"));
    for bad in [json!(7), json!(""), json!("a b"), json!("x".repeat(129))] {
        assert!(malformed(idp.with(json!({ "jti": bad }))), "{bad}");
    }
    // A client that we could not name is none.
    assert_eq!(idp.with(json!({ "client_id": "https://a" })).unwrap().client_id(), None);
}

#[test]
fn b10_b11_times_are_obeyed_where_they_are_given() {
    let (idp, now) = (Idp::any(), NOW.as_secs());
    assert!(malformed(idp.with(json!({ "exp": null }))));
    assert!(malformed(idp.with(json!({ "exp": "soon" }))));
    assert_eq!(idp.with(json!({ "exp": now - 30 })), Err(VerifyError::Expired));
    assert!(idp.with(json!({ "exp": now - 29 })).is_ok());
    for name in ["nbf", "iat"] {
        assert!(idp.with(json!({ name: now + 30 })).is_ok(), "{name}");
        assert_eq!(idp.with(json!({ name: now + 31 })), Err(VerifyError::NotYetValid), "{name}");
        assert!(malformed(idp.with(json!({ name: -1 }))), "{name}");
    }
    let token = idp.with(json!({ "nbf": now })).unwrap();
    let recheck = |at| idp.policy.recheck(&token, &idp.keys, Timestamp::from_secs(at));
    assert_eq!(recheck(now + 929), Ok(()));
    assert_eq!(recheck(now + 930), Err(VerifyError::Expired));
    assert_eq!(recheck(now - 31), Err(VerifyError::NotYetValid));
}

#[test]
fn b12_b13_issuer_and_audience_are_exactly_those_of_the_policy() {
    let idp = Idp::any();
    for bad in [json!(null), json!(ISSUER), json!(format!("{IDP}/")), json!([IDP])] {
        assert_eq!(idp.with(json!({ "iss": bad })), Err(VerifyError::WrongIssuer), "{bad}");
    }
    for bad in [json!(null), json!("web"), json!("Legacy"), json!([]), json!([AUDIENCE, 5])] {
        assert_eq!(idp.with(json!({ "aud": bad })), Err(VerifyError::WrongAudience), "{bad}");
    }
    assert!(idp.with(json!({ "aud": ["web", AUDIENCE] })).is_ok());
}

#[test]
fn b1_only_the_types_of_the_policy_are_accepted() {
    let kinds = [TokenType::AccessToken, TokenType::Jwt, TokenType::Absent];
    let spellings = [
        (Some(json!("at+jwt")), 0),
        (Some(json!("Application/AT+JWT")), 0),
        (Some(json!("JWT")), 1),
        (Some(json!("application/jwt")), 1),
        (None, 2),
        (Some(json!("dpop+jwt")), 3),
        (Some(json!("logout+jwt")), 3),
        (Some(json!(null)), 3),
        (Some(json!("")), 3),
    ];
    for (position, kind) in kinds.into_iter().enumerate() {
        let mut idp = Idp::any();
        idp.policy.types = vec![kind];
        for (typ, belongs) in spellings.clone() {
            let header = changed(idp.mint.header(), "typ", typ.clone());
            let result = idp.verify(&header, &Idp::claims());
            if position == belongs {
                assert!(result.is_ok(), "{kind:?} {typ:?}");
            } else {
                assert_eq!(result, Err(VerifyError::WrongType), "{kind:?} {typ:?}");
            }
        }
    }
    assert_eq!(
        TokenType::NAMES.map(|(name, kind)| TokenType::parse(name) == Some(kind)),
        [true; 3]
    );
    assert_eq!(TokenType::parse("jwt"), None);
}

#[test]
fn b3_b4_the_header_chooses_neither_key_nor_algorithm() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let idp = Idp::new(algorithm);
        for bad in ["none", "HS256", "RS384", "PS256", "ES384", "rs256", ""] {
            let header = changed(idp.mint.header(), "alg", Some(json!(bad)));
            let refused = idp.verify(&header, &Idp::claims());
            assert_eq!(refused, Err(VerifyError::WrongAlgorithm), "{algorithm} {bad}");
        }
        for bad in [None, Some(json!("other")), Some(json!("")), Some(json!("../k"))] {
            let header = changed(idp.mint.header(), "kid", bad.clone());
            let refused = idp.verify(&header, &Idp::claims());
            assert_eq!(refused, Err(VerifyError::UnknownKey), "{algorithm} {bad:?}");
        }
    }
    // Signed by somebody else under the issuer's key id, our own key included.
    let (idp, other) = (Idp::new(Algorithm::Es256), Idp::new(Algorithm::EdDsa));
    let header = changed(other.mint.header(), "alg", Some(json!("ES256"))).to_string();
    let token = other.mint.sign(header.as_bytes(), Idp::claims().to_string().as_bytes());
    assert_eq!(idp.policy.verify(&token, &idp.keys, NOW), Err(VerifyError::BadSignature));
}

#[test]
fn a37_no_outside_subject_is_one_of_ours() {
    let idp = Idp::any();
    for bad in ["", "a b", "alice,root", "al\u{e4}ce", "alice\n", &"x".repeat(253)] {
        assert!(malformed(idp.with(json!({ "sub": bad }))), "{bad:?}");
    }
    for bad in [json!(7), json!(null), json!(["alice"])] {
        assert!(malformed(idp.with(json!({ "sub": bad }))), "{bad}");
    }
    let subject = |idp: &Idp, sub: &str| {
        idp.with(json!({ "sub": sub })).map(|token| token.subject().to_string())
    };
    assert_eq!(subject(&idp, "client:web").as_deref(), Ok("idp:client:web"));
    assert_eq!(subject(&idp, "auth0|1").as_deref(), Ok("idp:auth0|1"));

    let mut plain = Idp::any();
    plain.policy.subject_prefix = SubjectPrefix::parse("").unwrap();
    assert_eq!(subject(&plain, "alice").as_deref(), Ok("alice"));
    for bad in ["client:nightly", "idp:alice", ":"] {
        assert!(malformed(plain.with(json!({ "sub": bad }))), "{bad}");
    }
    for (bad, why) in [
        ("client:", PrefixError::Client),
        ("client:a:", PrefixError::Client),
        ("idp", PrefixError::Form),
        ("clie", PrefixError::Form),
        ("i dp:", PrefixError::Form),
        ("a,b:", PrefixError::Form),
    ] {
        assert_eq!(SubjectPrefix::parse(bad), Err(why), "{bad}");
    }
    assert!(SubjectPrefix::parse(&format!("{}:", "x".repeat(64))).is_err());

    let mut named = Idp::any();
    named.policy.subject_claim = "preferred_username".to_owned();
    assert!(malformed(named.with(json!({}))));
    let token = named.with(json!({ "preferred_username": "al", "sub": "7f3c" })).unwrap();
    assert_eq!(token.subject().as_str(), "idp:al");
}

#[test]
fn g13_a_machine_of_an_outside_issuer_is_a_machine() {
    let mut idp = Idp::any();
    let is_of_user = |idp: &Idp, changes| idp.with(changes).unwrap().is_of_user();
    assert!(is_of_user(&idp, json!({ "client_id": "web" })));
    assert!(!is_of_user(&idp, json!({ "client_id": "alice" })));
    assert!(!is_of_user(&idp, json!({ "azp": "https://alice", "sub": "https://alice" })));
    idp.policy.subject_claim = "name".to_owned();
    let machine = json!({ "client_id": "job", "sub": "job", "name": "The job" });
    assert!(malformed(idp.with(machine.clone())));
    let machine = json!({ "client_id": "job", "sub": "job", "name": "The-job" });
    assert!(!is_of_user(&idp, machine));
}

#[test]
fn b25_scopes_come_in_every_shape_and_never_beyond_what_the_issuer_may_confer() {
    let idp = Idp::any();
    for (claims, expected) in [
        (json!({ "scope": "orders:read" }), "orders:read"),
        (json!({ "scope": "orders:list orders:read" }), "orders:list orders:read"),
        (json!({ "scope": ["orders:list", "orders:read"] }), "orders:list orders:read"),
        (json!({ "scp": "orders:read" }), "orders:read"),
        (json!({ "scp": ["orders:read"] }), "orders:read"),
        // What it may not confer, whole or in part of a name.
        (json!({ "scope": "orders:read admin" }), "orders:read"),
        (json!({ "scp": ["admin", "orders:write"] }), ""),
        (json!({ "scope": "orders:readonly orders" }), ""),
        // The first that is there counts, also when it cannot be read.
        (json!({ "scope": "", "scp": ["orders:read"] }), ""),
        (json!({ "scope": 7, "scp": ["orders:read"] }), ""),
        (json!({ "scope": ["orders:read", 7] }), ""),
        (json!({ "scope": ["orders:read orders:list"] }), ""),
        (json!({ "scope": ["orders:read", ""] }), ""),
        (json!({ "scope": { "orders:read": true } }), ""),
        (json!({ "scope": true }), ""),
        (json!({ "scope": "orders:read  orders:list" }), ""),
        (json!({ "scope": [] }), ""),
        (json!({ "scopes": "orders:read" }), ""),
    ] {
        assert_eq!(idp.scope(claims.clone()), expected, "{claims}");
    }
    let mut named = Idp::any();
    named.policy.scope_claims = vec!["permissions".to_owned()];
    assert_eq!(named.scope(json!({ "permissions": ["orders:read"] })), "orders:read");
    assert_eq!(named.scope(json!({ "scope": "orders:read" })), "");
}

#[test]
fn b24_a_remembered_token_ends_with_its_key() {
    let idp = Idp::new(Algorithm::Rs256);
    let token = idp.with(json!({})).unwrap();
    let recheck = |keys: &Arc<KeySet>| idp.policy.recheck(&token, keys, NOW);
    // Fetched again, or with more algorithms: still the same key.
    assert_eq!(recheck(&published(&idp.mint.keys, &[Algorithm::Rs256])), Ok(()));
    // Gone, or another key under the same id.
    let renamed = keys::load(
        "new",
        Algorithm::Rs256,
        key_file(Algorithm::Rs256).expose(),
        KeyUse::Sign,
        None,
    );
    let renamed = KeyRing::new(vec![renamed.unwrap()]).unwrap();
    assert_eq!(recheck(&published(&renamed, &[Algorithm::Rs256])), Err(VerifyError::UnknownKey));
    let other = keys::generate(Algorithm::Rs256, &OsRandom).unwrap();
    let other = keys::load(KEY_ID, Algorithm::Rs256, other.expose(), KeyUse::Sign, None).unwrap();
    let other = published(&KeyRing::new(vec![other]).unwrap(), &[Algorithm::Rs256]);
    assert_eq!(recheck(&other), Err(VerifyError::UnknownKey));
    // One of our own was never theirs.
    let own = Mint::any();
    let own = own.verify(&own.good()).unwrap();
    assert_eq!(idp.policy.recheck(&own, &idp.keys, NOW), Err(VerifyError::WrongIssuer));
}

#[test]
fn what_a_token_claims_about_its_issuer_is_read_strictly() {
    use crate::token::claimed_issuer;
    let idp = Idp::any();
    let sign =
        |claims: &str| idp.mint.sign(idp.mint.header().to_string().as_bytes(), claims.as_bytes());
    assert_eq!(claimed_issuer(&sign(r#"{"iss":"a"}"#)), Ok(Some("a".to_owned())));
    for none in [r#"{"iss":7}"#, "{}"] {
        assert_eq!(claimed_issuer(&sign(none)), Ok(None), "{none}");
    }
    for bad in [r#"{"iss":"a","iss":"b"}"#, "[]", ""] {
        assert!(claimed_issuer(&sign(bad)).is_err(), "{bad}");
    }
    assert!(claimed_issuer("a.b").is_err());
}
