//! `kill -9`, again and again, in the middle of rotations and revocations: what was acknowledged holds after the next start.
//!
//! A kill does not lose what the kernel has, so this shows that the answer never leaves before the write; that the write
//! has reached the disk by then is shown in `durability`.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::binary::Site;
use super::harness::node::{Node, Pair, Seeded, configuration, report};
use super::harness::postgres::Postgres;
use super::harness::process::Running;
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, within};

/// How many clients are in the middle of something when the node is killed.
const CLIENTS: usize = 6;
/// The node is killed after fewer acknowledged answers than this.
const MOST_ANSWERS: usize = 48;
/// How many refusals of earlier rounds are looked at again after each start; all of them are at the end.
const SAMPLE: usize = 16;
const SEED: u64 = 0x706f_7274_6375_6c6c;

#[tokio::test]
async fn nothing_acknowledged_is_lost_on_sqlite() {
    let site = Site::new("127.0.0.1:9");
    is_killed_often(&site, "SQLite", "{ sqlite: portcullis.db }", None, 200).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_on_postgresql() {
    let site = Site::new("127.0.0.1:9");
    let url = Postgres::shared().await.database().await;
    let state = "{ postgres: { url: { env: DATABASE_URL } } }";
    is_killed_often(&site, "PostgreSQL", state, Some(&url), 40).await;
}

async fn is_killed_often(site: &Site, store: &str, state: &str, url: Option<&str>, kills: usize) {
    let began = Instant::now();
    let application =
        Upstream::start(Behaviour::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere")).await;
    site.write("portcullis.yaml", configuration(&application.address.to_string(), state));
    let mut chance = Seeded(SEED);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::new(&mut chance)).collect();
    let mut ledger = Ledger::default();
    for _ in 0..kills {
        let running = start(site, url).await;
        let node = running.node();
        ledger.is_kept(node, &mut chance).await;
        for client in &mut clients {
            client.goes_on(node).await;
        }
        clients = killed_in_the_middle(running, clients, chance.below(MOST_ANSWERS)).await;
        for client in &mut clients {
            ledger.take(client);
        }
    }
    let running = start(site, url).await;
    for client in &mut clients {
        client.goes_on(running.node()).await;
        client.is_heard(running.node()).await;
    }
    ledger.is_kept_whole(running.node()).await;
    let rotations: usize = clients.iter().map(|client| client.rotations).sum();
    let revocations: usize = clients.iter().map(|client| client.revocations).sum();
    assert!(rotations > kills && revocations > kills / 4, "{rotations} {revocations}");
    report(&format!(
        "crash, {store}: {kills} kills; acknowledged {rotations} rotations and {revocations} revocations, lost 0; \
         {} dead access and {} dead refresh tokens, come back 0; {:.0?}, seed {SEED:#x}",
        ledger.access.len(),
        ledger.refresh.len(),
        began.elapsed(),
    ));
}

async fn start(site: &Site, url: Option<&str>) -> Running {
    let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
    if let Some(url) = url {
        command.env("DATABASE_URL", url);
    }
    Running::started(command.into()).await
}

/// Lets the clients run against a node that is killed after so many acknowledged answers.
async fn killed_in_the_middle(running: Running, clients: Vec<Client>, after: usize) -> Vec<Client> {
    let answers = watch::Sender::new(0);
    let mut counted = answers.subscribe();
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (node, answers) = (running.node(), answers.clone());
        tasks.spawn(async move {
            client.runs(node, &answers).await;
            client
        });
    }
    within(counted.wait_for(|count| *count >= after)).await.unwrap();
    running.kill().await;
    within(tasks.join_all()).await
}

/// What was dead when the answer came, and must stay so.
#[derive(Debug, Default)]
struct Ledger {
    access: Vec<String>,
    refresh: Vec<String>,
    /// How many of each have been looked at since they came.
    seen: (usize, usize),
}

impl Ledger {
    fn take(&mut self, client: &mut Client) {
        self.access.append(&mut client.dead_access);
        self.refresh.append(&mut client.dead_refresh);
    }

    /// Looks at what is new, and at some of what is old.
    async fn is_kept(&mut self, node: Node, chance: &mut Seeded) {
        let seen = std::mem::replace(&mut self.seen, (self.access.len(), self.refresh.len()));
        let mut some = |all: &[String], new: usize| -> Vec<String> {
            let old = (0..if new == 0 { 0 } else { SAMPLE }).map(|_| chance.below(new));
            old.chain(new..all.len()).map(|index| all[index].clone()).collect()
        };
        let (access, refresh) = (some(&self.access, seen.0), some(&self.refresh, seen.1));
        stay_dead(node, &access, &refresh).await;
    }

    async fn is_kept_whole(&self, node: Node) {
        stay_dead(node, &self.access, &self.refresh).await;
    }
}

async fn stay_dead(node: Node, access: &[String], refresh: &[String]) {
    for token in access {
        node.get("/orders/1", token).await.unwrap().is(401);
    }
    for token in refresh {
        is_refused(node, token).await.unwrap();
    }
}

/// Presents a token that does not count. `None` when there was no answer.
async fn is_refused(node: Node, token: &str) -> Option<()> {
    let answer = node.refresh(token).await?;
    assert_eq!(answer.is(400).json()["error"], "invalid_grant");
    Some(())
}

/// One login and its chain of tokens.
#[derive(Debug)]
struct Family {
    last: Pair,
    /// Whose successor is `last`: a repeat of it is answered until `last` is used.
    before: Option<String>,
    /// Those before it, whose successors were used.
    spent: Vec<String>,
}

/// Does one thing after another, and remembers what was acknowledged.
#[derive(Debug)]
struct Client {
    chance: Seeded,
    family: Option<Family>,
    /// The end of the family was asked for, and no answer came: either is right.
    unsure: bool,
    dead_access: Vec<String>,
    dead_refresh: Vec<String>,
    rotations: usize,
    revocations: usize,
}

impl Client {
    fn new(chance: &mut Seeded) -> Self {
        Self {
            chance: Seeded(chance.below(usize::MAX) as u64),
            family: None,
            unsure: false,
            dead_access: Vec::new(),
            dead_refresh: Vec::new(),
            rotations: 0,
            revocations: 0,
        }
    }

    /// Goes on after a restart: the last acknowledged token counts, whether its use was under way or not.
    async fn goes_on(&mut self, node: Node) {
        let unsure = std::mem::take(&mut self.unsure);
        if let Some(family) = &mut self.family {
            let token = family.last.refresh.clone();
            let answer = node.refresh(&token).await.unwrap();
            if unsure && answer.status == 400 {
                self.family = None;
            } else {
                let again = Pair::read(&node.refresh(&token).await.unwrap());
                let pair = Pair::read(&answer);
                assert_eq!(again.refresh, pair.refresh, "a second live branch");
                family.goes_to(pair);
                self.rotations += 1;
            }
        }
        if self.family.is_none() {
            self.logs_in(node).await.unwrap();
        }
    }

    /// Runs until no answer comes.
    async fn runs(&mut self, node: Node, answers: &watch::Sender<usize>) {
        while self.acts(node).await.is_some() {
            answers.send_modify(|count| *count += 1);
        }
    }

    async fn acts(&mut self, node: Node) -> Option<()> {
        let Some(family) = &mut self.family else { return self.logs_in(node).await };
        match self.chance.below(24) {
            0..4 => {
                node.revoke(&family.last.access).await?.is(200);
                self.dead_access.push(family.last.access.clone());
                self.revocations += 1;
            }
            4 => {
                self.unsure = true;
                node.revoke(&family.last.refresh).await?.is(200);
                self.ends();
            }
            5 if !family.spent.is_empty() => {
                self.unsure = true;
                let spent = &family.spent[self.chance.below(family.spent.len())];
                is_refused(node, spent).await?;
                self.ends();
            }
            _ => {
                let pair = Pair::read(&node.refresh(&family.last.refresh).await?);
                family.goes_to(pair);
                self.rotations += 1;
            }
        }
        Some(())
    }

    /// The end of the family was acknowledged: nothing of it counts any more.
    fn ends(&mut self) {
        let family = self.family.take().unwrap();
        self.dead_access.push(family.last.access);
        self.dead_refresh.extend(family.spent.into_iter().chain(family.before));
        self.dead_refresh.push(family.last.refresh);
        self.unsure = false;
        self.revocations += 1;
    }

    async fn logs_in(&mut self, node: Node) -> Option<()> {
        let last = node.login("alice").await?;
        self.family = Some(Family { last, before: None, spent: Vec::new() });
        Some(())
    }

    /// The honest twin of every refusal: what nobody revoked is served.
    async fn is_heard(&self, node: Node) {
        let family = self.family.as_ref().unwrap();
        node.get("/orders/1", &family.last.access).await.unwrap().is(200);
    }
}

impl Family {
    fn goes_to(&mut self, next: Pair) {
        let used = std::mem::replace(&mut self.last, next);
        self.spent.extend(self.before.replace(used.refresh));
    }
}
