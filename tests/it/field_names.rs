//! Which names of a client's fields reach an application: those that every application reads alike, and that not only a proxy
//! may set. Judged by the bytes that the application was sent, on every kind of route and over both protocols.

use http::Request;
use portcullis::access::proxy_fields::NAMES;

use crate::harness::frames::Field;
use crate::harness::gateway::EdgeBuilder;
use crate::harness::upstream::Seen;
use crate::harness::{Edge, HOST, edge};

/// Names with a byte that CGI, WSGI or PHP turn into another. The first was seen to move a request below a public path to
/// another one in gunicorn.
const ODD: [&str; 14] = [
    "SCRIPT_NAME",
    "script_name",
    "PATH_INFO",
    "Transfer_Encoding",
    "Content_Length",
    "CONTENT.TYPE",
    "X_Original_URL",
    "REMOTE_USER",
    "X_Forwarded_For",
    "Authorization_",
    "x.trace.id",
    "X~A",
    "a|b",
    "$Version",
];

/// Fields that clients have reason to send.
const HONEST: [(&str, &str); 24] = [
    ("Accept", "text/html"),
    ("Accept-Language", "de"),
    ("Accept-Encoding", "br"),
    ("Cache-Control", "no-cache"),
    ("Content-Type", "application/json"),
    ("Content-Encoding", "identity"),
    ("Cookie", "a=1; b=2"),
    ("Depth", "1"),
    ("Destination", "https://edge.example.com/b"),
    ("DNT", "1"),
    ("If-None-Match", "\"a\""),
    ("Origin", "https://edge.example.com"),
    ("Range", "bytes=0-1"),
    ("Referer", "https://edge.example.com/"),
    ("Sec-CH-UA-Mobile", "?0"),
    ("Sec-Fetch-Site", "same-origin"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("Upgrade-Insecure-Requests", "1"),
    ("User-Agent", "curl/8"),
    ("X-Auth-Token", "t"),
    ("X-Correlation-Id", "c"),
    ("X-CSRF-Token", "x"),
    ("X-Requested-With", "XMLHttpRequest"),
    ("x-user-agent", "grpc-web/1"),
];

/// Every kind of route: its target, and whether alice's token goes with the request.
const ROUTES: [(&str, bool); 4] = [("/public", false), ("/", false), ("/admin", true), ("/", true)];

/// Every name in the built-in list; of those that stand for others, one of them.
fn listed() -> Vec<String> {
    let names = NAMES.iter().flat_map(|(_, names)| names.iter());
    names.map(|name| name.replace('*', if name.ends_with("-*") { "a" } else { "" })).collect()
}

/// Asks with these fields on every kind of route, each of them served, and shows what the application saw.
async fn served_everywhere(edge: &Edge, fields: &[(String, &str)]) -> Vec<Seen> {
    let token = edge.login("alice", "admin").await;
    let mut seen = Vec::new();
    for (target, bearer) in ROUTES {
        let send = |name: &String, value: &str| format!("{name}: {value}");
        let mut asked = edge.get(target);
        for (name, value) in fields {
            asked = asked.field(&send(name, value));
        }
        if bearer {
            asked = asked.bearer(&token);
        }
        asked.await.is(200);
        seen.push(edge.upstream.last());
        assert_eq!(seen.last().unwrap().values("x-user").len(), usize::from(bearer), "{target}");
    }
    seen
}

/// The same over HTTP/2, where names are in lower case.
async fn served_everywhere_h2(edge: &Edge, fields: &[(String, &str)]) -> Vec<Seen> {
    let token = format!("Bearer {}", edge.mint.with(edge.now(), serde_json::json!({})));
    let mut seen = Vec::new();
    for (target, bearer) in ROUTES {
        let names: Vec<String> = fields.iter().map(|(name, _)| name.to_lowercase()).collect();
        let values = fields.iter().map(|(_, value)| value.as_bytes());
        let mut head = crate::harness::frames::request("GET", target).to_vec();
        head.extend(names.iter().map(String::as_bytes).zip(values));
        let credential: Field<'_> = (b"authorization", token.as_bytes());
        head.extend(bearer.then_some(credential));
        let mut client = edge.frames().await;
        let outcome = client.ask(&head, None).await;
        assert_eq!(outcome, crate::harness::frames::Outcome::Answered(200), "{target} {fields:?}");
        seen.push(edge.upstream.last());
    }
    seen
}

fn mallory(names: impl IntoIterator<Item = impl Into<String>>) -> Vec<(String, &'static str)> {
    names.into_iter().map(|name| (name.into(), "mallory")).collect()
}

// Part 4, item 2.
#[tokio::test]
async fn a_name_that_applications_read_as_another_does_not_arrive() {
    let edge = edge().start().await;
    for seen in served_everywhere(&edge, &mallory(ODD)).await {
        assert!(!seen.head.contains("mallory"), "{}", seen.head);
    }
    let edge = self::edge().tls().start().await;
    for seen in served_everywhere_h2(&edge, &mallory(ODD)).await {
        assert!(!seen.head.contains("mallory"), "{}", seen.head);
    }
}

// Part 4, item 2.
#[tokio::test]
async fn what_only_a_proxy_may_set_does_not_arrive() {
    let names = listed();
    assert!(names.len() > 150, "{}", names.len());
    let (plain, encrypted) = (edge().start().await, edge().tls().start().await);
    for names in names.chunks(60) {
        let seen = served_everywhere(&plain, &mallory(names)).await;
        let seen_h2 = served_everywhere_h2(&encrypted, &mallory(names)).await;
        for seen in [seen, seen_h2].concat() {
            assert!(!seen.head.contains("mallory"), "{}", seen.head);
        }
    }
}

// Part 4, item 2.
#[tokio::test]
async fn what_clients_have_reason_to_send_arrives_and_so_does_what_we_set() {
    let fields: Vec<(String, &str)> = HONEST.map(|(name, value)| (name.to_owned(), value)).into();
    let (plain, encrypted) = (edge().start().await, edge().tls().start().await);
    let seen = served_everywhere(&plain, &fields).await;
    let seen_h2 = served_everywhere_h2(&encrypted, &fields).await;
    for (seen, scheme) in
        seen.iter().map(|seen| (seen, "http")).chain(seen_h2.iter().map(|seen| (seen, "https")))
    {
        for (name, value) in HONEST {
            assert_eq!(seen.values(name), [value], "{name} in {}", seen.head);
        }
        assert_eq!(seen.values("host"), [HOST]);
        assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen.values("x-forwarded-host"), [HOST]);
        assert_eq!(seen.values("x-forwarded-proto"), [scheme]);
        assert_eq!(seen.values("x-request-id").len(), 1);
    }
}

// Part 4, item 2.
#[tokio::test]
async fn an_upstream_is_sent_what_it_lets_pass_by_name_and_nothing_like_it() {
    let passing = ", headers: { pass: [X-Original-Host, SCRIPT_NAME, x.trace] }";
    let let_through = |edge: EdgeBuilder| edge.upstream_with(passing);
    let passed = ["X-ORIGINAL-HOST", "script_name", "X.Trace"];
    let others = ["X_Original_Host", "Script-Name", "SCRIPT.NAME", "X_Trace", "X-Original-URL"];
    let fields: Vec<(String, &str)> =
        passed.map(|name| (name.to_owned(), "passed")).into_iter().chain(mallory(others)).collect();
    let plain = let_through(edge()).start().await;
    let encrypted = let_through(edge().tls()).start().await;
    let seen = served_everywhere(&plain, &fields).await;
    let seen_h2 = served_everywhere_h2(&encrypted, &fields).await;
    for seen in [seen, seen_h2].concat() {
        for name in passed {
            assert_eq!(seen.values(name), ["passed"], "{name} in {}", seen.head);
        }
        assert!(!seen.head.contains("mallory"), "{}", seen.head);
    }
    // The others are as closed as ever.
    let closed = edge().start().await;
    for seen in served_everywhere(&closed, &fields).await {
        assert!(!seen.head.contains("passed"), "{}", seen.head);
    }
}

// Part 4, item 2.
#[tokio::test]
async fn an_upgrade_obeys_the_same_rule() {
    let edge = edge().upstream(crate::harness::Behaviour::Tunnels).start().await;
    let asked = edge
        .get("/public")
        .field("Connection: Upgrade")
        .field("Upgrade: websocket")
        .field("Sec-WebSocket-Version: 13")
        .field("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
        .field("SCRIPT_NAME: mallory")
        .field("X-Original-URL: mallory");
    asked.await.is(101);
    let seen = edge.upstream.last();
    assert!(!seen.head.contains("mallory"), "{}", seen.head);
    assert_eq!(seen.values("sec-websocket-version"), ["13"]);
}

// Part 4, item 2.
#[tokio::test]
async fn an_http2_client_that_is_a_library_sees_the_same() {
    let edge = edge().tls().start().await;
    let mut h2 = edge.h2().await;
    let request = Request::get(format!("https://{HOST}/public"))
        .header("script_name", "/mallory")
        .header("x-original-uri", "/mallory")
        .header("x-honest", "yes")
        .body(())
        .unwrap();
    h2.ask(request, b"", None).await.unwrap().is(200);
    let seen = edge.upstream.last();
    assert!(!seen.head.contains("mallory"), "{}", seen.head);
    assert_eq!(seen.values("x-honest"), ["yes"]);
}
