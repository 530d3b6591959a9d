//! Bearer tokens on routes (RFC 6750, RFC 9110 section 11; section C of the requirements): every challenge byte for byte, and
//! every refusal beside the honest request that passes.

use std::time::Duration;

use serde_json::json;

use crate::harness::tokens::tampered;
use crate::harness::{Behaviour, HOST, edge};

const BARE: &str = "Bearer realm=\"portcullis\"";
const INVALID_TOKEN: &str = "Bearer realm=\"portcullis\", error=\"invalid_token\"";
const INVALID_REQUEST: &str = "Bearer realm=\"portcullis\", error=\"invalid_request\"";
const LIFETIME: Duration = Duration::from_secs(15 * 60);
const LEEWAY: Duration = Duration::from_secs(30);

#[tokio::test]
async fn c1_no_credential_gets_a_challenge_without_an_error() {
    let edge = edge().start().await;
    edge.get("/notes/1").await.is_challenged(401, BARE);
    edge.get("/notes/1").basic("alice", "pw").await.is_challenged(401, BARE);
    assert!(edge.upstream.seen().is_empty());

    let token = edge.login("bob", "notes:read").await;
    edge.get("/notes/1").bearer(&token).await.is(200);
}

#[tokio::test]
async fn c2_a_bad_token_is_invalid_token_whatever_is_wrong() {
    let edge = edge().start().await;
    let (now, mint) = (edge.now(), &edge.mint);
    edge.get("/notes/1").bearer(&mint.with(now, json!({}))).await.is(200);
    let bad = [
        ("tampered", tampered(&mint.with(now, json!({})))),
        ("expired", mint.with(now, json!({ "exp": now - 31, "iat": now - 60 }))),
        ("not yet", mint.with(now, json!({ "nbf": now + 31 }))),
        ("issued later", mint.with(now, json!({ "iat": now + 31 }))),
        ("issuer", mint.with(now, json!({ "iss": format!("https://{HOST}/") }))),
        ("audience", mint.with(now, json!({ "aud": "another" }))),
        ("type", mint.with(now, json!({ "typ": "JWT" }))),
        ("key", mint.with(now, json!({ "kid": "k2" }))),
        ("algorithm", mint.with(now, json!({ "alg": "none" }))),
        ("no end", mint.with(now, json!({ "exp": null }))),
        ("no user", mint.with(now, json!({ "sub": "mallory" }))),
        ("disabled user", mint.with(now, json!({ "sub": "carol" }))),
        ("unknown client", mint.with(now, json!({ "client_id": "gone" }))),
        ("no token", "abc".to_owned()),
    ];
    for (what, token) in bad {
        let answer = edge.get("/notes/1").bearer(&token).await;
        assert_eq!(answer.status, 401, "{what}");
        answer.is_challenged(401, INVALID_TOKEN);
        // Optional is not anonymous: what is offered must hold.
        edge.get("/").bearer(&token).await.is_challenged(401, INVALID_TOKEN);
    }
    assert_eq!(edge.upstream.seen().len(), 1);
}

#[tokio::test]
async fn c2_a_remembered_token_still_expires() {
    let edge = edge().start().await;
    let token = edge.login("bob", "notes:read").await;
    edge.get("/notes/1").bearer(&token).await.is(200);
    edge.get("/notes/1").bearer(&token).await.is(200);
    edge.advance(LIFETIME + LEEWAY - Duration::from_secs(1));
    edge.get("/notes/1").bearer(&token).await.is(200);
    edge.advance(Duration::from_secs(1));
    edge.get("/notes/1").bearer(&token).await.is_challenged(401, INVALID_TOKEN);
}

#[tokio::test]
async fn b22_a_disabled_user_is_refused_with_a_remembered_token_too() {
    let edge = edge().start().await;
    let (alice, bob) =
        (edge.login("alice", "notes:read").await, edge.login("bob", "notes:read").await);
    edge.get("/notes/1").bearer(&bob).await.is(200);
    edge.disable_bob();
    edge.get("/notes/1").bearer(&bob).await.is_challenged(401, INVALID_TOKEN);
    edge.get("/notes/1").bearer(&alice).await.is(200);
}

#[tokio::test]
async fn c3_too_little_scope_is_403_and_says_what_is_needed() {
    let edge = edge().start().await;
    let bob = edge.login("bob", "notes:read").await;
    let needed = "Bearer realm=\"portcullis\", error=\"insufficient_scope\", scope=\"admin\"";
    edge.get("/admin/x").bearer(&bob).await.is_challenged(403, needed);
    edge.get("/read-only/x").bearer(&bob).await.is(200);

    let writer = edge.login("alice", "notes:write").await;
    let either =
        "Bearer realm=\"portcullis\", error=\"insufficient_scope\", scope=\"admin notes:read\"";
    edge.get("/read-only/x").bearer(&writer).await.is_challenged(403, either);
}

#[tokio::test]
async fn c4_c5_a_malformed_credential_is_refused_on_every_route_that_reads_one() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    for good in [format!("bearer {token}"), format!("BEARER {token}"), format!("Bearer   {token}")]
    {
        edge.get("/admin").field(&format!("Authorization: {good}")).await.is(200);
    }
    let bad = [
        "Bearer".to_owned(),
        format!("Bearer\t{token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {token},"),
        format!("Bearer={token}"),
        String::new(),
    ];
    for credential in bad {
        for target in ["/admin", "/"] {
            let answer = edge.get(target).field(&format!("Authorization: {credential}")).await;
            assert_eq!(answer.status, 400, "{target} {credential}");
            answer.is_challenged(400, INVALID_REQUEST);
        }
    }
    // A NUL cannot stand in a field at all.
    edge.get("/admin").field(&format!("Authorization: Bearer {token}\0")).await.is(400);
    assert_eq!(edge.upstream.seen().len(), 3);
}

#[tokio::test]
async fn c6_two_credentials_are_refused_in_any_order() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    let (good, basic, bad) = (format!("Bearer {token}"), "Basic YTpi", "Bearer abc");
    for pair in [[&*good, &good], [&good, bad], [bad, &good], [basic, &good], [&good, basic]] {
        let asked = edge.get("/admin").field(&format!("Authorization: {}", pair[0]));
        let answer = asked.field(&format!("authorization: {}", pair[1])).await;
        answer.is_challenged(400, INVALID_REQUEST);
    }
    assert!(edge.upstream.seen().is_empty());
}

#[tokio::test]
async fn c7_a_token_counts_in_no_other_place() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    edge.get(&format!("/admin?access_token={token}")).await.is_challenged(401, BARE);
    let form = format!("access_token={token}");
    let asked = edge.ask("POST", "/admin").field("Content-Type: application/x-www-form-urlencoded");
    asked.body(form.as_bytes()).await.is_challenged(401, BARE);
    for name in ["Cookie: access_token=", "X-Authorization: Bearer ", "Authorization_: Bearer "] {
        edge.get("/admin").field(&format!("{name}{token}")).await.is_challenged(401, BARE);
    }
    assert!(edge.upstream.seen().is_empty());
}

#[tokio::test]
async fn c8_scopes_are_compared_whole() {
    let edge = edge().start().await;
    for scope in ["adminx", "Admin", "admi", "*", "admin,notes:read", "", "notes:read"] {
        let token = edge.mint.with(edge.now(), json!({ "scope": scope }));
        edge.get("/admin").bearer(&token).await.is(403);
    }
    // What is no scope by its grammar confers none.
    for scope in [json!("admin\u{a0}"), json!("notes:read\tadmin"), json!(["admin"]), json!(7)] {
        let token = edge.mint.with(edge.now(), json!({ "scope": scope }));
        assert!(matches!(edge.get("/admin").bearer(&token).await.status, 401 | 403), "{scope}");
    }
    let token = edge.mint.with(edge.now(), json!({ "scope": "notes:read admin" }));
    edge.get("/admin").bearer(&token).await.is(200);
}

#[tokio::test]
async fn c9_every_method_is_protected() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    for method in methods {
        edge.ask(method, "/admin").field("Content-Length: 0").await.is_challenged(401, BARE);
        edge.ask(method, "/admin").field("Content-Length: 0").bearer(&token).await.is(200);
    }
    // Part 4, items 8 and 32: any other name is a method of its own, and as protected.
    let others = ["get", "Get", "FOO", "GET_"];
    for method in others {
        edge.ask(method, "/admin").await.is_challenged(401, BARE);
        edge.ask(method, "/admin").bearer(&token).await.is(200);
        assert!(edge.upstream.last().line().starts_with(&format!("{method} /admin ")), "{method}");
    }
    for method in ["TRACE", "CONNECT"] {
        edge.ask(method, "/admin").bearer(&token).await.is(405);
    }
    assert_eq!(edge.upstream.seen().len(), methods.len() + others.len());
}

#[tokio::test]
async fn c10_each_request_on_a_connection_answers_for_itself() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    let mut wire = edge.wire().await;
    wire.ask(edge.get("/admin/1").bearer(&token).bytes()).await.is(200);
    wire.ask(edge.get("/admin/2").bytes()).await.is_challenged(401, BARE);
    wire.ask(edge.get("/admin/3").bearer(&token).bytes()).await.is(200);

    let mut both = edge.get("/admin/4").bearer(&token).bytes();
    both.extend(edge.get("/admin/5").bytes());
    let mut wire = edge.wire().await;
    wire.ask(both).await.is(200);
    // The pipelined one may be answered or dropped with its connection; it never passes on its neighbour's token.
    if let Some(answer) = wire.read_response(false).await {
        answer.is_challenged(401, BARE);
    }
    let targets: Vec<_> =
        edge.upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(targets, ["/admin/1", "/admin/3", "/admin/4"]);
}

#[tokio::test]
async fn c11_c12_a_prefix_ends_with_its_segment_and_the_rest_is_404() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin notes:read").await;
    for target in ["/admin", "/admin/", "/admin/x", "/admin?x", "/notes"] {
        edge.get(target).await.is_challenged(401, BARE);
        edge.get(target).bearer(&token).await.is(200);
    }
    for target in ["/adminx", "/admi", "/elsewhere", "/x/admin", "/publicx"] {
        edge.get(target).await.is(404);
        edge.get(target).bearer(&token).await.is(404);
    }
}

#[tokio::test]
async fn c13_a_websocket_needs_a_token_and_carries_the_user() {
    let edge = edge().upstream(Behaviour::Tunnels).start().await;
    let token = edge.login("alice", "admin").await;
    let upgrade = || {
        let asked = edge.get("/admin/socket").field("Connection: Upgrade, X-User");
        let asked = asked.field("Upgrade: websocket").field("X-User: mallory");
        asked
            .field("Sec-WebSocket-Version: 13")
            .field("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    };
    upgrade().await.is_challenged(401, BARE);
    assert!(edge.upstream.seen().is_empty());

    let mut wire = edge.wire().await;
    wire.ask(upgrade().bearer(&token).bytes()).await.is(101);
    assert_eq!(edge.upstream.last().values("x-user"), ["alice"]);
    wire.send("ping").await;
    assert_eq!(wire.read_bytes(4).await, b"ping");
}

#[tokio::test]
async fn c14_the_applications_own_401_passes_unchanged() {
    let answer = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"old shop\"\r\n\
        Content-Length: 4\r\n\r\nnope";
    let edge = edge().upstream(Behaviour::Says(answer)).start().await;
    let token = edge.login("alice", "admin").await;
    let heard = edge.get("/admin").bearer(&token).await;
    heard.is_challenged(401, "Basic realm=\"old shop\"");
    assert_eq!(heard.text(), "nope");
}

#[tokio::test]
async fn c15_refusals_reveal_neither_route_nor_upstream_nor_user() {
    let edge = edge().start().await;
    let bob = edge.login("bob", "notes:read").await;
    let port = edge.upstream.address.port().to_string();
    let refusals = [
        (edge.get("/admin/secret").await, "{\"error\":\"unauthorized\"}"),
        (edge.get("/admin/secret").bearer("abc").await, "{\"error\":\"invalid_token\"}"),
        (edge.get("/admin/secret").bearer(&bob).await, "{\"error\":\"insufficient_scope\"}"),
        (edge.get("/nowhere").bearer(&bob).await, "{\"error\":\"not_found\"}"),
        (
            edge.ask("POST", "/read-only").field("Content-Length: 0").await,
            "{\"error\":\"method_not_allowed\"}",
        ),
        (edge.get("/admin/../secret").bearer(&bob).await, "{\"error\":\"bad_request\"}"),
    ];
    for (answer, body) in refusals {
        assert_eq!(answer.text(), body);
        let all = format!("{:?}", answer.fields);
        assert!(!all.contains(&port) && !all.contains("bob") && !all.contains("ingora"), "{all}");
        assert_eq!(answer.values("cache-control"), ["no-store"]);
    }
}

#[tokio::test]
async fn c16_nothing_is_answered_from_a_cache() {
    let answer =
        b"HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\nContent-Length: 6\r\n\r\nsecret";
    let edge = edge().upstream(Behaviour::Says(answer)).start().await;
    let token = edge.login("alice", "admin").await;
    edge.get("/admin").bearer(&token).await.is(200);
    edge.get("/admin").bearer(&token).await.is(200);
    edge.get("/admin").await.is(401);
    assert_eq!(edge.upstream.seen().len(), 2);
}

#[tokio::test]
async fn c17_the_token_stops_here_unless_the_operator_says_otherwise() {
    let keeping = edge().start().await;
    let token = keeping.login("alice", "admin").await;
    for target in ["/admin", "/public", "/"] {
        keeping.get(target).bearer(&token).await.is(200);
        assert_eq!(keeping.upstream.last().values("authorization"), [""; 0]);
    }

    let handing_on = edge().with("identity: { forward_authorization: true }").start().await;
    let token = handing_on.login("alice", "admin").await;
    handing_on.get("/admin").bearer(&token).await.is(200);
    assert_eq!(handing_on.upstream.last().values("authorization"), [format!("Bearer {token}")]);
}

#[tokio::test]
async fn c18_a_preflight_is_a_request_like_any_other() {
    let edge = edge().start().await;
    let preflight = |target| {
        let asked = edge.ask("OPTIONS", target).field("Origin: https://evil.example");
        asked.field("Access-Control-Request-Method: GET")
    };
    preflight("/admin").await.is_challenged(401, BARE);
    preflight("/public").await.is(200);
}
