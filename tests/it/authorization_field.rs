//! Which applications are sent `Authorization`: on public routes what is no bearer token, and bearer tokens where the route, or
//! else the whole configuration, says so.

use http::Request;

use crate::harness::{Behaviour, Edge, HOST, edge};

const ROUTES: &str = "
  - { id: public, path: /public/**, upstream: app, auth: public }
  - { id: public-on, path: /public-on/**, upstream: app, auth: public, forward_authorization: true }
  - { id: public-off, path: /public-off/**, upstream: app, auth: public, forward_authorization: false }
  - { id: optional, path: /optional/**, upstream: app, auth: optional }
  - { id: optional-on, path: /optional-on/**, upstream: app, auth: optional, forward_authorization: true }
  - { id: optional-off, path: /optional-off/**, upstream: app, auth: optional, forward_authorization: false }
  - { id: required, path: /required/**, upstream: app }
  - { id: required-on, path: /required-on/**, upstream: app, forward_authorization: true }
  - { id: required-off, path: /required-off/**, upstream: app, forward_authorization: false }
";

/// Credentials of an application's own.
const FOREIGN: [&str; 7] = [
    "Basic YWxpY2U6cHc=",
    "basic YWxpY2U6cHc=",
    "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"/public\", response=\"0\"",
    "Negotiate YIIB",
    "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c",
    "Token abc",
    "a/b+c==",
];

/// Whatever anybody might read as a bearer token.
const BEARER: [&str; 9] = [
    "Bearer abc",
    "bearer abc",
    "BEARER abc",
    "Bearer",
    "Bearer  ",
    "Bearer\tabc",
    "Bearer a, b",
    "Basic YTpi, Bearer abc",
    ", bEARER abc",
];

async fn seen(edge: &Edge, target: &str, fields: &[&str]) -> Vec<String> {
    let asked = edge.get(target);
    let asked =
        fields.iter().fold(asked, |asked, value| asked.field(&format!("Authorization: {value}")));
    asked.await.is(200);
    edge.upstream.last().values("authorization").iter().map(|&value| value.to_owned()).collect()
}

// Part 4, item 6.
#[tokio::test]
async fn an_application_with_a_login_of_its_own_is_reached_on_public_routes() {
    let edge = edge().routes(ROUTES).start().await;
    let own = edge.login("alice", "admin").await;
    for target in ["/public", "/public-off"] {
        for credential in FOREIGN {
            assert_eq!(seen(&edge, target, &[credential]).await, [credential], "{target}");
        }
        for credential in BEARER.into_iter().chain([&*format!("Bearer {own}")]) {
            assert_eq!(seen(&edge, target, &[credential]).await, [""; 0], "{target} {credential}");
        }
        // Of several each application would read another: none passes.
        for several in [["Basic YTpi", "Basic YTpi"], ["Basic YTpi", "Bearer abc"]] {
            assert_eq!(seen(&edge, target, &several).await, [""; 0], "{target} {several:?}");
        }
        assert_eq!(seen(&edge, target, &[]).await, [""; 0]);
        assert!(edge.upstream.last().values("x-user").is_empty());
    }
}

// Part 4, item 6.
#[tokio::test]
async fn the_same_holds_over_http2() {
    let edge = edge().tls().routes(ROUTES).start().await;
    let mut h2 = edge.h2().await;
    for (credential, passes) in
        FOREIGN.into_iter().map(|c| (c, true)).chain(BEARER.into_iter().map(|c| (c, false)))
    {
        // An HTTP/2 head with padded values is malformed.
        let request = Request::get(format!("https://{HOST}/public"))
            .header("authorization", credential.trim())
            .body(())
            .unwrap();
        h2.ask(request, b"", None).await.unwrap().is(200);
        let expected: Vec<&str> = passes.then_some(credential).into_iter().collect();
        assert_eq!(edge.upstream.last().values("authorization"), expected, "{credential}");
    }
}

// Part 4, item 6.
#[tokio::test]
async fn a_route_says_more_exactly_than_the_configuration_whether_bearer_tokens_pass() {
    for (usual, yaml) in [(false, ""), (true, "identity: { forward_authorization: true }")] {
        let edge = edge().routes(ROUTES).with(yaml).start().await;
        let bearer = format!("Bearer {}", edge.login("alice", "admin").await);
        for kind in ["public", "optional", "required"] {
            for (name, passes) in [("", usual), ("-on", true), ("-off", false)] {
                let target = format!("/{kind}{name}");
                let expected: Vec<&str> = passes.then_some(&*bearer).into_iter().collect();
                assert_eq!(seen(&edge, &target, &[&bearer]).await, expected, "{target} {usual}");
            }
        }
        // Several are one reading there, too.
        for target in ["/public", "/public-on", "/public-off"] {
            assert_eq!(seen(&edge, target, &[&bearer, &bearer]).await, [""; 0], "{target}");
        }
    }
}

// Part 4, item 6.
#[tokio::test]
async fn where_a_token_may_be_needed_other_schemes_are_refused_as_before() {
    let edge = edge().routes(ROUTES).start().await;
    for target in ["/optional", "/optional-on", "/required", "/required-on", "/required-off"] {
        for credential in FOREIGN {
            let before = edge.upstream.seen().len();
            let asked = edge.get(target).field(&format!("Authorization: {credential}"));
            let status = asked.await.status;
            let malformed = credential.contains('/') && !credential.contains(' ');
            assert_eq!(status, if malformed { 400 } else { 401 }, "{target} {credential}");
            assert_eq!(edge.upstream.seen().len(), before, "{target} {credential}");
        }
    }
    edge.get("/optional").await.is(200);
}

// Part 4, item 6.
#[tokio::test]
async fn a_credential_for_proxies_passes_nowhere() {
    let edge =
        edge().routes(ROUTES).with("identity: { forward_authorization: true }").start().await;
    let token = edge.login("alice", "admin").await;
    for (target, bearer) in [("/public", false), ("/public-on", false), ("/required-on", true)] {
        let asked = edge.get(target).field("Proxy-Authorization: Basic YTpi");
        let asked = if bearer { asked.bearer(&token) } else { asked };
        asked.await.is(200);
        assert!(edge.upstream.last().values("proxy-authorization").is_empty(), "{target}");
    }
}

// Part 4, item 6.
#[tokio::test]
async fn the_challenge_of_the_application_reaches_the_client() {
    let answer = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"wiki\"\r\nContent-Length: 0\r\n\r\n";
    let edge = edge().routes(ROUTES).upstream(Behaviour::Says(answer)).start().await;
    edge.get("/public").await.is_challenged(401, "Basic realm=\"wiki\"");
}
