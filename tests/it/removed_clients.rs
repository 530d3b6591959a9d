//! Clients that are taken out of the configuration and put back while no node runs, and a change that goes from node to node.

use super::binary::Site;
use super::harness::node::{Node, Pair, configuration};
use super::harness::postgres::Postgres;
use super::harness::process::Running;
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Response, within};

const CLIENT: &str = "{ id: partner, grants: [password, refresh_token], scopes: ['orders:read'] }";

/// A node's directory, which outlives the node.
struct Home {
    site: Site,
    without: String,
    application: Upstream,
}

impl Home {
    async fn new(state: &str) -> Self {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere";
        let application = Upstream::start(Behaviour::Says(answer)).await;
        let without = configuration(&application.address.to_string(), state);
        Self { site: Site::new("127.0.0.1:9"), without, application }
    }

    async fn on_postgresql(url: &str) -> Self {
        let home = Self::new("{ postgres: { url: { file: database-url } } }").await;
        home.site.write("database-url", url);
        home
    }

    async fn start(&self, has_client: bool) -> Running {
        let more =
            if has_client { format!("clients: [{CLIENT}, ") } else { "clients: [".to_owned() };
        self.site.write("portcullis.yaml", self.without.replacen("clients: [", &more, 1));
        Running::start(&self.site).await
    }
}

async fn log_in(node: Node) -> Pair {
    node.login("alice&client_id=partner").await.unwrap()
}

async fn refresh(node: Node, pair: &Pair) -> Response {
    node.refresh(&format!("{}&client_id=partner", pair.refresh)).await.unwrap()
}

async fn is_over_for_ever(home: Home) {
    let running = home.start(true).await;
    let (pair, own) = (log_in(running.node()).await, running.node().login("alice").await.unwrap());
    running.kill().await;
    // Nothing changed meanwhile.
    let running = home.start(true).await;
    let pair = Pair::read(&refresh(running.node(), &pair).await);
    running.node().get("/orders/1", &pair.access).await.unwrap().is(200);
    running.kill().await;

    let running = home.start(false).await;
    running.node().get("/orders/1", &pair.access).await.unwrap().is(401);
    running.kill().await;

    let running = home.start(true).await;
    let node = running.node();
    node.get("/orders/1", &pair.access).await.unwrap().is(401);
    refresh(node, &pair).await.is_refused(400, "invalid_grant");
    let after = log_in(node).await;
    node.get("/orders/1", &after.access).await.unwrap().is(200);
    refresh(node, &after).await.is(200);
    node.get("/orders/1", &own.access).await.unwrap().is(200);
    node.refresh(&own.refresh).await.unwrap().is(200);
    assert_eq!(home.application.seen().len(), 3);
}

// Part 4, item 25d.
#[tokio::test]
async fn a_client_that_was_removed_while_the_node_was_down_revives_nothing_on_sqlite() {
    is_over_for_ever(Home::new("{ sqlite: portcullis.db }").await).await;
}

// Part 4, item 25d.
#[tokio::test]
async fn a_client_that_was_removed_while_the_node_was_down_revives_nothing_on_postgresql() {
    let url = Postgres::shared().await.database().await;
    is_over_for_ever(Home::on_postgresql(&url).await).await;
}

// Part 4, item 25d.
#[tokio::test]
async fn a_node_that_does_not_know_a_client_yet_ends_nothing_of_it() {
    let url = Postgres::shared().await.database().await;
    let (first, second) = (Home::on_postgresql(&url).await, Home::on_postgresql(&url).await);
    let (before, other) = (first.start(false).await, second.start(false).await);
    // The first gets it; the second runs on without it, and is even started again.
    before.kill().await;
    let one = first.start(true).await;
    let pair = log_in(one.node()).await;
    other.kill().await;
    let other = second.start(false).await;
    refresh(other.node(), &pair).await.is_refused(401, "invalid_client");
    let pair = Pair::read(&refresh(one.node(), &pair).await);
    // Then the second gets it as well, and the first is started again.
    other.kill().await;
    let other = second.start(true).await;
    let pair = Pair::read(&refresh(other.node(), &pair).await);
    one.kill().await;
    let one = first.start(true).await;
    let pair = Pair::read(&refresh(one.node(), &pair).await);
    // One that had it and has it no longer takes it out, for all.
    other.kill().await;
    let _other = second.start(false).await;
    let ended = async || one.node().get("/orders/1", &pair.access).await.unwrap().status == 401;
    within(async { while !ended().await {} }).await;
    refresh(one.node(), &pair).await.is_refused(400, "invalid_grant");
    let after = log_in(one.node()).await;
    refresh(one.node(), &after).await.is(200);
}
