//! Bearer tokens: what is accepted is one that was issued, to the byte. The input says how an issued token is changed, or is a
//! token itself. (To an ECDSA signature there is a second one over the same message: it may pass, and is checked apart.)

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use aws_lc_rs::{hmac, signature::Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::{Corpus, fuzz_target};
use portcullis::gateway::Gateway;
use portcullis::gateway::decide::{Decision, RequestHead};
use portcullis::keys::{KeyRing, KeyUse, load};
use portcullis::token::Verifier;
use portcullis_fuzz::world::{BASE, Files, HOST as OURS, KEYS, NOW, connection, gateway, token};
use serde_json::{Map, Value, json};

/// The order of P-256 and of Ed25519's base point: what an attacker turns signatures with.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const ED25519_ORDER: [u8; 32] = [
    0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0xde, 0xf9, 0xde, 0xa2, 0xf7, 0x9c,
    0xd6, 0x58, 0x12, 0x63, 0x1a, 0x5c, 0xf5, 0xd3, 0xed,
];

struct World {
    gateway: Gateway,
    verifier: Verifier,
    /// Whether each holds here, and its text.
    issued: Vec<(bool, String)>,
    /// Public keys as an attacker has them: what HS256 must not be keyed with.
    public: Vec<Vec<u8>>,
    p256: Vec<u8>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let text = format!(
        "listeners: [{{ address: '127.0.0.1:0' }}]
{BASE}
upstreams: {{ app: {{ servers: ['127.0.0.1:1'] }} }}
routes: [{{ id: private, path: /private, upstream: app }}]
"
    );
    let files = Files::new();
    let hour = Duration::from_secs(3600);
    let mut issued = Vec::new();
    for (key, ..) in KEYS {
        issued.push((true, token(&files, key, "alice", "admin read", NOW)));
        issued.push((true, token(&files, key, "bob", "read", NOW)));
        issued.push((false, token(&files, key, "alice", "admin", NOW.minus(hour))));
        issued.push((false, token(&files, key, "alice", "admin", NOW.plus(hour))));
        issued.push((false, token(&files, key, "carol", "read", NOW)));
        // Somebody else's, with the same key id.
        issued.push((false, token(&Files::new(), key, "alice", "admin", NOW)));
    }
    let keys = KEYS.map(|(id, algorithm, file)| {
        let key_use = if id == "ed" { KeyUse::Sign } else { KeyUse::Verify };
        load(id, algorithm, files.bytes(file), key_use, None).expect("a key")
    });
    let ring = Arc::new(KeyRing::new(keys.into()).expect("a ring"));
    let leeway = Duration::from_secs(30);
    let der = |file: &str| pem::parse(files.bytes(file)).expect("PEM").into_contents();
    let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der("es.pem"));
    let p256 = p256.expect("a P-256 key").public_key().as_ref().to_vec();
    let ed = Ed25519KeyPair::from_pkcs8(&der("ed.pem")).expect("an Ed25519 key");
    let public = vec![p256.clone(), ed.public_key().as_ref().to_vec(), Vec::new()];
    World {
        gateway: gateway(&files.with(text.as_bytes())),
        verifier: Verifier::new("https://edge.example.com", "app", leeway, ring),
        issued,
        public,
        p256,
    }
});

/// One thing that an attacker does to a token.
#[derive(Debug, Arbitrary)]
enum Edit<'a> {
    FlipBit { at: u16, bit: u8 },
    Insert { at: u16, text: &'a str },
    Delete { at: u16, count: u8 },
    Case { at: u16 },
    Replace { segment: u8, bytes: &'a [u8] },
    Borrow { segment: u8, other: u8 },
    Swap { one: u8, other: u8 },
    Repeat { segment: u8 },
    Member { payload: bool, name: u8, value: Member<'a> },
    Remove { payload: bool, name: u8 },
    Pad { segment: u8, with: u8 },
    SpareBits { segment: u8, bits: u8 },
    TurnEcdsa,
    TurnEd25519,
    SignWithPublicKey { key: u8 },
}

#[derive(Debug, Arbitrary)]
enum Member<'a> {
    Text(&'a str),
    Number(u64),
    List(Vec<&'a str>),
    Known(u8),
    Null,
}

const MEMBERS: [&str; 16] = [
    "alg",
    "kid",
    "typ",
    "crit",
    "b64",
    "jwk",
    "iss",
    "aud",
    "sub",
    "exp",
    "iat",
    "nbf",
    "scope",
    "client_id",
    "cv",
    "jti",
];
const VALUES: [&str; 14] = [
    "none", "None", "EdDSA", "ES256", "HS256", "RS256", "ed", "es", "hs", "at+jwt", "JWT", "alice",
    "admin", "app",
];

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Text(&'a str),
    Edits { token: u8, edits: Vec<Edit<'a>> },
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return Corpus::Reject;
    };
    let (text, untouched) = match input {
        Input::Text(text) => (text.to_owned(), None),
        Input::Edits { token, edits } => {
            let (holds, issued) = &WORLD.issued[usize::from(token) % WORLD.issued.len()];
            let edited = edits.iter().take(8).fold(issued.clone(), |text, edit| edit.apply(text));
            let untouched = (edited == *issued).then_some(*holds);
            (edited, untouched)
        }
    };
    judge(&text, untouched);
    Corpus::Keep
});

fn judge(text: &str, untouched: Option<bool>) {
    // Between the scheme and the token there may be more than one space (RFC 9110 section 11.4): they are not the token's.
    let text = text.trim_start_matches(' ');
    let verified = WORLD.verifier.verify(text, NOW).is_ok();
    let accepted = ask(text);
    assert_eq!(accepted, ask(text), "asked twice it is another answer");
    // carol is disabled: that is no matter of the verifier's.
    assert!(!accepted || verified, "the gateway takes what the verifier refuses: {text:?}");
    if let Some(holds) = untouched {
        assert_eq!(accepted, holds, "an issued token is not what it was");
    }
    if accepted || verified {
        let known = WORLD.issued.iter().any(|(_, issued)| issued == text);
        assert!(known || is_second_signature(text), "a token that nobody issued is accepted");
    }
    if accepted {
        let honest =
            WORLD.issued.iter().any(|(holds, own)| *holds && message(own) == message(text));
        assert!(honest, "a token that does not hold is accepted");
    }
}

/// Whether the token opens a route that wants one.
fn ask(text: &str) -> bool {
    let Ok(value) = HeaderValue::from_bytes(format!("Bearer {text}").as_bytes()) else {
        return false;
    };
    let headers =
        HeaderMap::from_iter([(HOST, HeaderValue::from_static(OURS)), (AUTHORIZATION, value)]);
    let connection = connection();
    let head = RequestHead {
        method: &Method::GET,
        target: b"/private",
        authority: None,
        headers: &headers,
        connection: &connection,
        request_id: "id",
    };
    match WORLD.gateway.decide(&head, NOW) {
        Decision::Forward(permit) => {
            WORLD.gateway.remember(&permit, NOW);
            true
        }
        Decision::Refuse(_) => false,
        Decision::Serve(_) => panic!("/private is no endpoint"),
    }
}

fn message(token: &str) -> Option<&str> {
    token.rsplit_once('.').map(|(message, _)| message)
}

/// The message is one that was issued with the P-256 key, and the signature verifies, checked here without the product.
fn is_second_signature(text: &str) -> bool {
    let Some((message, signature)) = text.rsplit_once('.') else { return false };
    let issued = WORLD.issued.iter().any(|(_, own)| own.starts_with(&format!("{message}.")));
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &WORLD.p256);
    issued && key.verify(message.as_bytes(), &signature).is_ok()
}

impl Edit<'_> {
    fn apply(&self, token: String) -> String {
        match self {
            Self::FlipBit { at, bit } => bytewise(token, |bytes| {
                if let Some(byte) = place(bytes, *at) {
                    bytes[byte] ^= 1 << (bit % 8);
                }
            }),
            Self::Insert { at, text } => bytewise(token, |bytes| {
                let at = usize::from(*at) % (bytes.len() + 1);
                bytes.splice(at..at, text.bytes());
            }),
            Self::Delete { at, count } => bytewise(token, |bytes| {
                if let Some(from) = place(bytes, *at) {
                    let to = (from + 1 + usize::from(*count % 4)).min(bytes.len());
                    bytes.drain(from..to);
                }
            }),
            Self::Case { at } => bytewise(token, |bytes| {
                if let Some(byte) = place(bytes, *at) {
                    bytes[byte] ^= 0x20;
                }
            }),
            Self::Replace { segment, bytes } => {
                on_segment(&token, *segment, |_| URL_SAFE_NO_PAD.encode(bytes))
            }
            Self::Borrow { segment, other } => {
                let other = &WORLD.issued[usize::from(*other) % WORLD.issued.len()].1;
                let theirs = other.split('.').nth(usize::from(*segment % 3)).unwrap_or_default();
                on_segment(&token, *segment, |_| theirs.to_owned())
            }
            Self::Swap { one, other } => {
                let mut segments: Vec<&str> = token.split('.').collect();
                let count = segments.len();
                segments.swap(usize::from(*one) % count, usize::from(*other) % count);
                segments.join(".")
            }
            Self::Repeat { segment } => on_segment(&token, *segment, |own| format!("{own}.{own}")),
            Self::Member { payload, name, value } => on_json(&token, *payload, |members| {
                let name = MEMBERS[usize::from(*name) % MEMBERS.len()];
                members.insert(name.to_owned(), value.json());
            }),
            Self::Remove { payload, name } => on_json(&token, *payload, |members| {
                members.remove(MEMBERS[usize::from(*name) % MEMBERS.len()]);
            }),
            Self::Pad { segment, with } => on_segment(&token, *segment, |own| {
                let pad = ["=", "==", " ", "\n", "A", "%3D"][usize::from(*with) % 6];
                format!("{own}{pad}")
            }),
            Self::SpareBits { segment, bits } => on_segment(&token, *segment, |own| {
                let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                let (Some(last), Some(rest)) = (own.bytes().last(), own.len().checked_sub(1))
                else {
                    return own.to_owned();
                };
                let Some(value) = digits.iter().position(|digit| *digit == last) else {
                    return own.to_owned();
                };
                let digit = digits[value ^ usize::from(*bits % 16)];
                format!("{}{}", own.get(..rest).unwrap_or_default(), char::from(digit))
            }),
            Self::TurnEcdsa => on_signature(&token, |signature| {
                let s: [u8; 32] = signature[32..].try_into().expect("half of it");
                signature[32..].copy_from_slice(&minus(P256_ORDER, s));
            }),
            Self::TurnEd25519 => on_signature(&token, |signature| {
                let mut s: [u8; 32] = signature[32..].try_into().expect("half of it");
                s.reverse();
                let mut sum = plus(ED25519_ORDER, s);
                sum.reverse();
                signature[32..].copy_from_slice(&sum);
            }),
            Self::SignWithPublicKey { key } => {
                let secret = &WORLD.public[usize::from(*key) % WORLD.public.len()];
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                let message = message(&token).unwrap_or(&token);
                let tag = hmac::sign(&key, message.as_bytes());
                format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
            }
        }
    }
}

impl Member<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::List(list) => json!(list),
            Self::Known(value) => json!(VALUES[usize::from(*value) % VALUES.len()]),
            Self::Null => Value::Null,
        }
    }
}

fn place(bytes: &[u8], at: u16) -> Option<usize> {
    usize::from(at).checked_rem(bytes.len())
}

fn bytewise(token: String, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = token.into_bytes();
    change(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn on_segment(token: &str, segment: u8, change: impl Fn(&str) -> String) -> String {
    let count = token.split('.').count();
    let at = usize::from(segment) % count;
    let changed = |(position, own): (usize, &str)| match position == at {
        true => change(own),
        false => own.to_owned(),
    };
    token.split('.').enumerate().map(changed).collect::<Vec<_>>().join(".")
}

fn on_json(token: &str, payload: bool, change: impl Fn(&mut Map<String, Value>)) -> String {
    on_segment(token, u8::from(payload), |own| {
        let read = URL_SAFE_NO_PAD.decode(own).ok();
        let Some(mut members) = read.and_then(|json| serde_json::from_slice(&json).ok()) else {
            return own.to_owned();
        };
        change(&mut members);
        URL_SAFE_NO_PAD.encode(Value::Object(members).to_string())
    })
}

fn on_signature(token: &str, change: impl Fn(&mut [u8; 64])) -> String {
    on_segment(token, 2, |own| {
        let read: Option<[u8; 64]> =
            URL_SAFE_NO_PAD.decode(own).ok().and_then(|bytes| bytes.try_into().ok());
        let Some(mut signature) = read else { return own.to_owned() };
        change(&mut signature);
        URL_SAFE_NO_PAD.encode(signature)
    })
}

/// Big-endian, wrapping.
fn minus(from: [u8; 32], what: [u8; 32]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrow = 0_i16;
    for at in (0..32).rev() {
        let digit = i16::from(from[at]) - i16::from(what[at]) - borrow;
        borrow = i16::from(digit < 0);
        difference[at] = u8::try_from(digit.rem_euclid(256)).expect("a byte");
    }
    difference
}

/// Big-endian, wrapping.
fn plus(one: [u8; 32], other: [u8; 32]) -> [u8; 32] {
    let mut sum = [0; 32];
    let mut carry = 0_u16;
    for at in (0..32).rev() {
        let digit = u16::from(one[at]) + u16::from(other[at]) + carry;
        carry = digit >> 8;
        sum[at] = u8::try_from(digit & 255).expect("a byte");
    }
    sum
}
