//! `client_credentials` over sockets (RFC 6749 section 4.4): a program gets a token of its own, from where it may ask, and
//! passes where scopes are named.

use portcullis::oauth::subject::Subject;
use serde_json::Value;

use super::harness::gateway::{PASSWORD, VAULT_SECRET};
use super::harness::{Response, edge};
use super::metrics::metrics;

const MACHINE: &str = "grant_type=client_credentials";

#[track_caller]
fn is_refused(answer: &Response, status: u16, code: &str) {
    assert_eq!(answer.is(status).json()["error"], code, "{}", answer.text());
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    assert!(!answer.text().contains("access_token"));
}

fn token(answer: &Response) -> String {
    answer.is(200).json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a37_a_machine_client_gets_a_token_of_its_own_and_nothing_to_refresh_it() {
    let edge = edge().start().await;
    let posted = format!("{MACHINE}&client_id=nightly&client_secret=s3cret%2B%2F%25%3Avault");
    for answer in [
        edge.token(MACHINE).basic("nightly", VAULT_SECRET).await,
        edge.token(&posted).await,
        edge.token(&format!("{MACHINE}&scope=")).basic("nightly", VAULT_SECRET).await,
    ] {
        let json = answer.is(200).json();
        assert_eq!((&json["token_type"], &json["expires_in"]), (&"Bearer".into(), &900.into()));
        assert_eq!(json["scope"], "admin notes:read");
        assert_eq!(json["refresh_token"], Value::Null);
        assert_eq!(answer.values("cache-control"), ["no-store"]);
    }
}

#[tokio::test]
async fn g13_x_user_says_which_client_it_is_and_no_user_can_be_named_so() {
    let edge = edge().start().await;
    let token = token(&edge.token(MACHINE).basic("nightly", VAULT_SECRET).await);
    // Twice: verified, then remembered.
    for _ in 0..2 {
        edge.get("/notes/1").bearer(&token).await.is(200);
        assert_eq!(edge.upstream.last().values("x-user"), ["client:nightly"]);
    }
    assert!(Subject::user("client:nightly").is_err());
    let form = "grant_type=password&username=client:nightly&password=correct+horse+battery+staple";
    is_refused(&edge.token(form).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_machine_client_passes_only_where_scopes_are_named() {
    let edge = edge().start().await;
    let machine = token(&edge.token(MACHINE).basic("nightly", VAULT_SECRET).await);
    let alice = edge.login("alice", "notes:read").await;
    edge.get("/account/1").bearer(&alice).await.is(200);
    edge.get("/account/1").bearer(&machine).await.is(403);
    edge.get("/notes/1").bearer(&machine).await.is(200);
    edge.get("/admin/1").bearer(&machine).await.is(200);
    edge.get("/read-only/1").bearer(&machine).await.is(200);
    let less = format!("{MACHINE}&scope=notes:read");
    let less = token(&edge.token(&less).basic("nightly", VAULT_SECRET).await);
    edge.get("/admin/1").bearer(&less).await.is(403);
}

#[tokio::test]
async fn a17_a_machine_client_never_gets_more_than_it_may_have() {
    let edge = edge().start().await;
    for (scope, granted) in [
        ("notes:read", Some("notes:read")),
        ("notes:read+notes:write", Some("notes:read")),
        ("notes:write", None),
        ("notes:read+no-such-scope", None),
        ("notes:read++admin", None),
    ] {
        let form = format!("{MACHINE}&scope={scope}");
        let answer = edge.token(&form).basic("nightly", VAULT_SECRET).await;
        match granted {
            Some(granted) => assert_eq!(answer.is(200).json()["scope"], granted, "{scope}"),
            None => is_refused(&answer, 400, "invalid_scope"),
        }
    }
}

#[tokio::test]
async fn a37_who_does_not_prove_itself_or_does_not_list_the_grant_gets_nothing() {
    let edge = edge().start().await;
    is_refused(&edge.token(MACHINE).basic("nightly", "wrong").await, 401, "invalid_client");
    is_refused(&edge.token(MACHINE).basic("nightly", "").await, 401, "invalid_client");
    let named = format!("{MACHINE}&client_id=nightly");
    is_refused(&edge.token(&named).await, 401, "invalid_client");
    // The default client, a public one, and one with a secret: none of them lists it.
    is_refused(&edge.token(MACHINE).await, 400, "unauthorized_client");
    let reader = format!("{MACHINE}&client_id=reader");
    is_refused(&edge.token(&reader).await, 400, "unauthorized_client");
    let vault = edge.token(MACHINE).basic("vault", VAULT_SECRET).await;
    is_refused(&vault, 400, "unauthorized_client");
    // And it has no other grant than those that it lists.
    let password = PASSWORD.replace(' ', "+");
    let login = format!("grant_type=password&username=alice&password={password}");
    let answer = edge.token(&login).basic("nightly", VAULT_SECRET).await;
    is_refused(&answer, 400, "unauthorized_client");
}

#[tokio::test]
async fn a_client_outside_its_networks_is_told_what_an_unknown_one_is_told() {
    let more = "trusted_proxies: [127.0.0.1]\nadmin: { address: '127.0.0.1:0' }";
    let edge = edge().with(more).start().await;
    let password = PASSWORD.replace(' ', "+");
    let login = format!("grant_type=password&username=alice&password={password}");
    let from = |form: &str, id: &str, chain: &str| {
        let asked = edge.token(form).basic(id, VAULT_SECRET);
        asked.field(&format!("X-Forwarded-For: {chain}"))
    };
    let unknown = from(MACHINE, "nobody", "10.20.0.1").await;
    is_refused(&unknown, 401, "invalid_client");
    // For every grant; what the client itself says of its address counts for nothing.
    for (form, chain) in [
        (MACHINE, "10.21.0.1"),
        (login.as_str(), "10.21.0.1"),
        (MACHINE, "10.20.0.1, 203.0.113.9"),
        (MACHINE, "::ffff:10.21.0.1"),
        (MACHINE, "nonsense"),
    ] {
        let answer = from(form, "remote", chain).await;
        assert_eq!(answer.status, unknown.status, "{chain}");
        assert_eq!(answer.text(), unknown.text(), "{chain}");
        assert_eq!(answer.values("www-authenticate"), unknown.values("www-authenticate"));
    }
    for (form, chain) in [
        (MACHINE, "10.20.0.1"),
        (login.as_str(), "10.20.0.1"),
        (MACHINE, "::ffff:10.20.0.1"),
        (MACHINE, "203.0.113.9, 10.20.0.1"),
    ] {
        from(form, "remote", chain).await.is(200);
    }
    let text = metrics(&edge).await;
    for (reason, count) in [("invalid_client", 1), ("client_network", 5)] {
        let line = format!("portcullis_login_failures_total{{reason=\"{reason}\"}} {count}");
        assert!(text.lines().any(|own| own == line), "{line} not in\n{text}");
    }
}
