//! Whose turn it is in an exchange, and how long that side may be silent.
//!
//! Pingora counts the silence of the upstream while the client is still sending its request, so a client that pauses would be
//! answered with 504 and the application blamed. Here a silence is counted against the side whose turn it is: the client's until
//! its request is complete, the upstream's from there on, and both in a tunnel.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pingora::{Error, ErrorType};

/// How the error of an upstream that is silent for too long is known.
pub(super) const UPSTREAM_SILENT: &str = "upstream_silent";
/// How the error of a tunnel that is silent for too long is known.
pub(super) const TUNNEL_SILENT: &str = "tunnel_silent";

/// Who must say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The client: its request is not complete.
    Client,
    /// The upstream: it has the request, or has begun to answer it.
    Upstream,
    /// Either: the connection was upgraded.
    Tunnel,
}

/// How long each may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silences {
    /// The client in the body of its request.
    pub(super) client: Duration,
    /// How many bytes a second the client must bring, on average over what it keeps us waiting beyond one such silence; `None`
    /// for no bound.
    pub(super) rate: Option<u64>,
    /// The upstream; `None` for no bound.
    pub(super) upstream: Option<Duration>,
    /// Both, in a tunnel; `None` for no bound.
    pub(super) tunnel: Option<Duration>,
}

/// What has happened in one exchange so far, as far as its timeouts depend on it.
#[derive(Debug)]
pub(super) struct ExchangeTimer {
    silences: Silences,
    /// How often something came from the upstream.
    progress: AtomicU64,
    /// The client may send its body, as far as the upstream is asked (RFC 9110 section 10.1.1).
    invited: AtomicBool,
    /// An upstream was asked.
    forwarded: AtomicBool,
    /// The final response has begun.
    answered: AtomicBool,
}

impl ExchangeTimer {
    /// At the head of a request. `expects` says whether the client waits for `100 Continue` before it sends the body.
    pub(super) const fn new(silences: Silences, expects: bool) -> Self {
        Self {
            silences,
            progress: AtomicU64::new(0),
            invited: AtomicBool::new(!expects),
            forwarded: AtomicBool::new(false),
            answered: AtomicBool::new(false),
        }
    }

    /// An upstream is asked.
    pub(super) fn forwards(&self) {
        self.forwarded.store(true, Ordering::Relaxed);
    }

    /// Whether an upstream was asked: before that, nobody can keep us waiting but the client.
    pub(super) fn is_forwarded(&self) -> bool {
        self.forwarded.load(Ordering::Relaxed)
    }

    /// The client was told to send its body.
    pub(super) fn invited(&self) {
        self.invited.store(true, Ordering::Relaxed);
    }

    /// The head of an interim response has come.
    pub(super) fn interim_response(&self) {
        self.invited.store(true, Ordering::Relaxed);
        self.upstream_progress();
    }

    /// The head of the final response has come.
    pub(super) fn response(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.upstream_progress();
    }

    /// A part of the response has come, or of what is in the tunnel.
    pub(super) fn upstream_progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that changes whenever something comes from the upstream.
    pub(super) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Whose turn it is in a request that is `complete` or not, and of whose body something has come or not.
    pub(super) fn turn(&self, complete: bool, begun: bool) -> Turn {
        let invited = begun || self.invited.load(Ordering::Relaxed);
        if complete || !invited || self.answered.load(Ordering::Relaxed) {
            Turn::Upstream
        } else {
            Turn::Client
        }
    }

    /// How long a client may keep us waiting in all for so many bytes of its body; `None` for no bound.
    pub(super) fn patience(&self, bytes: usize) -> Option<Duration> {
        let rate = self.silences.rate?.max(1);
        let millis = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1000) / rate;
        Some(self.silences.client.saturating_add(Duration::from_millis(millis)))
    }

    /// How long the silence of this turn may last; `None` for no bound.
    pub(super) const fn bound(&self, turn: Turn) -> Option<Duration> {
        match turn {
            Turn::Client => Some(self.silences.client),
            Turn::Upstream => self.silences.upstream,
            Turn::Tunnel => self.silences.tunnel,
        }
    }
}

impl Turn {
    /// What Pingora is told when it has lasted too long.
    pub(super) fn overdue(self) -> Box<Error> {
        match self {
            Self::Client => Error::explain(ErrorType::ReadTimedout, "the body does not come"),
            Self::Upstream => {
                Error::explain(ErrorType::Custom(UPSTREAM_SILENT), "the upstream is silent")
            }
            Self::Tunnel => {
                Error::explain(ErrorType::Custom(TUNNEL_SILENT), "the tunnel is silent")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_what_comes() {
        let client = Duration::from_secs(60);
        let mut silences = Silences { client, rate: Some(500), upstream: None, tunnel: None };
        let patience = |silences, bytes| ExchangeTimer::new(silences, false).patience(bytes);
        assert_eq!(patience(silences, 0), Some(client));
        assert_eq!(patience(silences, 1500), Some(Duration::from_secs(63)));
        assert!(patience(silences, usize::MAX) > Some(client));
        silences.rate = None;
        assert_eq!(patience(silences, 0), None);
    }

    #[test]
    fn the_turn_goes_from_the_client_to_the_upstream() {
        let silences =
            Silences { client: Duration::ZERO, rate: None, upstream: None, tunnel: None };
        let timer = ExchangeTimer::new(silences, false);
        assert_eq!(timer.turn(false, false), Turn::Client);
        timer.interim_response();
        assert_eq!(
            (timer.turn(false, true), timer.turn(true, true)),
            (Turn::Client, Turn::Upstream)
        );
        timer.response();
        assert_eq!(timer.turn(false, true), Turn::Upstream);

        let timer = ExchangeTimer::new(silences, true);
        assert_eq!(
            (timer.turn(false, false), timer.turn(false, true)),
            (Turn::Upstream, Turn::Client)
        );
        timer.interim_response();
        assert_eq!(timer.turn(false, false), Turn::Client);
    }
}
