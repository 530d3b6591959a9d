//! Tokens that the edge would never issue, signed with its own key: what is wrong with them is then never the signature.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::users::PasswordHash;
use serde_json::{Value, json};

use super::HOST;
use super::gateway::HASH;

/// The edge's signing key in the wrong hands.
pub(crate) struct Mint(Ed25519KeyPair);

impl Mint {
    /// Takes the key as `keys generate` wrote it.
    pub(crate) fn new(pem: &[u8]) -> Self {
        let der = pem::parse(pem).unwrap();
        Self(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.contents()).unwrap())
    }

    /// The header of an honest token.
    pub(crate) fn header() -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k1" })
    }

    /// The claims of an honest token of alice for everything, issued at `now` for a minute.
    pub(crate) fn claims(now: u64) -> Value {
        json!({
            "iss": format!("https://{HOST}"),
            "aud": "app",
            "sub": "alice",
            "client_id": "web",
            "scope": "admin notes:read notes:write",
            "jti": "a-token",
            "cv": version(),
            "iat": now,
            "exp": now + 60,
        })
    }

    /// Signs these two as they stand.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Signs these two, which need not be JSON.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        join(header, claims, |input| self.0.sign(input).as_ref().to_vec())
    }

    /// An otherwise honest token whose HMAC is made with what everybody may know: the public key, plain and as PEM.
    pub(crate) fn swapped(&self, now: u64) -> [String; 2] {
        let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": "k1" }).to_string();
        let raw = self.0.public_key().as_ref();
        let prefix = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
        let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", [prefix, raw].concat()));
        [raw, pem.as_bytes()].map(|secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            join(&header, &Self::claims(now).to_string(), |input| {
                hmac::sign(&key, input).as_ref().to_vec()
            })
        })
    }

    /// An honest token with these claims changed; `null` takes one out.
    pub(crate) fn with(&self, now: u64, changes: Value) -> String {
        let (mut header, mut claims) = (Self::header(), Self::claims(now));
        for (name, value) in changes.as_object().unwrap() {
            let target = if header.get(name).is_some() { &mut header } else { &mut claims };
            match value {
                Value::Null => _ = target.as_object_mut().unwrap().remove(name),
                value => target[name] = value.clone(),
            }
        }
        self.sign(&header, &claims)
    }
}

fn join(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let head = URL_SAFE_NO_PAD.encode(header);
    let input = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(input.as_bytes()));
    format!("{input}.{signature}")
}

/// The version of alice's credential.
fn version() -> String {
    PasswordHash::parse(HASH).unwrap().version().to_string()
}

/// The token with one character of its signature exchanged.
pub(crate) fn tampered(token: &str) -> String {
    let at = token.rfind('.').unwrap() + 3;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}
