//! The decision as a whole: from a file's text to what happens to a request.

mod certificate;
mod reload;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::access::connection::{PlaintextPolicy, Transport};
use crate::clock::ManualClock;
use crate::config::{self, SourceFile, Sources};
use crate::gateway::decide::{Decision, RequestHead};
use crate::gateway::live::Live;
use crate::keys::{Algorithm, generate};
use crate::random::OsRandom;

/// Files that a test can change under a running gateway.
#[derive(Debug, Clone)]
struct Files(Arc<Mutex<HashMap<PathBuf, Vec<u8>>>>);

impl Files {
    fn write(&self, name: &str, text: &str) {
        self.0.lock().insert(PathBuf::from(name), text.as_bytes().to_vec());
    }
}

impl Sources for Files {
    fn read(&self, path: &Path) -> io::Result<SourceFile> {
        let bytes = self.0.lock().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(SourceFile { bytes, mode: Some(0o600), exposure: None })
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn now(&self) -> Timestamp {
        NOW
    }
}

use std::net::SocketAddr;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

const USERS: &str = r#"
users:
  - { name: alice, password: "HASH", scopes: [read, admin] }
  - { name: bob, password: "HASH", scopes: [read] }
  - { name: gone, password: "HASH", scopes: [read], disabled: true }
"#;
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn text(allow: &str, routes: &str) -> String {
    format!(
        r"
listeners: [{{ address: 127.0.0.1:0 }}]
scopes: {{ read: Read, admin: Everything }}
tokens:
  issuer: https://edge.example.com
  audience: legacy
  hosts: [edge.example.com]
  keys: [{{ id: one, algorithm: HS256, file: key, use: sign }}]
users: {{ file: users.yaml }}
clients: [{{ id: web, default: true, grants: [password], scopes: [read, admin] }}]
upstreams:
  app: {{ servers: ['127.0.0.1:1'], paths: {{ allow: [{allow}] }} }}
routes:
{routes}
"
    )
}

const ROUTES: &str = r"
  - { id: home, path: /, upstream: app, auth: optional }
  - { id: public, path: /public/**, upstream: app, auth: public }
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
  - { id: open, path: '/admin/{x}/open', methods: [GET], upstream: app, auth: public }
  - { id: a, path: /a, upstream: app }
  - { id: a-b, path: /a/b/**, upstream: app, scopes: [read] }
";

fn files(text: &str) -> Files {
    let files = Files(Arc::default());
    files.write("portcullis.yaml", text);
    files.write("users.yaml", &USERS.replace("HASH", HASH));
    let key = generate(Algorithm::Hs256, &OsRandom).unwrap().expose().to_vec();
    files.0.lock().insert(PathBuf::from("key"), key);
    files
}

fn read(files: &Files) -> Config {
    let loaded = config::load(Path::new("portcullis.yaml"), files);
    let problems: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    loaded.config.unwrap_or_else(|| panic!("{problems:#?}"))
}

fn shared() -> Arc<Shared> {
    let clock = Arc::new(ManualClock::new(NOW));
    Arc::new(Shared::start(clock, Arc::new(OsRandom), 1, Box::new(io::sink())).unwrap())
}

fn gateway(text: &str) -> Gateway {
    Gateway::build(read(&files(text)), shared(), 0)
}

fn token(gateway: &Gateway, user: &str, scope: &str) -> String {
    let known = gateway.principals.users.get(user);
    let content = Content {
        subject: &Subject::parse(user).unwrap(),
        client_id: &ClientId::parse("web").unwrap(),
        scope: &Scope::parse(scope).unwrap(),
        family: None,
        credential: known.map(|known| &*known.credential),
        began: None,
    };
    gateway.issuer.issue(&content, NOW, &OsRandom).unwrap().token
}

use crate::oauth::scope::Scope;
use crate::token::Content;

struct Ask<'a> {
    gateway: &'a Gateway,
    method: Method,
    headers: HeaderMap,
    connection: Connection,
    now: Timestamp,
}

impl<'a> Ask<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("edge.example.com"));
        let connection = Connection {
            peer: "203.0.113.9:1".parse().unwrap(),
            transport: Transport::Tls,
            certificate: None,
        };
        Self { gateway, method: Method::GET, headers, connection, now: NOW }
    }

    fn bearer(mut self, token: &str) -> Self {
        self.headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    fn decide(&self, target: &[u8]) -> Decision {
        let head = RequestHead {
            method: &self.method,
            target,
            authority: None,
            headers: &self.headers,
            connection: &self.connection,
            request_id: "id",
        };
        self.gateway.decide(&head, self.now)
    }

    /// `route`, `route as subject`, `endpoint`, or `status reason`.
    fn outcome(&self, target: &str) -> String {
        match self.decide(target.as_bytes()) {
            Decision::Serve(endpoint) => format!("{endpoint:?}"),
            Decision::Refuse(denial) => {
                format!("{} {}", denial.answer().status.as_u16(), denial.reason())
            }
            Decision::Forward(permit) => match permit.subject() {
                Some(subject) => format!("{} as {subject}", permit.route_id()),
                None => permit.route_id().to_string(),
            },
        }
    }
}

#[test]
fn the_walk_from_path_to_scope() {
    let gateway = gateway(&text("", ROUTES));
    let admin = token(&gateway, "alice", "admin");
    let reader = token(&gateway, "bob", "read");
    for (target, nobody, bob, alice) in [
        ("/", "home", "home as bob", "home as alice"),
        ("/public/x", "public", "public", "public"),
        ("/admin", "401 no_token", "403 missing_scope", "admin as alice"),
        ("/admin/7/open", "open", "open", "open"),
        ("/a/", "401 no_token", "a as bob", "a as alice"),
        ("/a/b/c", "401 no_token", "a-b as bob", "403 missing_scope"),
        ("/adminx", "404 no_route", "404 no_route", "404 no_route"),
        ("/public/../admin", "400 bad_path", "400 bad_path", "400 bad_path"),
    ] {
        assert_eq!(Ask::new(&gateway).outcome(target), nobody, "{target}");
        assert_eq!(Ask::new(&gateway).bearer(&reader).outcome(target), bob, "{target}");
        assert_eq!(Ask::new(&gateway).bearer(&admin).outcome(target), alice, "{target}");
    }
}

#[test]
fn c9_c12_a_method_that_the_winner_does_not_cover_is_405() {
    let gateway = gateway(&text("", ROUTES));
    let admin = token(&gateway, "alice", "admin");
    for method in ["POST", "DELETE", "TRACE", "CONNECT", "get", "FOO"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let ask = Ask { method, ..Ask::new(&gateway).bearer(&admin) };
        assert_eq!(ask.outcome("/admin/7/open"), "405 method_not_allowed");
    }
    let ask = Ask { method: Method::HEAD, ..Ask::new(&gateway) };
    assert_eq!(ask.outcome("/admin/7/open"), "open");
}

#[test]
fn b22_a_token_is_worth_no_more_than_its_user_may_have_now() {
    let gateway = gateway(&text("", ROUTES));
    // The signature is ours and the claim says admin; bob may only read.
    assert_eq!(
        Ask::new(&gateway).bearer(&token(&gateway, "bob", "admin read")).outcome("/admin"),
        "403 missing_scope"
    );
    for (user, reason) in [
        ("gone", "401 user_disabled"),
        ("nobody", "401 user_disabled"),
        ("client:x", "401 user_disabled"),
    ] {
        assert_eq!(Ask::new(&gateway).bearer(&token(&gateway, user, "read")).outcome("/a"), reason);
    }
    assert_eq!(
        Ask::new(&gateway).bearer(&token(&gateway, "bob", "read")).outcome("/a"),
        "a as bob"
    );
}

#[test]
fn a_remembered_token_is_judged_anew_on_every_request() {
    let gateway = gateway(&text("", ROUTES));
    let ask = Ask::new(&gateway).bearer(&token(&gateway, "bob", "read"));
    for cached in [false, true] {
        let Decision::Forward(permit) = ask.decide(b"/a") else { panic!("refused") };
        assert_eq!(permit.cached(), Some(cached));
        gateway.remember(&permit, NOW);
    }
    assert_eq!(ask.outcome("/admin"), "403 missing_scope", "scopes");
    let later = Ask { now: NOW.plus(Duration::from_secs(86_400)), ..ask };
    assert_eq!(later.outcome("/a"), "401 expired", "time");
    let token = later.headers[AUTHORIZATION].clone();
    let mut gone = gateway.clone();
    gone.principals =
        Arc::new(Principals { users: HashMap::new(), clients: gateway.principals.clients.clone() });
    let mut ask = Ask::new(&gone);
    ask.headers.insert(AUTHORIZATION, token.clone());
    assert_eq!(ask.outcome("/a"), "401 user_disabled", "the user's state");
    gone.principals =
        Arc::new(Principals { clients: HashMap::new(), ..(*gateway.principals).clone() });
    let mut ask = Ask::new(&gone);
    ask.headers.insert(AUTHORIZATION, token.clone());
    assert_eq!(ask.outcome("/a"), "401 revoked", "the client");
    let mut newer = gateway.clone();
    newer.generation += 1;
    let mut ask = Ask::new(&newer);
    ask.headers.insert(AUTHORIZATION, token);
    let Decision::Forward(permit) = ask.decide(b"/a") else { panic!("refused") };
    assert_eq!(permit.cached(), Some(false), "another snapshot verifies for itself");
}

#[test]
fn what_is_offered_and_does_not_hold_is_never_anonymous() {
    let gateway = gateway(&text("", ROUTES));
    for (value, outcome) in [
        ("Bearer x.y.z", "401 malformed_token"),
        ("Bearer", "400 malformed_token"),
        ("Bearer a b", "400 malformed_token"),
        ("Basic YTpi", "401 no_token"),
    ] {
        for target in ["/", "/a"] {
            assert_eq!(
                Ask::new(&gateway).header("authorization", value).outcome(target),
                outcome,
                "{value} {target}"
            );
        }
        assert_eq!(
            Ask::new(&gateway).header("authorization", value).outcome("/public"),
            "public",
            "ignored there"
        );
    }
    let good = token(&gateway, "bob", "read");
    let twice = Ask::new(&gateway).bearer(&good).header("authorization", &format!("Bearer {good}"));
    assert_eq!(twice.outcome("/"), "400 malformed_token");
}

#[test]
fn a30_near_misses_of_our_endpoints_are_nothing_on_our_hosts() {
    let routes = format!("{ROUTES}\n  - {{ id: all, path: /**, upstream: app, auth: public }}");
    let gateway = gateway(&text("semicolon, empty_segments, encoded_slash", &routes));
    assert_eq!(Ask::new(&gateway).outcome("/token"), "Token");
    assert_eq!(Ask::new(&gateway).outcome("/token?x"), "Token");
    assert_eq!(Ask::new(&gateway).outcome("/.well-known/jwks.json"), "Jwks");
    for near in [
        "/token/",
        "/Token",
        "//token",
        "/%74oken",
        "/TOKEN//",
        "/tok%65n",
        "/token%2f",
        "/.well-known/JWKS.json",
    ] {
        assert_eq!(Ask::new(&gateway).outcome(near), "404 no_route", "{near}");
    }
    for hidden in ["/token;x", "/./token", "/x/../token", "/;a/token"] {
        assert_eq!(Ask::new(&gateway).outcome(hidden), "400 bad_path", "{hidden}");
    }
    for other in ["/tokens", "/token/x", "/x/token"] {
        assert_eq!(Ask::new(&gateway).outcome(other), "all", "{other}");
    }
    let mut elsewhere = Ask::new(&gateway);
    elsewhere.headers.insert(HOST, HeaderValue::from_static("shop.example.com"));
    assert_eq!(elsewhere.outcome("/token"), "all", "another host's own path");
}

#[test]
fn credentials_are_taken_over_plain_http_only_where_somebody_vouches_for_it() {
    let mut text = text("", ROUTES);
    text.push_str("trusted_proxies: [10.0.0.0/8]\n");
    let gateway = gateway(&text);
    for (rule, peer, proto, expected) in [
        (PlaintextPolicy::Loopback, "203.0.113.9:1", None, "Token"),
        (PlaintextPolicy::Insecure, "203.0.113.9:1", None, "Token"),
        (PlaintextPolicy::Refused, "203.0.113.9:1", None, "403 plaintext_refused"),
        (PlaintextPolicy::Refused, "10.0.0.1:1", Some("https"), "403 plaintext_refused"),
        (PlaintextPolicy::BehindTls, "10.0.0.1:1", Some("https"), "Token"),
        (PlaintextPolicy::BehindTls, "10.0.0.1:1", Some("http"), "403 plaintext_refused"),
        (PlaintextPolicy::BehindTls, "10.0.0.1:1", None, "403 plaintext_refused"),
        (PlaintextPolicy::BehindTls, "203.0.113.9:1", Some("https"), "403 plaintext_refused"),
    ] {
        let connection = Connection {
            peer: peer.parse().unwrap(),
            transport: Transport::Plain(rule),
            certificate: None,
        };
        let mut ask = Ask { connection, ..Ask::new(&gateway) };
        if let Some(proto) = proto {
            ask = ask.header("x-forwarded-proto", proto);
        }
        assert_eq!(ask.outcome("/token"), expected, "{rule:?} {peer} {proto:?}");
        assert_eq!(ask.outcome("/.well-known/jwks.json"), "Jwks");
    }
}

mod redirects;

#[test]
fn g1_the_upstream_sees_our_identity_and_no_other() {
    let gateway = gateway(&text("", ROUTES));
    let forged = |ask: Ask<'_>, target: &[u8]| {
        let ask = ask
            .header("x-user", "mallory")
            .header("x_user", "mallory")
            .header("x-forwarded-for", "9.9.9.9");
        let Decision::Forward(permit) = ask.decide(target) else { panic!("refused") };
        let mut headers = ask.headers.clone();
        permit.edits().apply(&mut headers);
        assert!(!headers.contains_key("x_user") && !headers.contains_key(AUTHORIZATION));
        assert_eq!(headers["x-forwarded-for"], "203.0.113.9");
        headers.get_all("x-user").iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(forged(Ask::new(&gateway).bearer(&token(&gateway, "bob", "read")), b"/a"), ["bob"]);
    assert_eq!(forged(Ask::new(&gateway), b"/public"), Vec::<String>::new());
    assert_eq!(forged(Ask::new(&gateway), b"/"), Vec::<String>::new());
}

#[test]
fn h1_the_path_that_is_matched_is_the_path_that_is_forwarded() {
    let gateway = gateway(&text("", ROUTES));
    for (target, forwarded) in [
        ("/%70ublic/a%2db?q=/../x", "/public/a-b?q=/../x"),
        ("/public/", "/public/"),
        ("/public?", "/public?"),
        ("http://edge.example.com/public/%c3%a9", "/public/%C3%A9"),
    ] {
        let Decision::Forward(permit) = Ask::new(&gateway).decide(target.as_bytes()) else {
            panic!("{target}")
        };
        assert_eq!(permit.target(), forwarded.as_bytes());
        assert_eq!(permit.host(), "edge.example.com");
    }
}

/// One step that some upstream undoes: each turns a path into another spelling of the same resource.
fn respell(path: &str, step: u8, at: usize) -> String {
    let slash = path.match_indices('/').map(|(i, _)| i).cycle().nth(at % path.len()).unwrap();
    let (before, after) = path.split_at(slash);
    let below = after.strip_prefix('/').unwrap();
    let byte = at % path.len();
    match step {
        0 => format!("{before}/{after}"),
        1 => format!("{before}/.{after}"),
        2 => format!("{before}/x/..{after}"),
        3 if slash > 0 => format!("{before};v=1{after}"),
        4 if slash > 0 => format!("{before}%2F{below}"),
        5 if slash > 0 => format!("{before}\\{below}"),
        6 if byte > 0 => {
            let (head, tail) = path.split_at(byte);
            let (escaped, rest) = tail.split_at(1);
            format!("{head}%{:02x}{rest}", escaped.as_bytes()[0])
        }
        7 => path.replace('%', "%25"),
        8 => format!("{path}/"),
        9 => format!("{before}/%2e%2E/..;{after}"),
        10 => format!("{path}%00"),
        11 => format!("{path}."),
        12 => path.replace("%2f", "%2F").replace('/', "//"),
        _ => format!("{path};a=b"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Promise 3: for any two byte strings that an upstream may read as one path, one answer, or 400.
    #[test]
    fn one_path_has_one_answer_or_none(
        allow in 0_usize..8,
        segments in prop::collection::vec(prop::sample::select(vec!["public", "admin", "a", "b", "open", "x"]), 0..4),
        steps in prop::collection::vec((0_u8..14, 0_usize..64), 1..5),
    ) {
        thread_local! {
            static GATEWAYS: Vec<Gateway> = (0..8).map(|bits| {
                let names = ["semicolon", "empty_segments", "encoded_slash"];
                let allowed: Vec<_> = names.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, n)| *n).collect();
                gateway(&text(&allowed.join(", "), ROUTES))
            }).collect();
        }
        GATEWAYS.with(|gateways| {
            let gateway = &gateways[allow];
            let path = format!("/{}", segments.join("/"));
            let plain = Ask::new(gateway).outcome(&path);
            let other = steps.iter().fold(path.clone(), |path, (step, at)| respell(&path, *step, *at));
            let outcome = Ask::new(gateway).outcome(&other);
            prop_assert!(outcome == plain || outcome == "400 bad_path", "{path} is {plain}, {other} is {outcome}");
            Ok(())
        })?;
    }
}
