//! TLS at the edge, and the two protocols inside it, with a client that people use.

use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use reqwest::{Certificate, Client, ClientBuilder, tls};
use serde_json::Value;

use super::harness::gateway::PASSWORD;
use super::harness::upstream::find;
use super::harness::{Edge, HOST, edge};

/// A client that trusts the edge, and finds it.
pub(crate) fn client(edge: &Edge) -> ClientBuilder {
    // Another test may have been first; the provider is the same.
    rustls::crypto::ring::default_provider().install_default().ok();
    let root = Certificate::from_der(edge.root()).unwrap();
    Client::builder().no_proxy().tls_certs_only([root]).resolve(HOST, edge.address)
}

/// The URL of a path of the edge.
pub(crate) fn url(edge: &Edge, path: &str) -> String {
    format!("https://{HOST}:{}{path}", edge.address.port())
}

const LOGIN: [(&str, &str); 4] = [
    ("grant_type", "password"),
    ("username", "alice"),
    ("password", PASSWORD),
    ("scope", "notes:read"),
];

#[tokio::test]
async fn both_protocols_log_in_and_reach_the_application_with_either_version_of_tls() {
    let edge = edge().tls().start().await;
    for (builder, version) in [
        (client(&edge), Version::HTTP_2),
        (client(&edge).http1_only(), Version::HTTP_11),
        (client(&edge).tls_version_max(tls::Version::TLS_1_2), Version::HTTP_2),
        (client(&edge).tls_version_max(tls::Version::TLS_1_2).http1_only(), Version::HTTP_11),
    ] {
        let client = builder.build().unwrap();
        let login = client.post(url(&edge, "/token")).form(&LOGIN).send().await.unwrap();
        assert_eq!((login.status(), login.version()), (StatusCode::OK, version));
        assert_eq!(login.headers()["cache-control"], "no-store");
        let login: Value = login.json().await.unwrap();
        let token = login["access_token"].as_str().unwrap();

        let asked = client.get(url(&edge, "/notes/7?a=b")).header("X-User", "mallory");
        let answer = asked.bearer_auth(token).send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        let seen = edge.upstream.last();
        assert_eq!(seen.line(), "GET /notes/7?a=b HTTP/1.1");
        assert_eq!(seen.values("x-user"), ["alice"]);
        assert_eq!(seen.values("x-forwarded-proto"), ["https"]);

        let refused = client.get(url(&edge, "/notes/7")).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_nothing_and_harms_nobody() {
    let edge = edge().tls().start().await;
    let mut plain = edge.wire().await;
    plain.send(edge.get("/public").bytes()).await;
    let heard = plain.read_to_end().await;
    assert!(!heard.contains("HTTP/1.1 200"), "{heard}");
    assert!(edge.upstream.seen().is_empty());
    edge.wire_tls().await.ask(edge.get("/public").bytes()).await.is(200);
}

#[tokio::test]
async fn an_empty_last_data_frame_does_not_poison_the_next_request() {
    let edge = edge().tls().start().await;
    let mut h2 = edge.h2().await;
    for frames in [&[&b"hello"[..], b""][..], &[b""], &[b"", b"a", b"", b""], &[b"hello"]] {
        let before = edge.upstream.seen().len();
        let post = Request::post(format!("https://{HOST}/public/form")).body(()).unwrap();
        h2.ask_in_frames(post, frames).await.unwrap().is(200);
        let next = Request::get(format!("https://{HOST}/public/next")).body(()).unwrap();
        h2.ask(next, b"", None).await.unwrap().is(200);

        let seen = edge.upstream.saw(before + 2).await;
        let (form, next) = (&seen[before], &seen[before + 1]);
        assert_eq!((form.line(), form.complete), ("POST /public/form HTTP/1.1", true));
        assert_eq!(form.values("transfer-encoding"), ["chunked"], "{frames:?}");
        let ends = form.body.windows(5).filter(|bytes| bytes == b"0\r\n\r\n").count();
        assert_eq!(ends, 1, "{frames:?}: {:?}", String::from_utf8_lossy(&form.body));
        assert_eq!(next.line(), "GET /public/next HTTP/1.1", "{frames:?}");
        assert_eq!(next.body, b"");
    }
    let connections: Vec<_> = edge.upstream.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.iter().all(|number| *number == 0), "not one connection: {connections:?}");
}

#[tokio::test]
async fn g5_over_http2_the_identity_is_ours_in_head_and_trailers() {
    let edge = edge().tls().start().await;
    let token = edge.wire_tls().await.ask(login(&edge)).await.json()["access_token"].clone();
    let token = token.as_str().unwrap();
    let mut h2 = edge.h2().await;
    for trailers in [None, Some("x-user"), Some("x_user"), Some("authorization")] {
        let before = edge.upstream.seen().len();
        let request = Request::post(format!("https://{HOST}/notes/7"))
            .header("authorization", format!("Bearer {token}"))
            .header("x-user", "mallory")
            .header("x_user", "mallory")
            .body(())
            .unwrap();
        let trailers = trailers.map(|name| {
            let mut fields = HeaderMap::new();
            fields.insert(name, HeaderValue::from_static("mallory"));
            fields
        });
        let honest = trailers.is_none();
        let answer = h2.ask(request, b"hello", trailers).await;
        if honest {
            answer.unwrap().is(200);
        }
        for seen in &edge.upstream.seen()[before..] {
            assert_eq!(seen.values("x-user"), ["alice"]);
            let everything = [seen.head.as_bytes(), &seen.body].concat();
            assert_eq!(find(&everything, b"mallory"), None, "{seen:?}");
        }
    }
}

fn login(edge: &Edge) -> Vec<u8> {
    let password = PASSWORD.replace(' ', "+");
    edge.token(&format!("grant_type=password&username=alice&password={password}")).bytes()
}
