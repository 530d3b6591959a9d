//! Refresh tokens as their client sees them: RFC 6749 section 6, RFC 9700 section 4.14.2.

use std::time::Duration;

use super::harness::gateway::{HASH, VAULT_SECRET};
use super::harness::{Pair, edge, on_both_engines};

const DAY: Duration = Duration::from_secs(86_400);

/// Another hash of the same password.
const OTHER_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Nf0h5y6ZyTbWhZrkOUYc8vxJ1i0yUDbQ0rYqMQ3kFvE";

on_both_engines! {
    async fn d1_a_login_goes_on_with_a_new_token_each_time(kept) {
        let edge = kept().start().await;
        let first = edge.tokens("alice").await;
        let second = Pair::of(&edge.refresh(&first).await);
        let third = Pair::of(&edge.refresh(&second).await);
        assert!(first.refresh != second.refresh && second.refresh != third.refresh);
        for pair in [&first, &second, &third] {
            edge.get("/notes/1").bearer(&pair.access).await.is(200);
            edge.get("/notes/1").bearer(&pair.refresh).await.is(401);
        }
        let answer = edge.refresh(&third).await;
        assert_eq!(answer.values("cache-control"), ["no-store"]);
        assert_eq!(answer.json()["scope"], "admin notes:read notes:write");
    }

    async fn d2_a_spent_token_ends_its_family_and_no_other(kept) {
        let edge = kept().start().await;
        let first = edge.tokens("alice").await;
        let other = edge.tokens("alice").await;
        let second = Pair::of(&edge.refresh(&first).await);
        let third = Pair::of(&edge.refresh(&second).await);

        edge.refresh(&first).await.is_refused(400, "invalid_grant");

        edge.refresh(&third).await.is_refused(400, "invalid_grant");
        for pair in [&first, &second, &third] {
            let challenge = "Bearer realm=\"portcullis\", error=\"invalid_token\"";
            edge.get("/notes/1").bearer(&pair.access).await.is_challenged(401, challenge);
        }
        edge.get("/notes/1").bearer(&other.access).await.is(200);
        edge.refresh(&other).await.is(200);
    }

    async fn a_lost_answer_is_given_again_for_a_moment(kept) {
        let edge = kept().start().await;
        let first = edge.tokens("alice").await;
        let second = Pair::of(&edge.refresh(&first).await);
        edge.advance(Duration::from_secs(9));
        let again = Pair::of(&edge.refresh(&first).await);
        assert_eq!(again.refresh, second.refresh, "one live branch");
        edge.get("/notes/1").bearer(&again.access).await.is(200);
        edge.advance(Duration::from_secs(1));
        edge.refresh(&first).await.is_refused(400, "invalid_grant");
        edge.refresh(&second).await.is_refused(400, "invalid_grant");
    }

    async fn without_a_grace_every_repetition_is_reuse(kept) {
        let edge = kept().grace(0).start().await;
        let first = edge.tokens("alice").await;
        let second = Pair::of(&edge.refresh(&first).await);
        edge.refresh(&first).await.is_refused(400, "invalid_grant");
        edge.refresh(&second).await.is_refused(400, "invalid_grant");
    }

    async fn d5_a_request_that_fails_does_not_spend_the_token(kept) {
        let edge = kept().start().await;
        let pair = edge.tokens("alice").await;
        let form = format!("grant_type=refresh_token&refresh_token={}", pair.refresh);
        for (bad, status, code) in [
            (format!("{form}&client_id=reader"), 400, "invalid_grant"),
            (format!("{form}&client_id=nobody"), 401, "invalid_client"),
            (format!("{form}&client_id=vault&client_secret=wrong"), 401, "invalid_client"),
            (format!("{form}&refresh_token={}", pair.refresh), 400, "invalid_request"),
            (format!("{form}&scope=notes:read+unknown"), 400, "invalid_scope"),
            (format!("{form}&scope=notes:read++admin"), 400, "invalid_scope"),
            ("grant_type=refresh_token".to_owned(), 400, "invalid_request"),
            ("grant_type=refresh_token&refresh_token=".to_owned(), 400, "invalid_request"),
        ] {
            edge.token(&bad).await.is_refused(status, code);
        }
        let stolen = edge.token(&form).basic("vault", VAULT_SECRET);
        stolen.await.is_refused(400, "invalid_grant");
        edge.refresh(&pair).await.is(200);
    }

    async fn d6_scope_may_narrow_and_the_token_keeps_its_own(kept) {
        let edge = kept().start().await;
        let narrow = "grant_type=password&username=alice&password=correct+horse+battery+staple";
        let first = Pair::of(&edge.token(&format!("{narrow}&scope=notes:read+notes:write")).await);
        let refresh = async |pair: &Pair, scope: &str| {
            let form = format!("grant_type=refresh_token&refresh_token={}&scope={scope}", pair.refresh);
            edge.token(&form).await
        };
        refresh(&first, "notes:read+admin").await.is_refused(400, "invalid_scope");
        let answer = refresh(&first, "notes:read").await;
        assert_eq!(answer.json()["scope"], "notes:read");
        let answer = refresh(&Pair::of(&answer), "").await;
        assert_eq!(answer.json()["scope"], "notes:read notes:write");
    }

    async fn d7_what_happens_to_the_user_shows_at_the_next_refresh(kept) {
        for (from, to) in [
            ("name: alice,", "name: alice, disabled: true,"),
            ("name: alice,", "name: alicia,"),
            (HASH, OTHER_HASH),
        ] {
            let edge = kept().start().await;
            let (alice, bob) = (edge.tokens("alice").await, edge.tokens("bob").await);
            edge.change_users(from, to);
            edge.refresh(&alice).await.is_refused(400, "invalid_grant");
            edge.get("/notes/1").bearer(&alice.access).await.is(401);
            edge.refresh(&bob).await.is(200);
            edge.get("/notes/1").bearer(&bob.access).await.is(200);
        }
        let edge = kept().start().await;
        let alice = edge.tokens("alice").await;
        edge.change_users("scopes: [admin, ", "scopes: [");
        assert_eq!(edge.refresh(&alice).await.json()["scope"], "notes:read notes:write");
    }

    async fn d7_a_login_ends_when_it_was_idle_and_when_it_is_old(kept) {
        let edge = kept().start().await;
        let (idle, mut used) = (edge.tokens("alice").await, edge.tokens("alice").await);
        for _ in 0..13 {
            edge.advance(DAY);
            used = Pair::of(&edge.refresh(&used).await);
        }
        edge.refresh(&idle).await.is_refused(400, "invalid_grant");
        edge.advance(DAY);
        edge.refresh(&used).await.is_refused(400, "invalid_grant");
    }

    async fn d9_what_is_no_token_of_ours_is_refused_and_ends_nothing(kept) {
        let edge = kept().start().await;
        let pair = edge.tokens("alice").await;
        let token = &pair.refresh;
        let swapped: String =
            token.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c }).collect();
        let tail = if token.ends_with('A') { "E" } else { "A" };
        let changed = format!("{}{tail}", &token[..token.len() - 1]);
        for bad in [
            "x",
            "prt_",
            &token[..token.len() - 2],
            &format!("{token}%3D"),
            &format!("+{token}"),
            &swapped,
            &changed,
            &pair.access,
            &"A".repeat(5000),
        ] {
            let form = format!("grant_type=refresh_token&refresh_token={bad}");
            edge.token(&form).await.is_refused(400, "invalid_grant");
        }
        edge.refresh(&pair).await.is(200);
    }

    async fn a10_a_client_without_the_grant_neither_gets_nor_spends_one(kept) {
        let edge = kept().start().await;
        let form = "grant_type=password&username=alice&password=correct+horse+battery+staple";
        let answer = edge.token(form).basic("auditor", VAULT_SECRET).await;
        assert!(answer.is(200).json().get("refresh_token").is_none());
        let pair = edge.tokens("alice").await;
        let answer = edge.refresh(&pair).basic("auditor", VAULT_SECRET).await;
        answer.is_refused(400, "unauthorized_client");
        edge.refresh(&pair).await.is(200);
    }
}
