//! Failed logins, counted by nodes that share a store.

use std::net::{IpAddr, Ipv4Addr};

use sqlx::{AnyConnection, Executor as _};

use super::*;
use crate::state::failures::BATCH;
use crate::state::throttle_sync::Exchange;
use crate::throttle::row::{Change, Row};
use crate::throttle::{Account, Key, Limits, Network, Selector};
use tokio::task::JoinSet;

/// A node: a throttle and its exchange with the store.
struct Node {
    throttle: Arc<Throttle>,
    exchange: Exchange,
}

impl Node {
    fn new(stage: &Stage, now: Timestamp) -> Self {
        let throttle = Arc::new(Throttle::new(Limits::default()));
        let clock = Arc::new(ManualClock::new(now));
        let exchange = Exchange::new(stage.store.clone(), Arc::clone(&throttle), clock);
        Self { throttle, exchange }
    }

    async fn round(&mut self) {
        self.exchange.round().await.unwrap();
    }

    /// How many of so many guesses at a user, from one address, are told.
    fn told(&self, user: &str, address: u8, now: Timestamp, guesses: usize) -> usize {
        let guess = || self.throttle.origin(ip(address), now).check(Account::user(user))?.failed();
        (0..guesses).filter(|_| guess().is_ok()).count()
    }

    fn may_log_in(&self, user: &str, address: u8, now: Timestamp) -> bool {
        let attempt = self.throttle.origin(ip(address), now).check(Account::user(user));
        attempt.and_then(|attempt| attempt.succeeded()).is_ok()
    }
}

fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

async fn rows(stage: &Stage) -> Vec<Row> {
    let mut rows = Vec::new();
    let take = |page: &[Row]| rows.extend_from_slice(page);
    stage.store.failures_after(0, Timestamp::default(), take).await.unwrap();
    rows
}

#[tokio::test]
async fn failures_on_two_nodes_are_too_many_together() {
    let stage = Stage::new().await;
    let (mut a, mut b) = (Node::new(&stage, NOW), Node::new(&stage, NOW));
    assert_eq!(a.told("alice", 1, NOW, 3), 3);
    assert_eq!(b.told("alice", 1, NOW, 3), 3);
    assert_eq!(a.told("bob", 1, NOW, 2), 2);
    assert_eq!(b.told("bob", 1, NOW, 2), 2);
    a.round().await;
    b.round().await;
    let told = stage.store.bans(&Selector::default(), NOW).await.unwrap().len();
    assert_eq!(told, 1, "whoever finds that it was too many says so at once");
    a.round().await;
    b.round().await;
    for node in [&a, &b] {
        assert!(!node.may_log_in("alice", 1, NOW));
        assert!(node.may_log_in("alice", 2, NOW), "another address");
        assert!(node.may_log_in("bob", 1, NOW), "four are not too many");
    }
    let pair = Key::Pair(Account::user("alice"), Network::of(ip(1)));
    let bans = stage.store.bans(&Selector::default(), NOW).await.unwrap();
    assert_eq!(bans.iter().map(|ban| (&ban.key, ban.level)).collect::<Vec<_>>(), [(&pair, 1)]);
    assert!(stage.store.bans(&Selector::default(), bans[0].until).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_ban_survives_the_restart_of_every_node() {
    let stage = Stage::new().await;
    let mut node = Node::new(&stage, NOW);
    node.told("alice", 1, NOW, 9);
    assert!(node.may_log_in("bob", 7, NOW));
    node.round().await;
    drop(node);

    let stage = stage.restarted().await;
    let mut node = Node::new(&stage, later(60));
    assert!(node.may_log_in("alice", 1, later(60)), "nothing is known yet");
    node.round().await;
    assert!(!node.may_log_in("alice", 1, later(60)));
    assert!(node.may_log_in("alice", 1, later(300)), "it lasts no longer for it");
    let mut late = Node::new(&stage, later(300));
    late.round().await;
    assert!(late.may_log_in("alice", 1, later(300)));
}

#[tokio::test]
async fn a_clear_from_the_command_line_ends_a_ban_on_every_node() {
    let stage = Stage::new().await;
    let (mut a, mut b) = (Node::new(&stage, NOW), Node::new(&stage, NOW));
    for (user, address) in [("alice", 1), ("alice", 2), ("bob", 1)] {
        a.told(user, address, NOW, 9);
    }
    a.round().await;
    b.round().await;
    let of = |user: Option<&str>, address: Option<u8>| Selector {
        account: user.map(Account::user),
        network: address.map(|number| Network::of(ip(number))),
    };
    let clear = async |selector: Selector| stage.store.clear_bans(&selector, NOW).await.unwrap();
    let before = rows(&stage).await.len();
    assert_eq!(clear(of(Some("carol"), None)).await, 0);
    assert_eq!(clear(of(Some("alice"), Some(1))).await, 1);
    for node in [&mut a, &mut b] {
        node.round().await;
        assert!(node.may_log_in("alice", 1, NOW));
        assert!(!node.may_log_in("alice", 2, NOW), "another address");
        assert!(!node.may_log_in("bob", 1, NOW), "another user");
    }
    assert_eq!(clear(Selector::default()).await, 2);
    for node in [&mut a, &mut b] {
        node.round().await;
        assert!(node.may_log_in("alice", 2, NOW));
        assert!(node.may_log_in("bob", 1, NOW));
        assert!(node.throttle.bans(NOW).is_empty());
    }
    assert!(rows(&stage).await.len() >= before, "cleared rows stay, to be read");
    assert_eq!(a.told("alice", 1, NOW, 9), 5, "and the count begins anew");
}

#[tokio::test]
async fn faded_rows_are_deleted_and_no_others() {
    let stage = Stage::new().await;
    let mut node = Node::new(&stage, NOW);
    node.told("alice", 1, NOW, 9);
    for number in 10..30 {
        node.told("bob", number, NOW, 1);
    }
    node.round().await;
    let all = rows(&stage).await.len();
    assert_eq!(stage.store.purge(100).await.unwrap(), 0);
    stage.is_at(later(300));
    assert_eq!(stage.store.purge(8).await.unwrap(), 8, "bounded");
    while stage.store.purge(8).await.unwrap() > 0 {}
    let kept = rows(&stage).await;
    assert!(kept.len() < all - 20, "{kept:?}");
    let pair = Key::Pair(Account::user("alice"), Network::of(ip(1)));
    assert!(kept.iter().any(|row| row.key == pair), "the next ban is longer");
    assert!(kept.iter().all(|row| later(300) < row.fades_at), "{kept:?}");
    stage.is_at(NOW.plus(3 * DAY));
    stage.store.purge(100).await.unwrap();
    assert!(rows(&stage).await.is_empty());
}

#[tokio::test]
async fn what_could_not_be_written_is_written_later_and_once() {
    let stage = Stage::new().await;
    let (mut a, mut b) = (Node::new(&stage, NOW), Node::new(&stage, NOW));
    let rename = async |from: &str, to: &str| {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        let work = async |connection: &mut AnyConnection| {
            connection.execute(sqlx::AssertSqlSafe(statement)).await
        };
        stage.store.read(work).await.unwrap();
    };
    a.told("alice", 1, NOW, 3);
    // More than one batch of them.
    for number in 100..200 {
        a.told("bob", number, NOW, 1);
    }
    rename("failures", "away").await;
    for _ in 0..3 {
        assert!(a.exchange.round().await.is_err());
    }
    a.told("alice", 1, NOW, 1);
    rename("away", "failures").await;
    a.round().await;
    b.round().await;
    let pair = Key::Pair(Account::user("alice"), Network::of(ip(1)));
    let found = rows(&stage).await;
    assert_eq!(found.iter().find(|row| row.key == pair).unwrap().failures, 4);
    assert_eq!(b.told("alice", 1, NOW, 9), 1);
}

#[tokio::test]
async fn a_reader_misses_nothing_that_many_write_at_once() {
    let stage = Arc::new(Stage::new().await);
    let (writers, keys) = (8_u8, 100_u8);
    assert!(usize::from(keys) > BATCH);
    let change = |number: u8| {
        let key = Key::Network(Network::of(ip(number)));
        let (until, never) = (later(300), Timestamp::default());
        let row = Row {
            key,
            failures: 1,
            window_start: NOW,
            window_end: until,
            level: 0,
            banned_until: never,
            fades_at: until,
            updated_at: NOW,
        };
        Change { row, restarted: false, was_reset: false }
    };
    let mut writing = JoinSet::new();
    for _ in 0..writers {
        // Another process: it has a writer of its own.
        let place = Place::Sqlite(stage.directory.path().join("below/it's 100% state?.db"));
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let mirror = Arc::clone(&stage.mirror);
        writing.spawn(async move {
            let store = Store::open(&place, clock, mirror, None).unwrap();
            let changes: Vec<_> = (0..keys).map(change).collect();
            for batch in changes.chunks(BATCH) {
                store.add_failures(batch).await.unwrap();
            }
        });
    }
    let (mut last, mut seen) = (0, std::collections::HashMap::new());
    let mut done = false;
    while !done {
        // What is read after everybody has ended is all there is.
        done = writing.is_empty();
        while writing.try_join_next().is_some() {}
        let newest = stage.store.last_failure().await.unwrap();
        let take = |page: &[Row]| {
            seen.extend(page.iter().map(|row| (row.key.clone(), row.failures)));
        };
        let read = stage.store.failures_after(last, NOW, take).await.unwrap();
        assert!(read >= newest, "numbers are committed in their order");
        last = read;
    }
    assert_eq!(last, i64::from(writers) * i64::from(keys));
    assert_eq!(seen.len(), usize::from(keys));
    assert!(seen.values().all(|failures| *failures == u32::from(writers)), "{seen:?}");
}

#[tokio::test]
async fn a_row_of_a_later_version_is_passed_over_and_the_rest_is_read() {
    let stage = Stage::new().await;
    let mut node = Node::new(&stage, NOW);
    node.told("alice", 1, NOW, 9);
    let work = async |connection: &mut AnyConnection| {
        let strange = "UPDATE failures SET kind = 'galaxy' WHERE kind = 'network'";
        connection.execute(strange).await
    };
    node.round().await;
    stage.store.read(work).await.unwrap();
    let mut other = Node::new(&stage, NOW);
    other.round().await;
    assert!(!other.may_log_in("alice", 1, NOW));
}
