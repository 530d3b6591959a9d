//! Reads a JWK Set that somebody else publishes (RFC 7517): the keys that a trusted issuer signs with.
//!
//! The document is hostile until proven otherwise: bounded in size and count, and of each key only public members are looked
//! at. A key of a kind, use or algorithm that is not ours to verify with is left out, since issuers publish those beside the
//! others; what would make it open which key a `kid` names takes every key of that id with it. Where the document comes from
//! is the business of `issuers`.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::member::Member;
use super::public::{CheckedPublic, without_leading_zeros};
use super::{Algorithm, Key, KeyKind, MAX_KEY_ID_BYTES};

/// The largest document, in bytes.
pub const MAX_SET_BYTES: usize = 256 * 1024;
/// The most keys in one document, usable or not.
pub const MAX_SET_KEYS: usize = 64;

/// Ed25519 in SubjectPublicKeyInfo (RFC 8410), up to the key.
const SPKI_ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
/// P-256 in SubjectPublicKeyInfo (RFC 5480), up to x of an uncompressed point.
const SPKI_P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0, 0x04,
];
/// P-384, likewise.
const SPKI_P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0, 0x22, 0x03, 0x62, 0, 0x04,
];

/// The keys of a trusted issuer, each pinned to one algorithm. Two sets are equal when they verify the same.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
}

impl KeySet {
    /// Reads a document, for an issuer that may sign with these algorithms only.
    ///
    /// A key that names its algorithm is pinned to it. One that does not stands in the set once for each allowed algorithm of
    /// its kind, so that a token's `alg` still has to name one that was allowed, and never chooses a kind.
    ///
    /// # Errors
    /// [`SetError`] when the document as a whole is not to be trusted, or nothing in it can be used.
    pub fn parse(document: &[u8], allowed: &[Algorithm]) -> Result<Self, SetError> {
        if document.len() > MAX_SET_BYTES {
            return Err(SetError::Size);
        }
        let RawSet { keys: raw } = serde_json::from_slice(document).map_err(|_| SetError::Form)?;
        if raw.len() > MAX_SET_KEYS {
            return Err(SetError::Count);
        }
        let found = raw.len();
        let read: Vec<Vec<Key>> = raw.iter().filter_map(|raw| raw.read(allowed)).collect();
        let id = |keys: &Vec<Key>| keys.first().map(|key| Arc::clone(key.id()));
        let ids: Vec<_> = read.iter().map(id).collect();
        let is_alone = |own: &Option<Arc<str>>| ids.iter().filter(|id| *id == own).count() == 1;
        let alone: Vec<Vec<Key>> = read.into_iter().filter(|keys| is_alone(&id(keys))).collect();
        let skipped = found.saturating_sub(alone.len());
        let keys: Vec<Key> = alone.into_iter().flatten().collect();
        if keys.is_empty() {
            return Err(SetError::NothingUsable { found });
        }
        Ok(Self { keys, skipped })
    }

    /// The keys of this id: none, one, or the same key once for each algorithm it may be used with.
    pub fn named(&self, id: &str) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| &**key.id() == id)
    }

    /// The key of this id that is pinned to this algorithm. There is no other way to a key: never "any that fits".
    #[must_use]
    pub fn find(&self, id: &str, algorithm: Algorithm) -> Option<&Key> {
        self.named(id).find(|key| key.algorithm() == algorithm)
    }

    /// How many keys of the document were left out.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }
}

impl Eq for KeySet {}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

/// Why a document is no set of keys. Never holds anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Larger than [`MAX_SET_BYTES`].
    #[error("the key set is larger than {} KiB", MAX_SET_BYTES / 1024)]
    Size,
    /// No JSON object with a list `keys` of objects, or a member of them stands there twice.
    #[error("this is no JWK Set: a JSON object with a list `keys`")]
    Form,
    /// More than [`MAX_SET_KEYS`] keys.
    #[error("the key set holds more than {MAX_SET_KEYS} keys")]
    Count,
    /// None of its keys may verify anything here.
    #[error(
        "the key set holds no key that can be used ({found} in all): wanted public signature keys, each with a `kid` of its own, for an allowed algorithm"
    )]
    NothingUsable {
        /// How many keys it holds.
        found: usize,
    },
}

/// The document. Members that are not known here are not looked at; a known one that stands there twice is an error.
#[derive(Deserialize)]
struct RawSet {
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: Option<Member>,
    kid: Option<Member>,
    alg: Option<Member>,
    r#use: Option<Member>,
    key_ops: Option<Member>,
    crv: Option<Member>,
    x: Option<Member>,
    y: Option<Member>,
    n: Option<Member>,
    e: Option<Member>,
}

impl RawKey {
    /// The key, once for each algorithm that it may be used with; `None` when it is not for us.
    fn read(&self, allowed: &[Algorithm]) -> Option<Vec<Key>> {
        let visible = |id: &&str| id.bytes().all(|byte| byte.is_ascii_graphic());
        let id = text(&self.kid)?;
        let id =
            Some(id).filter(visible).filter(|id| (1..=MAX_KEY_ID_BYTES).contains(&id.len()))?;
        let signs = self.r#use.is_none() || text(&self.r#use) == Some("sig");
        let verifies = match &self.key_ops {
            None => true,
            Some(Member::Texts(uses)) => uses.iter().any(|own| own == "verify"),
            Some(Member::Text(_) | Member::Other) => false,
        };
        if !signs || !verifies {
            return None;
        }
        let (kind, spki) = self.public()?;
        let named = match &self.alg {
            None => None,
            Some(_) => Some(Algorithm::parse(text(&self.alg)?)?),
        };
        let fits = |own: &&Algorithm| own.kind() == kind && named.is_none_or(|name| name == **own);
        let keys = allowed.iter().filter(fits).map(|algorithm| {
            let public = CheckedPublic::read(&spki, *algorithm).ok()?;
            Some(Key {
                id: Arc::from(id),
                algorithm: *algorithm,
                from: None,
                until: None,
                made: None,
                signing: None,
                verifying: public.decoding,
                public: Some(public.parts),
            })
        });
        keys.collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())
    }

    /// What kind of key it is, and the key as SubjectPublicKeyInfo: there is one place that judges public keys.
    fn public(&self) -> Option<(KeyKind, Vec<u8>)> {
        match (text(&self.kty)?, text(&self.crv)) {
            ("OKP", Some("Ed25519")) => {
                Some((KeyKind::Ed25519, [SPKI_ED25519, &bytes(&self.x)?].concat()))
            }
            ("EC", Some("P-256")) => Some((KeyKind::P256, self.point(SPKI_P256, 32)?)),
            ("EC", Some("P-384")) => Some((KeyKind::P384, self.point(SPKI_P384, 48)?)),
            ("RSA", _) => {
                // Some publish a zero byte before the modulus; RFC 7518 section 6.3.1.1 knows them.
                let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
                let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
                let components = PublicKeyComponents { n, e };
                let spki: PublicKeyX509Der<'_> = components.as_der().ok()?;
                Some((KeyKind::Rsa, spki.as_ref().to_vec()))
            }
            _ => None,
        }
    }

    /// RFC 7518 section 6.2.1.2: a coordinate has the full size of its field.
    fn point(&self, spki: &[u8], size: usize) -> Option<Vec<u8>> {
        let coordinate = |member| bytes(member).filter(|bytes| bytes.len() == size);
        Some([spki, &coordinate(&self.x)?, &coordinate(&self.y)?].concat())
    }
}

fn text(member: &Option<Member>) -> Option<&str> {
    member.as_ref()?.text()
}

fn bytes(member: &Option<Member>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(member)?).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Timestamp;
    use crate::keys::{KeyRing, KeyUse, generate, jwks, load};
    use crate::random::OsRandom;

    const ALL: [Algorithm; 7] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    /// A signing key of each kind, and what its owner publishes.
    fn pair(algorithm: Algorithm) -> &'static (KeyRing, Value) {
        static PAIRS: [OnceLock<(KeyRing, Value)>; ALL.len()] =
            [const { OnceLock::new() }; ALL.len()];
        let place = ALL.iter().position(|own| *own == algorithm).unwrap();
        PAIRS[place].get_or_init(|| {
            let file = generate(algorithm, &OsRandom).unwrap();
            let key = load("k", algorithm, file.expose(), KeyUse::Sign, None).unwrap();
            let ring = KeyRing::new(vec![key]).unwrap();
            let jwk = jwks(&ring, Timestamp::from_secs(0))["keys"][0].clone();
            (ring, jwk)
        })
    }

    fn with(mut jwk: Value, changes: Value) -> Value {
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => _ = jwk.as_object_mut().unwrap().remove(name),
                value => jwk[name] = value.clone(),
            }
        }
        jwk
    }

    fn set(keys: &[Value], allowed: &[Algorithm]) -> Result<KeySet, SetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), allowed)
    }

    #[test]
    fn what_one_publishes_the_other_verifies_with() {
        for algorithm in ALL {
            let (ring, jwk) = pair(algorithm);
            let set = set(std::slice::from_ref(jwk), &ALL).unwrap();
            let keys: Vec<&Key> = set.named("k").collect();
            assert_eq!((keys.len(), set.skipped()), (1, 0), "{algorithm}");
            assert_eq!(keys[0].algorithm(), algorithm);
            let signature = ring.signing(Timestamp::from_secs(0)).sign(b"message").unwrap();
            assert!(keys[0].verify(b"message", &signature), "{algorithm}");
            assert!(!keys[0].verify(b"massage", &signature), "{algorithm}");
        }
    }

    #[test]
    fn b5_a_key_is_pinned_to_what_it_says_or_to_what_is_allowed_for_its_kind() {
        let rsa = &pair(Algorithm::Rs256).1;
        let silent = with(rsa.clone(), json!({ "alg": null }));
        for (jwk, allowed, pinned) in [
            (rsa, &ALL[..], &[Algorithm::Rs256][..]),
            (&silent, &ALL[..], &ALL[..4]),
            (&silent, &[Algorithm::Es256, Algorithm::Rs512], &[Algorithm::Rs512]),
            (&silent, &[Algorithm::Ps256, Algorithm::Rs256], &[Algorithm::Ps256, Algorithm::Rs256]),
        ] {
            let set = set(std::slice::from_ref(jwk), allowed).unwrap();
            let found: Vec<_> = set.named("k").map(Key::algorithm).collect();
            assert_eq!(found, pinned, "{allowed:?}");
        }
        // What it says must be allowed, and must fit its kind.
        for (jwk, allowed) in [
            (rsa.clone(), &[Algorithm::Rs512][..]),
            (silent.clone(), &[Algorithm::Es256, Algorithm::EdDsa]),
            (with(rsa.clone(), json!({ "alg": "ES256" })), &ALL),
            (with(rsa.clone(), json!({ "alg": "HS256" })), &ALL),
            (with(rsa.clone(), json!({ "alg": "none" })), &ALL),
            (with(rsa.clone(), json!({ "alg": "RSA-OAEP" })), &ALL),
            (with(rsa.clone(), json!({ "alg": ["RS256"] })), &ALL),
        ] {
            let found = set(std::slice::from_ref(&jwk), allowed);
            assert_eq!(found, Err(SetError::NothingUsable { found: 1 }), "{jwk}");
        }
    }

    #[test]
    fn a_key_that_is_not_for_us_is_left_out_and_takes_no_other_with_it() {
        let (rsa, ec, ed) =
            (&pair(Algorithm::Rs256).1, &pair(Algorithm::Es256).1, &pair(Algorithm::EdDsa).1);
        let good = with(ec.clone(), json!({ "kid": "good" }));
        let x = ec["x"].as_str().unwrap();
        let short = URL_SAFE_NO_PAD.encode([1; 31]);
        let small = URL_SAFE_NO_PAD.encode([0xff; 128]);
        for odd in [
            json!({ "kty": "oct", "kid": "k", "k": "AAAA", "alg": "HS256" }),
            json!({ "kty": "oct", "kid": "k", "k": "AAAA" }),
            json!({ "kty": "AKP", "kid": "k" }),
            json!({}),
            json!({ "kty": 7, "kid": "k", "x": {}, "n": null }),
            with(ec.clone(), json!({ "kty": "RSA" })),
            with(rsa.clone(), json!({ "kty": "EC" })),
            with(rsa.clone(), json!({ "use": "enc" })),
            with(rsa.clone(), json!({ "use": ["sig"] })),
            with(rsa.clone(), json!({ "key_ops": ["sign"] })),
            with(rsa.clone(), json!({ "key_ops": "verify" })),
            with(rsa.clone(), json!({ "key_ops": ["verify", 7] })),
            with(rsa.clone(), json!({ "kid": null })),
            with(rsa.clone(), json!({ "kid": 7 })),
            with(rsa.clone(), json!({ "kid": "" })),
            with(rsa.clone(), json!({ "kid": "a b" })),
            with(rsa.clone(), json!({ "kid": "k".repeat(129) })),
            with(rsa.clone(), json!({ "e": "AQ" })),
            with(rsa.clone(), json!({ "e": "Ag" })),
            with(rsa.clone(), json!({ "e": "" })),
            with(rsa.clone(), json!({ "n": small })),
            with(rsa.clone(), json!({ "n": "AA" })),
            with(rsa.clone(), json!({ "n": "" })),
            with(rsa.clone(), json!({ "n": format!("{}=", rsa["n"].as_str().unwrap()) })),
            with(ec.clone(), json!({ "crv": "P-521" })),
            with(ec.clone(), json!({ "crv": "P-384" })),
            with(ec.clone(), json!({ "crv": "secp256k1" })),
            with(ec.clone(), json!({ "y": x })),
            with(ec.clone(), json!({ "x": short })),
            with(ec.clone(), json!({ "x": format!("{x}\n") })),
            with(ed.clone(), json!({ "crv": "X25519" })),
            with(ed.clone(), json!({ "x": short })),
        ] {
            assert!(set(std::slice::from_ref(&odd), &ALL).is_err(), "{odd}");
            let set = set(&[odd.clone(), good.clone()], &ALL).unwrap();
            assert_eq!((set.keys.len(), set.skipped()), (1, 1), "{odd}");
            assert_eq!(set.named("good").count(), 1, "{odd}");
        }
        for fine in [
            with(rsa.clone(), json!({ "use": null, "x5c": ["MIIB"], "x5t": 7, "d": "c2VjcmV0" })),
            with(rsa.clone(), json!({ "key_ops": ["verify"] })),
            with(rsa.clone(), json!({ "n": format!("AAAA{}", rsa["n"].as_str().unwrap()) })),
        ] {
            let text = format!("{:?}", set(std::slice::from_ref(&fine), &ALL).unwrap());
            assert!(!text.contains("c2VjcmV0"), "{text}");
        }
    }

    #[test]
    fn f3_an_id_that_two_keys_share_names_neither() {
        let (rsa, ec) = (&pair(Algorithm::Rs256).1, &pair(Algorithm::Es256).1);
        let good = with(ec.clone(), json!({ "kid": "good" }));
        let found = set(&[rsa.clone(), ec.clone(), good.clone()], &ALL).unwrap();
        assert_eq!((found.named("k").count(), found.named("good").count()), (0, 1));
        assert_eq!(found.skipped(), 2);
        assert!(set(&[rsa.clone(), rsa.clone()], &ALL).is_err());
        // One that is not for signatures is no rival.
        let sealed = with(rsa.clone(), json!({ "use": "enc" }));
        assert_eq!(set(&[sealed, ec.clone()], &ALL).unwrap().named("k").count(), 1);
    }

    #[test]
    fn a_document_that_is_no_set_is_refused_whole() {
        let jwk = pair(Algorithm::EdDsa).1.to_string();
        let twice = jwk.replacen('{', "{\"kty\":\"OKP\",", 1);
        for bad in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            jwk.clone(),
            format!("[{jwk}]"),
            format!("{{\"keys\":{jwk}}}"),
            format!("{{\"keys\":[{jwk}]"),
            format!("{{\"keys\":[{jwk}]}} x"),
            format!("{{\"keys\":[{jwk}],\"keys\":[]}}"),
            format!("{{\"keys\":[{twice}]}}"),
            format!("{{\"keys\":[{jwk},7]}}"),
            format!("\u{feff}{{\"keys\":[{jwk}]}}"),
            format!("{{\"keys\":[{{\"kty\":{}{}}}]}}", "[".repeat(9000), "]".repeat(9000)),
            "<!doctype html>".to_owned(),
        ] {
            assert_eq!(KeySet::parse(bad.as_bytes(), &ALL), Err(SetError::Form), "{bad:.60}");
        }
        let empty = KeySet::parse(b"{\"keys\":[]}", &ALL);
        assert_eq!(empty, Err(SetError::NothingUsable { found: 0 }));
        let many = vec![json!({}); MAX_SET_KEYS + 1];
        assert_eq!(set(&many, &ALL), Err(SetError::Count));
        let large = format!("{{\"keys\":[{jwk}]}}{}", " ".repeat(MAX_SET_BYTES));
        assert_eq!(KeySet::parse(large.as_bytes(), &ALL), Err(SetError::Size));
        assert!(KeySet::parse(large.trim_end().as_bytes(), &ALL).is_ok());
    }

    #[test]
    fn sets_are_equal_when_they_verify_the_same() {
        let (rsa, ec) = (&pair(Algorithm::Rs256).1, &pair(Algorithm::Es256).1);
        let of = |jwk: &Value| set(std::slice::from_ref(jwk), &ALL).unwrap();
        assert_eq!(of(rsa), of(&with(rsa.clone(), json!({ "x5t": "anything" }))));
        assert_ne!(of(rsa), of(&with(rsa.clone(), json!({ "kid": "other" }))));
        assert_ne!(of(rsa), of(&with(rsa.clone(), json!({ "alg": "RS512" }))));
        assert_ne!(of(rsa), of(ec));
    }
}
