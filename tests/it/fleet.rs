//! Three nodes on one PostgreSQL, each a process: what one of them was told, all of them obey, and one that is parted from the
//! database does what it promised.

use tokio::time::{Duration, Instant};

use super::binary::Site;
use super::harness::node::{Node, Pair, configuration, report};
use super::harness::postgres::Postgres;
use super::harness::process::Running;
use super::harness::relay::Relay;
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, within};

/// The promise of how soon a revocation is everywhere.
const PROMISED: Duration = Duration::from_secs(2);
/// How old the mirror of a parted node may be; short, since the test waits for it.
const STALENESS: Duration = Duration::from_secs(5);

/// Nodes with one configuration, one key and one database.
struct Fleet {
    running: Vec<Running>,
    application: Upstream,
    _site: Site,
}

impl Fleet {
    /// Starts a node for each of these ways to the database.
    async fn start(ways: &[String]) -> Self {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere";
        let application = Upstream::start(Behaviour::Says(answer)).await;
        let site = Site::new("127.0.0.1:9");
        let staleness = STALENESS.as_secs();
        let state = format!(
            "{{ postgres: {{ url: {{ env: DATABASE_URL }} }}, max_staleness: {staleness}s }}"
        );
        site.write("portcullis.yaml", configuration(&application.address.to_string(), &state));
        let mut running = Vec::new();
        for way in ways {
            let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
            command.env("DATABASE_URL", way);
            running.push(Running::started(command.into()).await);
        }
        Self { running, application, _site: site }
    }

    fn nodes(&self) -> Vec<Node> {
        self.running.iter().map(Running::node).collect()
    }
}

async fn status(node: Node, token: &str) -> u16 {
    node.get("/orders/1", token).await.unwrap().status
}

/// Waits until a question, asked again and again, has this answer.
async fn until<T: PartialEq>(wanted: T, mut question: impl AsyncFnMut() -> T) {
    within(async { while question().await != wanted {} }).await;
}

#[tokio::test]
async fn what_one_node_revokes_all_refuse_within_two_seconds() {
    let url = Postgres::shared().await.database().await;
    let fleet = Fleet::start(&[url.clone(), url.clone(), url]).await;
    let nodes = fleet.nodes();
    let mut slowest = Duration::ZERO;
    for round in 0..12 {
        let told = nodes[round % nodes.len()];
        let pair = told.login("alice").await.unwrap();
        let other = told.login("alice").await.unwrap();
        for node in &nodes {
            // Every node has verified it, and would know it again.
            assert_eq!(status(*node, &pair.access).await, 200);
        }
        // A refresh token takes the access tokens of its family with it.
        let token = if round % 2 == 0 { &pair.access } else { &pair.refresh };
        told.revoke(token).await.unwrap().is(200);
        let revoked = Instant::now();
        assert_eq!(status(told, &pair.access).await, 401, "at once where it was revoked");
        for node in &nodes {
            until(401, async || status(*node, &pair.access).await).await;
        }
        slowest = slowest.max(revoked.elapsed());
        for node in &nodes {
            assert_eq!(status(*node, &pair.access).await, 401);
            assert_eq!(status(*node, &other.access).await, 200, "another login of the same user");
        }
    }
    report(&format!(
        "fleet: 12 revocations, the slowest refused by all three nodes after {slowest:.1?}"
    ));
    assert!(slowest < PROMISED, "{slowest:?}");
}

#[tokio::test]
async fn a_token_refreshed_on_all_nodes_at_once_has_one_successor() {
    let url = Postgres::shared().await.database().await;
    let fleet = Fleet::start(&[url.clone(), url.clone(), url]).await;
    let nodes = fleet.nodes();
    let mut last = nodes[0].login("alice").await.unwrap();
    let mut used = Vec::new();
    for _ in 0..20 {
        let ask = async |node: Node| Pair::read(&node.refresh(&last.refresh).await.unwrap());
        let answers = tokio::join!(
            ask(nodes[0]),
            ask(nodes[1]),
            ask(nodes[2]),
            ask(nodes[0]),
            ask(nodes[1]),
            ask(nodes[2]),
        );
        let others = [&answers.1, &answers.2, &answers.3, &answers.4, &answers.5];
        for other in others {
            assert_eq!(other.refresh, answers.0.refresh, "a second live branch");
            assert_eq!(status(nodes[0], &other.access).await, 200);
        }
        used.push(std::mem::replace(&mut last, answers.0).refresh);
    }

    // The attack that this must not open: a spent token ends all of it, on every node.
    for (node, token) in [(nodes[1], &used[3]), (nodes[2], &last.refresh), (nodes[0], &used[19])] {
        let answer = node.refresh(token).await.unwrap();
        assert_eq!(answer.is(400).json()["error"], "invalid_grant");
    }
    for node in &nodes {
        until(401, async || status(*node, &last.access).await).await;
    }
    report("fleet: 20 tokens refreshed six times at once on three nodes, one successor each");
}

#[tokio::test]
async fn a_node_whose_database_is_gone_behaves_as_promised() {
    is_parted(Relay::cut, "cut").await;
}

#[tokio::test]
async fn a_node_whose_database_is_silent_behaves_as_promised() {
    is_parted(Relay::silence, "silent").await;
}

async fn is_parted(parts: fn(&Relay), how: &str) {
    let server = Postgres::start().await;
    let relay = Relay::start(&server);
    let fleet = Fleet::start(&[server.url(), server.url(), relay.url()]).await;
    let nodes = fleet.nodes();
    let (whole, parted) = (nodes[0], nodes[2]);
    let honest = whole.login("alice").await.unwrap();
    let stolen = whole.login("alice").await.unwrap();
    for node in &nodes {
        assert_eq!(node.readiness().await, Some(200));
        assert_eq!(status(*node, &honest.access).await, 200);
        assert_eq!(status(*node, &stolen.access).await, 200);
    }

    parts(&relay);
    let began = Instant::now();
    // What it needs no database for goes on, at once and for as long as its mirror counts.
    assert_eq!(status(parted, &honest.access).await, 200);
    whole.revoke(&stolen.refresh).await.unwrap().is(200);
    let answers = tokio::join!(
        parted.refresh(&honest.refresh),
        parted.revoke(&honest.access),
        until(Some(503), async || parted.readiness().await),
    );
    answers.0.unwrap().is(503);
    answers.1.unwrap().is(503);
    let refused = began.elapsed();

    until(503, async || {
        let answer = status(parted, &honest.access).await;
        assert!(matches!(answer, 200 | 503), "{answer}");
        answer
    })
    .await;
    let stale = began.elapsed();
    assert!(stale < STALENESS + PROMISED, "served with a mirror of {stale:?}");
    // The mirror may have been as old as the promise allows when the way was cut.
    assert!(stale > STALENESS - PROMISED, "refused with a mirror of {stale:?}");
    let public = parted.get("/public/1", "no-token").await.unwrap();
    assert_eq!(public.is(200).text(), "here");
    for node in &nodes[..2] {
        assert_eq!(status(*node, &honest.access).await, 200);
        assert_eq!(node.readiness().await, Some(200));
    }

    relay.heal();
    let healing = Instant::now();
    // What was revoked meanwhile is never served again: the mirror is whole before it is believed.
    until(401, async || {
        let answer = status(parted, &stolen.access).await;
        assert!(matches!(answer, 401 | 503), "{answer}");
        answer
    })
    .await;
    until(Some(200), async || parted.readiness().await).await;
    let healed = healing.elapsed();
    assert_eq!(status(parted, &honest.access).await, 200);
    let next = Pair::read(&within(parted.refresh(&honest.refresh)).await.unwrap());
    assert_eq!(status(whole, &next.access).await, 200);
    assert!(fleet.application.seen().len() > 8);
    report(&format!(
        "fleet, {how}: /token refused after {refused:.1?}, protected routes after {stale:.1?}, whole again {healed:.1?} after it healed"
    ));
}
