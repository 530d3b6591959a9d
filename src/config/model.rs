//! The configuration in domain types. A value that could be wrong has no place here: it was refused on the way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use super::files::Files;
use crate::access::connection::{PlaintextPolicy, Transport};
use crate::access::forwarded::TrustedProxies;
use crate::access::identity::Identity;
use crate::clock::Timestamp;
use crate::grants::{ClientRegistry, RefreshPolicy};
use crate::issuers::TrustedIssuer;
use crate::keys::{KeyRing, ListedKey};
use crate::oauth::scope::{Catalogue, Scope};
use crate::route::certificate::CertificateName;
use crate::route::host::Host;
use crate::route::table::RouteTable;
use crate::state::Place;
use crate::throttle::Limits;
use crate::users::UserStore;

/// A whole configuration, checked, with its keys, certificates and users loaded.
pub struct Config {
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where metrics and health are served.
    pub admin: Option<SocketAddr>,
    /// Whose `X-Forwarded-*` is trusted.
    pub trusted_proxies: TrustedProxies,
    /// The identity headers.
    pub identity: Identity,
    /// The declared scopes.
    pub catalogue: Catalogue,
    /// What is issued and accepted.
    pub tokens: Tokens,
    /// Where the state is kept, if it is kept.
    pub state: Option<StateConfig>,
    /// Who can log in; nobody, when users are in the state store.
    pub users: UserStore,
    /// The registered clients.
    pub clients: ClientRegistry,
    /// How logins are paced.
    pub login: Login,
    /// The routes.
    pub routes: RouteTable,
    /// What the file expects of itself.
    pub tests: Vec<PolicyTest>,
    /// How the process is run.
    pub operation: ProcessSettings,
    /// What it was read from.
    pub files: Files,
}

/// How the process is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessSettings {
    /// How long requests in flight have to finish once the process is told to stop.
    pub drain: Duration,
    /// How often the files are looked at for changes; `None` for never.
    pub watch: Option<Duration>,
}

/// One listening socket.
#[derive(Clone)]
pub struct Listener {
    /// Where it is bound.
    pub address: SocketAddr,
    /// The certificates, where TLS ends here.
    pub tls: Option<Tls>,
    /// What holds for credentials where TLS does not end here.
    pub plain: PlaintextPolicy,
    /// The `Strict-Transport-Security` of every answer (RFC 6797); only where TLS ends here.
    pub hsts: Option<HeaderValue>,
    /// Whether a balancer in front says the client's address on each connection, with a PROXY header.
    pub proxy_protocol: bool,
    /// What one client may take.
    pub limits: ConnectionLimits,
}

/// What the clients of one listener may take. The defaults are those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How long a connection has for its first head, and every head from its first byte on.
    pub header_timeout: Duration,
    /// How long a connection is kept without a request.
    pub keepalive_timeout: Duration,
    /// The longest pause in a body, in either direction.
    pub body_timeout: Duration,
    /// How many bytes a second a request's body must bring, on average over what it keeps us waiting beyond one
    /// `body_timeout`; `None` for no such bound.
    pub body_rate: Option<u64>,
    /// The longest head, in bytes.
    pub header_bytes: usize,
    /// The most fields of a head.
    pub header_count: usize,
    /// The longest target, in bytes.
    pub target_bytes: usize,
    /// The most connections.
    pub connections: usize,
    /// The most connections from one address; trusted proxies may open as many as there can be.
    pub per_address: usize,
    /// The most requests on one connection.
    pub requests: u64,
    /// The most requests at once on one HTTP/2 connection.
    pub h2_streams: u32,
    /// The most requests that are with applications at once.
    pub max_requests: usize,
    /// The most of them from one address.
    pub max_requests_per_address: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            body_rate: Some(500),
            header_bytes: 32 * 1024,
            header_count: 100,
            target_bytes: 8 * 1024,
            connections: 20_000,
            per_address: 500,
            requests: 10_000,
            h2_streams: 100,
            max_requests: 20_000,
            max_requests_per_address: 500,
        }
    }
}

impl Listener {
    /// What carries the bytes of its connections.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self.tls {
            Some(_) => Transport::Tls,
            None => Transport::Plain(self.plain),
        }
    }

    /// Whether another is the same but for its certificates, which can change under open connections. The authorities for
    /// clients are a setting: connections whose certificates others vouched for must end.
    #[must_use]
    pub fn has_settings_of(&self, other: &Self) -> bool {
        let Self { address, tls, plain: _, hsts, proxy_protocol, limits } = self;
        let authorities = |tls: &Option<Tls>| {
            tls.as_ref().and_then(|tls| Some(tls.client_ca.as_ref()?.roots.roots.clone()))
        };
        self.transport() == other.transport()
            && authorities(tls) == authorities(&other.tls)
            && *address == other.address
            && *hsts == other.hsts
            && *proxy_protocol == other.proxy_protocol
            && *limits == other.limits
    }
}

/// How TLS ends on a listener.
#[derive(Clone)]
pub struct Tls {
    /// What is shown to clients that name no host, or one that no certificate is for.
    pub default: TlsIdentity,
    /// What is shown for the hosts in it. Of two for one host the first counts; the default is before them all.
    pub also: Vec<TlsIdentity>,
    /// Whose certificates clients are asked for; nobody's, where there is none.
    pub client_ca: Option<ClientAuthorities>,
}

impl Tls {
    /// Every certificate, those that count first before the others.
    pub fn identities(&self) -> impl Iterator<Item = &TlsIdentity> {
        std::iter::once(&self.default).chain(&self.also)
    }

    /// The files with certificates, as configured, and when the first certificate of each that matters expires.
    pub fn expiries(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        let own = self.identities().map(|own| (own.file.as_str(), own.not_after));
        own.chain(self.client_ca.iter().map(|ca| (ca.file.as_str(), ca.not_after)))
    }
}

/// The authorities that issue certificates to clients.
#[derive(Clone)]
pub struct ClientAuthorities {
    /// Their certificates; at least one.
    pub roots: Arc<RootCertStore>,
    /// The file, as configured.
    pub file: String,
    /// When the first of them expires.
    pub not_after: Timestamp,
}

/// A certificate chain with its private key.
#[derive(Clone)]
pub struct TlsIdentity {
    /// Both, known to fit each other.
    pub key: Arc<CertifiedKey>,
    /// The file of the certificate, as configured.
    pub file: String,
    /// The hosts in the leaf, in lower case, some of them as `*.` and a name.
    pub hosts: Vec<String>,
    /// When the leaf expires.
    pub not_after: Timestamp,
}

/// What is issued and accepted.
pub struct Tokens {
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
    /// The hosts on which the own endpoints answer; all when empty.
    pub hosts: Vec<Host>,
    /// How long an access token is valid.
    pub lifetime: Duration,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// How long refresh tokens live.
    pub refresh: RefreshPolicy,
    /// The keys.
    pub keys: Arc<KeyRing>,
    /// Where the own endpoints are.
    pub endpoints: Endpoints,
    /// Trusted issuers, none of them twice and none of them us.
    pub trusted_issuers: Vec<TrustedIssuer>,
}

/// Where the state is kept. It is opened once, at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConfig {
    /// Where.
    pub place: Place,
    /// How old the mirror may be.
    pub max_staleness: Duration,
    /// Whether users are kept there.
    pub users: bool,
    /// Whose it is: `tokens.issuer`.
    pub issuer: String,
}

/// The paths of the own endpoints; `None` is off. Never equal, not even in another case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The token endpoint (RFC 6749 section 3.2).
    pub token: Option<String>,
    /// The revocation endpoint (RFC 7009).
    pub revoke: Option<String>,
    /// The introspection endpoint (RFC 7662).
    pub introspect: Option<String>,
    /// Who the bearer is.
    pub userinfo: Option<String>,
    /// The key set (RFC 7517 section 5).
    pub jwks: Option<String>,
    /// The metadata (RFC 8414 section 3).
    pub metadata: Option<String>,
}

/// A folder of keys, for a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFolder {
    /// Where it is.
    pub path: PathBuf,
    /// The file that lists its keys, there or not.
    pub manifest: PathBuf,
    /// Its keys.
    pub keys: Vec<ListedKey>,
    /// How long a token is accepted after it was signed.
    pub outlives: Duration,
}

/// How logins are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    /// How many passwords are checked at once; at least 1.
    pub parallel_hashes: usize,
    /// How many may be wrong.
    pub limits: Limits,
}

/// One expectation of the file about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTest {
    /// The line it stands on.
    pub line: usize,
    /// The method of the request.
    pub method: String,
    /// Its target, exactly as a client would send it.
    pub target: String,
    /// Its host.
    pub host: Option<String>,
    /// Who sends it.
    pub as_who: Persona,
    /// The name in the client certificate that it comes with.
    pub certificate: Option<CertificateName>,
    /// What must come of it.
    pub expect: Expectation,
}

/// Who sends the request of a [`PolicyTest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Persona {
    /// Nobody in particular: no credential.
    Anonymous,
    /// This user of the user file, with all of the user's scopes.
    User(String),
    /// A user whose token carries exactly these scopes.
    Scopes(Scope),
}

/// What must come of the request of a [`PolicyTest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// It passes.
    Allow,
    /// It is refused with this status.
    Status(u16),
}
