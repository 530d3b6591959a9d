//! What the database role needs, and several nodes that come to an empty database at once.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{Clock, SystemClock};
use portcullis::secret::Secret;
use portcullis::state::{Mirror, Place, Store};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;

use super::harness::postgres::Postgres;
use super::harness::{Pair, edge, within};

fn store(url: &str) -> Store {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mirror = Arc::new(Mirror::new(Arc::clone(&clock), Duration::from_secs(300), false));
    let store = Store::open(&Place::Postgres(Secret::from(url)), clock, mirror, None).unwrap();
    store.owned_by("https://edge.example.com")
}

// Part 4, item 25d.
#[tokio::test]
async fn nodes_that_come_to_an_empty_database_at_once_all_find_it_prepared() {
    for round in 0..4 {
        let url = Postgres::shared().await.database().await;
        let mut nodes = JoinSet::new();
        for node in 0..6 {
            let store = store(&url);
            nodes.spawn(async move { store.prepare().await.map_err(|e| format!("{node}: {e}")) });
        }
        for prepared in within(nodes.join_all()).await {
            assert_eq!(prepared, Ok(()), "round {round}");
        }
    }
}

// Part 4, item 25d.
#[tokio::test]
async fn once_the_tables_exist_reading_and_writing_rows_is_enough() {
    let url = Postgres::shared().await.database().await;
    store(&url).prepare().await.unwrap();
    let mut owner = within(PgConnection::connect(&url)).await.unwrap();
    // Roles are of the whole server, which other tests share.
    let role = "rows_only";
    for statement in [
        format!("CREATE ROLE {role} LOGIN"),
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC".to_owned(),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"),
    ] {
        within(owner.execute(AssertSqlSafe(statement))).await.unwrap();
    }
    let theirs = url.replacen("postgres://postgres@", &format!("postgres://{role}@"), 1);
    assert_ne!(theirs, url);
    let mut role = within(PgConnection::connect(&theirs)).await.unwrap();
    within(role.execute("CREATE TABLE more (id INTEGER)")).await.unwrap_err();

    let edge = edge().postgres(&theirs).users_in_database().start().await;
    let pair = edge.tokens("alice").await;
    let next = Pair::of(&edge.refresh(&pair).await);
    edge.get("/notes/1").bearer(&next.access).await.is(200);
    edge.post("/token/revoke", &format!("token={}", next.refresh)).await.is(200);
    edge.get("/notes/1").bearer(&next.access).await.is(401);
    within(edge.store().purge(10)).await.unwrap();
}
