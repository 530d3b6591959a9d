//! Real applications behind the edge: what they are made to believe by a client, over HTTP/1.1 and HTTP/2. Each has one secret
//! page, `/admin/secret`, and answers with everything that it read from the request.

use http::Request;
use portcullis::access::proxy_fields::NAMES;
use serde_json::{Value, json};

use crate::harness::applications::Application;
use crate::harness::{Edge, HOST, Response, Wire, edge};
use crate::identity_header::SPELLINGS;

const ROUTES: &str = "
  - { id: pub, path: /pub/**, upstream: real, auth: public }
  - { id: admin, path: /admin/**, upstream: real, scopes: [admin] }
  - { id: all, path: /**, upstream: real, auth: optional }
";

/// Three cookies in three fields, as Chrome sends them over HTTP/2.
const COOKIES: [(&str, &str); 3] =
    [("Cookie", "session=S1"), ("Cookie", "csrftoken=T2"), ("Cookie", "theme=dark")];

/// What would lead somebody who believes it from the public page to the secret one, or to another method or user.
const MISLEADING: [(&str, &str); 18] = [
    ("SCRIPT_NAME", "/pub"),
    ("script_name", "/pub"),
    ("Script-Name", "/pub"),
    ("PATH_INFO", "/admin/secret"),
    ("Path-Info", "/admin/secret"),
    ("X-Script-Name", "/pub"),
    ("X-Forwarded-Prefix", "/pub"),
    ("X-Original-URL", "/admin/secret"),
    ("X-Original-URI", "/admin/secret"),
    ("X-Rewrite-URL", "/admin/secret"),
    ("X_Rewrite_Url", "/admin/secret"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X_HTTP_Method_Override", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("Remote-User", "mallory"),
    ("REMOTE_USER", "mallory"),
    ("X-Forwarded-User", "mallory"),
    ("X-WEBAUTH-USER", "mallory"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// A request for the edge or for the application itself.
struct Asked<'a> {
    method: &'a str,
    target: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

impl<'a> Asked<'a> {
    fn new(method: &'a str, target: &'a str, fields: &[(&'a str, &'a str)]) -> Self {
        Self { method, target, fields: fields.to_vec(), body: "" }
    }

    fn with(mut self, body: &'a str) -> Self {
        self.body = body;
        self
    }

    fn bytes(&self) -> String {
        let Self { method, target, fields, body } = self;
        let fields = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let (fields, length) = (fields.collect::<String>(), body.len());
        let length = match *method {
            "GET" => String::new(),
            _ => format!("Content-Length: {length}\r\n"),
        };
        format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}{length}\r\n{body}")
    }
}

/// An application and the edge in front of it.
struct Trial {
    application: Application,
    edge: Edge,
    alice: String,
    bob: String,
}

impl Trial {
    async fn of(application: Application, more: &str) -> Self {
        let server = application.address;
        // A second upstream beside the usual one.
        let real = format!(" }}\n  real: {{ servers: ['{server}']{more}");
        let edge = edge().tls().routes(ROUTES).upstream_with(&real).start().await;
        let token = |changes| format!("Bearer {}", edge.mint.with(edge.now(), changes));
        let (alice, bob) =
            (token(json!({})), token(json!({ "sub": "bob", "scope": "notes:read" })));
        Self { application, edge, alice, bob }
    }

    async fn ask(&self, protocol: Protocol, asked: &Asked<'_>) -> Response {
        if protocol == Protocol::Http1 {
            return self.edge.wire_tls().await.ask(asked.bytes()).await;
        }
        let target = format!("https://{HOST}{}", asked.target);
        let mut request = Request::builder().method(asked.method).uri(target);
        for (name, value) in &asked.fields {
            request = request.header(*name, *value);
        }
        if asked.method != "GET" {
            request = request.header("content-length", asked.body.len());
        }
        let request = request.body(()).unwrap();
        self.edge.h2().await.ask(request, asked.body.as_bytes(), None).await.unwrap()
    }

    async fn read(&self, protocol: Protocol, asked: &Asked<'_>) -> Value {
        self.ask(protocol, asked).await.is(200).json()
    }

    /// What the application believes when nobody stands in front of it.
    async fn directly(&self, asked: &Asked<'_>) -> Value {
        Wire::connect(self.application.address).await.ask(asked.bytes()).await.is(200).json()
    }

    /// Everything that must hold of every application. `believed` shows that it would be misled without us: a field, and
    /// where and what the application then reads.
    async fn holds(&self, believed: ((&str, &str), &str, &str)) {
        let (field, pointer, value) = believed;
        let asked = Asked::new("POST", "/pub/admin/secret", &[field]);
        assert_eq!(self.directly(&asked).await.pointer(pointer), Some(&json!(value)), "{field:?}");
        for protocol in [Protocol::Http1, Protocol::Http2] {
            self.serves_who_may(protocol).await;
            self.is_not_misled(protocol).await;
            self.reads_what_was_sent(protocol).await;
        }
    }

    async fn serves_who_may(&self, protocol: Protocol) {
        fn secret<'a>(fields: &[(&'a str, &'a str)]) -> Asked<'a> {
            Asked::new("GET", "/admin/secret", fields)
        }
        let alice = [("Authorization", &*self.alice)];
        let read = self.read(protocol, &secret(&alice)).await;
        assert_eq!((&read["page"], &read["user"]), (&json!("secret"), &json!("alice")));
        assert_eq!(read["authorization"], json!(null));
        self.ask(protocol, &secret(&[("Authorization", &self.bob)])).await.is(403);
        self.ask(protocol, &secret(&[])).await.is(401);
        for name in SPELLINGS {
            let forged = [(name, "mallory")];
            let read = self.read(protocol, &Asked::new("GET", "/pub/a", &forged)).await;
            assert_eq!((&read["page"], &read["user"]), (&json!("other"), &json!(null)), "{name}");
            assert!(!read.to_string().contains("mallory"), "{name}: {read}");
            let forged = [alice[0], forged[0]];
            let read = self.read(protocol, &secret(&forged)).await;
            assert_eq!((&read["page"], &read["user"]), (&json!("secret"), &json!("alice")));
            assert!(!read.to_string().contains("mallory"), "{name}: {read}");
        }
    }

    async fn is_not_misled(&self, protocol: Protocol) {
        for field in MISLEADING {
            let asked = Asked::new("POST", "/pub/admin/secret", &[field]);
            let read = self.read(protocol, &asked).await;
            let expected = json!(["other", "POST", "/pub/admin/secret", "", null]);
            let seen = ["page", "method", "path", "root", "user"].map(|key| &read[key]);
            assert_eq!(json!(seen), expected, "{field:?} over {protocol:?}");
            assert!(!read.to_string().contains("mallory"), "{field:?}: {read}");
        }
        let names: Vec<String> = NAMES
            .iter()
            .flat_map(|(_, names)| names.iter().map(|name| name.replace('*', "a")))
            .flat_map(|name| [name.replace('-', "_"), name])
            .collect();
        for names in names.chunks(80) {
            let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "mallory")).collect();
            let read = self.read(protocol, &Asked::new("GET", "/pub/a", &fields)).await;
            assert!(!read.to_string().contains("mallory"), "{read}");
        }
    }

    async fn reads_what_was_sent(&self, protocol: Protocol) {
        let mut fields = COOKIES.to_vec();
        fields.extend([("Content-Type", "text/plain"), ("Authorization", "Basic YWxpY2U6cHc=")]);
        let read = self.read(protocol, &Asked::new("POST", "/pub/a", &fields).with("hello")).await;
        let cookies = json!({ "session": "S1", "csrftoken": "T2", "theme": "dark" });
        assert_eq!(read["cookies"], cookies, "{protocol:?}");
        assert_eq!((&read["body"], &read["authorization"]), (&json!("hello"), &json!(fields[4].1)));
        if protocol == Protocol::Http1 {
            fields.push(("Connection", "Content-Length, Host"));
            let asked = Asked::new("POST", "/pub/a", &fields).with("hello");
            assert_eq!(self.read(protocol, &asked).await["body"], json!("hello"));
        }
    }
}

// Part 4, items 2, 4, 5 and 6.
#[tokio::test]
async fn gunicorn_with_flask_is_not_misled() {
    let trial = Trial::of(Application::gunicorn().await, "").await;
    trial.holds((("SCRIPT_NAME", "/pub"), "/page", "secret")).await;
}

// Part 4, items 2, 4, 5 and 6.
#[tokio::test]
async fn werkzeug_is_not_misled() {
    let trial = Trial::of(Application::werkzeug().await, "").await;
    let believed = ("Remote-User", "mallory");
    trial.holds((believed, "/variables/HTTP_REMOTE_USER", "mallory")).await;
}

// Part 4, items 2, 4, 5 and 6.
#[tokio::test]
async fn php_is_not_misled() {
    let trial = Trial::of(Application::php().await, "").await;
    trial.holds((("X_User", "mallory"), "/user", "mallory")).await;
}

// Part 4, items 2, 4, 5 and 6.
#[tokio::test]
async fn express_is_not_misled() {
    let trial = Trial::of(Application::express().await, "").await;
    trial.holds((("X-HTTP-Method-Override", "DELETE"), "/method", "DELETE")).await;
    let fields = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Host", "evil.example")];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let read = trial.read(protocol, &Asked::new("GET", "/pub/a", &fields)).await;
        let seen = ["ip", "host", "protocol"].map(|key| &read["variables"][key]);
        assert_eq!(json!(seen), json!(["127.0.0.1", HOST, "https"]));
    }
}

// Part 4, item 15. It has one synchronous worker, which would read the body of the first until its end.
#[tokio::test]
async fn slow_bodies_do_not_keep_gunicorn_from_others() {
    let trial = Trial::of(Application::gunicorn().await, "").await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut wire = trial.edge.wire_tls().await;
        let ask = trial.edge.ask("POST", "/pub/slow").field("Content-Length: 10");
        wire.send([&ask.bytes()[..], b"first"].concat()).await;
        slow.push(wire);
    }
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let asked = Asked { body: "whole", ..Asked::new("POST", "/pub/quick", &[]) };
        assert_eq!(trial.read(protocol, &asked).await["body"], "whole");
    }
    for mut wire in slow {
        assert_eq!(wire.ask("other").await.is(200).json()["body"], "firstother");
    }
}

// Part 4, item 2: what an operator lets through arrives, and misleads.
#[tokio::test]
async fn gunicorn_believes_what_its_operator_lets_through() {
    let more = ", headers: { pass: [SCRIPT_NAME] }";
    let trial = Trial::of(Application::gunicorn().await, more).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let asked = Asked::new("GET", "/pub/a", &[("SCRIPT_NAME", "/pub")]);
        let read = trial.read(protocol, &asked).await;
        assert_eq!((&read["root"], &read["path"]), (&json!("/pub"), &json!("/a")));
    }
}

// Part 4, item 3.
#[tokio::test]
async fn express_serves_no_page_under_another_case_to_who_may_not_see_it() {
    let trial = Trial::of(Application::express().await, "").await;
    let other = |target, fields: &[(&'static str, &'static str)]| Asked::new("GET", target, fields);
    assert_eq!(trial.directly(&other("/Admin/secret", &[])).await["page"], json!("secret"));
    let alice = [("Authorization", &*trial.alice)];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for target in ["/Admin/secret", "/ADMIN/SECRET", "/aDMIN"] {
            trial.ask(protocol, &Asked::new("GET", target, &alice)).await.is(400);
            trial.ask(protocol, &other(target, &[])).await.is(400);
        }
        let read = trial.read(protocol, &other("/Wiki/Page", &[])).await;
        assert_eq!(read["path"], json!("/Wiki/Page"));
        let read = trial.read(protocol, &Asked::new("GET", "/admin/Secret", &alice)).await;
        assert_eq!(read["page"], json!("secret"));
    }
}

// Part 4, item 3.
#[tokio::test]
async fn express_that_is_said_to_fold_is_matched_folded() {
    let trial = Trial::of(Application::express().await, ", paths: { case: insensitive }").await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for target in ["/admin/secret", "/Admin/secret", "/ADMIN/SECRET"] {
            let read = trial
                .read(protocol, &Asked::new("GET", target, &[("Authorization", &trial.alice)]))
                .await;
            assert_eq!(read["page"], json!("secret"), "{target}");
            trial
                .ask(protocol, &Asked::new("GET", target, &[("Authorization", &trial.bob)]))
                .await
                .is(403);
            trial.ask(protocol, &Asked::new("GET", target, &[])).await.is(401);
        }
    }
}

// Part 4, item 3.
#[tokio::test]
async fn flask_that_is_said_to_be_exact_is_served_every_case() {
    let trial = Trial::of(Application::werkzeug().await, ", paths: { case: sensitive }").await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let read = trial.read(protocol, &Asked::new("GET", "/Admin/secret", &[])).await;
        assert_eq!(read["page"], json!("other"));
    }
}
