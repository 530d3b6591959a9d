//! From TLS as data to what Pingora connects with, once for each snapshot.
//!
//! Three things that Pingora's connector does must never come into play. It verifies nothing when there is no server name, so
//! there always is one. Without authorities of the peer's own it falls back on those that it loaded at start, so the peer
//! always has its own (and what is loaded at start is nothing, see [`NO_AUTHORITIES`]). And its pool does not look at the
//! authorities, so they are part of the key that keeps connections apart.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

use crate::route::tls::UpstreamTls;
use crate::route::upstream::Upstream;

/// The file of authorities that Pingora reads at start: none. It would panic there if the system's could not be read, and
/// trust them where nobody asked for it.
pub(super) const NO_AUTHORITIES: &str = "/dev/null";

/// What Pingora wants of an upstream's TLS.
struct Prepared {
    authorities: Arc<CaType>,
    client: Option<Arc<CertKey>>,
    /// A hash of everything that tells two connections apart.
    group: u64,
}

impl Prepared {
    /// The configuration has parsed every certificate and the key already; Pingora panics where it could not.
    fn of(tls: &UpstreamTls) -> Self {
        let parsed = |der: &Vec<u8>| WrappedX509::new(der.clone(), parse_x509);
        let client =
            tls.client.as_ref().map(|own| CertKey::new(own.chain.clone(), own.key.to_vec()));
        let mut hasher = DefaultHasher::new();
        tls.hash(&mut hasher);
        Self {
            authorities: tls.authorities.iter().map(parsed).collect(),
            client: client.map(Arc::new),
            group: hasher.finish(),
        }
    }
}

/// Keeps the connections to an upstream apart from all others, even at one address, and lets a peer that speaks TLS trust,
/// and show, what the configuration says. `None` when that cannot be done.
pub(super) fn protect(peer: &mut HttpPeer, upstream: &Upstream) -> Option<()> {
    let mut hasher = DefaultHasher::new();
    upstream.name.hash(&mut hasher);
    let Some(tls) = &upstream.tls else {
        peer.group_key = hasher.finish();
        return Some(());
    };
    let prepared = tls.prepared(Prepared::of)?;
    prepared.group.hash(&mut hasher);
    peer.group_key = hasher.finish();
    let usable = !tls.server_name.is_empty() && !prepared.authorities.is_empty();
    usable.then_some(())?;
    peer.sni = tls.server_name.to_string();
    peer.options.ca = Some(Arc::clone(&prepared.authorities));
    peer.options.verify_cert = true;
    peer.options.verify_hostname = true;
    peer.options.set_http_version(1, 1);
    peer.client_cert_key = prepared.client.clone();
    Some(())
}
