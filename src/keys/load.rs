//! Reads one key file and pins its algorithm (RFC 8725 sections 3.1, 3.5): a key that does not fit the algorithm it is
//! configured for is refused at start-up, with what was found and what is wanted.
//!
//! Private keys: PKCS#8, PKCS#1 (RSA) and SEC1 (EC) in PEM. Public keys: SubjectPublicKeyInfo in PEM. Shared secrets: the
//! file's raw bytes, newline and all. Who may read the file and where it lies is checked by the configuration.

use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use jsonwebtoken::{DecodingKey, EncodingKey};
use zeroize::Zeroizing;

use super::public::CheckedPublic;
use super::unsupported::unsupported;
use super::{Algorithm, Key, KeyError, KeyKind, KeyUse, MAX_KEY_ID_BYTES};
use crate::clock::Timestamp;

/// Reads a key.
///
/// `until` retires the key. A private key configured to verify is reduced to its public half here.
///
/// # Errors
/// [`KeyError`] when the file does not hold exactly one key of the kind that the algorithm and the use want.
pub fn load(
    id: &str,
    algorithm: Algorithm,
    file: &[u8],
    key_use: KeyUse,
    until: Option<Timestamp>,
) -> Result<Key, KeyError> {
    if id.is_empty() || id.len() > MAX_KEY_ID_BYTES || !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(KeyError::Id);
    }
    let (signing, verifying, public) = match algorithm.kind() {
        KeyKind::Secret { bytes } => {
            let secret = read_secret(file, algorithm, bytes)?;
            (Some(EncodingKey::from_secret(secret)), DecodingKey::from_secret(secret), None)
        }
        KeyKind::Rsa | KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => {
            let (signing, public) = read_pem(file, algorithm, key_use)?;
            (signing, public.decoding, Some(public.parts))
        }
    };
    let signing = signing.filter(|_| key_use == KeyUse::Sign);
    let id = Arc::from(id);
    Ok(Key { id, algorithm, from: None, until, made: None, signing, verifying, public })
}

/// RFC 7518 section 3.2: the secret is at least as long as the hash. A PEM file is never a secret: whoever configures a public
/// key for an HS algorithm would let everybody sign.
fn read_secret(file: &[u8], algorithm: Algorithm, wanted: usize) -> Result<&[u8], KeyError> {
    if file.windows(11).any(|window| window == b"-----BEGIN ") {
        return Err(KeyError::PemForSecret { algorithm });
    }
    if file.len() < wanted {
        return Err(KeyError::ShortSecret { algorithm, found: file.len(), wanted });
    }
    Ok(file)
}

fn read_pem(
    file: &[u8],
    algorithm: Algorithm,
    key_use: KeyUse,
) -> Result<(Option<EncodingKey>, CheckedPublic), KeyError> {
    let mut blocks = pem::parse_many(file).map_err(|_| KeyError::DamagedPem { algorithm })?;
    // openssl writes the curve's name as a block of its own before a SEC1 key; the key repeats it.
    blocks.retain(|block| block.tag() != "EC PARAMETERS");
    let [block] = blocks.as_slice() else {
        let labels = blocks.iter().take(3).map(|block| format!("`{}`", block.tag()));
        let found = labels.collect::<Vec<_>>().join(", ");
        let found = if found.is_empty() { "nothing".to_owned() } else { found };
        return Err(KeyError::NotOnePem { found, algorithm });
    };
    // RFC 1421 section 4.6.1.1, as openssl wrote it before PKCS#8.
    let encrypted = block.headers().get("Proc-Type").is_some_and(|kind| kind.contains("ENCRYPTED"));
    if encrypted || block.tag() == "ENCRYPTED PRIVATE KEY" {
        return Err(KeyError::Encrypted);
    }
    let Some(block) = blocks.pop() else { return Err(KeyError::Unreadable) };
    let tag = block.tag().to_owned();
    let der = Zeroizing::new(block.into_contents());
    let private = match tag.as_str() {
        "PRIVATE KEY" => PrivateKey::read_pkcs8(&der)?,
        "RSA PRIVATE KEY" => PrivateKey::read_rsa(&der)?,
        "EC PRIVATE KEY" => PrivateKey::read_sec1(&der)?,
        "PUBLIC KEY" if key_use == KeyUse::Verify => {
            return Ok((None, CheckedPublic::read(&der, algorithm)?));
        }
        "PUBLIC KEY" => return Err(KeyError::PublicForSigning { algorithm }),
        _ => return Err(KeyError::PemLabel { found: tag, wanted: algorithm.kind() }),
    };
    let public = CheckedPublic::read(&private.spki, algorithm)?;
    Ok((Some(private.encoding), public))
}

/// A private key of any kind, and its public half as SubjectPublicKeyInfo, so that there is one place that judges keys.
struct PrivateKey {
    encoding: EncodingKey,
    spki: Vec<u8>,
}

impl PrivateKey {
    fn read_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            let spki = pair.public_key().as_der().map_err(|_| KeyError::Unreadable)?;
            let encoding = EncodingKey::from_ed_der(der);
            return Ok(Self { encoding, spki: spki.as_ref().to_vec() });
        }
        match rsa::KeyPair::from_pkcs8(der) {
            Ok(pair) => {
                let pem = Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", der)));
                let encoding =
                    EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| KeyError::Unreadable)?;
                Self::of_rsa(encoding, &pair)
            }
            Err(rejected) if is_too_small(&rejected) => Err(KeyError::SmallRsa),
            Err(_) => Self::read_ec(der, EcdsaKeyPair::from_pkcs8),
        }
    }

    fn read_rsa(der: &[u8]) -> Result<Self, KeyError> {
        let pair = rsa::KeyPair::from_der(der).map_err(|rejected| {
            if is_too_small(&rejected) { KeyError::SmallRsa } else { KeyError::Unreadable }
        })?;
        Self::of_rsa(EncodingKey::from_rsa_der(der), &pair)
    }

    fn of_rsa(encoding: EncodingKey, pair: &rsa::KeyPair) -> Result<Self, KeyError> {
        let spki = pair.public_key().as_der().map_err(|_| KeyError::Unreadable)?;
        Ok(Self { encoding, spki: spki.as_ref().to_vec() })
    }

    fn read_sec1(der: &[u8]) -> Result<Self, KeyError> {
        Self::read_ec(der, EcdsaKeyPair::from_private_key_der)
    }

    fn read_ec(
        der: &[u8],
        read: impl Fn(&'static EcdsaSigningAlgorithm, &[u8]) -> Result<EcdsaKeyPair, KeyRejected>,
    ) -> Result<Self, KeyError> {
        let pair = [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING]
            .into_iter()
            .find_map(|curve| read(curve, der).ok())
            .ok_or_else(|| match unsupported(der) {
                Some(found) => KeyError::Unsupported { found },
                None => KeyError::Unreadable,
            })?;
        let spki = pair.public_key().as_der().map_err(|_| KeyError::Unreadable)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::Unreadable)?;
        let encoding = EncodingKey::from_ec_der(pkcs8.as_ref());
        Ok(Self { encoding, spki: spki.as_ref().to_vec() })
    }
}

/// The library tells its reasons apart by text only.
fn is_too_small(rejected: &KeyRejected) -> bool {
    rejected.to_string() == "TooSmall"
}
