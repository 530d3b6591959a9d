//! Makes new keys for `keys generate`. Writing them to a file, with a mode that keeps others out, is the command line's part.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair,
};
use zeroize::Zeroizing;

use super::{Algorithm, KeyError, KeyKind};
use crate::random::Random;
use crate::secret::Secret;

/// A fresh private key: PKCS#8 in PEM (RSA of 3072 bits), or for an HS algorithm as many random bytes as its hash has.
///
/// Key pairs draw on the cryptographic library's own generator; `random` serves the shared secrets.
///
/// # Errors
/// [`KeyError::Generate`] when no randomness could be had.
pub fn generate(algorithm: Algorithm, random: &dyn Random) -> Result<Secret, KeyError> {
    match algorithm.kind() {
        KeyKind::Secret { bytes } => {
            let mut secret = vec![0; bytes];
            random.fill(&mut secret).map_err(|_| KeyError::Generate)?;
            Ok(Secret::new(secret))
        }
        KeyKind::Ed25519 => {
            let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
            Ok(in_pem(pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?.as_ref()))
        }
        KeyKind::P256 => on_curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
        KeyKind::P384 => on_curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
        KeyKind::Rsa => {
            let pair =
                rsa::KeyPair::generate(rsa::KeySize::Rsa3072).map_err(|_| KeyError::Generate)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Generate)?;
            Ok(in_pem(der.as_ref()))
        }
    }
}

fn on_curve(curve: &'static EcdsaSigningAlgorithm) -> Result<Secret, KeyError> {
    let pair = EcdsaKeyPair::generate(curve).map_err(|_| KeyError::Generate)?;
    Ok(in_pem(pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?.as_ref()))
}

fn in_pem(der: &[u8]) -> Secret {
    let block = pem::Pem::new("PRIVATE KEY", der);
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = Zeroizing::new(pem::encode_config(&block, config));
    Secret::new(text.as_bytes().to_vec())
}
