//! `X-User` is ours: never the client's, in any spelling, on any route (section G of the requirements). Judged by the bytes
//! that the application was sent.

use http::{HeaderMap, HeaderValue, Request};

use crate::harness::upstream::Seen;
use crate::harness::{Behaviour, Edge, HOST, edge};

/// Spellings that some application takes for `X-User`.
pub(crate) const SPELLINGS: [&str; 13] = [
    "X-User", "x-user", "X-USER", "X_User", "x_user", "X-user", "X.User", "x.user", "X!User",
    "X~User", "X*User", "x|user", "X^USER",
];

/// The lines of an application's environment that CGI would make of the request's fields, under the name of `X-User`.
pub(crate) fn users(seen: &Seen) -> Vec<String> {
    let fold = |name: &str| -> String {
        name.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect()
    };
    let fields = seen.head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(name, _)| fold(name) == "x_user").map(|(_, v)| v.trim().to_owned()).collect()
}

/// Every kind of route, with who the application must take the caller for.
async fn everywhere(edge: &Edge, fields: &[&str], what: &str) {
    let token = edge.login("alice", "admin").await;
    let cases = [
        ("/public", None, None),
        ("/", None, None),
        ("/admin", Some(()), Some("alice")),
        ("/", Some(()), Some("alice")),
    ];
    for (target, bearer, expected) in cases {
        let mut asked = fields.iter().fold(edge.get(target), |asked, field| asked.field(field));
        if bearer.is_some() {
            asked = asked.bearer(&token);
        }
        let status = asked.await.status;
        assert_eq!(status, 200, "{what} on {target}");
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(users(&edge.upstream.last()), expected, "{what} on {target}");
    }
}

/// The same for a request that is malformed: it is refused everywhere, and the application sees nothing of it.
async fn nowhere(edge: &Edge, field: &str, what: &str) {
    let token = edge.login("alice", "admin").await;
    for (target, bearer) in [("/public", false), ("/", false), ("/admin", true), ("/", true)] {
        let asked = edge.get(target).field(field);
        let asked = if bearer { asked.bearer(&token) } else { asked };
        let before = edge.upstream.seen().len();
        assert_eq!(asked.await.status, 400, "{what} on {target}");
        assert_eq!(edge.upstream.seen().len(), before, "{what} on {target}");
    }
}

#[tokio::test]
async fn g1_g2_every_spelling_from_a_client_is_removed_on_every_route() {
    let edge = edge().start().await;
    for name in SPELLINGS {
        everywhere(&edge, &[&format!("{name}: mallory")], name).await;
    }
    everywhere(
        &edge,
        &["X-User: mallory", "x_user: eve", "X-USER: carol", "X-User: alice"],
        "many",
    )
    .await;
    everywhere(&edge, &["X-User:", "X_User: "], "empty").await;
    everywhere(&edge, &[], "honest").await;
}

#[tokio::test]
async fn g1_the_others_that_the_operator_names_are_removed_too() {
    let identity = "identity: { headers: { x-USER: subject, X-Scopes: scope, X-Client: client_id }, strip: [X-Remote-User] }";
    let edge = edge().with(identity).start().await;
    let token = edge.login("alice", "admin notes:read").await;
    let forged =
        ["X-User: m", "X_Scopes: m", "x-client: m", "X.Remote.User: m", "X-Remoteuser: kept"];
    let asked =
        forged.iter().fold(edge.get("/admin").bearer(&token), |asked, field| asked.field(field));
    asked.await.is(200);
    let seen = edge.upstream.last();
    assert_eq!(seen.values("x-user"), ["alice"]);
    assert_eq!(seen.values("x-scopes"), ["admin notes:read"]);
    assert_eq!(seen.values("x-client"), ["web"]);
    assert!(!seen.head.contains(": m\r\n"), "{}", seen.head);
    assert_eq!(seen.values("x-remoteuser"), ["kept"]);
}

#[tokio::test]
async fn g3_connection_cannot_delete_what_we_set() {
    let edge = edge().start().await;
    for connection in ["X-User", "close, X-User", "keep-alive, x-user", "x_user", "X-Forwarded-For"]
    {
        everywhere(&edge, &[&format!("Connection: {connection}"), "X-User: mallory"], connection)
            .await;
    }
}

#[tokio::test]
async fn g4_connection_cannot_touch_framing_or_routing() {
    let edge = edge().start().await;
    for name in ["Host", "Content-Length", "Transfer-Encoding", "Authorization", "Content-Type"] {
        let token = edge.login("alice", "admin").await;
        let asked = edge.ask("POST", "/admin").bearer(&token).field(&format!("Connection: {name}"));
        asked.body(b"hello").await.is(200);
        let seen = edge.upstream.last();
        assert_eq!(seen.values("host"), [HOST], "{name}");
        assert!(seen.complete && find_text(&seen.body, "hello"), "{name}");
        assert_eq!(seen.values("x-user"), ["alice"], "{name}");
    }
}

fn find_text(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

#[tokio::test]
async fn g5_malformed_fields_never_become_an_identity() {
    let edge = edge().start().await;
    let forged = [
        ("space before the colon", "X-User : mallory"),
        ("folded", "X-Thing: a\r\n X-User: mallory"),
        ("folded with a tab", "X-Thing: a\r\n\tX-User: mallory"),
        ("bare CR", "X-Thing: a\rX-User: mallory"),
        ("bare LF", "X-Thing: a\nX-User: mallory"),
        ("NUL", "X-Us\0er: mallory"),
        ("NUL in the value", "X-Thing: a\0\r\nX-User: mallory"),
        ("leading space", " X-User: mallory"),
        ("no colon", "X-User mallory"),
        ("not ASCII", "X-Us\u{e9}r: mallory"),
    ];
    for (what, field) in forged {
        nowhere(&edge, field, what).await;
    }
    everywhere(&edge, &["X-Thing: a\tb c"], "honest").await;
    for head in ["\r\n X-User: mallory\r\n", " \r\nX-User: mallory\r\n"] {
        let mut wire = edge.wire().await;
        wire.ask(format!("GET /public HTTP/1.1{head}Host: {HOST}\r\n\r\n")).await.is(400);
        wire.is_closed().await;
    }
    assert!(edge.upstream.seen().iter().all(|seen| !seen.head.contains("mallory")));
}

#[tokio::test]
async fn g5_trailers_and_chunk_extensions_never_become_an_identity() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    for (target, bearer) in [("/public", false), ("/admin", true)] {
        let mut asked =
            edge.ask("POST", target).field("Transfer-Encoding: chunked").field("Trailer: X-User");
        if bearer {
            asked = asked.bearer(&token);
        }
        let mut bytes = asked.bytes();
        bytes.extend(
            b"5;X-User=mallory\r\nhello\r\n0\r\nX-User: mallory\r\nX_User: mallory\r\n\r\n",
        );
        let mut wire = edge.wire().await;
        wire.ask(bytes).await.is(200);
        let seen = edge.upstream.last();
        assert!(!seen.head.contains("mallory") && !find_text(&seen.body, "mallory"), "{seen:?}");
        assert!(seen.complete && find_text(&seen.body, "hello"), "{seen:?}");
        assert_eq!(users(&seen).len(), usize::from(bearer), "{seen:?}");
    }
}

#[tokio::test]
async fn g5_http2_trailers_never_become_an_identity() {
    let edge = edge().tls().start().await;
    let mut h2 = edge.h2().await;
    let request = Request::post(format!("https://{HOST}/public"))
        .header("x-user", "mallory")
        .body(())
        .unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-user", HeaderValue::from_static("mallory"));
    h2.ask(request, b"hello", Some(trailers)).await.unwrap().is(200);
    assert!(find_text(&edge.upstream.last().body, "hello"));
    let honest = Request::get(format!("https://{HOST}/public")).body(()).unwrap();
    h2.ask(honest, b"", None).await.unwrap().is(200);
    for seen in edge.upstream.seen() {
        assert!(!seen.head.contains("mallory") && !find_text(&seen.body, "mallory"), "{seen:?}");
    }
}

#[tokio::test]
async fn g7_hop_by_hop_fields_stop_here_in_both_directions() {
    let answer =
        b"HTTP/1.1 200 OK\r\nConnection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
    let edge = edge().upstream(Behaviour::Says(answer)).start().await;
    let fields = [
        "Connection: X-Private",
        "X-Private: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic YTpi",
        "TE: gzip",
        "Upgrade: h2c",
        "HTTP2-Settings: AAAA",
    ];
    let asked = fields.iter().fold(edge.get("/public"), |asked, field| asked.field(field));
    let heard = asked.await;
    heard.is(200);
    let names = edge.upstream.last().names();
    for gone in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "http2-settings",
    ] {
        assert!(!names.iter().any(|name| name == gone), "{gone} in {names:?}");
    }
    for gone in ["x-inner", "proxy-authenticate"] {
        assert!(heard.values(gone).is_empty(), "{gone}");
    }
}

#[tokio::test]
async fn g8_what_a_stranger_says_about_the_way_is_replaced() {
    let edge = edge().start().await;
    let forged = [
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 443",
        "X-Forwarded-Prefix: /admin",
        "X_Forwarded_For: 9.9.9.9",
        "Forwarded: for=9.9.9.9",
        "X-Real-IP: 9.9.9.9",
        "X-Forwarded-User: mallory",
    ];
    forged.iter().fold(edge.get("/public"), |asked, field| asked.field(field)).await.is(200);
    let seen = edge.upstream.last();
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("x-forwarded-host"), [HOST]);
    for trace in ["9.9.9.9", "evil", "443", "/admin", "mallory"] {
        assert!(!seen.head.contains(trace), "{trace} in {}", seen.head);
    }
}

#[tokio::test]
async fn g8_a_trusted_proxy_is_believed_up_to_the_first_stranger() {
    let edge = edge().with("trusted_proxies: ['127.0.0.1', '10.0.0.0/8']").start().await;
    let asked = edge.get("/public").field("X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.1.2.3");
    asked.field("X-Forwarded-Proto: https").await.is(200);
    let seen = edge.upstream.last();
    assert_eq!(seen.values("x-forwarded-for"), ["203.0.113.7"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn g9_no_field_routes_or_authorises() {
    let edge = edge().start().await;
    let token = edge.login("bob", "notes:read").await;
    for field in [
        "X-Original-URL: /public",
        "X-Rewrite-URL: /public",
        "X-Forwarded-Prefix: /public",
        "X-Forwarded-Uri: /public",
    ] {
        edge.get("/admin").field(field).bearer(&token).await.is(403);
        edge.get("/admin").field(field).await.is(401);
    }
    let overriding =
        ["X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE"];
    for field in overriding {
        edge.get("/read-only").field(field).bearer(&token).await.is(200);
        assert!(!edge.upstream.last().head.contains("DELETE"), "{field}");
    }
    edge.ask("POST", "/read-only")
        .field("X-HTTP-Method-Override: GET")
        .body(b"")
        .bearer(&token)
        .await
        .is(405);
}

#[tokio::test]
async fn g10_end_to_end_fields_pass_unchanged_both_ways() {
    let answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-Empty:\r\nVary: A\r\nVary: B\r\n\
        Content-Length: 0\r\n\r\n";
    let edge = edge().upstream(Behaviour::Says(answer)).start().await;
    let fields = [
        "Accept: text/html",
        "X-Many: 1",
        "X-Many: 2",
        "X-Empty:",
        "Cookie: a=1; b=2",
        "User-Agent: curl/8",
    ];
    let heard = fields.iter().fold(edge.get("/public"), |asked, field| asked.field(field)).await;
    let seen = edge.upstream.last();
    assert_eq!(seen.values("x-many"), ["1", "2"]);
    assert_eq!(seen.values("x-empty"), [""]);
    assert_eq!(seen.values("cookie"), ["a=1; b=2"]);
    assert_eq!(seen.values("user-agent"), ["curl/8"]);
    assert_eq!(heard.values("set-cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!(heard.values("vary"), ["A", "B"]);
    assert_eq!(heard.values("x-empty"), [""]);
}

#[tokio::test]
async fn g11_no_application_speaks_for_us() {
    let answer = b"HTTP/1.1 200 OK\r\nX-User: admin\r\nX_User: admin\r\nX-Other: kept\r\nContent-Length: 0\r\n\r\n";
    let edge = edge().upstream(Behaviour::Says(answer)).start().await;
    let token = edge.login("alice", "admin").await;
    let heard = edge.get("/admin").bearer(&token).await;
    assert!(!format!("{:?}", heard.fields).to_lowercase().contains("user"), "{:?}", heard.fields);
    assert_eq!(heard.values("x-other"), ["kept"]);
}

#[tokio::test]
async fn g12_the_request_id_is_ours() {
    let edge = edge().start().await;
    edge.get("/public").field("X-Request-ID: a\"injected").field("X_Request_ID: b").await.is(200);
    edge.get("/public").await.is(200);
    let seen = edge.upstream.seen();
    let ids: Vec<String> = seen.iter().map(|seen| seen.values("x-request-id").join("|")).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids[0].contains("injected"), "{ids:?}");
    assert!(ids.iter().all(|id| !id.is_empty() && !id.contains('|')), "{ids:?}");
}
