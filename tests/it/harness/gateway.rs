//! The edge under test: a configuration written to a directory of its own, read back, bound to a free port and served in this
//! process. It differs from `portcullis run` in its clock and its signals only.

use std::fs::{self, Permissions};
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::clock::{Clock as _, ManualClock, Timestamp};
use portcullis::config;
use portcullis::gateway::Shared;
use portcullis::gateway::live::Live;
use portcullis::keys::{Algorithm, generate};
use portcullis::proxy::{Inherited, Server};
use portcullis::random::OsRandom;
use portcullis::state::Roster;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::sync::watch;

use super::captured::Captured;
use super::sources::TestSources;
use super::tokens::Mint;
use super::upstream::Upstream;
use super::{Behaviour, H2, HOST, Response, Wire, database_users};

/// The password of every user, and its hash: hashing it anew would decide how long the tests take.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y8ULCxuZF+euIxXMn1kDjA$qrWgsYVTcWJIrQJB5fTPl8R6NlYcpm3u5ko/xlzqy3E";
/// The secret of every client that has one.
pub(crate) const VAULT_SECRET: &str = "s3cret+/%:vault";

/// The point at which every edge starts.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

const ROUTES: &str = "
  - { id: public, path: /public/**, upstream: app, auth: public }
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
  - { id: notes, path: /notes/**, upstream: app, scopes: [notes:read] }
  - { id: read-only, path: /read-only/**, methods: [GET], upstream: app, scopes: { any: [notes:read, admin] } }
  - { id: account, path: /account/**, upstream: app }
  - { id: home, path: /, upstream: app, auth: optional }
";

/// An edge with its usual users, clients and routes.
pub(crate) fn edge() -> EdgeBuilder {
    EdgeBuilder {
        behaviour: Behaviour::Echo,
        routes: ROUTES.to_owned(),
        listener: "{ address: '127.0.0.1:0' }".to_owned(),
        issuer: format!("https://{HOST}"),
        tokens: String::new(),
        accept: String::new(),
        more: String::new(),
        upstream: String::new(),
        state: None,
        database: None,
        users: "{ file: users.yaml }",
        grace: 10,
        log: Captured::default(),
    }
}

/// What differs from the usual edge.
#[derive(Debug)]
pub(crate) struct EdgeBuilder {
    behaviour: Behaviour,
    routes: String,
    listener: String,
    issuer: String,
    tokens: String,
    accept: String,
    more: String,
    upstream: String,
    state: Option<String>,
    database: Option<String>,
    users: &'static str,
    grace: u32,
    log: Captured,
}

impl EdgeBuilder {
    /// Keeps state, in a SQLite file of the edge's own.
    pub(crate) fn stateful(self) -> Self {
        self.state_at("{ sqlite: state/portcullis.db }")
    }

    /// Keeps state in this PostgreSQL database.
    #[cfg(feature = "external-tests")]
    pub(crate) fn postgres(mut self, url: &str) -> Self {
        self.database = Some(url.to_owned());
        self.state_at("{ postgres: { url: { file: database-url } } }")
    }

    /// Keeps state here, as a flow map. Users who log in get refresh tokens.
    pub(crate) fn state_at(mut self, yaml: &str) -> Self {
        self.state = Some(yaml.to_owned());
        self
    }

    /// Keeps the usual users in the state store instead of the file.
    pub(crate) const fn users_in_database(mut self) -> Self {
        self.users = "{ database: true }";
        self
    }

    /// For how many seconds a spent refresh token gives its successor once more; ten as a rule.
    pub(crate) const fn grace(mut self, seconds: u32) -> Self {
        self.grace = seconds;
        self
    }

    /// What the application does.
    pub(crate) const fn upstream(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// Other routes, as items of the list.
    pub(crate) fn routes(mut self, routes: &str) -> Self {
        self.routes = routes.to_owned();
        self
    }

    /// Trusted issuers, as items of the list.
    pub(crate) fn accept(mut self, yaml: &str) -> Self {
        self.accept = yaml.to_owned();
        self
    }

    /// Further top-level keys.
    pub(crate) fn with(mut self, yaml: &str) -> Self {
        self.more = yaml.to_owned();
        self
    }

    /// Further keys of the upstream, as `, key: value`.
    pub(crate) fn upstream_with(mut self, yaml: &str) -> Self {
        self.upstream = yaml.to_owned();
        self
    }

    /// Another issuer.
    pub(crate) fn issuer(mut self, url: &str) -> Self {
        self.issuer = url.to_owned();
        self
    }

    /// A further key of `tokens`.
    pub(crate) fn tokens_with(mut self, yaml: &str) -> Self {
        self.tokens = yaml.to_owned();
        self
    }

    /// Another listener, as a flow map.
    pub(crate) fn listener(mut self, yaml: &str) -> Self {
        self.listener = yaml.to_owned();
        self
    }

    /// Keeps the access log here.
    pub(crate) fn log_to(mut self, log: &Captured) -> Self {
        self.log = log.clone();
        self
    }

    /// Ends TLS at the edge.
    pub(crate) fn tls(self) -> Self {
        self.listener(
            "{ address: '127.0.0.1:0', tls: { certificate: edge.pem, private_key: edge.key } }",
        )
    }

    /// Writes the files and starts everything.
    pub(crate) async fn start(self) -> Edge {
        let upstream = Upstream::start(self.behaviour).await;
        let files = TempDir::new().unwrap();
        let key = generate(Algorithm::EdDsa, &OsRandom).unwrap();
        let certificate = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        write(files.path(), "signing.pem", key.expose());
        write(files.path(), "edge.pem", certificate.cert.pem().as_bytes());
        write(files.path(), "edge.key", certificate.signing_key.serialize_pem().as_bytes());
        write(files.path(), "users.yaml", users("").as_bytes());
        if let Some(url) = &self.database {
            write(files.path(), "database-url", url.as_bytes());
        }
        write(files.path(), "portcullis.yaml", self.yaml(upstream.address).as_bytes());

        let file = files.path().join("portcullis.yaml");
        let loaded = config::load(&file, &TestSources);
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let config = loaded.config.unwrap_or_else(|| panic!("{}", problems.join("\n")));
        let (listeners, admin) = (config.listeners.clone(), config.admin);
        let (clock, log) = (Arc::new(ManualClock::new(START)), Box::new(self.log));
        let shared = Shared::start(Arc::clone(&clock) as _, Arc::new(OsRandom), 1, log);
        let mut shared = shared.unwrap();
        if let Some(state) = &config.state {
            let roster = Roster::new(&file, config.clients.iter().map(|client| &client.id));
            shared = shared.with_state(state, config.login.limits, roster).unwrap();
            let place = shared.state.as_ref().unwrap();
            assert!(place.filled(Duration::from_secs(20)).await);
            if state.users {
                database_users::add(place).await;
            }
        }
        let shared = Arc::new(shared);
        let live = Live::start(&file, Box::new(TestSources), config, Arc::clone(&shared));
        let live = Arc::new(live.unwrap_or_else(|rejected| panic!("{rejected}")));
        let server = Server::bind(live.clone(), shared, &listeners, admin, &mut Inherited::none());
        let server = server.unwrap();
        let (address, admin) = (server.addresses()[0], server.admin_address());
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(server.run(stopping));
        Edge {
            address,
            admin,
            upstream,
            clock,
            mint: Mint::new(key.expose()),
            root: certificate.cert.der().clone(),
            live,
            files,
            _stop: stop,
        }
    }

    fn yaml(&self, upstream: SocketAddr) -> String {
        let Self {
            routes, listener, issuer, tokens, accept, more, upstream: upstream_more, ..
        } = self;
        let (users, grace) = (self.users, self.grace);
        let digest = vault_digest();
        let (state, grants) = match &self.state {
            Some(state) => (format!("state: {state}"), "password, refresh_token"),
            None => (String::new(), "password"),
        };
        format!(
            "listeners: [{listener}]
scopes: {{ admin: Everything, 'notes:read': Read notes, 'notes:write': Write notes }}
tokens:
  issuer: {issuer}
  audience: app
  refresh: {{ lifetime: 14d, idle: 2d, reuse_grace: {grace}s }}
  {tokens}
  keys: [{{ id: k1, algorithm: EdDSA, file: signing.pem, use: sign }}]
  trusted_issuers: [{accept}]
{state}
users: {users}
clients:
  - {{ id: web, default: true, grants: [{grants}], scopes: [admin, 'notes:read', 'notes:write'] }}
  - {{ id: reader, grants: [{grants}], scopes: ['notes:read'] }}
  - {{ id: vault, grants: [{grants}], scopes: ['notes:read'], secret_sha256: {digest} }}
  - {{ id: auditor, grants: [password], scopes: [admin], secret_sha256: {digest}, introspect: true }}
  - {{ id: nightly, grants: [client_credentials], scopes: [admin, 'notes:read'], secret_sha256: {digest} }}
  - {{ id: remote, grants: [client_credentials, password], scopes: ['notes:read'], secret_sha256: {digest}, networks: [10.20.0.0/16] }}
upstreams:
  app: {{ servers: ['{upstream}']{upstream_more} }}
routes:{routes}
{more}
"
        )
    }
}

/// The user file: alice may do everything, bob may read, carol is disabled; and whoever is added.
fn users(more: &str) -> String {
    format!(
        "users:
  - {{ name: alice, password: '{HASH}', scopes: [admin, 'notes:read', 'notes:write'] }}
  - {{ name: bob, password: '{HASH}', scopes: ['notes:read'] }}
  - {{ name: carol, password: '{HASH}', scopes: ['notes:read'], disabled: true }}
{more}"
    )
}

fn vault_digest() -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(VAULT_SECRET.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys must be readable by their owner only, or the configuration refuses them.
fn write(directory: &Path, name: &str, bytes: &[u8]) {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A running edge.
pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) upstream: Upstream,
    /// Makes tokens with the edge's own key.
    pub(crate) mint: Mint,
    pub(crate) clock: Arc<ManualClock>,
    root: CertificateDer<'static>,
    pub(crate) live: Arc<Live>,
    files: TempDir,
    _stop: watch::Sender<bool>,
}

impl Edge {
    /// A fresh connection in the clear.
    pub(crate) async fn wire(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// A fresh HTTP/1.1 connection over TLS.
    pub(crate) async fn wire_tls(&self) -> Wire {
        Wire::connect_tls(self.address, &self.root).await
    }

    /// A fresh HTTP/2 connection.
    pub(crate) async fn h2(&self) -> H2 {
        H2::connect(self.address, &self.root).await
    }

    /// The certificate that the edge's chain ends in.
    pub(crate) const fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// A request on a connection of its own.
    pub(crate) fn ask(&self, method: &str, target: &str) -> Ask<'_> {
        Ask {
            edge: self,
            line: format!("{method} {target} HTTP/1.1"),
            fields: vec![format!("Host: {HOST}")],
            body: Vec::new(),
        }
    }

    /// A GET.
    pub(crate) fn get(&self, target: &str) -> Ask<'_> {
        self.ask("GET", target)
    }

    /// Sends a form to `/token`.
    pub(crate) fn token(&self, form: &str) -> Ask<'_> {
        self.ask("POST", "/token")
            .field("Content-Type: application/x-www-form-urlencoded")
            .body(form.as_bytes())
    }

    /// Logs a user in for these scopes and returns the access token.
    pub(crate) async fn login(&self, user: &str, scope: &str) -> String {
        let password = PASSWORD.replace(' ', "+");
        let form = format!("grant_type=password&username={user}&password={password}&scope={scope}");
        let answer = self.token(&form.replace(' ', "+")).await;
        answer.is(200);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Where its files are, `portcullis.yaml` among them.
    pub(crate) fn directory(&self) -> &Path {
        self.files.path()
    }

    /// Moves the edge's wall clock.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// The edge's time.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    /// What it knows of what is revoked.
    #[cfg(feature = "external-tests")]
    pub(crate) fn mirror(&self) -> &portcullis::state::Mirror {
        self.live.shared().state.as_ref().unwrap().mirror()
    }

    /// Where its state is kept.
    pub(crate) fn store(&self) -> &portcullis::state::Store {
        self.live.shared().state.as_ref().unwrap().store()
    }

    /// Reads its file again.
    pub(crate) fn reload(&self) {
        self.live.reload().unwrap_or_else(|rejected| panic!("{rejected}"));
    }

    /// Disables bob and reloads.
    pub(crate) fn disable_bob(&self) {
        self.change_users("name: bob,", "name: bob, disabled: true,");
    }

    /// Writes the user file with one text in place of another, and reloads.
    pub(crate) fn change_users(&self, from: &str, to: &str) {
        let users = users("");
        assert!(users.contains(from), "{from}");
        write(self.files.path(), "users.yaml", users.replacen(from, to, 1).as_bytes());
        self.reload();
    }

    /// Logs a user in for everything that the user may have, and returns both tokens.
    pub(crate) async fn tokens(&self, user: &str) -> Pair {
        let password = PASSWORD.replace(' ', "+");
        let form = format!("grant_type=password&username={user}&password={password}");
        Pair::of(&self.token(&form).await)
    }

    /// Spends a refresh token of the default client.
    pub(crate) fn refresh(&self, pair: &Pair) -> Ask<'_> {
        self.token(&format!("grant_type=refresh_token&refresh_token={}", pair.refresh))
    }

    /// Sends a form to an endpoint beside `/token`.
    pub(crate) fn post(&self, target: &str, form: &str) -> Ask<'_> {
        self.ask("POST", target)
            .field("Content-Type: application/x-www-form-urlencoded")
            .body(form.as_bytes())
    }
}

/// What a login gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Pair {
    /// Reads an answer that must be 200 with both tokens.
    #[track_caller]
    pub(crate) fn of(answer: &Response) -> Self {
        let body = answer.is(200).json();
        let text = |name: &str| body[name].as_str().expect(name).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

/// A request that is sent when awaited.
#[must_use]
pub(crate) struct Ask<'a> {
    edge: &'a Edge,
    line: String,
    fields: Vec<String>,
    body: Vec<u8>,
}

impl Ask<'_> {
    /// One more field, as it goes over the wire.
    pub(crate) fn field(mut self, line: &str) -> Self {
        self.fields.push(line.to_owned());
        self
    }

    /// No fields at all but these.
    pub(crate) fn only(mut self, fields: &[&str]) -> Self {
        self.fields = fields.iter().map(|&field| field.to_owned()).collect();
        self
    }

    /// A bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.field(&format!("Authorization: Bearer {token}"))
    }

    /// A client's credential, not form-encoded.
    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        let credential = STANDARD.encode(format!("{id}:{secret}"));
        self.field(&format!("Authorization: Basic {credential}"))
    }

    /// A body with its length.
    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.field(&format!("Content-Length: {}", body.len()))
    }

    /// The request's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{}\r\n{}\r\n\r\n", self.line, self.fields.join("\r\n")).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl<'a> IntoFuture for Ask<'a> {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut wire = self.edge.wire().await;
            wire.ask(self.bytes()).await
        })
    }
}
