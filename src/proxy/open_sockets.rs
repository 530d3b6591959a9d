//! The open sockets, for whoever hands them on: to systemd, which keeps them over a restart, or to the process that takes over.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::net::TcpListener;

/// A socket, and where it is configured.
type Place = (SocketAddr, Weak<TcpListener>);

/// Every socket that a server listens on, the operator's included. Clones see the same sockets; none keeps one open.
#[derive(Debug, Clone, Default)]
pub struct OpenSockets {
    open: Arc<Mutex<Vec<Place>>>,
    handed_over: Arc<AtomicBool>,
}

impl OpenSockets {
    /// Another one is open, until it is removed or dropped.
    pub(super) fn add(&self, address: SocketAddr, socket: &Arc<TcpListener>) {
        let mut open = self.open.lock();
        open.retain(|(_, socket)| socket.strong_count() > 0);
        open.push((address, Arc::downgrade(socket)));
    }

    /// This one is about to be closed.
    pub(super) fn remove(&self, socket: &Arc<TcpListener>) {
        self.open.lock().retain(|(_, own)| !ptr::eq(own.as_ptr(), Arc::as_ptr(socket)));
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let open = self.open.lock();
        open.iter().filter(|(_, own)| own.strong_count() > 0).map(|(at, _)| *at).collect()
    }

    /// A second descriptor of each socket that is open now. Connections wait in the socket, not in the descriptor: they are
    /// there for whoever has one.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn duplicate(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let open: Vec<_> = {
            let open = self.open.lock();
            open.iter().filter_map(|(at, socket)| Some((*at, socket.upgrade()?))).collect()
        };
        open.into_iter()
            .map(|(at, socket)| Ok((at, socket.as_fd().try_clone_to_owned()?)))
            .collect()
    }

    /// Another process serves them from now on: once told to stop, the server leaves the operator's to it, too.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    pub(super) fn are_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_duplicate_outlives_the_socket_and_the_list_does_not_keep_it_open() {
        let sockets = OpenSockets::default();
        let socket = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        sockets.add(address, &socket);
        let duplicates = sockets.clone().duplicate().unwrap();
        assert_eq!(duplicates.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [address]);
        sockets.remove(&socket);
        assert!(sockets.duplicate().unwrap().is_empty());
        sockets.add(address, &socket);
        drop(socket);
        assert!(sockets.duplicate().unwrap().is_empty());
        assert!(std::net::TcpStream::connect(address).is_ok());
        drop(duplicates);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
