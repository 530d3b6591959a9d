//! Failed logins are counted on a fleet as on one machine: nodes are processes that share a store, and the command line is one
//! more of them.

use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::binary::{Site, ended};
#[cfg(feature = "external-tests")]
use super::harness::postgres::Postgres;
use super::harness::process::{Running, password_form, post};
use super::harness::{Response, Wire, within};

/// The promise of how soon a ban is everywhere.
const PROMISED: Duration = Duration::from_secs(2);

/// Nodes behind a proxy on this machine, which reports whatever address a test wants.
struct Fleet {
    site: Site,
    url: String,
}

impl Fleet {
    fn new(state: &str, url: String) -> Self {
        let site = Site::new("127.0.0.1:9");
        let usual = Site::yaml("127.0.0.1:9");
        let login = "login: { per_address: { failures: 5, within: 5m, ban: 5m } }";
        let head = format!("state: {state}\ntrusted_proxies: ['127.0.0.1']\n{login}\nscopes: {{");
        site.write("portcullis.yaml", usual.replacen("scopes: {", &head, 1));
        Self { site, url }
    }

    async fn node(&self) -> Running {
        let mut command = self.site.command(&["run", "-c", "portcullis.yaml"]);
        command.env("DATABASE_URL", &self.url);
        Running::started(command.into()).await
    }

    /// Runs `portcullis bans`, which must end with this code. Returns both of its outputs.
    async fn bans(&self, arguments: &[&str], code: i32) -> (String, String) {
        let mut command = self.site.command(&[&["bans"], arguments].concat());
        command.env("DATABASE_URL", &self.url);
        let mut command = tokio::process::Command::from(command);
        ended(&within(command.output()).await.unwrap(), code)
    }

    async fn list(&self) -> String {
        self.bans(&["list", "-c", "portcullis.yaml"], 0).await.0
    }

    async fn clear(&self, which: &[&str]) -> String {
        self.bans(&[&["clear", "-c", "portcullis.yaml"], which].concat(), 0).await.0
    }
}

async fn ask(node: &Running, address: &str, form: &str) -> Response {
    let head = format!("\r\nX-Forwarded-For: {address}\r\nContent-Type:");
    let request = post("/token", form).replacen("\r\nContent-Type:", &head, 1);
    Wire::connect(node.edge).await.ask(request).await
}

async fn guess(node: &Running, address: &str, user: &str) {
    let form = format!("grant_type=password&username={user}&password=wrong");
    ask(node, address, &form).await.is(400);
}

async fn log_in(node: &Running, address: &str, user: &str) -> u16 {
    ask(node, address, &password_form(user)).await.status
}

/// Waits until bob's logins have this status on all nodes, and returns for how long. A login that succeeds neither counts
/// against its address nor forgives it, so that asking changes nothing.
async fn until(nodes: [&Running; 2], address: &str, wanted: u16) -> Duration {
    let began = Instant::now();
    for node in nodes {
        within(async { while log_in(node, address, "bob").await != wanted {} }).await;
    }
    began.elapsed()
}

/// Starts nodes on an empty store, and tells what they have in common.
async fn story(fleet: &Fleet) {
    let (first, second) = (&fleet.node().await, &fleet.node().await);
    assert_eq!(fleet.list().await, "");

    // Neither of them has seen too many, both together have.
    for node in [first, second, first, second, first] {
        guess(node, "203.0.113.9", "al%C3%A9%1B").await;
    }
    for node in [first, second, first, second] {
        guess(node, "198.51.100.1", "nobody").await;
    }
    let took = until([first, second], "203.0.113.9", 429).await;
    assert!(took < PROMISED, "{took:?}");
    for node in [first, second] {
        assert_eq!(log_in(node, "198.51.100.1", "bob").await, 200, "four are not too many");
        assert_eq!(log_in(node, "198.51.100.2", "bob").await, 200, "another address");
    }

    // The node bans first, and tells the store a moment later.
    let mut text = String::new();
    within(async {
        while text.lines().count() < 2 {
            text = fleet.list().await;
        }
    })
    .await;
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.lines().all(|line| line.ends_with(" (level 1)")), "{text}");
    for ban in ["user al\\u{e9}\\u{1b} from 203.0.113.9/32", "203.0.113.9/32"] {
        let begins = format!("{ban} is banned until ");
        assert!(text.lines().any(|line| line.starts_with(&begins)), "{text}");
    }
    let json = fleet.bans(&["list", "-c", "portcullis.yaml", "--format", "json"], 0).await.0;
    assert!(json.is_ascii() && json.contains("\"al\\u00e9\\u001b\""), "{json}");
    let document: Value = serde_json::from_str(&json).unwrap();
    let bans = document["bans"].as_array().unwrap();
    assert_eq!(bans.len(), 2);
    assert!(bans.iter().all(|ban| ban["network"] == "203.0.113.9/32"), "{json}");
    assert!(bans.iter().any(|ban| ban["user"] == "al\u{e9}\u{1b}"), "{json}");

    // A node that starts knows what was before it.
    let third = fleet.node().await;
    assert_eq!(log_in(&third, "203.0.113.9", "bob").await, 429);
    drop(third);

    assert_eq!(fleet.clear(&["--user", "bob"]).await, "0 bans ended\n");
    assert_eq!(fleet.clear(&["--address", "203.0.113.8"]).await, "0 bans ended\n");
    let user = ["--user", "al\u{e9}\u{1b}", "--address", "203.0.113.9"];
    assert_eq!(fleet.clear(&user).await, "1 ban ended\n");
    assert_eq!(fleet.list().await.lines().count(), 1);
    assert_eq!(log_in(first, "203.0.113.9", "bob").await, 429, "the address is banned as such");
    assert_eq!(fleet.clear(&["--address", "203.0.113.9"]).await, "1 ban ended\n");
    let took = until([first, second], "203.0.113.9", 200).await;
    assert!(took < PROMISED, "{took:?}");
    guess(first, "203.0.113.9", "al%C3%A9%1B").await;
    assert_eq!(fleet.list().await, "");
}

#[tokio::test]
async fn nodes_on_one_file_ban_together() {
    story(&Fleet::new("{ sqlite: state/portcullis.db }", String::new())).await;
}

#[cfg(feature = "external-tests")]
#[tokio::test]
async fn nodes_on_one_postgresql_ban_together() {
    let url = Postgres::shared().await.database().await;
    story(&Fleet::new("{ postgres: { url: { env: DATABASE_URL } } }", url)).await;
}

#[tokio::test]
async fn the_command_line_says_what_it_cannot_do() {
    let fleet = Fleet::new("{ sqlite: state/portcullis.db }", String::new());
    let clear = ["clear", "-c", "portcullis.yaml"];
    for wrong in [
        &[][..],
        &["--user", "alice", "--client", "web"],
        &["--all", "--user", "alice"],
        &["--all", "--address", "203.0.113.9"],
        &["--address", "203.0.113.0/24"],
    ] {
        fleet.bans(&[&clear, wrong].concat(), 2).await;
    }
    fleet.bans(&["list", "-c", "absent.yaml"], 2).await;
    assert_eq!(fleet.clear(&["--all"]).await, "0 bans ended\n");

    fleet.site.write("stateless.yaml", Site::yaml("127.0.0.1:9"));
    let (_, err) = fleet.bans(&["list", "-c", "stateless.yaml"], 1).await;
    assert!(err.contains("keeps no state"), "{err}");
}
