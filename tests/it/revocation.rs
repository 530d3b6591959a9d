//! Revocation (RFC 7009), introspection (RFC 7662) and userinfo, over sockets.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::gateway::VAULT_SECRET;
use super::harness::{Edge, Pair, edge, on_both_engines};

const INVALID: &str = "Bearer realm=\"portcullis\", error=\"invalid_token\"";

async fn introspect(edge: &Edge, token: &str) -> Value {
    let form = format!("token={token}");
    let answer = edge.post("/token/introspect", &form).basic("auditor", VAULT_SECRET).await;
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    answer.is(200).json()
}

on_both_engines! {
    async fn d14_a_revoked_access_token_is_refused_on_the_next_request_although_it_was_cached(kept) {
        let edge = kept().start().await;
        let (one, other) = (edge.tokens("alice").await, edge.tokens("alice").await);
        for _ in 0..3 {
            edge.get("/notes/1").bearer(&one.access).await.is(200);
        }
        edge.post("/token/revoke", &format!("token={}", one.access)).await.is(200);
        edge.get("/notes/1").bearer(&one.access).await.is_challenged(401, INVALID);
        edge.get("/").bearer(&one.access).await.is_challenged(401, INVALID);
        edge.get("/public/x").bearer(&one.access).await.is(200);
        edge.get("/notes/1").bearer(&other.access).await.is(200);
        // The login goes on: only this token was meant.
        let next = Pair::of(&edge.refresh(&one).await);
        edge.get("/notes/1").bearer(&next.access).await.is(200);
    }

    async fn d13_a_revoked_refresh_token_takes_its_access_tokens_with_it(kept) {
        let edge = kept().start().await;
        let (first, other) = (edge.tokens("alice").await, edge.tokens("alice").await);
        let second = Pair::of(&edge.refresh(&first).await);
        let form = format!("token={}&token_type_hint=access_token", second.refresh);
        edge.post("/token/revoke", &form).await.is(200);
        edge.refresh(&second).await.is_refused(400, "invalid_grant");
        for pair in [&first, &second] {
            edge.get("/notes/1").bearer(&pair.access).await.is_challenged(401, INVALID);
        }
        edge.get("/notes/1").bearer(&other.access).await.is(200);
        edge.refresh(&other).await.is(200);
    }

    async fn d10_d11_d12_d15_a_client_ends_its_own_tokens_and_no_others(kept) {
        let edge = kept().start().await;
        let pair = edge.tokens("alice").await;
        let revoke = |form: &str| edge.post("/token/revoke", form);
        for token in [&pair.refresh, &pair.access] {
            revoke(&format!("token={token}&client_id=reader")).await.is_refused(400, "invalid_grant");
            let wrong = revoke(&format!("token={token}")).basic("vault", "wrong");
            wrong.await.is_refused(401, "invalid_client");
            let form = format!("token={token}&token={token}");
            revoke(&form).await.is_refused(400, "invalid_request");
            edge.get(&format!("/token/revoke?token={token}")).await.is(405);
            let query = format!("/token/revoke?token={token}");
            edge.post(&query, "token=x").await.is_refused(400, "invalid_request");
        }
        edge.refresh(&pair).await.is(200);
        edge.get("/notes/1").bearer(&pair.access).await.is(200);
        revoke("").await.is_refused(400, "invalid_request");
        for unknown in ["x", "prt_x", "a.b.c"] {
            revoke(&format!("token={unknown}")).await.is(200);
        }
        for _ in 0..2 {
            revoke(&format!("token={}", pair.access)).await.is(200);
            revoke(&format!("token={}&token_type_hint=nonsense", pair.refresh)).await.is(200);
        }
        edge.get("/notes/1").bearer(&pair.access).await.is(401);
    }

    async fn d16_introspection_tells_a_proven_client_what_a_token_is_worth_now(kept) {
        let edge = kept().start().await;
        let pair = edge.tokens("bob").await;
        let told = introspect(&edge, &pair.access).await;
        assert_eq!(told["active"], true);
        assert_eq!(told["sub"], "bob");
        assert_eq!(told["scope"], "notes:read");
        assert_eq!(told["client_id"], "web");
        assert_eq!(told["token_type"], "Bearer");
        assert_eq!(told["exp"], edge.now() + 900);
        let told = introspect(&edge, &pair.refresh).await;
        assert_eq!((&told["active"], &told["sub"]), (&json!(true), &json!("bob")));

        let inactive = json!({ "active": false });
        for unknown in ["x", "prt_x", "a.b.c"] {
            assert_eq!(introspect(&edge, unknown).await, inactive);
        }
        // Whoever has not proved itself, or asks about another's, learns nothing.
        let form = format!("token={}", pair.access);
        edge.post("/token/introspect", &form).await.is_refused(401, "invalid_client");
        edge.post("/token/introspect", &format!("{form}&client_id=web")).await.is(401);
        let answer = edge.post("/token/introspect", &form).basic("vault", VAULT_SECRET).await;
        assert_eq!(answer.is(200).json(), inactive);
        edge.get("/token/introspect").await.is(405);

        let next = Pair::of(&edge.refresh(&pair).await);
        assert_eq!(introspect(&edge, &pair.refresh).await, inactive, "spent");
        assert_eq!(introspect(&edge, &next.refresh).await["active"], true);
        edge.post("/token/revoke", &format!("token={}", next.refresh)).await.is(200);
        for token in [&pair.access, &next.access, &next.refresh] {
            assert_eq!(introspect(&edge, token).await, inactive);
        }
        let other = edge.tokens("bob").await;
        edge.disable_bob();
        for token in [&other.access, &other.refresh] {
            assert_eq!(introspect(&edge, token).await, inactive);
        }
        let late = edge.tokens("alice").await;
        edge.advance(Duration::from_secs(931));
        assert_eq!(introspect(&edge, &late.access).await, inactive);
    }

    async fn userinfo_says_who_the_bearer_is(kept) {
        let edge = kept().start().await;
        let pair = edge.tokens("bob").await;
        let told = edge.get("/token/userinfo").bearer(&pair.access).await;
        assert_eq!(told.values("cache-control"), ["no-store"]);
        let told = told.is(200).json();
        assert_eq!((&told["sub"], &told["scope"]), (&json!("bob"), &json!("notes:read")));
        edge.get("/token/userinfo").await.is_challenged(401, "Bearer realm=\"portcullis\"");
        edge.get("/token/userinfo").bearer(&pair.refresh).await.is_challenged(401, INVALID);
        edge.ask("DELETE", "/token/userinfo").bearer(&pair.access).await.is(405);
        edge.post("/token/revoke", &format!("token={}", pair.access)).await.is(200);
        edge.get("/token/userinfo").bearer(&pair.access).await.is_challenged(401, INVALID);
        assert!(edge.upstream.seen().is_empty(), "none of it concerns the application");
    }

    async fn a30_near_misses_of_the_new_endpoints_never_reach_an_application(kept) {
        let routes = "\n  - { id: all, path: /**, upstream: app, auth: public }\n";
        let edge = kept().routes(routes).start().await;
        for near in ["/token/revoke/", "/Token/Revoke", "/token//revoke", "/token/%69ntrospect"] {
            edge.post(near, "token=secret").await.is(404);
        }
        edge.get("/token/other").await.is(200);
    }
}
