//! An upstream: the unmodified application behind a route, as one or several servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::route::allowance::PathAllowances;
use crate::route::servers::Servers;
use crate::route::tls::UpstreamTls;
use crate::route::upstream_limits::UpstreamLimits;

/// A named group of servers that all run the same application.
#[derive(Debug)]
pub struct Upstream {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    /// How many requests may be with it at once.
    pub limits: UpstreamLimits,
    /// How many bytes of a request's body are gathered before it is asked. A longer body follows as it comes, and with
    /// `None` every body does.
    pub buffer_request: Option<usize>,
    /// Spellings that its owner allows. Everything else that is ambiguous is 400.
    pub allow: PathAllowances,
    /// How it reads paths otherwise, as far as its owner says.
    pub reads: PathReading,
    /// What protects the bytes on the way there; nothing when there is none.
    pub tls: Option<UpstreamTls>,
    passed_fields: Vec<HeaderName>,
    /// Its servers; at least one, or the configuration was refused.
    pub servers: Servers,
}

/// How many bytes of a request's body are gathered where the file does not say.
pub const BUFFER_REQUEST: usize = 64 * 1024;

/// Bounds on one exchange with a server. The defaults are those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From the end of the request to the first byte of the response, and between two reads of it; `None` for no bound.
    pub read: Option<Duration>,
    /// How long an unused connection is kept for the next request.
    pub idle: Duration,
    /// The longest silence of an upgraded connection, in both directions; `None` for no bound.
    pub tunnel: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            read: Some(Duration::from_secs(30)),
            idle: Duration::from_secs(60),
            tunnel: Some(Duration::from_secs(3600)),
        }
    }
}

/// How an application reads paths. Where its owner does not say, it is not known, and a path that another reading would lead
/// to a route which asks for more is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathReading {
    /// Whether the case of letters matters to it.
    pub case: PathCase,
    /// Whether it takes the format off the last segment: `/admin` for `/admin.json`.
    pub suffix: PathSuffix,
}

/// Whether the case of letters matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathCase {
    /// Nobody has said.
    #[default]
    Unknown,
    /// `/Admin` is not `/admin`.
    Sensitive,
    /// `/Admin` is `/admin`; the routes to it match without regard to case.
    Insensitive,
}

/// What becomes of a format behind the last segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathSuffix {
    /// Nobody has said.
    #[default]
    Unknown,
    /// `/admin.json` is not `/admin`.
    Literal,
}

impl Upstream {
    /// An upstream of these servers, given by the addresses of each.
    #[must_use]
    pub fn new(
        name: &str,
        servers: Vec<Vec<SocketAddr>>,
        timeouts: Timeouts,
        allow: PathAllowances,
    ) -> Self {
        let (name, servers) = (Arc::from(name), Servers::new(servers));
        let (reads, passed_fields) = (PathReading::default(), Vec::new());
        let (limits, buffer_request) = (UpstreamLimits::default(), Some(BUFFER_REQUEST));
        let tls = None;
        Self { name, timeouts, limits, buffer_request, allow, reads, tls, passed_fields, servers }
    }

    /// The same, for which so much of a request's body is gathered.
    #[must_use]
    pub fn gathering(self, buffer_request: Option<usize>) -> Self {
        Self { buffer_request, ..self }
    }

    /// The same, with what its owner says of how it reads paths.
    #[must_use]
    pub fn reading(self, reads: PathReading) -> Self {
        Self { reads, ..self }
    }

    /// The same, with so many requests at once.
    #[must_use]
    pub fn limited(self, limits: UpstreamLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same, over TLS or not.
    #[must_use]
    pub fn over(self, tls: Option<UpstreamTls>) -> Self {
        Self { tls, ..self }
    }

    /// The same, which is sent request fields of these names although none would be otherwise.
    #[must_use]
    pub fn passing(self, passed_fields: Vec<HeaderName>) -> Self {
        Self { passed_fields, ..self }
    }

    /// The names of request fields that pass although a name of that kind does not.
    #[must_use]
    pub fn passed_fields(&self) -> &[HeaderName] {
        &self.passed_fields
    }

    /// Whether another stands for the same servers, spoken to in the same way: what was learned about the addresses of one
    /// holds for the other.
    #[must_use]
    pub fn succeeds(&self, other: &Self) -> bool {
        self.name == other.name && self.tls.is_some() == other.tls.is_some()
    }
}
