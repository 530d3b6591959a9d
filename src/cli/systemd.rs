//! What systemd is told and given (`sd_notify(3)`). Without systemd there is nobody to tell, which is fine.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use sd_notify::NotifyState;

use crate::proxy::OpenSockets;

pub(super) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// A reload, or an upgrade, begins; it ends with [`NotifyState::Ready`].
pub(super) fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// systemd's file descriptor store, which gives the next process of the service what is in it: listening sockets, so that
/// nobody is refused while one process has gone and the other is not there yet.
pub(super) struct DescriptorStore {
    /// The names of what is in it.
    kept: BTreeSet<String>,
}

impl DescriptorStore {
    /// The store as it was left, as far as it held sockets that nobody wants any more.
    pub(super) fn holding(useless: &[SocketAddr]) -> Self {
        Self { kept: useless.iter().map(name).collect() }
    }

    /// Puts in the sockets that are open, and takes out those that are not. What is in already is not kept twice.
    pub(super) fn keep(&mut self, sockets: &OpenSockets) {
        let open = match sockets.duplicate() {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(%error, "systemd does not get the listening sockets");
                return;
            }
        };
        let names: BTreeSet<String> = open.iter().map(|(address, _)| name(address)).collect();
        for gone in self.kept.difference(&names) {
            tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(gone)]);
        }
        for (address, socket) in &open {
            let name = name(address);
            if self.kept.contains(&name) {
                continue;
            }
            let state = [NotifyState::FdStore, NotifyState::FdName(&name)];
            if let Err(error) = sd_notify::notify_with_fds(&state, &[socket.as_fd()]) {
                tracing::warn!(%address, %error, "systemd does not get the listening socket");
            }
        }
        self.kept = names;
    }
}

/// Names in the store have no colon.
fn name(address: &SocketAddr) -> String {
    format!("tcp-{address}").replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_allowed_and_distinct() {
        let addresses = ["127.0.0.1:80", "127.0.0.1:8080", "[::1]:80", "[::]:80", "[::180]:80"];
        let names: BTreeSet<_> = addresses.iter().map(|a| name(&a.parse().unwrap())).collect();
        assert_eq!(names.len(), addresses.len());
        assert!(names.iter().all(|name| name.is_ascii() && !name.contains(':')));
    }
}
