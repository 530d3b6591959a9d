//! TLS to an upstream, as data: the name its certificate must bear, whose signature is trusted, and who we say we are.
//!
//! There is no way to leave the verification out. How bytes travel is `proxy`'s business, which may keep here what it made of
//! these values, so that it is made once for each snapshot.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

/// What a connection to an upstream's servers is protected with.
pub struct UpstreamTls {
    /// The name or the address that the server's certificate must be for, and what is sent as SNI; never empty.
    pub server_name: Arc<str>,
    /// The only certificate authorities that are trusted, each in DER; at least one.
    pub authorities: Vec<Vec<u8>>,
    /// What we show when we are asked who we are.
    pub client: Option<ClientIdentity>,
    prepared: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// A certificate chain with its private key, in DER.
pub struct ClientIdentity {
    /// The leaf first; never empty.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8, PKCS#1 or SEC 1.
    pub key: Zeroizing<Vec<u8>>,
}

impl UpstreamTls {
    /// TLS with these authorities and this name.
    #[must_use]
    pub fn new(
        server_name: &str,
        authorities: Vec<Vec<u8>>,
        client: Option<ClientIdentity>,
    ) -> Self {
        let server_name = Arc::from(server_name);
        Self { server_name, authorities, client, prepared: OnceLock::new() }
    }

    /// What whoever connects made of this, made now if it was not made yet. `None` when somebody else keeps another type here.
    pub fn prepared<T: Any + Send + Sync>(&self, make: impl FnOnce(&Self) -> T) -> Option<Arc<T>> {
        let kept = self.prepared.get_or_init(|| Arc::new(make(self)));
        Arc::clone(kept).downcast().ok()
    }
}

/// Two that differ in anything that a server or we could be judged by differ here. A key has one certificate, which is here.
impl Hash for UpstreamTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.server_name.hash(state);
        self.authorities.hash(state);
        self.client.as_ref().map(|client| &client.chain).hash(state);
    }
}

/// Without the key, and without what is long.
impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("server_name", &self.server_name)
            .field("authorities", &self.authorities.len())
            .field("client", &self.client.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn hash_of(name: &str, authorities: &[&[u8]], client: Option<&[&[u8]]>) -> u64 {
        let owned = |list: &[&[u8]]| list.iter().map(|der| der.to_vec()).collect::<Vec<_>>();
        let client = client
            .map(|chain| ClientIdentity { chain: owned(chain), key: b"secret".to_vec().into() });
        let tls = UpstreamTls::new(name, owned(authorities), client);
        assert!(!format!("{tls:?}").contains("115, 101"), "the key is shown: {tls:?}");
        let mut hasher = DefaultHasher::new();
        tls.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn whatever_tells_two_connections_apart_tells_their_hashes_apart() {
        let all = [
            hash_of("a", &[b"x"], None),
            hash_of("b", &[b"x"], None),
            hash_of("a", &[b"y"], None),
            hash_of("a", &[b"x", b"y"], None),
            hash_of("a", &[b"xy"], None),
            hash_of("a", &[b"x"], Some(&[b"c"])),
            hash_of("a", &[b"x"], Some(&[b"c", b"d"])),
            hash_of("a", &[b"x", b"c"], None),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "{i}");
        }
        assert_eq!(all[0], hash_of("a", &[b"x"], None));
    }

    #[test]
    fn what_was_made_of_it_is_made_once() {
        let tls = UpstreamTls::new("a", vec![b"x".to_vec()], None);
        assert_eq!(tls.prepared(|tls| tls.authorities.len()).as_deref(), Some(&1));
        assert_eq!(tls.prepared(|_| 7_usize).as_deref(), Some(&1));
        assert_eq!(tls.prepared(|_| "another type"), None);
    }
}
