//! A state store that fails, is taken away or holds what cannot be read, on SQLite; and requests that would keep it busy.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tokio::process::Command;

use super::binary::{BINARY, Site, ended};
use super::harness::node::{Node, Pair, configuration};
use super::harness::process::{Running, signal};
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, edge, within};

/// A text of the form of a refresh token, which nobody made.
fn invented(number: u64) -> String {
    let mut parts = [7; 64];
    parts[..8].copy_from_slice(&number.to_be_bytes());
    format!("prt_{}", URL_SAFE_NO_PAD.encode(parts))
}

async fn site(application: &Upstream) -> Site {
    let site = Site::new("127.0.0.1:9");
    let yaml = configuration(&application.address.to_string(), "{ sqlite: portcullis.db }");
    site.write("portcullis.yaml", yaml);
    site
}

async fn application() -> Upstream {
    Upstream::start(Behaviour::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere")).await
}

async fn until<T: PartialEq>(wanted: T, mut question: impl AsyncFnMut() -> T) {
    within(async { while question().await != wanted {} }).await;
}

async fn readiness(node: Node) -> u16 {
    node.readiness().await.unwrap()
}

async fn status(node: Node, pair: &Pair) -> u16 {
    node.get("/orders/1", &pair.access).await.unwrap().status
}

/// Executes this in the state file, as if somebody else did.
async fn execute(site: &Site, statement: &str) {
    let url = format!("sqlite://{}", site.path("portcullis.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

// Part 4, item 18.
#[tokio::test]
async fn invented_refresh_tokens_are_counted_by_address_and_touch_nobody_else() {
    let edge = edge().stateful().start().await;
    let (honest, stale) = (edge.tokens("alice").await, edge.tokens("bob").await);
    edge.refresh(&stale).await.is(200);
    edge.advance(std::time::Duration::from_secs(60));
    let present =
        |token: &str| edge.token(&format!("grant_type=refresh_token&refresh_token={token}"));
    // A spent token is one of ours: an office full of them is not an attack.
    for _ in 0..310 {
        present(&stale.refresh).await.is(400);
    }
    for number in 0..300 {
        present(&invented(number)).await.is(400);
    }
    let answer = present(&invented(300)).await;
    answer.is(429);
    assert_eq!(answer.values("retry-after").len(), 1);
    edge.post("/token/revoke", &format!("token={}", invented(301))).await.is(429);
    // From the same address.
    edge.refresh(&honest).await.is(200);
    edge.tokens("bob").await;
}

// Part 4, item 23.
#[tokio::test]
async fn after_a_full_disk_everything_goes_on_by_itself() {
    let application = application().await;
    let site = site(&application).await;
    // The signal that comes with the limit is for programs that do not look at what a write returns.
    let script = "trap '' XFSZ; exec \"$0\" run -c portcullis.yaml";
    let mut command = Command::new("sh");
    command.args(["-c", script, BINARY]).current_dir(site.path("."));
    command.stderr(std::process::Stdio::piped());
    let running = Running::started(command).await;
    let node = running.node();
    let pair = node.login("alice").await.unwrap();
    limit_files(running.pid(), "1:unlimited");
    let refused = node.refresh(&pair.refresh).await.unwrap();
    assert_eq!(refused.status, 503);
    until(503, async || readiness(node).await).await;
    assert_eq!(status(node, &pair).await, 200, "what is known holds");
    assert!(!running.counts("portcullis_state_write_failures_total 0").await);
    limit_files(running.pid(), "unlimited:unlimited");
    until(200, async || readiness(node).await).await;
    for _ in 0..5 {
        node.login("alice").await.unwrap();
    }
    Pair::read(&node.refresh(&pair.refresh).await.unwrap());
}

fn limit_files(pid: u32, limits: &str) {
    let mut prlimit = std::process::Command::new("prlimit");
    prlimit.arg(format!("--pid={pid}")).arg(format!("--fsize={limits}"));
    assert!(prlimit.status().unwrap().success());
}

// Part 4, item 24.
#[tokio::test]
async fn a_state_file_that_is_gone_or_another_one_is_noticed() {
    let application = application().await;
    let site = site(&application).await;
    let running = Running::start(&site).await;
    let node = running.node();
    let (alice, bob) = (node.login("alice").await.unwrap(), node.login("bob").await.unwrap());
    let ended_before = node.login("bob").await.unwrap();
    node.revoke(&ended_before.access).await.unwrap().is(200);
    for name in ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"] {
        std::fs::rename(site.path(name), site.path(&format!("old-{name}"))).unwrap();
    }
    until(503, async || readiness(node).await).await;
    assert_eq!(status(node, &alice).await, 200, "what is known holds");
    assert_eq!(node.refresh(&alice.refresh).await.unwrap().status, 503);
    assert!(!site.path("portcullis.db").exists(), "the node does not begin anew by itself");

    // The command line does, in the same place; and what it says holds.
    ended(&site.run(&["revoke", "--user", "alice", "-c", "portcullis.yaml"], ""), 0);
    until(401, async || status(node, &alice).await).await;
    until(200, async || readiness(node).await).await;
    assert_eq!(status(node, &bob).await, 200);
    node.login("bob").await.unwrap();
    // What the node knew is in the new file: it survives the node.
    signal("TERM", &[running.pid()]);
    drop(running);
    let running = Running::start(&site).await;
    until(401, async || status(running.node(), &ended_before).await).await;
    assert_eq!(status(running.node(), &bob).await, 200);
}

// Part 4, item 25.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_a_user_who_is_disabled_and_nothing_more() {
    let application = application().await;
    let site = site(&application).await;
    let yaml = std::fs::read_to_string(site.path("portcullis.yaml")).unwrap();
    let yaml = yaml.replace("users: { file: users.yaml }", "users: { database: true }");
    let (yaml, _) = yaml.split_once("tests:").unwrap();
    site.write("portcullis.yaml", yaml);
    let users = |arguments: &[&str], input: &str, code| {
        let arguments = [&["users"], arguments, &["-c", "portcullis.yaml"]].concat();
        ended(&site.run(&arguments, input), code)
    };
    let password = format!("{}\n", super::binary::PASSWORD);
    for name in ["alice", "scope", "hash", "number"] {
        users(&["add", name, "--scopes", "orders:read"], &password, 0);
    }
    execute(&site, "UPDATE users SET scope = 'a\u{1}\"' WHERE name = 'scope'").await;
    execute(&site, "UPDATE users SET password = 'x' WHERE name = 'hash'").await;
    execute(&site, "UPDATE users SET disabled = 'no' WHERE name = 'number'").await;
    execute(
        &site,
        "INSERT INTO users SELECT 'no:name', password, scope, 0, 0 FROM users WHERE name = 'alice'",
    )
    .await;

    let mut running = Running::start(&site).await;
    let node = running.node();
    let alice = node.login("alice").await.unwrap();
    assert_eq!(status(node, &alice).await, 200);
    for name in ["scope", "hash", "number"] {
        let form = super::harness::process::password_form(name);
        let answer = super::harness::Wire::connect(running.edge)
            .await
            .ask(super::harness::process::post("/token", &form))
            .await;
        answer.is(400);
    }
    assert!(
        users(&["list"], "", 0).0.lines().filter(|line| line.contains("disabled")).count() == 4
    );
    users(&["add", "dave"], &password, 0);
    // What is wrong can be mended, and removed.
    users(&["grant", "scope", "--scopes", "orders:read"], "", 0);
    assert!(users(&["list"], "", 0).0.contains("scope    enabled"));
    users(&["remove", "no:name"], "", 0);
    users(&["remove", "no:name"], "", 1);
    users(&["remove", "hash"], "", 0);
    running.signal("TERM");
    assert!(running.ends().await.success());
}

// Part 4, item 25.
#[tokio::test]
async fn a_revocation_of_an_unknown_kind_is_one_of_all_of_its_subject() {
    let application = application().await;
    let site = site(&application).await;
    let running = Running::start(&site).await;
    let node = running.node();
    let (alice, bob) = (node.login("alice").await.unwrap(), node.login("bob").await.unwrap());
    execute(&site, "UPDATE feed SET seq = seq + 1 WHERE name = 'revocations'").await;
    execute(
        &site,
        "INSERT INTO revocations SELECT seq, 'device', 'phone', 'alice', \
         CAST(strftime('%s') AS INTEGER) + 1, CAST(strftime('%s') AS INTEGER) + 1000 \
         FROM feed WHERE name = 'revocations'",
    )
    .await;
    until(401, async || status(node, &alice).await).await;
    assert_eq!(status(node, &bob).await, 200);
    assert_eq!(readiness(node).await, 200);
    node.login("bob").await.unwrap();
}
