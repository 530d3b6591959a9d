//! A PostgreSQL that takes no writes, answers late, or has lost what it knew: what its nodes make of it.

use std::time::Duration;

use portcullis::oauth::subject::Subject;
use portcullis::state::Revocation;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::Instant;

use super::binary::Site;
use super::harness::clocked::{Clocked, OffsetClock};
use super::harness::node::{configuration, report};
use super::harness::postgres::Postgres;
use super::harness::relay::Relay;
use super::harness::{Edge, Pair, Wire, edge, within};

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
async fn futures_of(edge: &Edge, pair: &Pair) -> Vec<u16> {
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

// Part 4, item 25b. Each answer takes most of the time that it may.
#[tokio::test]
async fn a_delay_below_the_timeout_does_not_make_readiness_flap_and_silence_ends_it() {
    let server = Postgres::start().await;
    let relay = Relay::start(&server);
    let site = Site::new("127.0.0.1:9");
    let state = "{ postgres: { url: { file: database-url } } }";
    site.write("portcullis.yaml", configuration("127.0.0.1:9", state));
    site.write("database-url", relay.url());
    // By the machine's clock: readiness is a matter of real time.
    let node = Clocked::start(&site.path("portcullis.yaml"), OffsetClock::new(0)).await;
    let readyz = async || {
        let request = "GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n";
        Wire::connect(node.admin).await.ask(request).await.status
    };
    let (began, mut asked) = (Instant::now(), 0);
    for delay in [200, 700, 1_200] {
        relay.slow_down(Duration::from_millis(delay));
        let before = relay.sent();
        // The feed and the exchange of failed logins ask once in each round.
        while relay.sent() < before + 6 {
            assert_eq!(readyz().await, 200, "{delay} ms each way, after {asked} times");
            asked += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let slow = began.elapsed();
    assert!(asked > 100, "{asked} times in {slow:?}");
    relay.silence();
    within(async { while readyz().await != 503 {} }).await;
    relay.heal();
    within(async { while readyz().await != 200 {} }).await;
    report(&format!(
        "readiness: 200 in {asked} of {asked}, {slow:.1?} of slow answers; 503 in silence"
    ));
}

/// Waits until this query has this answer.
async fn answers<T>(url: &str, query: &str, wanted: T)
where
    T: PartialEq
        + Unpin
        + Send
        + for<'r> sqlx::Decode<'r, sqlx::Postgres>
        + sqlx::Type<sqlx::Postgres>,
{
    let mut connection = within(PgConnection::connect(url)).await.unwrap();
    within(async {
        loop {
            let ask = sqlx::query_scalar::<_, T>(AssertSqlSafe(query.to_owned()));
            if ask.fetch_one(&mut connection).await.unwrap() == wanted {
                return;
            }
        }
    })
    .await;
}

// Part 4, item 25. With a real standby, that lacks what the primary committed last and is promoted.
#[tokio::test]
async fn a_standby_that_lacks_the_last_commits_is_promoted() {
    let mut primary = Postgres::start().await;
    let relay = Relay::start(&primary);
    let (one, other) =
        (edge().postgres(&relay.url()).start().await, edge().postgres(&relay.url()).start().await);
    let (alice, bob) = (one.tokens("alice").await, one.tokens("bob").await);
    revoke(&one, "kept").await;
    let standby = primary.standby().await;
    // From here on it hears nothing any more.
    for statement in ["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"] {
        execute(&mut within(PgConnection::connect(&standby.url())).await.unwrap(), statement).await;
    }
    answers(&standby.url(), "SELECT COUNT(*) FROM pg_stat_wal_receiver", 0_i64).await;

    // The lost tail: a login is ended with its refresh token, two subjects are revoked.
    one.post("/token/revoke", &format!("token={}", alice.refresh)).await.is(200);
    for name in ["lost-1", "lost-2"] {
        revoke(&other, name).await;
    }
    until(|| knows(&one, "lost-2")).await;
    one.get("/notes/1").bearer(&alice.access).await.is(401);
    primary.stop();
    execute(
        &mut within(PgConnection::connect(&standby.url())).await.unwrap(),
        "SELECT pg_promote(true)",
    )
    .await;
    answers(&standby.url(), "SELECT pg_is_in_recovery()", false).await;

    // A node that is there already gives the lost numbers out again, before the others come.
    let early = edge().postgres(&standby.url()).start().await;
    for name in ["new-1", "new-2", "new-3", "new-4"] {
        revoke(&early, name).await;
    }
    relay.turn_to(&standby);
    let new = ["new-1", "new-2", "new-3", "new-4"];
    for node in [&one, &other] {
        until(|| is_ready(node) && new.iter().all(|name| knows(node, name))).await;
        assert!(["kept", "lost-1", "lost-2"].iter().all(|name| knows(node, name)));
    }
    // What the running nodes knew is refused by them, and by whoever learns it from them.
    let late = edge().postgres(&standby.url()).start().await;
    until(|| ["kept", "lost-1", "lost-2"].iter().all(|n| knows(&late, n) && knows(&early, n)))
        .await;
    until(|| new.iter().all(|name| knows(&late, name))).await;
    for node in [&one, &other, &early, &late] {
        node.refresh(&alice).await.is_refused(400, "invalid_grant");
    }
    one.get("/notes/1").bearer(&alice.access).await.is(401);
    // Honest logins go on, and what is revoked from now on is known to all.
    one.get("/notes/1").bearer(&bob.access).await.is(200);
    let bob = Pair::of(&other.refresh(&bob).await);
    for (node, name) in [(&late, "next-1"), (&one, "next-2"), (&early, "next-3")] {
        revoke(node, name).await;
        until(|| [&one, &other, &early, &late].iter().all(|node| knows(node, name))).await;
    }
    late.post("/token/revoke", &format!("token={}", bob.refresh)).await.is(200);
    one.refresh(&bob).await.is_refused(400, "invalid_grant");
    one.tokens("alice").await;
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
