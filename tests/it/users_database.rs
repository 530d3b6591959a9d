//! Users in the database: every story on SQLite, and on PostgreSQL where that may be started. The command line changes them
//! while they are logged in, on two edges with one store.

use tokio::time::{Duration, Instant};

use super::binary::ended;
use super::harness::database_users::Kept;
use super::harness::gateway::PASSWORD;
use super::harness::{Edge, Pair, Response, edge, within};

/// The promise of how soon a change is everywhere.
const PROMISED: Duration = Duration::from_secs(2);
/// For `correct horse`.
const BCRYPT: &str = "$2b$04$H.zj3W3PRsXXBn0xfDhvhebSUIs7b6sz/feqRphkzH4XtNp1SBfY2";

macro_rules! stories {
    ($($story:ident)*) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $story() {
                super::$story(Kept::sqlite().await).await;
            })*
        }

        #[cfg(feature = "external-tests")]
        mod postgres {
            use super::*;
            $(#[tokio::test]
            async fn $story() {
                super::$story(Kept::postgres().await).await;
            })*
        }
    };
}

stories! {
    users_of_the_database_log_in
    a_user_who_was_added_can_use_the_first_token_at_once
    a_disabled_user_is_refused_everywhere_within_two_seconds_and_has_to_log_in_anew
    another_password_ends_the_tokens_of_the_old_one
    a_smaller_grant_narrows_the_tokens_that_are_out_there
    a_name_that_comes_back_does_not_revive_its_tokens
    imported_users_log_in_and_get_a_stronger_hash_without_noticing
    a_list_with_a_mistake_adds_nobody
}

async fn start(kept: &Kept) -> Edge {
    edge().state_at(&kept.yaml).users_in_database().start().await
}

async fn log_in(edge: &Edge, user: &str, password: &str) -> Response {
    let password = password.replace(' ', "+");
    edge.token(&format!("grant_type=password&username={user}&password={password}")).await
}

async fn status(edge: &Edge, path: &str, token: &str) -> u16 {
    edge.get(path).bearer(token).await.status
}

/// Runs `portcullis users`, which must do its work.
async fn users(edge: &Edge, arguments: &[&str], input: &str) -> String {
    ended(&edge.users(arguments, input).await, 0).0
}

/// Waits until a token has this status, and asserts that it was soon.
async fn soon(edge: &Edge, path: &str, token: &str, wanted: u16) {
    let began = Instant::now();
    within(async { while status(edge, path, token).await != wanted {} }).await;
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
}

async fn users_of_the_database_log_in(kept: Kept) {
    let edge = start(&kept).await;
    let (alice, bob) = (edge.tokens("alice").await, edge.tokens("bob").await);
    assert_eq!(status(&edge, "/admin/x", &alice.access).await, 200);
    assert_eq!(edge.upstream.seen().last().unwrap().values("x-user"), ["alice"]);
    assert_eq!(status(&edge, "/notes/1", &bob.access).await, 200);
    assert_eq!(status(&edge, "/admin/x", &bob.access).await, 403);
    Pair::of(&edge.refresh(&bob).await);
    for (user, password) in
        [("alice", "wrong"), ("nobody", PASSWORD), ("carol", PASSWORD), ("a,b", PASSWORD)]
    {
        log_in(&edge, user, password).await.is_refused(400, "invalid_grant");
    }
}

async fn a_user_who_was_added_can_use_the_first_token_at_once(kept: Kept) {
    let (here, there) = (start(&kept).await, start(&kept).await);
    for round in 0..3 {
        let name = format!("dave{round}");
        let told = users(&here, &["add", &name, "--scopes", "notes:read"], "new one\n").await;
        assert_eq!(told, format!("{name} is added and may have: notes:read\n"));
        for edge in [&here, &there] {
            let pair = Pair::of(&log_in(edge, &name, "new one").await);
            assert_eq!(status(edge, "/notes/1", &pair.access).await, 200);
        }
    }
}

async fn a_disabled_user_is_refused_everywhere_within_two_seconds_and_has_to_log_in_anew(
    kept: Kept,
) {
    let edges = [start(&kept).await, start(&kept).await];
    let mut old = Vec::new();
    for edge in &edges {
        let pair = edge.tokens("bob").await;
        assert_eq!(status(edge, "/notes/1", &pair.access).await, 200);
        old.push((edge, pair, edge.tokens("alice").await));
    }
    users(&edges[0], &["disable", "bob"], "").await;
    for (edge, bob, alice) in &old {
        soon(edge, "/notes/1", &bob.access, 401).await;
        edge.refresh(bob).await.is_refused(400, "invalid_grant");
        log_in(edge, "bob", PASSWORD).await.is_refused(400, "invalid_grant");
        assert_eq!(status(edge, "/notes/1", &alice.access).await, 200, "only bob was meant");
    }
    users(&edges[1], &["enable", "bob"], "").await;
    for (edge, bob, _) in &old {
        let new = edge.tokens("bob").await;
        assert_eq!(status(edge, "/notes/1", &new.access).await, 200);
        assert_eq!(status(edge, "/notes/1", &bob.access).await, 401);
        edge.refresh(bob).await.is_refused(400, "invalid_grant");
        edge.refresh(&new).await.is(200);
    }
    let told = users(&edges[0], &["enable", "alice"], "").await;
    assert_eq!(told, "alice was not disabled\n");
    for (edge, _, alice) in &old {
        edge.refresh(alice).await.is(200);
    }
}

async fn another_password_ends_the_tokens_of_the_old_one(kept: Kept) {
    let edges = [start(&kept).await, start(&kept).await];
    let [bob, other] = [edges[0].tokens("bob").await, edges[1].tokens("bob").await];
    users(&edges[0], &["passwd", "bob"], "new one\n").await;
    for (edge, old) in edges.iter().zip([&bob, &other]) {
        soon(edge, "/notes/1", &old.access, 401).await;
        edge.refresh(old).await.is_refused(400, "invalid_grant");
        log_in(edge, "bob", PASSWORD).await.is_refused(400, "invalid_grant");
        let new = Pair::of(&log_in(edge, "bob", "new one").await);
        assert_eq!(status(edge, "/notes/1", &new.access).await, 200);
        edge.refresh(&new).await.is(200);
    }
}

async fn a_smaller_grant_narrows_the_tokens_that_are_out_there(kept: Kept) {
    let edge = start(&kept).await;
    let pair = edge.tokens("alice").await;
    assert_eq!(status(&edge, "/admin/x", &pair.access).await, 200);
    users(&edge, &["grant", "alice", "--scopes", "notes:read"], "").await;
    soon(&edge, "/admin/x", &pair.access, 403).await;
    assert_eq!(status(&edge, "/notes/1", &pair.access).await, 200);
    let next = edge.refresh(&pair).await;
    assert_eq!(next.is(200).json()["scope"], "notes:read");
    // What comes back is worth something again, but no token gains what it was not issued for.
    users(&edge, &["grant", "alice", "--scopes", "notes:read admin"], "").await;
    soon(&edge, "/admin/x", &pair.access, 200).await;
    assert_eq!(status(&edge, "/admin/x", &Pair::of(&next).access).await, 403);
}

async fn a_name_that_comes_back_does_not_revive_its_tokens(kept: Kept) {
    let edge = start(&kept).await;
    let old = edge.tokens("bob").await;
    users(&edge, &["remove", "bob"], "").await;
    soon(&edge, "/notes/1", &old.access, 401).await;
    log_in(&edge, "bob", PASSWORD).await.is_refused(400, "invalid_grant");
    let input = format!("{PASSWORD}\n");
    users(&edge, &["add", "bob", "--scopes", "notes:read"], &input).await;
    let new = edge.tokens("bob").await;
    assert_eq!(status(&edge, "/notes/1", &new.access).await, 200);
    assert_eq!(status(&edge, "/notes/1", &old.access).await, 401);
    edge.refresh(&old).await.is_refused(400, "invalid_grant");
}

async fn imported_users_log_in_and_get_a_stronger_hash_without_noticing(kept: Kept) {
    let edge = start(&kept).await;
    std::fs::write(
        edge.directory().join("list"),
        format!("# from the old shop\ndave:{BCRYPT}\nalice:{BCRYPT}\nerin:{BCRYPT}\n"),
    )
    .unwrap();
    let import = ["import", "--format", "htpasswd", "list", "--scopes", "notes:read"];
    let (told, left) = ended(&edge.users(&import, "").await, 0);
    assert_eq!(told, "added: 2, left alone: 1\n");
    assert_eq!(left, "list: line 3: alice is there already, and left alone\n");
    edge.tokens("alice").await;
    log_in(&edge, "dave", "correct mule").await.is_refused(400, "invalid_grant");
    let algorithm = async |name: &str| {
        let list = users(&edge, &["list"], "").await;
        let line = list.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        line.split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!(algorithm("dave").await, "bcrypt", "after a wrong password");
    let pair = Pair::of(&log_in(&edge, "dave", "correct horse").await);
    assert_eq!(status(&edge, "/notes/1", &pair.access).await, 200);
    within(async { while algorithm("dave").await != "argon2id" {} }).await;
    assert_eq!(algorithm("erin").await, "bcrypt", "who has not logged in");
    // Everybody who reads the row again by now has the new hash, and the same version.
    users(&edge, &["grant", "dave", "--scopes", "notes:read admin"], "").await;
    let admin = Pair::of(&log_in(&edge, "dave", "correct horse").await);
    soon(&edge, "/admin/x", &admin.access, 200).await;
    assert_eq!(status(&edge, "/notes/1", &pair.access).await, 200);
    edge.refresh(&pair).await.is(200);
    let again = ended(&edge.users(&import, "").await, 0).0;
    assert_eq!(again, "added: 0, left alone: 3\n");
}

async fn a_list_with_a_mistake_adds_nobody(kept: Kept) {
    let edge = start(&kept).await;
    let list = format!("name,hash\ndave,{BCRYPT}\nerin,hunter2\nx:y,{BCRYPT}\ndave,{BCRYPT}\n");
    std::fs::write(edge.directory().join("list.csv"), list).unwrap();
    let before = users(&edge, &["list"], "").await;
    let import = edge.users(&["import", "--format", "csv", "list.csv"], "").await;
    let (told, problems) = ended(&import, 1);
    assert_eq!(told, "");
    for line in [3, 4, 5] {
        assert!(problems.contains(&format!("error: list.csv: line {line}: ")), "{problems}");
    }
    assert!(problems.ends_with("portcullis: nobody was added\n"), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
    assert_eq!(users(&edge, &["list"], "").await, before);
    log_in(&edge, "dave", "correct horse").await.is_refused(400, "invalid_grant");
}
