//! TLS on listeners: which certificate a client sees.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::sign::SingleCertAndKey;

use crate::config::TlsIdentity;

/// What a handshake is made with: TLS 1.2 or 1.3, and HTTP/2 for whoever speaks it.
///
/// # Errors
/// rustls' own, which no configuration that was accepted causes.
pub(super) fn server_config(identity: &TlsIdentity) -> Result<Arc<ServerConfig>, rustls::Error> {
    let resolver = SingleCertAndKey::from((*identity.key).clone());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
