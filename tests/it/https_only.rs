//! The way from http to https: a listener that only redirects.

use super::harness::{Edge, edge};

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
