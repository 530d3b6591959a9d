//! Methods as what they are: any token (RFC 9110 section 9.1). WebDAV, CalDAV, Subversion and caches have their own. Only
//! CONNECT and TRACE reach nobody.

use http::{Method, Request};

use crate::harness::frames::{self, Outcome};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Edge, HOST, edge};

const EXTENSIONS: [&str; 12] = [
    "PROPFIND",
    "REPORT",
    "MKCALENDAR",
    "LOCK",
    "SEARCH",
    "QUERY",
    "PURGE",
    "M-SEARCH",
    "VERSION-CONTROL",
    "BASELINE-CONTROL-OF-A-LONG-NAME",
    "get",
    "X",
];

const ROUTES: &str = "
  - { id: dav, path: /dav/**, upstream: app, scopes: [notes:read] }
  - { id: look, path: /files/**, methods: [GET, PROPFIND, REPORT], upstream: app, auth: public }
  - { id: change, path: /files/**, methods: [PUT, LOCK, MKCOL], upstream: app, scopes: [admin] }
";

fn arrived(edge: &Edge) -> Vec<(String, Vec<u8>)> {
    let seen = edge.upstream.seen();
    seen.into_iter().map(|seen| (seen.line().to_owned(), seen.body)).collect()
}

fn expected(method: &str, body: &[u8]) -> (String, Vec<u8>) {
    (format!("{method} /dav/x?y HTTP/1.1"), body.to_vec())
}

// Part 4, item 8.
#[tokio::test]
async fn every_token_is_a_method_of_a_route_that_names_none() {
    let edge = edge().routes(ROUTES).start().await;
    let token = edge.login("bob", "notes:read").await;
    let mut all = Vec::new();
    for method in EXTENSIONS {
        edge.ask(method, "/dav/x?y").bearer(&token).body(b"<d:multistatus/>").await.is(200);
        edge.ask(method, "/dav/x?y").bearer(&token).await.is(200);
        all.extend([expected(method, b"<d:multistatus/>"), expected(method, b"")]);
        // The attack: without a token it is the same route all the same.
        edge.ask(method, "/dav/x?y").await.is(401);
    }
    assert_eq!(arrived(&edge), all);
}

// Part 4, item 8.
#[tokio::test]
async fn every_token_is_a_method_over_http2_too() {
    let edge = edge().tls().routes(ROUTES).start().await;
    let password = PASSWORD.replace(' ', "+");
    let login = edge.token(&format!("grant_type=password&username=bob&password={password}"));
    let token = edge.wire_tls().await.ask(login.bytes()).await.json()["access_token"].clone();
    let token = token.as_str().unwrap();
    let mut h2 = edge.h2().await;
    let mut all = Vec::new();
    for method in EXTENSIONS {
        for (body, credential, status) in
            [(&b"<d:multistatus/>"[..], true, 200), (b"", true, 200), (b"", false, 401)]
        {
            let request = Request::builder()
                .method(Method::from_bytes(method.as_bytes()).unwrap())
                .uri(format!("https://{HOST}/dav/x?y"))
                .header("content-length", body.len());
            let request = match credential {
                true => request.header("authorization", format!("Bearer {token}")),
                false => request,
            };
            let answer = h2.ask(request.body(()).unwrap(), body, None).await.unwrap();
            answer.is(status);
            if credential {
                all.push(expected(method, body));
            }
        }
    }
    assert_eq!(arrived(&edge), all);
}

// Part 4, item 8.
#[tokio::test]
async fn a_route_takes_the_methods_that_it_names_and_no_others() {
    let edge = edge().routes(ROUTES).start().await;
    let token = edge.login("alice", "admin").await;
    for method in ["GET", "HEAD", "PROPFIND", "REPORT"] {
        edge.ask(method, "/files/x").await.is(200);
    }
    for method in ["PUT", "LOCK", "MKCOL"] {
        edge.ask(method, "/files/x").await.is(401);
        edge.ask(method, "/files/x").bearer(&token).await.is(200);
    }
    let before = edge.upstream.seen().len();
    for method in ["POST", "propfind", "PROPPATCH", "UNLOCK", "lock", "get", "head", "PROPFIN"] {
        let answer = edge.ask(method, "/files/x").bearer(&token).await;
        let allowed = "GET, HEAD, PUT, LOCK, MKCOL, PROPFIND, REPORT";
        assert_eq!(answer.is(405).values("allow"), [allowed], "{method}");
    }
    assert_eq!(edge.upstream.seen().len(), before);
}

// Part 4, item 8.
#[tokio::test]
async fn trace_and_connect_reach_nobody_in_any_case() {
    let edge = edge().start().await;
    for method in ["TRACE", "trace", "Trace", "CONNECT", "connect"] {
        let answer = edge.ask(method, "/public").await;
        answer.is(405);
    }
    edge.ask("TRACED", "/public").await.is(200);
    assert_eq!(edge.upstream.seen().len(), 1);
    for bad in ["G ET", "GET\t", "(GET)", "G\u{e9}T", "\"GET\""] {
        edge.ask(bad, "/public").await.is(400);
    }
    assert_eq!(edge.upstream.seen().len(), 1);
}

// Part 4, item 8.
#[tokio::test]
async fn over_http2_trace_and_connect_reach_nobody_either() {
    let edge = edge().tls().start().await;
    let mut wire = edge.frames().await;
    for method in ["TRACE", "trace", "connect"] {
        let outcome = wire.ask(&frames::request(method, "/public"), None).await;
        assert_eq!(outcome, Outcome::Answered(405), "{method}");
    }
    assert!(wire.ask(&frames::request("CONNECT", "/public"), None).await.is_refusal());
    let mut wire = edge.frames().await;
    let outcome = wire.ask(&frames::request("PROPFIND", "/public"), None).await;
    assert_eq!(outcome, Outcome::Answered(200));
    assert_eq!(edge.upstream.seen().len(), 1);
}
