//! The addresses that we listen on, held against those of the upstreams: an upstream that is one of them would send every
//! request round in a circle until something runs out.

use std::net::{IpAddr, SocketAddr};

use super::Compiler;
use super::values::items;
use crate::config::raw::RawConfig;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;

/// One of our own addresses, and what it is for.
struct Own {
    address: SocketAddr,
    what: &'static str,
    line: usize,
}

/// Everything that we listen on.
pub(super) struct OwnAddresses(Vec<Own>);

impl OwnAddresses {
    /// Reads the addresses of the listeners and of `admin`; what is no address is complained of elsewhere.
    pub(super) fn read(compiler: &Compiler<'_>, raw: &RawConfig) -> Self {
        let listeners = items(raw.listeners.as_ref(), &YamlPath::default().key("listeners"));
        let listeners = listeners
            .into_iter()
            .map(|(place, raw)| (place, raw.address.as_deref(), "the listener"));
        let admin = raw.admin.as_ref().map(|raw| {
            (YamlPath::default().key("admin"), raw.address.as_deref(), "the admin listener")
        });
        let own = listeners.chain(admin).filter_map(|(place, text, what)| {
            let address = text?.parse::<SocketAddr>().ok()?;
            let line = compiler.document.line(&place.key("address"));
            Some(Own { address, what, line })
        });
        Self(own.collect())
    }

    /// Complains of a server that one of our listeners would answer for, by any address that its name has.
    pub(super) fn check(
        &self,
        compiler: &mut Compiler<'_>,
        place: &YamlPath,
        text: &str,
        servers: &[SocketAddr],
    ) {
        let sources = compiler.sources;
        let is_local = |ip: IpAddr| sources.is_local(ip);
        let mut meetings = self
            .0
            .iter()
            .flat_map(|own| servers.iter().map(move |server| (own, *server)))
            .filter(|(own, server)| answers(own.address, *server, is_local));
        if let Some((Own { address, what, line }, _)) = meetings.next() {
            let message = format!(
                "{} is {what} {address} on line {line}: requests would go round in a circle",
                quoted(text)
            );
            let hint = Some("say where the application listens".to_owned());
            compiler.document.error_with(place, message, hint);
        }
    }
}

/// Whether a connection to `server` comes in at `listener`. A listener on the unspecified address takes what any address of
/// this machine is sent, and that on `[::]` what its IPv4 addresses are sent as well; a connection to the unspecified
/// address goes to loopback.
fn answers(listener: SocketAddr, server: SocketAddr, is_local: impl Fn(IpAddr) -> bool) -> bool {
    if listener.port() != server.port() {
        return false;
    }
    let (own, ip) = (listener.ip().to_canonical(), server.ip().to_canonical());
    if own.is_unspecified() {
        let reaches = own.is_ipv6() || ip.is_ipv4();
        return reaches && (ip.is_unspecified() || ip.is_loopback() || is_local(ip));
    }
    own == ip || (ip.is_unspecified() && own.is_loopback() && own.is_ipv4() == ip.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Part 4, item 17.
    #[test]
    fn a_listener_answers_for_what_comes_in_at_it() {
        let is_local =
            |ip: IpAddr| ip.to_string() == "192.0.2.1" || ip.to_string() == "2001:db8::1";
        let meets = |own: &str, server: &str| {
            answers(own.parse().unwrap(), server.parse().unwrap(), is_local)
        };
        for (own, server) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80"),
            ("127.0.0.1:80", "0.0.0.0:80"),
            ("[::1]:80", "[::]:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.9.9.9:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("0.0.0.0:80", "192.0.2.1:80"),
            ("[::]:80", "[::1]:80"),
            ("[::]:80", "127.0.0.1:80"),
            ("[::]:80", "192.0.2.1:80"),
            ("[::]:80", "[2001:db8::1]:80"),
            ("192.0.2.9:80", "192.0.2.9:80"),
        ] {
            assert!(meets(own, server), "{own} {server}");
        }
        for (own, server) in [
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("127.0.0.1:80", "[::1]:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("0.0.0.0:80", "192.0.2.9:80"),
            ("[::]:80", "192.0.2.9:80"),
            ("192.0.2.1:80", "127.0.0.1:80"),
            ("192.0.2.1:80", "0.0.0.0:80"),
        ] {
            assert!(!meets(own, server), "{own} {server}");
        }
    }
}
