//! The databases and the partitions that the suites make do what those suites take for granted.

use std::future::Future;
use std::pin::pin;

use sqlx::{Connection as _, PgConnection};

use super::harness::postgres::Postgres;
use super::harness::relay::Relay;
use super::harness::within;

async fn connect(url: &str) -> PgConnection {
    within(PgConnection::connect(url)).await.unwrap()
}

async fn one(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    within(sqlx::query_scalar("SELECT 1").fetch_one(connection)).await
}

/// Whether this has no answer after the other, which goes a way just as long, has had one.
async fn is_silent<T>(question: impl Future<Output = T>, other: &mut PgConnection) -> bool {
    tokio::select! {
        biased;
        _ = question => false,
        () = async { for _ in 0..100 { assert_eq!(one(other).await.unwrap(), 1); } } => true,
    }
}

#[tokio::test]
async fn every_test_has_a_server_or_a_database_of_its_own() {
    let (first, second) = tokio::join!(Postgres::start(), Postgres::start());
    assert_ne!(first.url(), second.url());
    let shared = Postgres::shared().await;
    for url in [first.url(), second.url(), shared.database().await, shared.database().await] {
        let mut connection = connect(&url).await;
        assert_eq!(one(&mut connection).await.unwrap(), 1);
        // It would be there already if two of them were the same.
        within(sqlx::query("CREATE TABLE mine (id INTEGER)").execute(&mut connection))
            .await
            .unwrap();
        let fsync: String =
            within(sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection)).await.unwrap();
        assert_eq!(fsync, "on");
    }
}

#[tokio::test]
async fn a_server_that_was_stopped_has_what_was_committed() {
    let mut server = Postgres::start().await;
    let mut connection = connect(&server.url()).await;
    for statement in ["CREATE TABLE kept (id INTEGER)", "INSERT INTO kept VALUES (7)"] {
        within(sqlx::query(statement).execute(&mut connection)).await.unwrap();
    }
    server.stop();
    assert!(one(&mut connection).await.is_err());
    assert!(within(PgConnection::connect(&server.url())).await.is_err());

    server.restart().await;
    let mut connection = connect(&server.url()).await;
    let kept: i32 =
        within(sqlx::query_scalar("SELECT id FROM kept").fetch_one(&mut connection)).await.unwrap();
    assert_eq!(kept, 7);
}

#[tokio::test]
async fn a_paused_server_says_nothing_until_it_goes_on() {
    let (mut server, other) = tokio::join!(Postgres::start(), Postgres::start());
    let (mut connection, mut other) = (connect(&server.url()).await, connect(&other.url()).await);
    server.pause();
    {
        let mut question = pin!(one(&mut connection));
        assert!(is_silent(question.as_mut(), &mut other).await);
        server.resume();
        assert_eq!(question.await.unwrap(), 1);
    }
    server.pause();
    drop(server);
    assert!(one(&mut connection).await.is_err(), "a paused server is stopped all the same");
}

#[tokio::test]
async fn a_cut_or_silent_way_parts_only_those_who_go_by_it() {
    let server = Postgres::start().await;
    let relay = Relay::start(&server);
    let (mut parted, mut other) = (connect(&relay.url()).await, connect(&server.url()).await);
    assert_eq!(one(&mut parted).await.unwrap(), 1);

    relay.silence();
    {
        let mut question = pin!(one(&mut parted));
        assert!(is_silent(question.as_mut(), &mut other).await);
        relay.heal();
        assert_eq!(question.await.unwrap(), 1);
    }

    relay.cut();
    assert!(one(&mut parted).await.is_err());
    assert!(within(PgConnection::connect(&relay.url())).await.is_err());
    assert_eq!(one(&mut other).await.unwrap(), 1);

    relay.heal();
    assert_eq!(one(&mut connect(&relay.url()).await).await.unwrap(), 1);
}
