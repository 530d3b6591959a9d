//! Every fixture under `tests/it/fixtures/config`: the valid ones compile and say exactly the warnings beside them, the
//! invalid ones exactly the errors and warnings beside them. The world around them is in memory.
//!
//! After a message was changed on purpose, `UPDATE_EXPECTED=1 cargo test --lib config` writes the new ones; read the diff.

mod authorities;
mod byte_order_mark;
mod hostile;
mod pem_files;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::*;
use crate::clock::Timestamp;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/config");
const PASSWORD: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Nf0h5y6ZyTbWhZrkOUYc8vxJ1i0yUDbQ0rYqMQ3kFvE";
const BCRYPT: &str = "$2y$10$AAAAAAAAAAAAAAAAAAAAAOAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// 2026-11-24T00:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_795_478_400);

/// A world in memory; names are relative to no directory.
#[derive(Debug)]
struct World {
    files: BTreeMap<PathBuf, (Vec<u8>, u32)>,
    env: BTreeMap<&'static str, String>,
}

impl World {
    fn new() -> Self {
        let edge = rcgen::generate_simple_self_signed(["edge.example.com".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let signing = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let users = format!(
            "users:\n  - {{ name: alice, password: \"{PASSWORD}\", scopes: [orders:read] }}\n  \
             - {{ name: bob, password: \"{PASSWORD}\", disabled: true }}\n"
        );
        let bad_users = format!(
            "users:\n  - {{ name: \"al:ice\", password: \"{PASSWORD}\", scopes: [orders:raed] }}\n  \
             - {{ name: bob, password: \"hunter2\" }}\n  - {{ name: bob, pasword: x }}\n"
        );
        let own = crate::keys::load(
            "idp",
            crate::keys::Algorithm::EdDsa,
            signing.serialize_pem().as_bytes(),
            crate::keys::KeyUse::Sign,
            None,
        );
        let idp = crate::keys::KeyRing::new(vec![own.unwrap()]).unwrap();
        let idp = crate::keys::jwks(&idp, NOW).to_string();
        let absurd = PASSWORD.replace("m=19456", "m=4194304");
        let bad_users = format!("{bad_users}  - {{ name: eve, password: \"{absurd}\" }}\n");
        let stronger = PASSWORD.replace("t=2", "t=3");
        let absurd = BCRYPT.replace("$10$", "$31$");
        let bad_users = format!(
            "{bad_users}  - {{ name: oscar, password: \"{absurd}\" }}\n  \
             - {{ name: ivan, password: \"{BCRYPT}x\" }}\n"
        );
        let mixed = format!(
            "{users}  - {{ name: carol, password: \"{stronger}\" }}\n  \
             - {{ name: dave, password: \"{BCRYPT}\" }}\n  - {{ name: erin, password: \"{BCRYPT}\" }}\n"
        );
        let legacy = format!("users:\n  - {{ name: dave, password: \"{BCRYPT}\" }}\n");
        let mixed = mixed.replace("orders:read", "used");
        let folder = "keys:
  - { id: \"a\", algorithm: EdDSA, file: \"a.pem\", use: sign, until: \"2026-12-24T01:00:00Z\" }
  - { id: \"b\", algorithm: EdDSA, file: \"a.pem\", use: sign, from: \"2026-12-24T00:00:00Z\" }
";
        let bad_folder = "keys:
  - { id: a, algorithm: EdDSA, file: ../keys/sign.pem, use: sign }
  - { id: b, algorithm: EdDSA, file: none.pem, use: sign }
  - { id: c, algorithm: HS256, secret: { env: HS_KEY }, use: verify, untill: x }
";
        let certificate = |hosts: &[&str], is_ca: rcgen::IsCa| {
            let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
            let mut params = rcgen::CertificateParams::new(hosts).unwrap();
            params.is_ca = is_ca;
            let pair = rcgen::KeyPair::generate().unwrap();
            let pem = params.self_signed(&pair).unwrap().pem();
            (pem.into_bytes(), pair.serialize_pem().into_bytes())
        };
        let shop = certificate(&["shop.example.com", "*.SHOP.example.com"], rcgen::IsCa::NoCa);
        let nameless = certificate(&[], rcgen::IsCa::NoCa);
        let unconstrained = rcgen::BasicConstraints::Unconstrained;
        let (authority, _) = certificate(&[], rcgen::IsCa::Ca(unconstrained));
        let mut world = Self { files: BTreeMap::new(), env: BTreeMap::new() };
        for (name, bytes, mode) in [
            ("tls/ca.pem", authority, 0o644),
            ("tls/shop.pem", shop.0, 0o644),
            ("tls/shop.key", shop.1, 0o600),
            ("tls/nameless.pem", nameless.0, 0o644),
            ("tls/nameless.key", nameless.1, 0o600),
            ("tls/edge.pem", edge.cert.pem().into_bytes(), 0o644),
            ("tls/edge.key", edge.signing_key.serialize_pem().into_bytes(), 0o640),
            ("tls/other.key", other.serialize_pem().into_bytes(), 0o600),
            ("tls/damaged.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n".to_vec(), 0o644),
            ("keys/sign.pem", signing.serialize_pem().into_bytes(), 0o600),
            ("keys/old.pem", signing.public_key_pem().into_bytes(), 0o640),
            ("keys/open.pem", signing.serialize_pem().into_bytes(), 0o644),
            ("keys/short.bin", vec![7; 31], 0o600),
            ("keys/newline.txt", [vec![b'x'; 32], b"\n".to_vec()].concat(), 0o600),
            ("keys/idp.json", idp.clone().into_bytes(), 0o644),
            ("keys/changeable.json", idp.into_bytes(), 0o646),
            ("users.yaml", users.into_bytes(), 0o640),
            ("bad-users.yaml", bad_users.into_bytes(), 0o640),
            ("mixed-users.yaml", mixed.into_bytes(), 0o640),
            ("legacy-users.yaml", legacy.into_bytes(), 0o640),
            ("folder/keys.yaml", folder.into(), 0o640),
            ("folder/a.pem", signing.serialize_pem().into_bytes(), 0o640),
            ("bad-folder/keys.yaml", bad_folder.into(), 0o644),
            ("empty", Vec::new(), 0o600),
        ] {
            world.files.insert(PathBuf::from(name), (bytes, mode));
        }
        world.env.insert("HS_KEY", "k".repeat(48) + "\n");
        world
    }

    fn with(mut self, name: &str, text: &str) -> Self {
        self.files.insert(PathBuf::from(name), (text.as_bytes().to_vec(), 0o600));
        self
    }
}

impl Sources for World {
    fn read(&self, path: &Path) -> io::Result<SourceFile> {
        let (bytes, mode) = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(SourceFile { bytes: bytes.clone(), mode: Some(*mode), exposure: None })
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match host {
            "shop.internal" => Ok(vec![SocketAddr::from(([10, 0, 0, 11], port))]),
            "self.internal" => Ok(vec![SocketAddr::from(([10, 0, 0, 12], port))]),
            _ => Err(io::Error::other("no such host")),
        }
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        ip == IpAddr::from([10, 0, 0, 12])
    }

    fn authorities(&self) -> Vec<Vec<u8>> {
        let edge = &self.files[Path::new("tls/edge.pem")].0;
        vec![pem::parse(edge).unwrap().into_contents(), b"damaged".to_vec()]
    }

    fn now(&self) -> Timestamp {
        NOW
    }
}

fn load_text(text: &str) -> Loaded {
    load(Path::new("portcullis.yaml"), &World::new().with("portcullis.yaml", text))
}

/// What `check` would print.
fn report(loaded: &Loaded) -> String {
    let errors = loaded.problems.iter().map(|problem| format!("error: {problem}\n"));
    let warnings = loaded.warnings.iter().map(|problem| format!("warning: {problem}\n"));
    errors.chain(warnings).collect()
}

/// The fixtures of a kind with what is expected of each.
fn fixtures(kind: &str) -> Vec<(PathBuf, String, String)> {
    let entries = std::fs::read_dir(Path::new(FIXTURES).join(kind)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let expected =
                std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
            (path, text, expected)
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn check_fixtures(kind: &str, valid: bool) {
    let mut wrong = String::new();
    for (path, text, expected) in fixtures(kind) {
        let loaded = load_text(&text);
        let found = report(&loaded);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path.with_extension("expected"), &found).unwrap();
        } else if found != expected || loaded.config.is_some() != valid {
            wrong += &format!("{}\nexpected:\n{expected}found:\n{found}\n", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn valid_files_compile_and_say_their_warnings() {
    check_fixtures("valid", true);
}

#[test]
fn invalid_files_say_all_that_is_wrong_and_where() {
    check_fixtures("invalid", false);
}

#[test]
fn ten_different_mistakes_are_ten_located_errors_in_one_run() {
    let text = std::fs::read_to_string(Path::new(FIXTURES).join("invalid/ten-mistakes.yaml"));
    let text = text.unwrap();
    let loaded = load_text(&text);
    let marked: Vec<usize> = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| line.contains("# mistake"))
        .map(|(_, number)| number)
        .collect();
    let lines: Vec<usize> = loaded.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines.len(), 10, "{}", report(&loaded));
    assert_eq!(lines, marked);
    assert!(loaded.config.is_none());
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let loaded = load(Path::new("nowhere.yaml"), &World::new());
    assert!(loaded.config.is_none());
    assert_eq!(
        report(&loaded),
        "error: nowhere.yaml:1:1: the file cannot be read: entity not found\n"
    );
}

#[test]
fn a_configuration_that_every_user_can_change_is_refused() {
    let text = std::fs::read(Path::new(FIXTURES).join("valid/minimal.yaml")).unwrap();
    for (mode, accepted) in [(0o644, true), (0o100_640, true), (0o646, false), (0o777, false)] {
        let mut world = World::new();
        world.files.insert(PathBuf::from("portcullis.yaml"), (text.clone(), mode));
        let loaded = load(Path::new("portcullis.yaml"), &world);
        assert_eq!(loaded.config.is_some(), accepted, "{mode:o}");
    }
}

#[test]
fn an_hs_key_file_is_raw_bytes_and_a_text_secret_loses_one_newline() {
    let full = std::fs::read_to_string(Path::new(FIXTURES).join("valid/minimal.yaml")).unwrap();
    let key = "algorithm: EdDSA, file: keys/sign.pem";
    assert!(full.contains(key));
    for (name, algorithm, bytes, accepted) in [
        // 33 raw bytes: the newline is one of them.
        ("file: keys/newline.txt", "HS256", 33, true),
        ("secret: { file: keys/newline.txt }", "HS256", 32, true),
        ("secret: { env: HS_KEY }", "HS384", 48, true),
        ("secret: { env: HS_KEY }", "HS512", 48, false),
        ("file: keys/short.bin", "HS256", 31, false),
        ("file: empty", "HS256", 0, false),
    ] {
        let text = full.replace(key, &format!("algorithm: {algorithm}, {name}"));
        let loaded = load_text(&text);
        assert_eq!(loaded.config.is_some(), accepted, "{name}: {}", report(&loaded));
        if !accepted {
            assert!(report(&loaded).contains(&format!("a secret of {bytes} bytes")), "{name}");
        }
    }
}

#[test]
fn no_message_repeats_a_secret() {
    let secrets = ["hunter2", &"ab".repeat(31), PASSWORD, BCRYPT];
    for secret in secrets {
        for text in [
            format!("clients: [{{ id: web, grants: [password], secret_sha256: \"{secret}\" }}]"),
            format!("clients: [{{ id: web, grants: [password], secret_hash: \"{secret}x\" }}]"),
            format!("clients: [{{ id: web, grants: \"{secret}\" }}]"),
            format!("clients: \"{secret}\""),
            format!("tokens: {{ keys: [{{ id: a, secret: \"{secret}\" }}] }}"),
            format!("tokens: \"{secret}"),
        ] {
            let found = report(&load_text(&text));
            assert!(found.starts_with("error: "), "{text}");
            assert!(!found.contains(secret), "{found}");
        }
    }
}

#[test]
fn a_hash_from_elsewhere_serves_users_with_a_warning_and_no_client() {
    let full = std::fs::read_to_string(Path::new(FIXTURES).join("valid/minimal.yaml")).unwrap();
    let text = format!("{full}users: {{ file: legacy-users.yaml }}\n");
    let loaded = load_text(&text);
    assert!(loaded.config.unwrap().users.find("dave").unwrap().password.is_legacy());
    let found = report(&load_text(&text));
    assert!(found.contains("legacy-users.yaml:2:29: users[0] (dave).password: "), "{found}");
    for (hash, accepted) in [(PASSWORD, true), (BCRYPT, false)] {
        let client = format!("{{ id: web, grants: [password], secret_hash: \"{hash}\" }}");
        let loaded = load_text(&format!("{full}clients: [{client}]\n"));
        assert_eq!(loaded.config.is_some(), accepted, "{}", report(&loaded));
    }
}

#[test]
fn one_mistake_in_a_good_file_is_enough_to_refuse_it() {
    let full = std::fs::read_to_string(Path::new(FIXTURES).join("valid/full.yaml")).unwrap();
    for (good, bad) in [
        ("lifetime: 15m", "lifetime: 15"),
        ("leeway: 30s", "leeway: 121s"),
        ("auth: public", "auth: pubic"),
        ("auth: public", "auht: public"),
        ("scopes: [orders:read] }", "scopes: [] }"),
        ("scopes: { any: [orders:read, admin] }", "scopes: { any: [] }"),
        ("scopes: { any: [orders:read, admin] }", "scopes: { any: [admin], all: [admin] }"),
        ("auth: public", "auth: public, scopes: [admin]"),
        ("auth: public", "auth:"),
        ("methods: [GET]", "methods: []"),
        ("methods: [GET]", "methods: [TRACE]"),
        ("methods: [GET]", "methods: ['GET,PUT']"),
        ("X-User: subject", "X-User: subjekt"),
        ("upstream: shop", "upstream: shpo"),
        ("user: alice", "user: alcie"),
        ("file: users.yaml", "file: user.yaml"),
        ("use: sign, until", "use: verify, until"),
        ("from: 2026-12-24T00:00:00Z", "from: 2026-12-24T01:00:01Z"),
        ("address: 127.0.0.1:9090", "address: 127.0.0.1:8443"),
        ("expect: 403", "expect: 200"),
        ("issuer: https://edge.example.com", "issuer: http://edge.example.com"),
        ("subject_prefix: \"idp:\"", "required: true"),
        ("algorithms: [RS256, ES256]", "algorithms: [RS256, HS256]"),
        ("issuers: [self, ", "issuers: [slef, "),
        ("max_stale: 12h", "max_stale: 1m"),
        ("client_ca: tls/ca.pem", "client_ca: tls/none.pem"),
        (", client_ca: tls/ca.pem", ""),
        ("cn:batch]", "cn:]"),
    ] {
        assert!(full.contains(good), "{good}");
        let loaded = load_text(&full.replacen(good, bad, 1));
        assert!(loaded.config.is_none(), "{bad}");
        assert!(!loaded.problems.is_empty(), "{bad}");
    }
}

#[test]
fn f1_the_issuer_is_an_https_url_without_query_and_fragment() {
    let full = std::fs::read_to_string(Path::new(FIXTURES).join("valid/minimal.yaml")).unwrap();
    for (issuer, accepted) in [
        ("https://edge.example.com", true),
        ("https://edge.example.com:8443/tenant", true),
        ("http://localhost:8080", true),
        ("http://127.0.0.1:8080", true),
        ("\"http://[::1]:8080\"", true),
        ("http://edge.example.com", false),
        ("http://localhost.example.com", false),
        ("https://edge.example.com?a=b", false),
        ("\"https://edge.example.com#a\"", false),
        ("https://user@edge.example.com", false),
        ("https://", false),
        ("/edge", false),
        ("ftp://edge.example.com", false),
        ("\" https://edge.example.com\"", false),
    ] {
        let loaded =
            load_text(&full.replace("issuer: http://localhost:8080", &format!("issuer: {issuer}")));
        assert_eq!(loaded.config.is_some(), accepted, "{issuer}: {}", report(&loaded));
    }
}

#[test]
fn what_is_loaded_is_what_was_written() {
    let text = std::fs::read_to_string(Path::new(FIXTURES).join("valid/full.yaml")).unwrap();
    let config = load_text(&text).config.unwrap();
    let rules: Vec<_> = config.listeners.iter().map(Listener::transport).collect();
    use crate::access::connection::{PlaintextPolicy, Transport};
    let plain = [PlaintextPolicy::BehindTls, PlaintextPolicy::Loopback, PlaintextPolicy::Redirect]
        .map(Transport::Plain);
    assert_eq!(rules, [Transport::Tls, plain[0], plain[1], plain[2]]);
    let hsts = config.listeners.iter().map(|listener| listener.hsts.as_ref());
    let hsts: Vec<_> = hsts.map(|field| field.map(|field| field.to_str().unwrap())).collect();
    let strict = "max-age=31536000; includeSubDomains; preload";
    assert_eq!(hsts, [Some(strict), None, None, None]);
    assert!(config.trusted_proxies.trusts([10, 1, 2, 3].into()));
    assert!(!config.trusted_proxies.trusts([10, 2, 0, 1].into()));
    assert_eq!(config.identity.headers().len(), 4);
    assert_eq!(config.tokens.endpoints.token.as_deref(), Some("/auth/token"));
    assert_eq!(config.tokens.endpoints.jwks, None);
    assert_eq!(config.tokens.endpoints.metadata.as_deref(), Some("/auth/metadata"));
    assert_eq!(config.tokens.lifetime.as_secs(), 900);
    assert_eq!(config.tokens.keys.iter().count(), 3);
    assert_eq!(&**config.tokens.keys.signing(NOW).id(), "2026-11");
    assert!(config.users.find("bob").unwrap().disabled);
    assert_eq!(config.routes.routes().len(), 11);
    let [idp, other] = &config.tokens.trusted_issuers[..] else { panic!("two issuers") };
    assert_eq!(
        (idp.policy.types.len(), idp.policy.subject_claim.as_str()),
        (3, "preferred_username")
    );
    assert_eq!(
        (&*idp.policy.scope_claims, idp.policy.leeway.as_secs()),
        (&["scp".to_owned()][..], 30)
    );
    let crate::issuers::KeySource::Url(plan) = &idp.source else { panic!("a URL") };
    let times = [plan.refresh, plan.max_stale, plan.timeout, plan.cool_down];
    assert_eq!(times.map(|time| time.as_secs()), [300, 43_200, 2, 60]);
    assert!(!plan.required && plan.authorities.is_some());
    assert_eq!((&*other.policy.scope_claims[1], other.policy.subject_prefix.as_str()), ("scp", ""));
    assert!(matches!(other.source, crate::issuers::KeySource::File(_)));
    let trusted = |id: &str| {
        let route = config.routes.routes().iter().find(|route| &*route.id == id).unwrap();
        let external = |accepted: &crate::issuers::TrustedIssuer| {
            route.trusted.includes(&accepted.policy.issuer)
        };
        (route.trusted.own(), external(idp), external(other))
    };
    assert_eq!(trusted("mine"), (true, false, false));
    assert_eq!(trusted("theirs"), (false, true, true));
    assert_eq!(trusted("both"), (true, true, false));
    let upstream = &config.routes.routes()[0].upstream;
    assert_eq!(upstream.servers.addresses().count(), 3);
    assert_eq!(upstream.allow.to_string(), "[semicolon, empty_segments, encoded_slash]");
    assert_eq!(upstream.timeouts.connect.as_millis(), 500);
    assert_eq!((upstream.timeouts.read, upstream.buffer_request), (None, None));
    assert_eq!(config.listeners[2].limits.body_rate, Some(1024));
    assert_eq!(upstream.timeouts.tunnel.unwrap().as_secs(), 7 * 86_400);
    let secure = config.routes.routes().iter().find(|route| &*route.id == "secure").unwrap();
    assert_eq!(secure.body_limit, Some(10 << 20));
    assert_eq!(&*secure.upstream.tls.as_ref().unwrap().server_name, "shop.internal");
    let personas: Vec<_> = config.tests.iter().map(|test| test.as_who.clone()).collect();
    let scope = crate::oauth::scope::Scope::parse("orders:read").unwrap();
    assert_eq!(
        personas,
        [
            Persona::User("alice".to_owned()),
            Persona::Scopes(scope),
            Persona::Anonymous,
            Persona::Anonymous
        ]
    );
    assert_eq!(config.tests[1].expect, Expectation::Status(403));
    let tls = config.listeners[0].tls.as_ref().unwrap();
    let files: Vec<_> = tls.expiries().map(|(file, _)| file).collect();
    assert_eq!(files, ["tls/edge.pem", "tls/shop.pem", "tls/ca.pem"]);
    assert_eq!(tls.also[0].hosts, ["shop.example.com", "*.shop.example.com"]);
    let batch = config.routes.routes().iter().find(|route| &*route.id == "batch").unwrap();
    let rule = batch.certificate.as_ref().unwrap().to_string();
    assert_eq!(rule, "dns:batch.example.com, cn:batch");
    let played = config.tests[3].certificate.as_ref().map(ToString::to_string);
    assert_eq!(played.as_deref(), Some("cn:batch"));
}

#[test]
fn a_section_that_was_refused_never_reads_as_its_weaker_default() {
    let full = std::fs::read_to_string(Path::new(FIXTURES).join("valid/full.yaml")).unwrap();
    for (good, bad) in [
        // Methods, host, scopes, auth, secret: each would open something when it counted as left out.
        ("methods: [GET]", "methods: GET"),
        ("host: \"*.example.com\"", "host: [a]"),
        ("scopes: [orders:read] }", "scopes: orders:read }"),
        ("auth: required", "auth: [required]"),
        ("secret_sha256: \"0011", "secret_sha256: 11, x: \""),
        ("until: 2026-12-01T00:00:00Z", "until: 2026"),
        ("types: [at+jwt, JWT, absent]", "types: at+jwt"),
        ("claims: { subject: preferred_username, scope: scp }", "claims: [sub]"),
        ("ca: tls/edge.pem", "ca: [tls/edge.pem]"),
        ("client_ca: tls/ca.pem", "client_ca: [tls/ca.pem]"),
        (
            "client_certificate: [\"dns:batch.example.com\", cn:batch]",
            "client_certificate: cn:batch",
        ),
        ("certificate: cn:batch", "certificate: [cn:batch]"),
        ("issuers: [self, https://idp.example.com/realms/main]", "issuers: self"),
    ] {
        assert!(full.contains(good), "{good}");
        let loaded = load_text(&full.replacen(good, bad, 1));
        assert!(loaded.config.is_none(), "{bad}");
    }
}
