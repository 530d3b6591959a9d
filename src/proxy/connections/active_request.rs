//! A request that is being answered, as its connection sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ConnectionState, Connections, Received};
use crate::access::connection::{Connection, Transport};

/// A request that is being answered; dropping it, also by a panic, ends that.
#[derive(Debug)]
pub(in crate::proxy) struct ActiveRequest {
    pub(super) connections: Arc<Connections>,
    pub(super) state: Arc<ConnectionState>,
    /// The head, over HTTP/1.
    pub(in crate::proxy) received: Option<Received>,
    /// Whether it is the last that the connection may ask.
    pub(in crate::proxy) last: bool,
}

impl ActiveRequest {
    /// Its connection, over what the listener speaks.
    pub(in crate::proxy) fn connection(&self, transport: Transport) -> Connection {
        let certificate = self.state.certificate.clone();
        Connection { peer: self.state.client, transport, certificate }
    }

    /// The request has a verified token.
    pub(in crate::proxy) fn set_authenticated(&self) {
        self.state.poll_slots.set_authenticated(true);
    }

    /// The connection is given to another protocol now.
    pub(in crate::proxy) fn upgrade(&self) {
        self.state.upgraded.store(true, Ordering::Release);
    }

    /// Tells the client to send the body that it keeps back (RFC 9110 section 10.1.1), over HTTP/2. Only the connection can
    /// say it, so it is woken.
    pub(in crate::proxy) fn say_continue(&self) {
        self.state.wants_continue.store(true, Ordering::Release);
        if let Some(speaker) = self.state.speaker.lock().take() {
            speaker.wake();
        }
    }

    /// Whether its body broke the grammar.
    pub(in crate::proxy) fn is_broken(&self) -> bool {
        self.state.broken.load(Ordering::Acquire)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let now = self.connections.clock.instant();
        let mut requests = self.state.requests.lock();
        requests.busy = requests.busy.saturating_sub(1);
        requests.due = now + self.connections.limits.keepalive_timeout;
        self.state.poll_slots.request_ended();
        self.state.finished.fetch_add(1, Ordering::Release);
    }
}
