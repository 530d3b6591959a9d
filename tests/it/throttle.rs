//! Login protection over sockets: who guesses is told to wait, and nobody else.

use std::time::Duration;

use crate::harness::captured::Captured;
use crate::harness::gateway::{EdgeBuilder, VAULT_SECRET};
use crate::harness::{Edge, Response, edge};

const RIGHT: &str = "correct+horse+battery+staple";
const MINUTE: Duration = Duration::from_mins(1);

fn form(user: &str, password: &str) -> String {
    format!("grant_type=password&username={user}&password={password}")
}

async fn log_in(edge: &Edge, user: &str, password: &str) -> Response {
    edge.token(&form(user, password)).await
}

/// From an address that a proxy in front reports.
async fn log_in_from(edge: &Edge, address: &str, user: &str, password: &str) -> Response {
    edge.token(&form(user, password)).field(&format!("X-Forwarded-For: {address}")).await
}

/// An edge behind a proxy on this machine.
fn behind_a_proxy() -> EdgeBuilder {
    edge().with("trusted_proxies: ['127.0.0.1']")
}

#[track_caller]
fn is_banned(answer: &Response, seconds: u64) {
    answer.is(429);
    assert_eq!(answer.values("retry-after"), [seconds.to_string()]);
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    assert_eq!(answer.values("content-type"), ["application/json"]);
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
}

#[tokio::test]
async fn a33_the_sixth_attempt_waits_even_with_the_right_password() {
    let edge = edge().start().await;
    for _ in 0..5 {
        log_in(&edge, "alice", "wrong").await.is(400);
    }
    is_banned(&log_in(&edge, "alice", RIGHT).await, 300);
    log_in(&edge, "bob", RIGHT).await.is(200);
    edge.advance(4 * MINUTE);
    is_banned(&log_in(&edge, "alice", RIGHT).await, 60);
    edge.advance(MINUTE);
    log_in(&edge, "alice", RIGHT).await.is(200);

    for _ in 0..5 {
        log_in(&edge, "alice", "wrong").await.is(400);
    }
    is_banned(&log_in(&edge, "alice", RIGHT).await, 600);
    edge.advance(9 * MINUTE);
    is_banned(&log_in(&edge, "alice", RIGHT).await, 60);
    edge.advance(MINUTE);
    log_in(&edge, "alice", RIGHT).await.is(200);
}

#[tokio::test]
async fn a33_a_ban_tells_nothing_about_who_exists() {
    let edge = edge().start().await;
    let mut heard = Vec::new();
    for user in ["alice", "nobody", "carol", "no%20%0Aname"] {
        for _ in 0..5 {
            log_in(&edge, user, "wrong").await.is(400);
        }
        let answer = log_in(&edge, user, RIGHT).await;
        is_banned(&answer, 300);
        let fields = answer.fields.into_iter().filter(|(name, _)| name != "date");
        heard.push((answer.body, fields.collect::<Vec<_>>()));
    }
    heard.dedup();
    assert_eq!(heard.len(), 1, "{heard:?}");
}

#[tokio::test]
async fn g8_who_is_banned_at_one_address_logs_in_from_another() {
    let edge = behind_a_proxy().start().await;
    for chain in ["203.0.113.9", "1.1.1.1, 203.0.113.9", "nonsense, 203.0.113.9", "203.0.113.9"] {
        log_in_from(&edge, chain, "alice", "wrong").await.is(400);
    }
    log_in_from(&edge, "::ffff:203.0.113.9", "alice", "wrong").await.is(400);
    is_banned(&log_in_from(&edge, "203.0.113.9", "alice", RIGHT).await, 300);
    is_banned(&log_in_from(&edge, "198.51.100.1, 203.0.113.9", "alice", RIGHT).await, 300);
    log_in_from(&edge, "198.51.100.1", "alice", RIGHT).await.is(200);
    log_in_from(&edge, "203.0.113.9, 198.51.100.1", "alice", RIGHT).await.is(200);
}

#[tokio::test]
async fn an_ipv6_customer_is_one_address() {
    let edge = behind_a_proxy().start().await;
    for host in 1..=5 {
        log_in_from(&edge, &format!("2001:db8:1:2::{host}"), "alice", "wrong").await.is(400);
    }
    is_banned(&log_in_from(&edge, "2001:db8:1:2:a:b:c:d", "alice", RIGHT).await, 300);
    log_in_from(&edge, "2001:db8:1:3::1", "alice", RIGHT).await.is(200);
}

#[tokio::test]
async fn g8_a_forwarded_address_of_nobody_trusted_changes_nothing() {
    let edge = edge().start().await;
    for host in 1..=5 {
        log_in_from(&edge, &format!("203.0.113.{host}"), "alice", "wrong").await.is(400);
    }
    is_banned(&log_in_from(&edge, "203.0.113.6", "alice", RIGHT).await, 300);
    is_banned(&log_in(&edge, "alice", RIGHT).await, 300);
}

#[tokio::test]
async fn invented_names_exhaust_their_address_and_nobody_else() {
    let edge = behind_a_proxy().start().await;
    for number in 0..30 {
        log_in_from(&edge, "203.0.113.9", &format!("name{number}"), "wrong").await.is(400);
    }
    is_banned(&log_in_from(&edge, "203.0.113.9", "name30", "wrong").await, 900);
    is_banned(&log_in_from(&edge, "203.0.113.9", "alice", RIGHT).await, 900);
    log_in_from(&edge, "198.51.100.1", "alice", RIGHT).await.is(200);
    edge.advance(15 * MINUTE);
    log_in_from(&edge, "203.0.113.9", "alice", RIGHT).await.is(200);
}

#[tokio::test]
async fn a_botnet_keeps_the_owner_out_of_nowhere_familiar() {
    let edge = behind_a_proxy().start().await;
    log_in_from(&edge, "198.51.100.1", "alice", RIGHT).await.is(200);
    let mut told = 0;
    for host in 1..=30 {
        let answer = log_in_from(&edge, &format!("203.0.113.{host}"), "alice", "wrong").await;
        told += usize::from(answer.status == 400);
    }
    assert_eq!(told, 21);
    log_in_from(&edge, "203.0.113.99", "alice", RIGHT).await.is(429);
    log_in_from(&edge, "198.51.100.1", "alice", RIGHT).await.is(200);
    edge.advance(MINUTE);
    log_in_from(&edge, "203.0.113.99", "alice", RIGHT).await.is(200);
}

#[tokio::test]
async fn guesses_side_by_side_are_told_as_few_outcomes() {
    let edge = edge().start().await;
    let forms: Vec<_> = (0..24).map(|number| form("alice", &format!("guess{number}"))).collect();
    let answers =
        forms.iter().map(|form| tokio::spawn(sent(edge.address, edge.token(form).bytes())));
    let mut told = 0;
    for answer in answers.collect::<Vec<_>>() {
        let status = answer.await.unwrap().status;
        assert!(matches!(status, 400 | 429), "{status}");
        told += usize::from(status == 400);
    }
    assert_eq!(told, 5);
    is_banned(&log_in(&edge, "alice", RIGHT).await, 300);
}

#[tokio::test]
async fn honest_users_side_by_side_all_log_in() {
    let edge = edge().start().await;
    let form = form("alice", RIGHT);
    let answers = (0..24).map(|_| tokio::spawn(sent(edge.address, edge.token(&form).bytes())));
    for answer in answers.collect::<Vec<_>>() {
        answer.await.unwrap().is(200);
    }
}

async fn sent(address: std::net::SocketAddr, bytes: Vec<u8>) -> Response {
    crate::harness::Wire::connect(address).await.ask(bytes).await
}

#[tokio::test]
async fn a33_a_client_secret_cannot_be_guessed_either() {
    let edge = behind_a_proxy().start().await;
    let ask = |secret: &'static str, address: &str| {
        let form = form("alice", RIGHT);
        let asked = edge.token(&form).basic("vault", secret);
        asked.field(&format!("X-Forwarded-For: {address}"))
    };
    for _ in 0..5 {
        ask("wrong", "203.0.113.9").await.is(401);
    }
    is_banned(&ask(VAULT_SECRET, "203.0.113.9").await, 300);
    ask(VAULT_SECRET, "198.51.100.1").await.is(200);
    log_in_from(&edge, "203.0.113.9", "alice", RIGHT).await.is(200);
    edge.advance(5 * MINUTE);
    ask(VAULT_SECRET, "203.0.113.9").await.is(200);
}

#[tokio::test]
async fn who_mistypes_and_then_remembers_starts_anew() {
    let edge = edge().start().await;
    for _ in 0..5 {
        for _ in 0..4 {
            log_in(&edge, "alice", "wrong").await.is(400);
        }
        log_in(&edge, "alice", RIGHT).await.is(200);
    }
}

#[tokio::test]
async fn limits_are_configured_and_can_be_off() {
    let edge1 = edge()
        .with("login: { per_user: { failures: 2, within: 1m, ban: 30s }, per_address: off }")
        .start()
        .await;
    for number in 0..40 {
        log_in(&edge1, &format!("name{number}"), "wrong").await.is(400);
    }
    log_in(&edge1, "alice", "wrong").await.is(400);
    log_in(&edge1, "alice", "wrong").await.is(400);
    is_banned(&log_in(&edge1, "alice", RIGHT).await, 30);

    let edge2 = edge().with("login: { per_user: off, per_address: off }").start().await;
    for _ in 0..40 {
        log_in(&edge2, "alice", "wrong").await.is(400);
    }
    log_in(&edge2, "alice", RIGHT).await.is(200);
}

#[tokio::test]
async fn bans_are_counted_and_outlive_a_reload() {
    let log = Captured::default();
    let edge = edge().with("admin: { address: '127.0.0.1:0' }").log_to(&log).start().await;
    for _ in 0..5 {
        log_in(&edge, "alice", "wrong").await.is(400);
    }
    edge.disable_bob();
    is_banned(&log_in(&edge, "alice", RIGHT).await, 300);
    let lines = log.lines(6).await;
    assert_eq!(lines[5]["status"], 429, "{}", lines[5]);
    let mut admin = crate::harness::Wire::connect(edge.admin.unwrap()).await;
    let metrics = admin.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.text();
    assert!(metrics.contains("portcullis_login_failures_total{reason=\"banned\"} 1"), "{metrics}");
    assert!(metrics.contains("portcullis_login_failures_total{reason=\"invalid_grant\"} 5"));
}
