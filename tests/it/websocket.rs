//! Tunnels: opened by the token, as that user, for as long as the token lasts.

use std::time::Duration;

use super::harness::gateway::Ask;
use super::harness::{Behaviour, Edge, edge};

/// An upgrade as a browser sends it.
fn upgrade<'a>(edge: &'a Edge, path: &str) -> Ask<'a> {
    let asked = edge.get(path).field("Connection: Upgrade").field("Upgrade: websocket");
    asked.field("Sec-WebSocket-Version: 13").field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn c13_an_upgrade_needs_the_token_and_its_scope() {
    let edge = edge().upstream(Behaviour::Tunnels).start().await;
    let (alice, bob) = (edge.login("alice", "admin").await, edge.login("bob", "notes:read").await);
    upgrade(&edge, "/admin/socket").await.is(401);
    upgrade(&edge, "/admin/socket").bearer(&bob).await.is(403);
    assert!(edge.upstream.seen().is_empty());

    let mut wire = edge.wire().await;
    let spoofed = upgrade(&edge, "/admin/socket").bearer(&alice).field("X-User: mallory");
    let answer = wire.ask(spoofed.bytes()).await;
    assert_eq!(answer.is(101).values("upgrade"), ["websocket"]);
    let seen = edge.upstream.last();
    assert_eq!(seen.values("x-user"), ["alice"]);
    assert_eq!(seen.values("upgrade"), ["websocket"]);
    assert_eq!(seen.values("sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);
}

#[tokio::test]
async fn frames_pass_unchanged_in_both_directions() {
    let edge = edge().upstream(Behaviour::Tunnels).start().await;
    let mut wire = edge.wire().await;
    wire.ask(upgrade(&edge, "/public/socket").bytes()).await.is(101);
    let large: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for frame in [&b"\x81\x05hello"[..], b"\x82\x00", b"GET /admin HTTP/1.1\r\n\r\n", &large] {
        wire.send(frame).await;
        assert_eq!(wire.read_bytes(frame.len()).await, frame);
    }
    assert_eq!(edge.upstream.seen().len(), 1, "what is in the tunnel is no request");
}

#[tokio::test]
async fn i8_another_protocol_never_opens_a_tunnel() {
    let edge = edge().upstream(Behaviour::Tunnels).start().await;
    for protocol in ["x", "h2c", "tls/1.0", "websocket, x"] {
        let asked = edge.get("/admin/socket").field("Connection: Upgrade");
        let asked = asked.field(&format!("Upgrade: {protocol}"));
        let status = asked.await.status;
        assert!(matches!(status, 400 | 401), "{protocol}: {status}");
    }
    assert!(edge.upstream.seen().is_empty());
}

/// Found by the fuzz target. Who stands before us and forwards such a field has not taken it for an upgrade.
#[tokio::test]
async fn i8_an_upgrade_that_connection_does_not_name_is_none() {
    let application = edge().upstream(Behaviour::Echo).start().await;
    for fields in [
        &["Upgrade: websocket"][..],
        &["Upgrade: websocket", "Connection: keep-alive"],
        &["Upgrade: websocket", "Connection: upgrades, x-upgrade"],
        &["Upgrade: websocket", "Upgrade: websocket", "Connection: Upgrade"],
        &["Upgrade: websocket, h2c", "Connection: Upgrade"],
        &["Upgrade: h2c", "Connection: Upgrade"],
    ] {
        let ask = application.get("/public/socket");
        let ask = fields.iter().fold(ask, |ask, field| ask.field(field));
        let mut wire = application.wire().await;
        wire.ask(ask.bytes()).await.is(200);
        wire.ask(application.get("/public/next").bytes()).await.is(200);
        let seen = application.upstream.seen();
        let [.., asked, _] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(asked.target(), "/public/socket", "{fields:?}");
        assert_eq!(asked.values("upgrade"), [""; 0], "{fields:?}");
    }
    let tunnels = edge().upstream(Behaviour::Tunnels).start().await;
    for connection in ["Connection: upgrade", "Connection: keep-alive, Upgrade"] {
        let asked = tunnels.get("/public/socket").field("Upgrade: WebSocket").field(connection);
        tunnels.wire().await.ask(asked.bytes()).await.is(101);
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_its_token() {
    let edge = edge().upstream(Behaviour::Tunnels).start().await;
    let token = edge.login("alice", "admin").await;
    let mut wire = edge.wire().await;
    wire.ask(upgrade(&edge, "/admin/socket").bearer(&token).bytes()).await.is(101);
    let mut public = edge.wire().await;
    public.ask(upgrade(&edge, "/public/socket").bytes()).await.is(101);
    edge.advance(Duration::from_secs(15 * 60 - 1));
    wire.send("one").await;
    assert_eq!(wire.read_bytes(3).await, b"one");

    edge.advance(Duration::from_secs(1));
    wire.send("two").await;
    assert_eq!(wire.read_to_end().await, "");
    public.send("still here").await;
    assert_eq!(public.read_bytes(10).await, b"still here");
}

#[tokio::test]
async fn a_tunnel_ends_when_its_token_is_revoked_or_its_user_kept_out() {
    let edge = edge().stateful().upstream(Behaviour::Tunnels).start().await;
    let (one, other) = (edge.tokens("bob").await, edge.tokens("alice").await);
    let open = async |token: &str| {
        let mut wire = edge.wire().await;
        wire.ask(upgrade(&edge, "/notes/socket").bearer(token).bytes()).await.is(101);
        wire
    };
    let (mut revoked, mut kept) = (open(&other.access).await, open(&one.access).await);
    edge.post("/token/revoke", &format!("token={}", other.access)).await.is(200);
    revoked.send("two").await;
    assert_eq!(revoked.read_to_end().await, "");
    kept.send("one").await;
    assert_eq!(kept.read_bytes(3).await, b"one");
    edge.disable_bob();
    kept.send("two").await;
    assert_eq!(kept.read_to_end().await, "");
}
