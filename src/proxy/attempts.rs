//! The attempts at one request: which server comes next, what a failure says about it, and whether another may be tried.
//!
//! Before a connection stands nothing was sent, so another server is safe for every method. Once bytes were sent, only a
//! request that may be repeated is (RFC 9110 section 9.2.2), and only while the server has answered nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pingora::{Error, ErrorSource, ErrorType};

use crate::route::servers::{Attempt, Tried};
use crate::route::upstream::Upstream;

/// How many idle connections may turn out to have been closed before the request is given up.
const MAX_STALE_CONNECTIONS: usize = 3;
/// How long a probe of a failed server may take, besides the time to connect, before another request may probe it.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// The attempts at one request.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    tried: Tried,
    current: Option<Attempt>,
    stale: usize,
}

impl Attempts {
    /// The server to try next. `None` when all were tried.
    pub(super) fn next(&mut self, upstream: &Upstream, now: Instant) -> Option<SocketAddr> {
        let patience = upstream.timeouts.connect.saturating_add(PROBE_PATIENCE);
        self.current = upstream.servers.next(&mut self.tried, now, patience);
        self.current.map(|attempt| attempt.address)
    }

    /// The server took no connection. Whether another may be tried.
    pub(super) fn refused(&mut self, upstream: &Upstream, now: Instant) -> bool {
        self.failed(upstream, now);
        upstream.servers.has_another(&self.tried)
    }

    /// The connection ended before anything was answered; `was_idle` says that it had been kept from an earlier request, and
    /// `repeatable` that this one may be sent again. Whether it should be.
    pub(super) fn lost(
        &mut self,
        upstream: &Upstream,
        now: Instant,
        was_idle: bool,
        repeatable: bool,
    ) -> bool {
        if was_idle {
            // The server may close what is idle at any time, so this says nothing about the server.
            self.stale += 1;
            return repeatable && self.stale <= MAX_STALE_CONNECTIONS;
        }
        self.failed(upstream, now);
        repeatable && upstream.servers.has_another(&self.tried)
    }

    /// The server answers.
    pub(super) fn answered(&mut self, upstream: &Upstream) {
        if let Some(attempt) = self.current.take()
            && upstream.servers.answered(&attempt)
            && is_one_of_many(upstream)
        {
            let (upstream, server) = (&*upstream.name, attempt.address);
            tracing::info!(%upstream, %server, "a server answers again");
        }
    }

    fn failed(&mut self, upstream: &Upstream, now: Instant) {
        // At most one line for each server and ejection, of which the first lasts a second.
        if let Some(attempt) = self.current.take()
            && upstream.servers.failed(&mut self.tried, &attempt, now)
            && is_one_of_many(upstream)
        {
            let (upstream, server) = (&*upstream.name, attempt.address);
            tracing::warn!(%upstream, %server, "a server fails and is left out for a while");
        }
    }
}

/// A single address is never left out.
fn is_one_of_many(upstream: &Upstream) -> bool {
    upstream.servers.addresses().nth(1).is_some()
}

/// Whether an error is the end of a connection to the upstream. A timeout is none: a slow answer is no sign of a dead server.
pub(super) fn is_lost_connection(error: &Error) -> bool {
    let ends = matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
    );
    ends && error.esource() == &ErrorSource::Upstream
}
