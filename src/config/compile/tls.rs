//! The certificate of a listener, with its key.

use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::Compiler;
use crate::clock::Timestamp;
use crate::config::model::TlsIdentity;
use crate::config::place::Place;
use crate::config::raw::RawTls;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("found no certificate in PEM")]
    NoCertificate,
    #[error("the PEM is damaged")]
    Pem,
    #[error("the certificate is damaged")]
    Certificate,
    #[error("found no private key in PEM")]
    NoKey,
    #[error("the key is damaged, or neither RSA, ECDSA nor Ed25519")]
    Key,
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// Reads the certificate of a listener that ends TLS.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &Place,
    raw: &RawTls,
) -> Option<TlsIdentity> {
    let (cert_place, key_place) = (place.key("certificate"), place.key("private_key"));
    let certificate = compiler.document.require(raw.certificate.as_deref(), &cert_place);
    let private_key = compiler.document.require(raw.private_key.as_deref(), &key_place);
    let certificate = certificate.and_then(|name| compiler.read(&cert_place, name));
    let private_key = private_key.and_then(|name| compiler.read_private(&key_place, name));
    let (certificate, private_key) = (certificate?, private_key?);
    let chain = chain(&certificate.bytes).and_then(|chain| Ok((not_after(&chain)?, chain)));
    let key = PrivateKeyDer::from_pem_slice(&private_key).map_err(|_| TlsError::NoKey);
    let key = key.and_then(|der| any_supported_type(&der).map_err(|_| TlsError::Key));
    if let Err(error) = &chain {
        compiler.document.error(&cert_place, error.to_string());
    }
    if let Err(error) = &key {
        compiler.document.error(&key_place, error.to_string());
    }
    let (((not_after, chain), key), now) = (chain.ok().zip(key.ok())?, compiler.now);
    let key = CertifiedKey::new(chain, key);
    if key.keys_match().is_err() {
        compiler.document.error(&key_place, TlsError::Mismatch.to_string());
        return None;
    }
    if not_after <= now {
        let message = format!("the certificate expired at {not_after}");
        compiler.document.warn(&cert_place, message, None);
    }
    Some(TlsIdentity { key: Arc::new(key), not_after })
}

pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| TlsError::Pem)?;
    if chain.is_empty() { Err(TlsError::NoCertificate) } else { Ok(chain) }
}

pub(super) fn not_after(chain: &[CertificateDer<'_>]) -> Result<Timestamp, TlsError> {
    let leaf = chain.first().ok_or(TlsError::NoCertificate)?;
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|_| TlsError::Certificate)?;
    let seconds = leaf.validity().not_after.timestamp();
    // A certificate that ended before 1970 has ended.
    Ok(Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
