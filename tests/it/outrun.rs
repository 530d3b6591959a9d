//! Nothing outruns a revocation: refreshes and logins go on while it is made, on nodes whose clocks differ, and nothing of what
//! began before it is served afterwards. A login that begins after it works at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::binary::{PASSWORD, Site, ended};
use super::harness::clocked::{Clocked, OffsetClock};
use super::harness::process::{Running, get, password_form, post};
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Pair, Response, Wire, within};

/// After how many refreshes and logins the revocation comes among them.
const RACERS: usize = 200;
/// Logins that are refreshed all the time.
const SESSIONS: usize = 6;

/// What is done to alice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    Family,
    All,
    Password,
    Disable,
}

impl Kind {
    const ALL: [Self; 5] = [Self::User, Self::Family, Self::All, Self::Password, Self::Disable];

    /// The command for it, and what it reads.
    fn command(self) -> (&'static [&'static str], String) {
        match self {
            Self::User => (&["revoke", "--user", "alice"], String::new()),
            Self::All => (&["revoke", "--all-before", "now"], String::new()),
            Self::Password => (&["users", "passwd", "alice"], format!("{PASSWORD}\n")),
            Self::Disable => (&["users", "disable", "alice"], String::new()),
            Self::Family => panic!("a family is revoked by its client"),
        }
    }
}

/// A configuration with alice in a database.
async fn site(state: &str) -> (Site, Upstream) {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let site = Site::new("127.0.0.1:9");
    let usual = Site::yaml(&upstream.address.to_string());
    let yaml = usual.split("tests:").next().unwrap();
    let yaml = yaml
        .replace(
            "users: { file: users.yaml }",
            &format!("state: {state}\nusers: {{ database: true }}"),
        )
        .replace("grants: [password]", "grants: [password, refresh_token]")
        .replace(
            "audience: app",
            "audience: app\n  refresh: { lifetime: 14d, idle: 2d, reuse_grace: 30s }",
        );
    site.write("portcullis.yaml", yaml);
    (site, upstream)
}

fn add_alice(site: &Site) {
    command(site, &["users", "add", "alice", "--scopes", "orders:read"], &format!("{PASSWORD}\n"));
}

fn command(site: &Site, what: &[&str], input: &str) {
    ended(&site.run(&[what, &["-c", "portcullis.yaml"]].concat(), input), 0);
}

async fn login(peer: SocketAddr) -> Response {
    Wire::connect(peer).await.ask(post("/token", &password_form("alice"))).await
}

async fn refresh(peer: SocketAddr, token: &str) -> Response {
    let form = format!("grant_type=refresh_token&refresh_token={token}");
    Wire::connect(peer).await.ask(post("/token", &form)).await
}

async fn passes(peer: SocketAddr, token: &str) -> bool {
    match Wire::connect(peer).await.ask(get("/orders/1", token)).await.status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

/// What the racers are told, and tell.
#[derive(Debug, Default)]
struct Race {
    /// The revocation is about to be asked for.
    begun: AtomicBool,
    over: AtomicBool,
    done: AtomicUsize,
}

impl Race {
    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::SeqCst)
    }

    async fn reaches(&self, done: usize) {
        within(async {
            while self.done.load(Ordering::SeqCst) < done {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Refreshes one login on one node after the other until it is refused, and returns everything that it was given.
async fn go_on(race: Arc<Race>, peers: Arc<[SocketAddr]>, first: Pair, from: usize) -> Vec<Pair> {
    let mut pairs = vec![first];
    for turn in from.. {
        let last = pairs.last().unwrap();
        let answer = refresh(peers[turn % peers.len()], &last.refresh).await;
        race.done.fetch_add(1, Ordering::SeqCst);
        match answer.status {
            200 => pairs.push(Pair::of(&answer)),
            400 => break,
            other => panic!("{other}: {}", answer.text()),
        }
        if Race::is(&race.over) {
            break;
        }
    }
    pairs
}

/// Logs in again and again; returns what logins gave that began before the revocation was asked for.
async fn log_in(race: Arc<Race>, peer: SocketAddr) -> Vec<Pair> {
    let mut before = Vec::new();
    while !Race::is(&race.over) {
        let early = !Race::is(&race.begun);
        let answer = login(peer).await;
        race.done.fetch_add(1, Ordering::SeqCst);
        if early && answer.status == 200 {
            before.push(Pair::of(&answer));
        }
    }
    before
}

/// Races one revocation. Says how many tokens there were, and how many of them are served afterwards.
async fn race(
    peers: &[SocketAddr],
    kind: Kind,
    revoke: impl AsyncFnOnce(&[Pair]),
) -> (usize, usize) {
    let (race, all): (_, Arc<[SocketAddr]>) = (Arc::new(Race::default()), Arc::from(peers));
    let mut first = Vec::new();
    for session in 0..SESSIONS {
        first.push(Pair::of(&login(peers[session % peers.len()]).await));
    }
    let mut racers = JoinSet::new();
    for (from, pair) in first.iter().enumerate() {
        racers.spawn(go_on(Arc::clone(&race), Arc::clone(&all), pair.clone(), from));
    }
    if kind != Kind::Family {
        for peer in peers {
            racers.spawn(log_in(Arc::clone(&race), *peer));
        }
    }
    race.reaches(RACERS).await;
    race.begun.store(true, Ordering::SeqCst);
    revoke(&first).await;
    // At once, on every node, whether it knows already or not; who is disabled is let in again first.
    let mut after = Vec::new();
    if kind != Kind::Disable {
        for peer in peers {
            let pair = Pair::of(&login(*peer).await);
            assert!(passes(*peer, &pair.access).await, "{kind:?}: a login that begins after it");
            after.push(Pair::of(&refresh(*peer, &pair.refresh).await));
        }
    }
    race.over.store(true, Ordering::SeqCst);
    let pairs: Vec<Pair> = within(racers.join_all()).await.into_iter().flatten().collect();

    knows_all(peers, &first).await;
    let (mut survivors, total) = (0, pairs.len());
    for pair in &pairs {
        let mut served = refresh(peers[0], &pair.refresh).await.status == 200;
        for peer in peers {
            served |= passes(*peer, &pair.access).await;
        }
        survivors += usize::from(served);
    }
    for pair in after {
        for peer in peers {
            assert!(passes(*peer, &pair.access).await, "{kind:?}: it lives on");
        }
        refresh(peers[0], &pair.refresh).await.is(200);
    }
    (total, survivors)
}

/// Waits until every node has read what was revoked. The first tokens were issued long before, so no race is about them.
async fn knows_all(peers: &[SocketAddr], first: &[Pair]) {
    let patience = tokio::time::timeout(Duration::from_secs(2), async {
        for peer in peers {
            while passes(*peer, &first[0].access).await {}
        }
    });
    // Who does not know by then is found out by what is counted.
    patience.await.ok();
}

/// Ends each login by its refresh token, on the last node.
async fn end_families(peers: &[SocketAddr], first: &[Pair]) {
    for pair in first {
        let last = peers[peers.len() - 1];
        Wire::connect(last)
            .await
            .ask(post("/token/revoke", &format!("token={}", pair.refresh)))
            .await
            .is(200);
    }
}

/// Every kind in turn, told by the command line, which is another process.
async fn every_kind(site: &Site, peers: &[SocketAddr], where_: &str) {
    let mut seen = Vec::new();
    for kind in Kind::ALL {
        let revoke = async |first: &[Pair]| match kind {
            Kind::Family => end_families(peers, first).await,
            _ => {
                let (what, input) = kind.command();
                tokio::task::block_in_place(|| command(site, what, &input));
            }
        };
        let (total, survivors) = race(peers, kind, revoke).await;
        seen.push(format!("{kind:?}: {survivors} of {total}"));
        if kind == Kind::Disable {
            tokio::task::block_in_place(|| command(site, &["users", "enable", "alice"], ""));
            for peer in peers {
                let pair = Pair::of(&login(*peer).await);
                assert!(passes(*peer, &pair.access).await, "enabled again");
            }
        }
    }
    let seen = seen.join(", ");
    eprintln!("{where_}, survivors: {seen}");
    assert!(!seen.split(": ").skip(1).any(|count| !count.starts_with("0 of")), "{seen}");
}

// Part 4, item 24b.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outruns_a_revocation_on_one_node() {
    let (site, _upstream) = site("{ sqlite: state.db }").await;
    add_alice(&site);
    let node = Clocked::start(&site.path("portcullis.yaml"), OffsetClock::new(0)).await;
    every_kind(&site, &[node.edge], "one node on SQLite").await;
}

// Part 4, item 24b.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outruns_a_revocation_on_two_processes_with_one_file() {
    let (site, _upstream) = site("{ sqlite: state.db }").await;
    add_alice(&site);
    let (one, other) = (Running::start(&site).await, Running::start(&site).await);
    every_kind(&site, &[one.edge, other.edge], "two processes on one SQLite file").await;
}

// Part 4, item 24b.
#[cfg(feature = "external-tests")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outruns_a_revocation_on_three_nodes_whose_clocks_differ() {
    let url = super::harness::postgres::Postgres::shared().await.database().await;
    let (site, _upstream) = site("{ postgres: { url: { file: database-url } } }").await;
    site.write("database-url", url);
    add_alice(&site);
    let file = site.path("portcullis.yaml");
    let mut nodes = Vec::new();
    // Any two within the leeway of 30 seconds.
    for seconds in [0, 20, -9] {
        nodes.push(Clocked::start(&file, OffsetClock::new(seconds)).await);
    }
    let peers: Vec<SocketAddr> = nodes.iter().map(|node| node.edge).collect();
    every_kind(&site, &peers, "three nodes on PostgreSQL").await;
}
