//! Nodes whose clocks differ, on one PostgreSQL: what they compare is told by its clock, and a clock that runs away is seen.

use std::net::SocketAddr;

use sqlx::{Connection as _, PgConnection};

use super::binary::Site;
use super::harness::clocked::{Clocked, OffsetClock};
use super::harness::postgres::Postgres;
use super::harness::process::{get, password_form, post};
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Pair, Response, Wire, within};

/// For how many seconds a spent token gives its successor once more.
const GRACE: i64 = 5;

async fn site() -> (Site, Upstream, String) {
    let url = Postgres::shared().await.database().await;
    let upstream = Upstream::start(Behaviour::Echo).await;
    let site = Site::new("127.0.0.1:9");
    let yaml = Site::yaml(&upstream.address.to_string())
        .replace("users: {", "state: { postgres: { url: { file: database-url } } }\nusers: {")
        .replace("grants: [password]", "grants: [password, refresh_token]")
        .replace(
            "audience: app",
            &format!(
                "audience: app\n  refresh: {{ lifetime: 14d, idle: 2d, reuse_grace: {GRACE}s }}"
            ),
        );
    site.write("portcullis.yaml", yaml);
    site.write("database-url", &url);
    (site, upstream, url)
}

async fn log_in(node: &Clocked) -> Pair {
    Pair::of(&ask(node.edge, post("/token", &password_form("alice"))).await)
}

async fn refresh(node: &Clocked, pair: &Pair) -> Response {
    let form = format!("grant_type=refresh_token&refresh_token={}", pair.refresh);
    ask(node.edge, post("/token", &form)).await
}

async fn ask(address: SocketAddr, request: String) -> Response {
    Wire::connect(address).await.ask(request).await
}

async fn ask_admin(node: &Clocked, path: &str) -> Response {
    ask(node.admin, format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")).await
}

// Part 4, item 25c.
#[tokio::test]
async fn the_grace_is_as_long_on_every_node_however_its_clock_stands() {
    let (site, _upstream, url) = site().await;
    let file = site.path("portcullis.yaml");
    // Any two within the leeway of 30 seconds.
    let (mut nodes, mut spent) = (Vec::new(), Vec::new());
    for seconds in [0, 20, -9] {
        nodes.push(Clocked::start(&file, OffsetClock::new(seconds)).await);
    }
    let mut clock = within(PgConnection::connect(&url)).await.unwrap();
    let now = async |clock: &mut PgConnection| -> i64 {
        let select = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS BIGINT)";
        within(sqlx::query_scalar(select).fetch_one(clock)).await.unwrap()
    };
    for (one, other) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)] {
        let first = log_in(&nodes[one]).await;
        let second = Pair::of(&refresh(&nodes[one], &first).await);
        // The answer was lost, and a balancer sends the client to another node.
        let again = Pair::of(&refresh(&nodes[other], &first).await);
        assert_eq!(again.refresh, second.refresh, "from {one} to {other}");
        for node in &nodes {
            ask(node.edge, get("/orders/1", &again.access)).await.is(200);
        }
        spent.push((other, first, second));
    }
    let over = now(&mut clock).await + GRACE + 1;
    within(async { while now(&mut clock).await < over {} }).await;
    for (other, first, second) in spent {
        refresh(&nodes[other], &first).await.is_refused(400, "invalid_grant");
        refresh(&nodes[other], &second).await.is_refused(400, "invalid_grant");
    }
}

// Part 4, item 25c.
#[tokio::test]
async fn a_clock_that_runs_away_is_seen() {
    let (site, _upstream, _) = site().await;
    let clock = OffsetClock::new(20);
    let node = Clocked::start(&site.path("portcullis.yaml"), clock.clone()).await;
    let ahead = async || {
        let metrics = ask_admin(&node, "/metrics").await.text();
        let value =
            metrics.lines().find_map(|l| l.strip_prefix("portcullis_clock_offset_seconds "));
        value.unwrap().parse::<f64>().unwrap()
    };
    assert!((19.0..21.0).contains(&ahead().await), "{}", ahead().await);
    ask_admin(&node, "/readyz").await.is(200);
    for seconds in [40, -31] {
        clock.set(seconds);
        within(async { while ask_admin(&node, "/readyz").await.status != 503 {} }).await;
        assert_eq!(
            ask_admin(&node, "/readyz").await.text(),
            "the clock is not that of the state store\n"
        );
        clock.set(0);
        within(async { while ask_admin(&node, "/readyz").await.status != 200 {} }).await;
        assert!((-1.0..1.0).contains(&ahead().await));
    }
}
