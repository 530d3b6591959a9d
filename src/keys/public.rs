//! Judges public keys: the kind that the algorithm wants, a point on its curve, an RSA key of usable size. Private keys are
//! judged here too, by their public half, so that there is one place that decides what a good key is.

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
};
use jsonwebtoken::DecodingKey;
use x509_parser::der_parser::oid;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as SpkiKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::unsupported::unsupported;
use super::{Algorithm, KeyError, KeyKind};

/// RFC 7518 section 3.3 for the lower end; the upper one is what the library verifies with.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The public half, in the parts that a JWK shows (RFC 7518 section 6, RFC 8037 section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    Ed25519 { x: Vec<u8> },
    Ec { curve: &'static str, x: Vec<u8>, y: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// A public key that fits its algorithm.
pub(super) struct CheckedPublic {
    pub(super) decoding: DecodingKey,
    pub(super) parts: PublicKey,
}

impl CheckedPublic {
    pub(super) fn read(spki: &[u8], algorithm: Algorithm) -> Result<Self, KeyError> {
        let (rest, info) =
            SubjectPublicKeyInfo::from_der(spki).map_err(|_| KeyError::Unreadable)?;
        if !rest.is_empty() {
            return Err(KeyError::Unreadable);
        }
        let raw: &[u8] = &info.subject_public_key.data;
        let found = kind_of(&info).ok_or_else(|| match unsupported(spki) {
            Some(found) => KeyError::Unsupported { found },
            None => KeyError::UnknownKind { wanted: algorithm.kind() },
        })?;
        if found != algorithm.kind() {
            return Err(KeyError::WrongKind { algorithm, found, wanted: algorithm.kind() });
        }
        match found {
            KeyKind::Ed25519 => {
                ParsedPublicKey::new(&ED25519, raw).map_err(|_| KeyError::Unreadable)?;
                let parts = PublicKey::Ed25519 { x: raw.to_vec() };
                Ok(Self { decoding: DecodingKey::from_ed_der(raw), parts })
            }
            KeyKind::P256 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, raw)
                    .map_err(|_| KeyError::Unreadable)?;
                Self::of_point("P-256", 32, raw)
            }
            KeyKind::P384 => {
                ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, raw)
                    .map_err(|_| KeyError::Unreadable)?;
                Self::of_point("P-384", 48, raw)
            }
            KeyKind::Rsa => Self::of_rsa(&info, raw),
            KeyKind::Secret { .. } => Err(KeyError::UnknownKind { wanted: algorithm.kind() }),
        }
    }

    /// Only uncompressed points: that is what the library verifies with and what a JWK can show.
    fn of_point(curve: &'static str, size: usize, raw: &[u8]) -> Result<Self, KeyError> {
        let (x, y) = match raw.split_first() {
            Some((4, point)) if point.len() == 2 * size => point.split_at(size),
            _ => return Err(KeyError::Unreadable),
        };
        let parts = PublicKey::Ec { curve, x: x.to_vec(), y: y.to_vec() };
        Ok(Self { decoding: DecodingKey::from_ec_der(raw), parts })
    }

    fn of_rsa(info: &SubjectPublicKeyInfo<'_>, raw: &[u8]) -> Result<Self, KeyError> {
        let Ok(SpkiKey::RSA(key)) = info.parsed() else { return Err(KeyError::Unreadable) };
        let n = without_leading_zeros(key.modulus);
        let e = without_leading_zeros(key.exponent);
        let bits = n.first().map_or(0, |top| n.len() * 8 - top.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaSize { bits });
        }
        // With an exponent of 1 the signature is the padded hash itself: everybody can make it.
        if matches!(e, [] | [0..=2]) || e.last().is_some_and(|low| low % 2 == 0) {
            return Err(KeyError::RsaExponent);
        }
        rsa::PublicKey::from_der(raw).map_err(|_| KeyError::Unreadable)?;
        let parts = PublicKey::Rsa { n: n.to_vec(), e: e.to_vec() };
        Ok(Self { decoding: DecodingKey::from_rsa_der(raw), parts })
    }
}

fn kind_of(info: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
    let algorithm = &info.algorithm;
    if algorithm.algorithm == oid!(1.3.101.112) {
        return Some(KeyKind::Ed25519);
    }
    if algorithm.algorithm == oid!(1.2.840.113549.1.1.1) {
        return Some(KeyKind::Rsa);
    }
    if algorithm.algorithm != oid!(1.2.840.10045.2.1) {
        return None;
    }
    let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
    if curve == oid!(1.2.840.10045.3.1.7) {
        Some(KeyKind::P256)
    } else if curve == oid!(1.3.132.0.34) {
        Some(KeyKind::P384)
    } else {
        None
    }
}

pub(super) fn without_leading_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}
