//! Whose `X-Forwarded-*` fields are trusted, and what follows from them: the client's address and scheme.
//!
//! By default nobody is trusted. What is unparsable is not trusted either, whoever sent it. No decision about a route ever
//! hangs on these fields.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use crate::access::connection::{Connection, Transport};

/// The networks of proxies in front of us.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Believes these networks and nobody else.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The client's address: the right-most one in the chain that is not a trusted proxy. An entry that is no address ends
    /// the walk at the proxy that reported it.
    #[must_use]
    pub fn client_address(&self, connection: &Connection, headers: &HeaderMap) -> IpAddr {
        let mut address = connection.peer.ip().to_canonical();
        let fields: Vec<&[u8]> =
            headers.get_all(FORWARDED_FOR).iter().map(http::HeaderValue::as_bytes).collect();
        let hops = fields.iter().flat_map(|field| field.split(|b| *b == b',')).rev();
        for hop in hops {
            if !self.trusts(address) {
                return address;
            }
            let parsed =
                std::str::from_utf8(hop).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
            match parsed {
                Some(next) => address = next.to_canonical(),
                None => return address,
            }
        }
        address
    }

    /// Whether the client's own connection was encrypted: by us, or by a trusted proxy that says `https` and nothing else.
    #[must_use]
    pub fn is_https(&self, connection: &Connection, headers: &HeaderMap) -> bool {
        if connection.transport == Transport::Tls {
            return true;
        }
        let mut schemes = headers.get_all(FORWARDED_PROTO).iter();
        self.trusts(connection.peer.ip().to_canonical())
            && schemes.next().is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
            && schemes.next().is_none()
    }

    /// Whether this is one of the proxies.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::connection::PlaintextPolicy;
    use http::HeaderValue;

    fn from(peer: &str) -> Connection {
        Connection {
            peer: format!("{peer}:1000").parse().unwrap(),
            transport: Transport::Plain(PlaintextPolicy::BehindTls),
            certificate: None,
        }
    }

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        values.iter().map(|v| (name.parse().unwrap(), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    #[test]
    fn g8_the_right_most_untrusted_hop_is_the_client() {
        for (peer, chain, expected) in [
            ("203.0.113.9", &["1.1.1.1"][..], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2"], "2.2.2.2"),
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2, 10.0.0.2"], "2.2.2.2"),
            ("10.0.0.1", &["1.1.1.1", "2.2.2.2"], "2.2.2.2"),
            ("10.0.0.1", &["1.1.1.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2:80"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3"], "10.0.0.3"),
            ("[fd00::1]", &["::ffff:1.2.3.4"], "1.2.3.4"),
            ("[::ffff:10.0.0.1]", &["1.2.3.4"], "1.2.3.4"),
            ("203.0.113.9", &["10.0.0.1"], "203.0.113.9"),
            ("10.0.0.1", &["nonsense, 2.2.2.2"], "2.2.2.2"),
        ] {
            let found = proxies().client_address(&from(peer), &headers(FORWARDED_FOR, chain));
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {chain:?}");
        }
        let nobody = TrustedProxies::default();
        assert_eq!(
            nobody
                .client_address(&from("10.0.0.1"), &headers(FORWARDED_FOR, &["1.1.1.1"]))
                .to_string(),
            "10.0.0.1"
        );
    }

    #[test]
    fn only_a_trusted_proxy_can_say_https_and_only_once() {
        let said = |peer, values: &[&str]| {
            proxies().is_https(&from(peer), &headers(FORWARDED_PROTO, values))
        };
        assert!(said("10.0.0.1", &["https"]));
        assert!(!said("203.0.113.9", &["https"]));
        assert!(!said("10.0.0.1", &["http"]));
        assert!(!said("10.0.0.1", &["https, http"]));
        assert!(!said("10.0.0.1", &["http", "https"]));
        assert!(!said("10.0.0.1", &[]));
        let tls = Connection { transport: Transport::Tls, ..from("203.0.113.9") };
        assert!(TrustedProxies::default().is_https(&tls, &HeaderMap::new()));
    }
}
