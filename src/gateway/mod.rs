//! Assembly: one immutable snapshot of the configuration, and the one decision about a request.
//!
//! [`Gateway`] is built from a configuration and never changes; a reload builds another and [`live::Live`] swaps them.
//! [`Shared`] is what outlives a reload. Neither touches a socket: `proxy` brings the requests and does what is decided.

mod authority;
pub mod decide;
pub mod dry_run;
pub mod live;
mod removed;
pub mod routing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::access::connection::Connection;
use crate::access::forwarded::TrustedProxies;
use crate::access::identity::Identity;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, StateConfig};
use crate::endpoints::metadata::{self, EndpointPaths};
use crate::endpoints::{
    Endpoint, EndpointRequest, Served, discovery, introspect, revoke, token, userinfo,
};
use crate::grants::{Accounts, ClientRegistry, Database, GrantServices, RefreshPolicy};
use crate::issuers::{Issuers, KeyRegistry};
use crate::keys::KeyRing;
use crate::oauth::client::ClientId;
use crate::oauth::scope::{Catalogue, ScopeBits};
use crate::oauth::subject::Subject;
use crate::observe::{AccessLog, Metrics};
use crate::random::Random;
use crate::route::host::Host;
use crate::route::table::RouteTable;
use crate::state::{Mirror, Roster, State, StateSettings, StoreError};
use crate::throttle::{Limits, Throttle};
use crate::token::{Issuer, TokenCache, Verifier};
use crate::users::{Dummy, HashPool, HashPoolSettings, UserStore};

/// How many verified tokens are remembered: a token is a few hundred bytes, so this bounds the memory.
pub const TOKEN_CACHE_ENTRIES: usize = 100_000;

/// What outlives a reload.
#[derive(Debug)]
pub struct Shared {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
    /// The threads that check passwords.
    pub hashes: HashPool,
    /// The hash of users who are not in the database.
    pub dummy: Dummy,
    /// Who has guessed too often.
    pub throttle: Arc<Throttle>,
    /// What outlives the process, if it is kept.
    pub state: Option<State>,
    /// Verified tokens, by digest and snapshot.
    pub cache: TokenCache,
    /// The keys of the trusted issuers.
    pub issuer_keys: KeyRegistry,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// One line per request.
    pub log: AccessLog,
}

/// How many logins may wait for a hashing thread; beyond it they are told to come back.
const HASH_QUEUE: usize = 64;
/// How long a login may wait for a hashing thread.
const HASH_DEADLINE: Duration = Duration::from_secs(5);

impl Shared {
    /// Starts the hashing threads, an empty cache, and the access log, which goes to `log`.
    ///
    /// # Errors
    /// [`StartError`] when a thread cannot be started or a metric cannot be registered.
    pub fn start(
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        parallel_hashes: usize,
        log: Box<dyn Write + Send>,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        let waits = Arc::clone(&metrics);
        let hashes = HashPool::start(HashPoolSettings {
            workers: parallel_hashes,
            queue: HASH_QUEUE,
            deadline: HASH_DEADLINE,
            observer: Some(Arc::new(move |wait| waits.hash_waited(wait))),
        })?;
        let cache = TokenCache::new(TOKEN_CACHE_ENTRIES);
        let throttle = Arc::new(Throttle::new(Limits::default()));
        let log = AccessLog::start(log, Arc::clone(&metrics))?;
        let (dummy, issuer_keys) = (Dummy::default(), KeyRegistry::default());
        Ok(Self {
            clock,
            random,
            hashes,
            dummy,
            throttle,
            state: None,
            cache,
            issuer_keys,
            metrics,
            log,
        })
    }

    /// The same, with what outlives the process kept at this place, failed logins among it. What other nodes have counted of
    /// them is held against these limits.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError::State`] when the place is unusable.
    pub fn with_state(
        mut self,
        config: &StateConfig,
        limits: Limits,
        roster: Roster,
    ) -> Result<Self, StartError> {
        let metrics = Arc::clone(&self.metrics);
        let settings = StateSettings {
            clock: Arc::clone(&self.clock),
            max_staleness: config.max_staleness,
            users: config.users,
            issuer: config.issuer.clone(),
            roster,
            observer: Some(Arc::new(move |writes| metrics.state_committed(writes))),
        };
        self.throttle.set_limits(limits);
        let mut state = State::open(&config.place, settings)?;
        state.share(Arc::clone(&self.throttle));
        self.state = Some(state);
        Ok(self)
    }
}

/// Why nothing could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The threads.
    #[error("the hashing threads could not be started: {0}")]
    Threads(#[from] std::io::Error),
    /// The metrics.
    #[error("the metrics could not be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The state.
    #[error("the state cannot be opened: {0}")]
    State(#[from] StoreError),
}

/// One immutable snapshot. Cloning it copies references.
#[derive(Debug, Clone)]
pub struct Gateway {
    generation: u64,
    shared: Arc<Shared>,
    /// What is revoked, where state is kept; `None` in a dry run.
    mirror: Option<Arc<Mirror>>,
    identity: Arc<Identity>,
    trusted_proxies: TrustedProxies,
    catalogue: Arc<Catalogue>,
    issuer: Arc<Issuer>,
    /// Ourselves alone, for the endpoints of our own.
    issuers: Arc<Issuers>,
    keys: Arc<KeyRing>,
    hosts: Arc<[Host]>,
    endpoints: Arc<[(String, Endpoint)]>,
    metadata: Bytes,
    users: Arc<UserStore>,
    clients: Arc<ClientRegistry>,
    routes: Arc<RouteTable>,
    principals: Arc<Principals>,
    refresh: RefreshPolicy,
    users_in_state: bool,
    audience: Arc<str>,
    leeway: Duration,
}

/// The users and clients of the files, with the most that each may have. Read on every request, also when the verification of the
/// token is cached.
#[derive(Debug, Clone, Default)]
struct Principals {
    /// Every user of the file that is not disabled.
    users: HashMap<Subject, UserCeiling>,
    clients: HashMap<ClientId, ScopeBits>,
}

/// The scope and the credential of a user.
#[derive(Debug, Clone)]
struct UserCeiling {
    scope: ScopeBits,
    /// The version of the credential that tokens must name.
    credential: Arc<str>,
}

impl Gateway {
    /// Builds the snapshot. `generation` must differ from every other snapshot's that shares the token cache.
    #[must_use]
    pub fn build(config: Config, shared: Arc<Shared>, generation: u64) -> Self {
        let tokens = config.tokens;
        let catalogue = config.catalogue;
        let active = config.users.iter().filter(|user| !user.disabled);
        let principals = Principals {
            users: active
                .map(|user| {
                    let scope = catalogue.bits(&user.scope);
                    let credential = user.password.version();
                    (user.name.clone(), UserCeiling { scope, credential })
                })
                .collect(),
            clients: config
                .clients
                .iter()
                .map(|c| (c.id.clone(), catalogue.bits(&c.scope)))
                .collect(),
        };
        let own = tokens.endpoints;
        let paths = EndpointPaths {
            token: own.token.as_deref(),
            jwks: own.jwks.as_deref(),
            revoke: own.revoke.as_deref(),
            introspect: own.introspect.as_deref(),
            userinfo: own.userinfo.as_deref(),
        };
        let metadata = metadata::document(&tokens.issuer, &paths, &config.clients, &catalogue);
        let paths = [
            (own.token, Endpoint::Token),
            (own.revoke, Endpoint::Revoke),
            (own.introspect, Endpoint::Introspect),
            (own.userinfo, Endpoint::Userinfo),
            (own.jwks, Endpoint::Jwks),
            (own.metadata, Endpoint::Metadata),
        ];
        let endpoints: Vec<_> =
            paths.into_iter().filter_map(|(path, own)| Some((path?, own))).collect();
        let ring = &tokens.keys;
        let verifier =
            Verifier::new(&tokens.issuer, &tokens.audience, tokens.leeway, Arc::clone(ring));
        let verifier = Arc::new(verifier);
        let issuers = Issuers::new(verifier, tokens.trusted_issuers, &shared.issuer_keys);
        Self {
            generation,
            mirror: shared.state.as_ref().map(|state| Arc::clone(state.mirror())),
            shared,
            identity: Arc::new(config.identity),
            trusted_proxies: config.trusted_proxies,
            issuer: Arc::new(Issuer::new(
                &tokens.issuer,
                &tokens.audience,
                tokens.lifetime,
                Arc::clone(ring),
            )),
            issuers: Arc::new(issuers),
            keys: Arc::clone(ring),
            hosts: Arc::from(tokens.hosts),
            endpoints: Arc::from(endpoints),
            metadata,
            catalogue: Arc::new(catalogue),
            users: Arc::new(config.users),
            clients: Arc::new(config.clients),
            routes: Arc::new(config.routes),
            principals: Arc::new(principals),
            refresh: tokens.refresh,
            users_in_state: config.state.is_some_and(|state| state.users),
            audience: Arc::from(tokens.audience),
            leeway: tokens.leeway,
        }
    }

    /// Lets an endpoint of ours answer.
    pub async fn serve(&self, endpoint: Endpoint, request: &EndpointRequest) -> Served {
        let now = self.now();
        match endpoint {
            Endpoint::Token => token::serve(&self.services(request, now), request, now).await,
            Endpoint::Revoke => {
                revoke::serve(&self.services(request, now), &self.issuers, request, now).await
            }
            Endpoint::Introspect => {
                let examine = |text: &str| self.examined(text, now).ok();
                let services = self.services(request, now);
                introspect::serve(&services, &self.audience, examine, request).await
            }
            Endpoint::Userinfo => match userinfo::refuses(&request.method) {
                Some(refused) => refused,
                None => match self.bearer(&request.headers, now) {
                    Ok(examined) => userinfo::answer(&examined),
                    Err(denial) => userinfo::refused(&denial),
                },
            },
            Endpoint::Jwks => {
                let EndpointRequest { method, headers, .. } = request;
                discovery::jwks(&self.keys, method, headers, now)
            }
            Endpoint::Metadata => {
                let EndpointRequest { method, headers, .. } = request;
                discovery::metadata(&self.metadata, method, headers)
            }
        }
    }

    fn services(&self, request: &EndpointRequest, now: Timestamp) -> GrantServices<'_> {
        let state = self.shared.state.as_ref();
        let (random, dummy) = (&self.shared.random, &self.shared.dummy);
        let database = state.filter(|_| self.users_in_state);
        let database = database.map(|state| Database { state, random, dummy });
        GrantServices {
            accounts: Accounts::new(&self.users, database),
            clients: &self.clients,
            catalogue: &self.catalogue,
            hashes: &self.shared.hashes,
            origin: self.shared.throttle.origin(request.client, now),
            state,
            refresh: self.refresh,
            issuer: &self.issuer,
            random: &*self.shared.random,
        }
    }

    /// The client's address, as far as it is trusted.
    #[must_use]
    pub fn client_address(&self, connection: &Connection, headers: &HeaderMap) -> IpAddr {
        self.trusted_proxies.client_address(connection, headers)
    }

    /// Whether this is one of the proxies whose word about clients is taken.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.trusts(address.to_canonical())
    }

    /// The routes of this snapshot.
    #[must_use]
    pub fn routes(&self) -> &RouteTable {
        &self.routes
    }

    /// The scopes of this snapshot.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How far clocks may differ.
    #[must_use]
    pub const fn leeway(&self) -> Duration {
        self.leeway
    }

    /// The keys of this snapshot.
    #[must_use]
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Everybody whose tokens this snapshot can verify.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// What outlives this snapshot.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}
