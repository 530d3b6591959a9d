//! What a client may take out of its request by naming it in `Connection` (RFC 9110 section 7.6.1): what concerns one
//! connection, never what frames or routes the message.

use crate::harness::{Behaviour, HOST, edge};

/// Routes for everybody and for alice, whether or not the application sees the token.
const ROUTES: [(&str, bool); 2] = [("/public", false), ("/admin", true)];

/// What no client can take out.
const KEPT: [&str; 12] = [
    "Content-Length",
    "content-length",
    "Transfer-Encoding",
    "Host",
    "Connection",
    "Expect",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "keep-alive, CONTENT-LENGTH, Transfer-Encoding, host",
    "Content-Length , X-Private",
    "X-Private,\tTransfer-Encoding",
];

// Part 4, item 5.
#[tokio::test]
async fn what_frames_and_routes_the_message_stays_whoever_nominates_it() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    let honest = ["keep-alive", "X-Private"];
    for name in KEPT.into_iter().chain(honest) {
        for (target, bearer) in ROUTES {
            let connection = format!("Connection: {name}");
            let post = || {
                let asked = edge.ask("POST", target).field(&connection).field("X-Private: mallory");
                if bearer { asked.bearer(&token) } else { asked }
            };
            post().body(b"hello").await.is(200);
            let seen = edge.upstream.last();
            assert_eq!(seen.values("content-length"), ["5"], "{name}");
            assert!(seen.values("transfer-encoding").is_empty() && seen.complete, "{name}");
            assert_eq!((seen.values("host"), &*seen.body), (vec![HOST], &b"hello"[..]), "{name}");
            assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"], "{name}");
            assert_eq!(seen.values("x-forwarded-host"), [HOST], "{name}");
            assert_eq!(seen.values("x-forwarded-proto"), ["http"], "{name}");
            assert_eq!(seen.values("x-user").len(), usize::from(bearer), "{name}");
            let private = name.contains("X-Private");
            assert_eq!(seen.values("x-private").is_empty(), private, "{name}");

            let mut bytes = post().field("Transfer-Encoding: chunked").bytes();
            bytes.extend(b"5\r\nhello\r\n0\r\n\r\n");
            // The connection goes on, and what follows is read where it begins.
            let mut wire = edge.wire().await;
            wire.ask(bytes).await.is(200);
            let seen = edge.upstream.last();
            assert_eq!(seen.values("transfer-encoding"), ["chunked"], "{name}");
            assert!(seen.values("content-length").is_empty() && seen.complete, "{name}");
            assert_eq!(seen.body, b"5\r\nhello\r\n0\r\n\r\n", "{name}");
            wire.ask(edge.get("/public/after").bytes()).await.is(200);
            assert_eq!(edge.upstream.last().target(), "/public/after", "{name}");
        }
    }
}

// Part 4, item 5: each of these a client could as well have left out.
#[tokio::test]
async fn what_else_is_nominated_goes() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    let fields =
        ["Cookie: a=1", "Content-Type: text/plain", "X-Private: 1", "Authorization: Basic YTpi"];
    for line in fields {
        let (name, value) = line.split_once(": ").unwrap();
        for nominated in [true, false] {
            let asked = edge.ask("POST", "/public").field(line).body(b"hello");
            let asked = if nominated { asked.field(&format!("Connection: {name}")) } else { asked };
            asked.await.is(200);
            let expected: Vec<&str> = (!nominated).then_some(value).into_iter().collect();
            assert_eq!(edge.upstream.last().values(name), expected, "{name}");
        }
    }
    // A credential is judged before it goes, and ours are set after.
    for connection in ["Connection: Authorization, X-User", "Connection: X-Request-Id"] {
        edge.get("/admin").bearer(&token).field(connection).await.is(200);
        let seen = edge.upstream.last();
        assert_eq!((seen.values("x-user"), seen.values("x-request-id").len()), (vec!["alice"], 1));
        edge.get("/admin").field(connection).await.is(401);
    }
}

// Part 4, item 5.
#[tokio::test]
async fn an_expectation_is_answered_although_it_is_nominated() {
    let edge = edge().upstream(Behaviour::SaysEarly(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ));
    let edge = edge.start().await;
    let asked =
        edge.ask("POST", "/public").field("Connection: Expect").field("Expect: 100-continue");
    let mut wire = edge.wire().await;
    wire.send(asked.field("Content-Length: 5").bytes()).await;
    assert_eq!(wire.read_response(false).await.unwrap().status, 100);
    wire.ask(b"hello").await.is(200);
    assert_eq!(edge.upstream.settled().await[0].values("expect"), ["100-continue"]);
}

// Part 4, item 5.
#[tokio::test]
async fn a_connection_that_is_to_close_closes_and_an_upgrade_is_one_beside_other_names() {
    let edge = edge().upstream(Behaviour::Tunnels).start().await;
    let asked = edge
        .get("/public")
        .field("Connection: Host, Upgrade, Content-Length")
        .field("Upgrade: websocket")
        .field("Sec-WebSocket-Version: 13")
        .field("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==");
    asked.await.is(101);
    let edge = self::edge().start().await;
    let mut wire = edge.wire().await;
    wire.ask(edge.get("/public").field("Connection: Content-Length, close").bytes()).await.is(200);
    wire.is_closed().await;
}

// Part 4, item 5: the other leg.
#[tokio::test]
async fn what_frames_an_answer_stays_whoever_nominates_it() {
    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: Content-Length, X-Inner\r\nX-Inner: 1\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: transfer-encoding, X-Inner, content-length\r\nX-Inner: 1\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for (answer, field, value) in
        [(LENGTH, "content-length", "5"), (CHUNKED, "transfer-encoding", "chunked")]
    {
        let edge = edge().upstream(Behaviour::Says(answer)).start().await;
        let mut wire = edge.wire().await;
        for _ in 0..2 {
            let heard = wire.ask(edge.get("/public").bytes()).await;
            assert_eq!(heard.is(200).values(field), [value]);
            assert!(heard.values("x-inner").is_empty() && heard.body == b"hello", "{heard:?}");
        }
    }
}
