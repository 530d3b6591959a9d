//! How TLS ends here: which certificate a client is shown, and what is trusted of the one that it shows.
//!
//! TLS 1.2 and 1.3 with what rustls holds to be safe, HTTP/2 before HTTP/1.1. A certificate is chosen by the name that the
//! client asks for (RFC 6066 section 3): the exact name, else the wildcard above it (one label, RFC 6125 section 6.4.3), else
//! the listener's default. Nothing is decided by that name: routes go by the host of the request. Sessions are resumed by this
//! configuration only, so another one, with other authorities, takes no word of an earlier one for a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection};

use crate::access::certificate::ClientCertificate;
use crate::clock::Clock;
use crate::config::{ClientAuthorities, Tls, TlsIdentity};

/// What a listener with these certificates accepts connections by.
pub(super) fn server_config(
    tls: &Tls,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = match &tls.client_ca {
        None => Arc::new(NoClientAuth),
        Some(authorities) => verifier(authorities, &provider)?,
    };
    let time = Arc::new(Time(Arc::clone(clock)));
    let mut config = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ByName::new(tls)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificate that the client of a connection proved to hold. One that did not verify has ended the handshake.
pub(super) fn client_certificate(connection: &ServerConnection) -> Option<Arc<ClientCertificate>> {
    let leaf = connection.peer_certificates()?.first()?;
    ClientCertificate::read(leaf).map(Arc::new)
}

/// Verifies a certificate, and lets who shows none pass: whether one is needed is the route's to say.
fn verifier(
    authorities: &ClientAuthorities,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, rustls::Error> {
    let (roots, provider) = (Arc::clone(&authorities.roots), Arc::clone(provider));
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// Our clock, for the dates in certificates.
#[derive(Debug)]
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now().as_secs())))
    }
}

/// The certificates of a listener by the hosts in them.
#[derive(Debug)]
struct ByName {
    /// Names, and suffixes with their leading dot for wildcards: neither can be taken for the other.
    hosts: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl ByName {
    fn new(tls: &Tls) -> Self {
        let mut hosts = HashMap::new();
        for TlsIdentity { key, hosts: named, .. } in tls.identities() {
            for host in named {
                let host = host.strip_prefix('*').unwrap_or(host);
                hosts.entry(host.to_owned()).or_insert_with(|| Arc::clone(key));
            }
        }
        Self { hosts, default: Arc::clone(&tls.default.key) }
    }

    fn find(&self, asked: Option<&str>) -> &Arc<CertifiedKey> {
        let named = asked.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let above = || {
                let (_, suffix) = name.split_at_checked(name.find('.')?)?;
                self.hosts.get(suffix)
            };
            // A name that begins with a dot is none, and no wildcard either.
            let whole = self.hosts.get(&name).filter(|_| !name.starts_with('.'));
            whole.or_else(|| above().filter(|_| !name.starts_with('.')))
        });
        named.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use rustls::crypto::ring::sign::any_supported_type;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::clock::{SystemClock, Timestamp};

    fn identity(file: &str, hosts: &[&str]) -> TlsIdentity {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let pair = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(hosts.clone()).unwrap();
        let certificate = params.self_signed(&pair).unwrap();
        let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
        let key =
            CertifiedKey::new(vec![certificate.der().clone()], any_supported_type(&key).unwrap());
        TlsIdentity { key: Arc::new(key), file: file.to_owned(), hosts, not_after: Timestamp::MAX }
    }

    fn tls() -> Tls {
        Tls {
            default: identity("edge", &["edge.example.com", "*.wild.example.com"]),
            also: vec![
                identity("shop", &["shop.example.com", "edge.example.com", "*.example.com"]),
                identity("deep", &["a.wild.example.com", "*.deep.wild.example.com", "*.com"]),
            ],
            client_ca: None,
        }
    }

    #[test]
    fn a_certificate_is_chosen_by_the_exact_name_then_the_wildcard_then_the_default() {
        let tls = tls();
        let by_name = ByName::new(&tls);
        let found = |asked: Option<&str>| {
            let key = by_name.find(asked);
            let is_it = |own: &&TlsIdentity| Arc::ptr_eq(&own.key, key);
            tls.identities().find(is_it).unwrap().file.as_str()
        };
        for (asked, expected) in [
            ("edge.example.com", "edge"),
            ("EDGE.example.COM", "edge"),
            ("shop.example.com", "shop"),
            ("any.example.com", "shop"),
            ("x.any.example.com", "edge"),
            ("example.com", "deep"),
            ("com", "edge"),
            ("b.wild.example.com", "edge"),
            ("a.wild.example.com", "deep"),
            ("wild.example.com", "shop"),
            ("x.deep.wild.example.com", "deep"),
            ("x.y.deep.wild.example.com", "edge"),
            (".example.com", "edge"),
            ("shop.example.com.", "edge"),
            ("*.example.com", "shop"),
            ("evil.net", "edge"),
            ("", "edge"),
            (".", "edge"),
        ] {
            assert_eq!(found(Some(asked)), expected, "{asked}");
        }
        assert_eq!(found(None), "edge");
    }

    #[test]
    fn what_is_offered_is_http_and_two_versions_of_tls() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = server_config(&tls(), &clock).unwrap();
        assert_eq!(config.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
        assert_eq!(config.max_early_data_size, 0, "what may be replayed is not taken");
        assert!(!config.ticketer.enabled(), "no session outlives this configuration");
    }
}
