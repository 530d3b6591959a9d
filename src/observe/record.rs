//! What is known about one request once it is over: the one value that metrics and the access log both read.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::reason::Reason;

/// One finished request. It borrows: it lives from the answer's last byte to the end of the call that reports it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When the request's head had arrived, with its fraction.
    pub time: SystemTime,
    /// The id the client and the upstream know the request by.
    pub request_id: &'a str,
    /// The client's address, after trusted proxies were taken into account.
    pub client: IpAddr,
    /// The winning route's id, from the configuration: the only text here that becomes a metric label.
    pub route: Option<&'a str>,
    /// What was done with the request.
    pub decision: Decided,
    /// Why it was not let through or served.
    pub reason: Option<Reason>,
    /// The authenticated identity.
    pub subject: Option<&'a str>,
    /// The client the token was issued to, or the one that asked for a token.
    pub client_id: Option<&'a str>,
    /// The token's `jti`, never the token.
    pub token_id: Option<&'a str>,
    /// The method as received.
    pub method: &'a str,
    /// The path as received, without the query, which may hold secrets.
    pub path: &'a str,
    /// The status sent; 499 when the client left before there was one.
    pub status: u16,
    /// Bytes of body sent to the client.
    pub bytes: u64,
    /// From the head's arrival to the answer's last byte.
    pub total: Duration,
    /// From forwarding the head to the head of the upstream's answer; none when nothing was forwarded.
    pub upstream: Option<Duration>,
    /// Whether the token came from the cache; none when no token was looked at.
    pub cached: Option<bool>,
    /// What exactly was wrong with its token: a fixed text.
    pub detail: Option<&'static str>,
    /// The grant by which this request asked for a token, obtained or not.
    pub grant: Option<&'static str>,
    /// How this request spent a refresh token.
    pub refresh: Option<&'static str>,
    /// Whether it was for an endpoint where a client proves itself (`/token` and its siblings).
    pub is_login: bool,
}

/// What was done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It went to the upstream.
    Forward,
    /// It was refused.
    Refuse,
    /// portcullis answered it itself, as one of its own endpoints or by a redirect.
    Serve,
    /// It failed, here or at the upstream.
    Error,
}

impl Decided {
    /// The word in the access log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Refuse => "refuse",
            Self::Serve => "serve",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;
    use std::time::UNIX_EPOCH;

    use super::*;

    /// A permitted request to the route `reports`, as a start for the tests of the neighbours.
    pub(in crate::observe) fn permitted() -> Record<'static> {
        Record {
            time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            request_id: "req-1",
            client: Ipv4Addr::new(192, 0, 2, 7).into(),
            route: Some("reports"),
            decision: Decided::Forward,
            reason: None,
            subject: Some("alice"),
            client_id: Some("web"),
            token_id: Some("jti-1"),
            method: "GET",
            path: "/reports/7",
            status: 200,
            bytes: 512,
            total: Duration::from_micros(12_345),
            upstream: Some(Duration::from_micros(9_500)),
            cached: Some(true),
            detail: None,
            grant: None,
            refresh: None,
            is_login: false,
        }
    }
}
