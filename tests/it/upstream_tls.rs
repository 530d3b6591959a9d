//! TLS to the application: whom it is spoken with, and that nobody else ever sees a byte of a request.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::harness::captured::Captured;
use super::harness::gateway::EdgeBuilder;
use super::harness::upstream::{Upstream, find};
use super::harness::{Behaviour, Edge, edge, within};

const NAME: &str = "app.internal";

/// A certificate authority.
struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What an authority signed.
struct Leaf {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { pem, der, issuer: Issuer::new(params, key) }
    }

    fn signs(&self, name: &str, last_year: i32) -> Leaf {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { pem: certificate.pem(), der: certificate.der().clone(), key }
    }
}

impl Leaf {
    /// A server with this certificate, which asks its clients for one of theirs where an authority for it is given.
    fn serves(&self, clients: Option<&Authority>) -> ServerConfig {
        self.serves_with(clients, &[&version::TLS12, &version::TLS13])
    }

    fn serves_with(
        &self,
        clients: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        builder.with_single_cert(vec![self.der.clone()], key).unwrap()
    }
}

/// A directory with what the configuration names.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, text: &str) {
        write(&self.0.path().join(name), text);
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// An edge with one more upstream, to which everything public leads.
fn edge_to(server: SocketAddr, tls: &str) -> EdgeBuilder {
    let more = format!(" }}\n  secure: {{ servers: ['{server}'], tls: {tls}");
    let routes = "\n  - { id: public, path: /public/**, upstream: secure, auth: public }
  - { id: plain, path: /plain/**, upstream: app, auth: public }\n";
    edge().upstream_with(&more).routes(routes)
}

/// Believes this authority, in a file of the edge's own.
async fn trusting(server: SocketAddr, authority: &Authority) -> (Edge, Files) {
    let files = Files::new();
    files.put("ca.pem", &authority.pem);
    let tls = format!("{{ ca: '{}', server_name: {NAME} }}", files.path("ca.pem"));
    (edge_to(server, &tls).start().await, files)
}

async fn is_unreachable(edge: &Edge) {
    let answer = edge.ask("POST", "/public/a").body(b"secret").await;
    assert_eq!(answer.is(502).json()["error"], "upstream_unreachable");
}

#[tokio::test]
async fn the_right_server_is_spoken_with_in_either_version_and_its_connection_kept() {
    let authority = Authority::new("one");
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        let leaf = authority.signs(NAME, 2040);
        let mut config = leaf.serves_with(None, versions);
        // It would rather speak HTTP/2, and is not offered it.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let app = Upstream::start_tls(Behaviour::Echo, config).await;
        let (edge, _files) = trusting(app.address, &authority).await;
        let mut wire = edge.wire().await;
        for path in ["/public/a?b", "/public/c"] {
            wire.ask(edge.get(path).field("X-User: mallory").bytes()).await.is(200);
        }
        edge.ask("POST", "/public/d").body(b"hello").await.is(200);
        let seen = app.saw(3).await;
        assert_eq!(seen[0].line(), "GET /public/a?b HTTP/1.1");
        assert_eq!(seen[0].values("x-user"), Vec::<&str>::new());
        // What the client spoke, not what we speak.
        assert_eq!(seen[0].values("x-forwarded-proto"), ["http"]);
        assert_eq!((seen[2].body.as_slice(), seen[2].complete), (&b"hello"[..], true));
        assert_eq!(app.connections(), 1);
        assert!(edge.upstream.seen().is_empty());
    }
}

#[tokio::test]
async fn a_server_with_an_address_in_its_certificate_can_be_named_by_it() {
    let authority = Authority::new("one");
    let app = authority.signs("127.0.0.1", 2040).serves(None);
    let app = Upstream::start_tls(Behaviour::Echo, app).await;
    let files = Files::new();
    files.put("ca.pem", &authority.pem);
    for (name, status) in [("127.0.0.1", 200), ("127.0.0.2", 502)] {
        let tls = format!("{{ ca: '{}', server_name: {name} }}", files.path("ca.pem"));
        edge_to(app.address, &tls).start().await.get("/public").await.is(status);
    }
}

#[tokio::test]
async fn another_authority_another_name_and_an_old_certificate_are_refused() {
    let (authority, other) = (Authority::new("one"), Authority::new("one"));
    for (signer, name, year) in [
        (&other, NAME, 2040),
        (&authority, "other.internal", 2040),
        (&authority, "sub.app.internal", 2040),
        (&authority, "*.app.internal", 2040),
        (&authority, "internal", 2040),
        (&authority, NAME, 2001),
    ] {
        let log = Captured::default();
        let app = Upstream::start_tls(Behaviour::Echo, signer.signs(name, year).serves(None)).await;
        let files = Files::new();
        files.put("ca.pem", &authority.pem);
        let tls = format!("{{ ca: '{}', server_name: {NAME} }}", files.path("ca.pem"));
        let edge = edge_to(app.address, &tls).log_to(&log).start().await;
        is_unreachable(&edge).await;
        assert!(app.seen().is_empty(), "{name} {year}");
    }
    let leaf = Authority::new("itself").signs(NAME, 2040);
    let app = Upstream::start_tls(Behaviour::Echo, leaf.serves(None)).await;
    let (edge, _files) = trusting(app.address, &authority).await;
    is_unreachable(&edge).await;
    assert!(app.seen().is_empty());
}

#[tokio::test]
async fn the_authorities_of_the_system_do_not_know_ours() {
    let authority = Authority::new("one");
    let app = Upstream::start_tls(Behaviour::Echo, authority.signs(NAME, 2040).serves(None)).await;
    let edge = edge_to(app.address, &format!("{{ server_name: {NAME} }}")).start().await;
    is_unreachable(&edge).await;
    assert!(app.seen().is_empty());
}

#[tokio::test]
async fn a_server_without_tls_never_sees_the_request() {
    let authority = Authority::new("one");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        let count = stream.read(&mut heard).await.unwrap();
        heard.truncate(count);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut heard).await.ok();
        heard
    });
    let (edge, _files) = trusting(address, &authority).await;
    is_unreachable(&edge).await;
    let heard = within(heard).await.unwrap();
    assert_eq!(heard[0], 22, "no handshake");
    for sent in [&b"POST"[..], b"/public", b"secret"] {
        assert_eq!(find(&heard, sent), None);
    }
    // And the other way round: what is not asked for is not spoken.
    let app = Upstream::start_tls(Behaviour::Echo, authority.signs(NAME, 2040).serves(None)).await;
    let more = format!(" }}\n  secure: {{ servers: ['{}']", app.address);
    let routes = "\n  - { id: public, path: /public/**, upstream: secure, auth: public }
  - { id: plain, path: /plain/**, upstream: app, auth: public }\n";
    let edge = super::harness::edge().upstream_with(&more).routes(routes).start().await;
    edge.get("/public").await.is(502);
    assert!(app.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_knows_only_old_versions_is_refused() {
    let authority = Authority::new("one");
    for minor in [1, 2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).await.unwrap();
            let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
            stream.read_exact(&mut rest).await.unwrap();
            // ServerHello of TLS 1.0 or 1.1: random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
            let body = [&[3, minor][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
            let length = u8::try_from(body.len()).unwrap();
            let hello = [&[2, 0, 0, length][..], &body].concat();
            let record = [&[22, 3, minor, 0, length + 4][..], &hello].concat();
            stream.write_all(&record).await.unwrap();
            let mut after = Vec::new();
            stream.read_to_end(&mut after).await.ok();
            after
        });
        let (edge, _files) = trusting(address, &authority).await;
        is_unreachable(&edge).await;
        let after = within(heard).await.unwrap();
        assert!(after.is_empty() || after[0] == 21, "more than an alert: {after:?}");
    }
}

#[tokio::test]
async fn the_certificate_of_the_edge_reaches_a_server_that_asks_for_it() {
    let (authority, clients) = (Authority::new("one"), Authority::new("clients"));
    let config = authority.signs(NAME, 2040).serves(Some(&clients));
    let app = Upstream::start_tls(Behaviour::Echo, config).await;
    let files = Files::new();
    files.put("ca.pem", &authority.pem);
    let honest = clients.signs("edge", 2040);
    let stranger = Authority::new("clients").signs("edge", 2040);
    let ca = files.path("ca.pem");
    for (name, leaf, status) in [("honest", &honest, 200), ("stranger", &stranger, 502)] {
        files.put(name, &leaf.pem);
        files.put(&format!("{name}.key"), &leaf.key.serialize_pem());
        let (certificate, key) = (files.path(name), files.path(&format!("{name}.key")));
        let tls = format!(
            "{{ ca: '{ca}', server_name: {NAME}, certificate: '{certificate}', private_key: '{key}' }}"
        );
        let edge = edge_to(app.address, &tls).start().await;
        let before = app.seen().len();
        edge.get("/public").await.is(status);
        assert_eq!(app.seen().len() - before, usize::from(status == 200));
    }
    let (edge, _files) = trusting(app.address, &authority).await;
    edge.get("/public").await.is(502);
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn upstreams_at_one_address_share_no_connection() {
    let authority = Authority::new("one");
    let app = Upstream::start_tls(Behaviour::Echo, authority.signs(NAME, 2040).serves(None)).await;
    let files = Files::new();
    files.put("ca.pem", &authority.pem);
    files.put("other.pem", &Authority::new("two").pem);
    let (ca, other) = (files.path("ca.pem"), files.path("other.pem"));
    let server = app.address;
    let more = format!(
        " }}
  secure: {{ servers: ['{server}'], tls: {{ ca: '{ca}', server_name: {NAME} }} }}
  second: {{ servers: ['{server}'], tls: {{ ca: '{ca}', server_name: {NAME} }} }}
  doubtful: {{ servers: ['{server}'], tls: {{ ca: '{other}', server_name: {NAME} }}"
    );
    let routes = "
  - { id: public, path: /public/**, upstream: secure, auth: public }
  - { id: second, path: /second/**, upstream: second, auth: public }
  - { id: doubtful, path: /doubtful/**, upstream: doubtful, auth: public }
  - { id: plain, path: /plain/**, upstream: app, auth: public }\n";
    let edge = edge().upstream_with(&more).routes(routes).start().await;
    for (path, status) in [("/public", 200), ("/doubtful", 502), ("/second", 200), ("/public", 200)]
    {
        edge.get(path).await.is(status);
    }
    let connections: Vec<_> = app.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 0]);
}

#[tokio::test]
async fn a_reload_that_believes_another_authority_leaves_the_open_connections_behind() {
    let authority = Authority::new("one");
    let app = Upstream::start_tls(Behaviour::Echo, authority.signs(NAME, 2040).serves(None)).await;
    let (edge, files) = trusting(app.address, &authority).await;
    edge.get("/public").await.is(200);
    edge.get("/public").await.is(200);
    assert_eq!(app.connections(), 1);
    files.put("ca.pem", &Authority::new("two").pem);
    edge.disable_bob();
    edge.get("/public").await.is(502);
    assert_eq!(app.seen().len(), 2);
    files.put("ca.pem", &authority.pem);
    edge.disable_bob();
    edge.get("/public").await.is(200);
}

#[tokio::test]
async fn a_tunnel_goes_through_it() {
    let authority = Authority::new("one");
    let config = authority.signs(NAME, 2040).serves(None);
    let app = Upstream::start_tls(Behaviour::Tunnels, config).await;
    let (edge, _files) = trusting(app.address, &authority).await;
    let asked = edge.get("/public/socket").field("Connection: Upgrade").field("Upgrade: websocket");
    let asked = asked
        .field("Sec-WebSocket-Version: 13")
        .field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    let mut wire = edge.wire().await;
    wire.ask(asked.bytes()).await.is(101);
    let large: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for frame in [&b"\x81\x05hello"[..], &large] {
        wire.send(frame).await;
        assert_eq!(wire.read_bytes(frame.len()).await, frame);
    }
}
