//! The feed between nodes, where transactions commit in another order than they began: nothing may be missed.

use std::future::Future as _;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use portcullis::oauth::scope::Scope;
use portcullis::oauth::subject::Subject;
use portcullis::state::{Revocation, UserChange};
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::harness::gateway::HASH;
use super::harness::node::report;
use super::harness::postgres::Postgres;
use super::harness::relay::Relay;
use super::harness::{edge, within};

fn subject(name: &str) -> Subject {
    Subject::parse(name).unwrap()
}

#[tokio::test]
async fn a_revocation_that_commits_late_is_never_behind_one_that_was_seen() {
    let url = Postgres::shared().await.database().await;
    let (one, other) = (edge().postgres(&url).start().await, edge().postgres(&url).start().await);
    let at = one.now();
    let database = PgPool::connect(&url).await.unwrap();

    // A node that draws its number and then dawdles.
    let mut slow = database.begin().await.unwrap();
    let draw = "UPDATE feed SET seq = seq + 1 WHERE name = 'revocations' RETURNING seq";
    let number: i64 = sqlx::query_scalar(draw).fetch_one(&mut *slow).await.unwrap();
    let insert = "INSERT INTO revocations (seq, kind, name, subject, at, until) \
                  VALUES ($1, 'subject', 'alice', 'alice', $2, $3)";
    let seconds = i64::try_from(at).unwrap();
    let row = sqlx::query(insert).bind(number).bind(seconds).bind(seconds + 1000);
    row.execute(&mut *slow).await.unwrap();

    // Another that is quicker has to wait for it, so it cannot be seen first.
    let mut quick = pin!(one.store().revoke(Revocation::Subject { subject: subject("bob") }));
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND datname = current_database() \
                   AND query LIKE 'UPDATE feed%'";
    within(async {
        loop {
            let poll = std::future::poll_fn(|context| Poll::Ready(quick.as_mut().poll(context)));
            assert!(poll.await.is_pending(), "it overtook the one before it");
            let count: i64 = sqlx::query_scalar(waiting).fetch_one(&database).await.unwrap();
            if count > 0 {
                return;
            }
        }
    })
    .await;
    let knows = |name: &str| other.mirror().knows_end_of(&subject(name));
    assert!(!knows("alice") && !knows("bob"));
    slow.commit().await.unwrap();
    within(quick).await.unwrap();
    within(async {
        while !knows("bob") {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert!(knows("alice"), "whoever has seen a number has seen all before it");
}

#[tokio::test]
async fn a_node_that_hangs_in_a_transaction_does_not_hold_up_the_others_for_long() {
    let url = Postgres::shared().await.database().await;
    let edge = edge().postgres(&url).start().await;
    // As every connection of ours is set up.
    let hanging = PgPool::connect(&url).await.unwrap();
    let mut transaction = hanging.begin().await.unwrap();
    for statement in [
        "SET idle_in_transaction_session_timeout = '1s'",
        "UPDATE feed SET seq = seq + 1 WHERE name = 'revocations'",
    ] {
        sqlx::query(statement).execute(&mut *transaction).await.unwrap();
    }
    let revocation = || Revocation::Subject { subject: subject("bob") };
    let revoked = tokio::time::timeout(Duration::from_secs(10), async {
        while edge.store().revoke(revocation()).await.is_err() {}
    });
    revoked.await.expect("the database ends a transaction that nobody goes on with");
    assert!(edge.mirror().knows_end_of(&subject("bob")));
}

// Part 4, item 25d.
#[tokio::test]
async fn who_was_removed_behind_a_large_import_is_not_late() {
    const IMPORTED: usize = 1_500;
    let server = Postgres::start().await;
    let relay = Relay::start(&server);
    let one = edge().postgres(&server.url()).users_in_database().start().await;
    let away = edge().postgres(&relay.url()).users_in_database().start().await;
    let (alice, bob) = (away.tokens("alice").await, away.tokens("bob").await);
    let user = |pair: &super::harness::Pair| away.get("/notes/1").bearer(&pair.access);
    user(&alice).await.is(200);
    relay.silence();
    let mut import = JoinSet::new();
    for number in 0..IMPORTED {
        let (store, name) = (one.store().clone(), subject(&format!("imported-{number}")));
        let (password, scope) = (HASH.to_owned(), Scope::parse("notes:read").unwrap());
        let add = UserChange::Add { password, scope };
        import.spawn(async move { store.change_user(&name, add).await.unwrap() });
    }
    assert!(within(import.join_all()).await.into_iter().all(|added| added));
    let alices = subject("alice");
    assert!(within(one.store().change_user(&alices, UserChange::Delete)).await.unwrap());

    let before = relay.sent();
    relay.heal();
    within(async { while user(&alice).await.status != 401 {} }).await;
    let sent = relay.sent() - before;
    user(&bob).await.is(200);
    report(&format!("feed: {IMPORTED} changed users, {sent} ways to the database and back"));
    assert!(sent < 100, "{sent} ways to the database and back");
    let last = subject(&format!("imported-{}", IMPORTED - 1));
    let version = within(one.store().user(last.as_str())).await.unwrap().unwrap().version;
    within(away.mirror().reached(version)).await;
}
