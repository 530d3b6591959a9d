//! Listening sockets that were open before this process: from systemd's file descriptor store or a socket unit, or from the
//! process that it takes over from. A listener whose address one of them has does not bind, so nobody who connects meanwhile
//! is refused.
//!
//! They come as `sd_listen_fds(3)` says: descriptors from 3 on, their number in `LISTEN_FDS`, and in `LISTEN_PID`, if it is
//! set, for whom they are.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

/// The sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// None at all.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Those that the environment tells of; the variables are taken out of it. Call it before the first thread is started,
    /// and once. What is no listening TCP socket is named in the log, and left out.
    #[must_use]
    pub fn from_env() -> Self {
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..descriptors.len() {
            match descriptors.take_tcp_listener(index).and_then(listening) {
                Ok(Some(socket)) => sockets.push(socket),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "an inherited descriptor is of no use"),
            }
        }
        Self(sockets)
    }

    /// The socket that listens on exactly this address. Nobody asks for port 0, which is any port.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        // The rest of an IPv6 address (flow, scope) is not in the configuration.
        let wanted = (address.ip(), address.port());
        let at = self.0.iter().position(|(own, _)| (own.ip(), own.port()) == wanted)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The addresses of those that nobody has taken yet.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(address, _)| *address)
    }

    /// Closes those that nobody took, and returns their addresses.
    pub fn close_rest(&mut self) -> Vec<SocketAddr> {
        let rest: Vec<_> = self.0.drain(..).map(|(address, _)| address).collect();
        for address in &rest {
            tracing::warn!(%address, "an inherited socket is closed: no listener has its address");
        }
        rest
    }
}

/// The socket with its address, when it listens.
fn listening(socket: Option<TcpListener>) -> io::Result<Option<(SocketAddr, TcpListener)>> {
    let Some(socket) = socket else { return Ok(None) };
    if !socket_acceptconn(&socket)? {
        return Err(io::Error::other("a TCP socket that does not listen"));
    }
    // Whoever had it before may have accepted in another way.
    socket.set_nonblocking(true)?;
    Ok(Some((socket.local_addr()?, socket)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;

    fn inherited(sockets: Vec<TcpListener>) -> Inherited {
        Inherited(sockets.into_iter().filter_map(|own| listening(Some(own)).unwrap()).collect())
    }

    #[test]
    fn a_socket_is_taken_once_by_its_exact_address() {
        let (one, two) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (first, second) = (one.local_addr().unwrap(), two.local_addr().unwrap());
        let mut inherited = inherited(vec![one, two]);
        let elsewhere = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
        for other in [
            elsewhere("127.0.0.1", 0),
            elsewhere("0.0.0.0", first.port()),
            elsewhere("::", first.port()),
            elsewhere("::1", first.port()),
            elsewhere("::ffff:127.0.0.1", first.port()),
        ] {
            assert!(inherited.take(other).is_none(), "{other}");
        }
        assert_eq!(inherited.take(first).unwrap().local_addr().unwrap(), first);
        assert!(inherited.take(first).is_none());
        assert_eq!(inherited.close_rest(), [second]);
        assert!(TcpStream::connect(second).is_err(), "it is still open");
        assert!(inherited.close_rest().is_empty());
    }

    #[test]
    fn a_socket_that_does_not_listen_is_not_taken() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let stream = TcpListener::from(OwnedFd::from(stream));
        assert!(listening(Some(stream)).is_err());
        assert!(listening(Some(socket)).unwrap().is_some());
    }
}
