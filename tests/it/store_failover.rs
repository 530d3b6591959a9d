//! A PostgreSQL that takes no writes, answers late, or has lost what it knew: what its nodes make of it.

use std::time::Duration;

use portcullis::oauth::subject::Subject;
use portcullis::state::Revocation;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::harness::postgres::Postgres;
use super::harness::{Edge, edge, within};

fn subject(name: &str) -> Subject {
    Subject::parse(name).unwrap()
}

async fn execute(connection: &mut PgConnection, statement: &str) {
    let query = sqlx::query(AssertSqlSafe(statement.to_owned()));
    within(query.execute(connection)).await.unwrap();
}

async fn until(mut question: impl FnMut() -> bool) {
    within(async {
        while !question() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// What `/readyz` says of the store.
fn is_ready(edge: &Edge) -> bool {
    edge.mirror().is_current() && edge.mirror().takes_writes()
}

async fn revoke(edge: &Edge, name: &str) {
    let revocation = Revocation::Subject { subject: subject(name) };
    within(edge.store().revoke(revocation)).await.unwrap();
}

fn knows(edge: &Edge, name: &str) -> bool {
    edge.mirror().knows_end_of(&subject(name))
}

// Part 4, item 23.
#[tokio::test]
async fn transactions_that_a_lock_held_up_leave_nothing_behind() {
    let url = Postgres::shared().await.database().await;
    let edge = edge().postgres(&url).start().await;
    let pair = edge.tokens("alice").await;
    let mut outside = PgConnection::connect(&url).await.unwrap();
    let mut lock = outside.begin().await.unwrap();
    execute(&mut lock, "LOCK TABLE families IN SHARE MODE").await;
    let refused = futures_of(&edge, &pair).await;
    assert!(refused.iter().all(|status| *status == 503), "{refused:?}");
    assert!(!edge.mirror().takes_writes() && edge.mirror().write_failures() > 0);
    lock.rollback().await.unwrap();
    until(|| is_ready(&edge)).await;
    for _ in 0..12 {
        edge.tokens("alice").await;
    }
    edge.refresh(&pair).await.is(200);
}

/// The statuses of logins while the database does not let them.
async fn futures_of(edge: &Edge, pair: &super::harness::Pair) -> Vec<u16> {
    let ask = async || edge.refresh(pair).await.status;
    let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
    vec![a, b, c, d]
}

// Part 4, items 23 and 25b.
#[tokio::test]
async fn a_database_that_was_read_only_for_a_while_is_not_for_ever() {
    let server = Postgres::start().await;
    let edge = edge().postgres(&server.url()).start().await;
    let pair = edge.tokens("alice").await;
    let mut outside = PgConnection::connect(&server.url()).await.unwrap();
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    execute(&mut outside, "ALTER DATABASE postgres SET default_transaction_read_only = on").await;
    execute(&mut outside, others).await;
    until(|| !edge.mirror().is_current()).await;
    edge.refresh(&pair).await.is(503);
    edge.get("/account/").bearer(&pair.access).await.is(200);
    execute(&mut outside, "SET default_transaction_read_only = off").await;
    execute(&mut outside, "ALTER DATABASE postgres RESET default_transaction_read_only").await;
    until(|| is_ready(&edge)).await;
    edge.refresh(&pair).await.is(200);
    edge.tokens("bob").await;
}

// Part 4, item 25b.
#[tokio::test]
async fn a_revocation_that_does_not_become_durable_is_not_unheard_of() {
    let url = Postgres::shared().await.database().await;
    let edge = edge().postgres(&url).start().await;
    // As a commit that waits for a standby: it holds the counter, and nobody can see what it wrote.
    let mut outside = PgConnection::connect(&url).await.unwrap();
    let mut stalled = outside.begin().await.unwrap();
    execute(&mut stalled, "UPDATE feed SET seq = seq + 1 WHERE name = 'revocations'").await;
    until(|| !edge.mirror().is_current()).await;
    stalled.rollback().await.unwrap();
    until(|| is_ready(&edge)).await;
}

// Part 4, item 25. A promoted standby that lost a tail, as its rows show it: numbers go back and are used again before
// anybody looks.
#[tokio::test]
async fn what_a_promoted_standby_has_lost_is_written_back_and_what_is_new_is_learned() {
    let url = Postgres::shared().await.database().await;
    let (one, other) = (edge().postgres(&url).start().await, edge().postgres(&url).start().await);
    for name in ["kept", "lost-1", "lost-2"] {
        revoke(&one, name).await;
    }
    until(|| knows(&other, "lost-2")).await;
    let mut outside = PgConnection::connect(&url).await.unwrap();
    let mut failover = outside.begin().await.unwrap();
    let now = one.now();
    for statement in [
        "UPDATE feed SET seq = seq - 2 WHERE name = 'revocations'".to_owned(),
        "DELETE FROM revocations WHERE subject LIKE 'lost-%'".to_owned(),
        format!(
            "INSERT INTO revocations SELECT seq + n, 'subject', 'new-' || n, 'new-' || n, {now}, {} \
             FROM feed, generate_series(1, 3) n WHERE feed.name = 'revocations'",
            now + 10_000
        ),
        "UPDATE feed SET seq = seq + 3 WHERE name = 'revocations'".to_owned(),
    ] {
        execute(&mut failover, &statement).await;
    }
    failover.commit().await.unwrap();
    for node in [&one, &other] {
        until(|| ["new-1", "new-2", "new-3"].iter().all(|name| knows(node, name))).await;
    }
    until(|| is_ready(&one) && is_ready(&other)).await;
    // One that comes late learns all of it, and numbers are used once from here on.
    let late = edge().postgres(&url).start().await;
    until(|| ["kept", "lost-1", "lost-2", "new-1", "new-3"].iter().all(|n| knows(&late, n))).await;
    revoke(&late, "next").await;
    until(|| knows(&one, "next") && knows(&other, "next")).await;
    one.tokens("alice").await;
}
