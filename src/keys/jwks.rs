//! The JWK Set that we publish (RFC 7517): public members only, and never a shared secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::KeyRing;
use super::public::PublicKey;
use crate::clock::Timestamp;

/// The set: every asymmetric key that is not retired, also one that will sign later; the one that signs now first. Each has
/// `kid`, `alg` and `use`.
#[must_use]
pub fn jwks(ring: &KeyRing, now: Timestamp) -> Value {
    let signing = ring.signing(now);
    let others = ring.iter().filter(|key| key.id() != signing.id());
    let keys: Vec<Value> = std::iter::once(signing)
        .chain(others)
        .filter(|key| !key.is_retired(now))
        .filter_map(|key| {
            let mut jwk = match key.public.as_ref()? {
                PublicKey::Ed25519 { x } => {
                    json!({ "kty": "OKP", "crv": "Ed25519", "x": text(x) })
                }
                PublicKey::Ec { curve, x, y } => {
                    json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) })
                }
                PublicKey::Rsa { n, e } => json!({ "kty": "RSA", "n": text(n), "e": text(e) }),
            };
            let members = jwk.as_object_mut()?;
            members.insert("kid".to_owned(), json!(&**key.id()));
            members.insert("alg".to_owned(), json!(key.algorithm().name()));
            members.insert("use".to_owned(), json!("sig"));
            Some(jwk)
        })
        .collect();
    json!({ "keys": keys })
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
