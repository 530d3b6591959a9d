//! The way from http to https: a listener that only redirects, and what TLS listeners tell browsers.

use http::Request;

use super::harness::{Behaviour, Edge, HOST, edge};

async fn redirecting() -> Edge {
    let builder = edge().listener("{ address: '127.0.0.1:0', redirect_to_https: true }");
    builder.tokens_with("hosts: [edge.example.com]").start().await
}

#[tokio::test]
async fn everybody_is_sent_to_the_configured_host_and_nothing_is_forwarded() {
    let edge = redirecting().await;
    let mut wire = edge.wire().await;
    for method in ["GET", "HEAD"] {
        for target in ["/public/a?b=c", "/token", "/", "/nowhere", "/.well-known/jwks.json"] {
            let asked = edge.ask(method, target);
            let asked = asked.only(&["Host: EDGE.example.com:8080", "Authorization: Bearer x"]);
            let answer = wire.ask(asked.bytes()).await;
            assert_eq!(answer.status, 308, "{method} {target}");
            assert_eq!(answer.values("location"), [format!("https://edge.example.com{target}")]);
            assert_eq!(answer.values("cache-control"), ["no-store"]);
        }
    }
    assert!(edge.upstream.seen().is_empty());
}

#[tokio::test]
async fn what_cannot_be_redirected_is_refused() {
    let edge = redirecting().await;
    let form = "grant_type=password&username=alice&password=x";
    let answer = edge.token(form).await;
    assert_eq!(answer.is(403).json()["error"], "https_required");
    assert!(answer.values("location").is_empty());
    for (fields, status) in [
        (&["Host: evil.example"][..], 404),
        (&["Host: edge.example.com@evil.example"], 400),
        (&["Host: edge.example.com", "Host: evil.example"], 400),
        (&["Host: evil.example", "X-Forwarded-Host: edge.example.com"], 404),
        (&["Host: evil.example", "X-Forwarded-Proto: https"], 404),
    ] {
        let answer = edge.get("/public").only(fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
        assert!(answer.values("location").is_empty());
    }
    for target in ["//evil.example/", "/public/../x", "/public;a", "http://edge.example.com/public"]
    {
        let answer = edge.get(target).await;
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.values("location").is_empty());
    }
    let asked = edge.get("/public").field("Connection: Upgrade").field("Upgrade: websocket");
    asked.field("X-Forwarded-Proto: https").await.is(308);
    assert!(edge.upstream.seen().is_empty());
}

const HSTS: &str = "strict-transport-security";

/// A TLS listener that says so to browsers.
const STRICT: &str = "{ address: '127.0.0.1:0', tls: { certificate: edge.pem, private_key: edge.key, \
                      hsts: { max_age: 365d, include_subdomains: true } } }";
/// An application that knows better.
const OTHERWISE: Behaviour = Behaviour::Says(
    b"HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=0\r\nStrict-Transport-Security: x\r\nContent-Length: 0\r\n\r\n",
);

#[tokio::test]
async fn a_strict_listener_says_so_in_every_answer_and_once() {
    let edge = edge().listener(STRICT).upstream(OTHERWISE).start().await;
    let expected = ["max-age=31536000; includeSubDomains"];
    let forwarded = [("/public", 200)];
    let ours = [
        ("/admin", 401),
        ("/nowhere", 404),
        ("/.well-known/jwks.json", 200),
        ("/token", 405),
        ("/a/../b", 400),
    ];
    for (path, status) in forwarded.into_iter().chain(ours) {
        let answer = edge.wire_tls().await.ask(edge.get(path).bytes()).await;
        assert_eq!((answer.status, answer.values(HSTS)), (status, expected.to_vec()), "{path}");
        if status != 400 {
            let asked = Request::get(format!("https://{HOST}{path}")).body(()).unwrap();
            let answer = edge.h2().await.ask(asked, b"", None).await.unwrap();
            assert_eq!((answer.status, answer.values(HSTS)), (status, expected.to_vec()), "{path}");
        }
    }
    // What is refused before any decision.
    let malformed = edge.get("/public").only(&["Accept: a"]);
    let answer = edge.wire_tls().await.ask(malformed.bytes()).await;
    assert_eq!((answer.status, answer.values(HSTS)), (400, expected.to_vec()));
}

#[tokio::test]
async fn a_failure_behind_a_strict_listener_says_so_too() {
    let edge = edge().listener(STRICT).start().await;
    edge.upstream.stop().await;
    let answer = edge.wire_tls().await.ask(edge.get("/public").bytes()).await;
    let said = answer.is(502).values(HSTS);
    assert_eq!(said, ["max-age=31536000; includeSubDomains"]);
}

#[tokio::test]
async fn other_listeners_add_nothing() {
    for edge in [edge().start().await, redirecting().await] {
        for path in ["/public", "/admin", "/.well-known/jwks.json"] {
            assert!(edge.get(path).await.values(HSTS).is_empty());
        }
    }
    let edge = edge().tls().upstream(OTHERWISE).start().await;
    let answer = edge.wire_tls().await.ask(edge.get("/public").bytes()).await;
    assert_eq!(answer.values(HSTS), ["max-age=0", "x"], "the application's own word passes");
    let answer = edge.wire_tls().await.ask(edge.get("/admin").bytes()).await;
    assert!(answer.values(HSTS).is_empty());
}
