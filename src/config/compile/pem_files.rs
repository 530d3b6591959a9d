//! Certificates and private keys in PEM, for TLS on both sides: what they hold, and what they hold instead.

use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use crate::keys::unsupported;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("found no certificate in PEM")]
    NoCertificate,
    #[error("found {0} where a certificate is wanted")]
    WantedCertificate(&'static str),
    #[error("the PEM is damaged")]
    Pem,
    #[error("the certificate is damaged")]
    Certificate,
    #[error("a certificate in it is no authority's: it may not sign others")]
    NoAuthority,
    #[error("found no private key in PEM")]
    NoKey,
    #[error("found {0} where a private key is wanted")]
    WantedKey(&'static str),
    #[error(
        "the private key is encrypted, and nobody is there to type its password: `openssl pkey -in FILE` decrypts it"
    )]
    Encrypted,
    #[error("the key is {0}; supported are {SUPPORTED}")]
    Unsupported(&'static str),
    #[error("the key is damaged or not supported; supported are {SUPPORTED}")]
    Key,
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    #[error(
        "the private key belongs to certificate {0} of the file: that one must come first, then who issued it, and so on"
    )]
    Order(usize),
}

impl TlsError {
    /// Whether it is for the file with the certificates to be changed, and not for the one with the key.
    pub(super) const fn is_of_certificates(&self) -> bool {
        matches!(self, Self::Order(_))
    }
}

const SUPPORTED: &str = "Ed25519, ECDSA on P-256 or P-384, and RSA of 2048 to 8192 bits";

/// The certificates in a file, at least one; what else is in it is passed over.
pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| TlsError::Pem)?;
    if chain.is_empty() {
        return Err(instead(pem).map_or(TlsError::NoCertificate, TlsError::WantedCertificate));
    }
    Ok(chain)
}

/// The first private key in a file.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| match instead(pem) {
        // What openssl wrote before PKCS#8 says it in a field of the block (RFC 1421 section 4.6.1.1).
        _ if has(pem, "\nProc-Type: 4,ENCRYPTED") => TlsError::Encrypted,
        _ if has(pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----") => TlsError::Encrypted,
        Some(found) if found != PRIVATE_KEY => TlsError::WantedKey(found),
        _ => TlsError::NoKey,
    })
}

/// What signs with a private key.
pub(super) fn signing_key(der: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, TlsError> {
    let named = || unsupported(der.secret_der()).map_or(TlsError::Key, TlsError::Unsupported);
    any_supported_type(der).map_err(|_| named())
}

/// A certificate with the key that belongs to it: to the first one, since that is what is shown as ours.
pub(super) fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<CertifiedKey, TlsError> {
    let own = CertifiedKey::new(chain, key);
    if own.keys_match().is_ok() {
        return Ok(own);
    }
    let belongs = |der: &CertificateDer<'static>| {
        CertifiedKey::new(vec![der.clone()], Arc::clone(&own.key)).keys_match().is_ok()
    };
    let other = own.cert.iter().position(belongs);
    Err(other.map_or(TlsError::Mismatch, |at| TlsError::Order(at + 1)))
}

const PRIVATE_KEY: &str = "a private key";

/// What a file holds that was to hold something else.
fn instead(pem: &[u8]) -> Option<&'static str> {
    let known = [
        ("PRIVATE KEY-----", PRIVATE_KEY),
        ("-----BEGIN TRUSTED CERTIFICATE-----", "a certificate in a form of openssl alone"),
        ("-----BEGIN CERTIFICATE-----", "a certificate"),
        ("CERTIFICATE REQUEST-----", "a request for a certificate"),
        ("PUBLIC KEY-----", "a public key"),
        ("-----BEGIN PKCS7-----", "a PKCS#7 bundle"),
    ];
    known.into_iter().find_map(|(label, what)| has(pem, label).then_some(what))
}

fn has(pem: &[u8], text: &str) -> bool {
    pem.windows(text.len()).any(|at| at == text.as_bytes())
}
