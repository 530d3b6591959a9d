//! The built binary as a running process: started in a directory with its files, asked over sockets, signalled, and watched
//! through its log.

use std::fs;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Response, Wire, within};
use crate::binary::{PASSWORD, Site};

/// The running binary. It is killed when dropped.
pub(crate) struct Running {
    pub(super) child: Child,
    log: UnboundedReceiver<String>,
    /// What it logged before it listened.
    early: Vec<Value>,
    pub(crate) edge: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Running {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(site: &Site) -> Self {
        Self::started(site.command(&["run", "-c", "portcullis.yaml"]).into()).await
    }

    /// Starts this command and waits until it listens.
    pub(crate) async fn started(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut log = lines(child.stderr.take().unwrap());
        let mut early = Vec::new();
        let edge = address(&logged(&mut log, "listening", &mut early).await);
        let admin = address(&logged(&mut log, "admin listening", &mut early).await);
        Self { child, log, early, edge, admin }
    }

    /// The line of its log with this message, of those from before it listened.
    #[cfg(feature = "external-tests")]
    pub(crate) fn has_said(&self, message: &str) -> &Value {
        let is_it = |line: &&Value| line["message"].as_str().is_some_and(|m| m.contains(message));
        self.early.iter().find(is_it).unwrap_or_else(|| panic!("{message}: {:?}", self.early))
    }

    /// Waits for this line of its log.
    pub(crate) async fn says(&mut self, message: &str) -> Value {
        logged(&mut self.log, message, &mut self.early).await
    }

    /// Ends it, and returns what it has logged since it listened.
    pub(crate) async fn last_words(mut self) -> Vec<String> {
        self.signal("TERM");
        assert!(self.ends().await.success());
        let mut words = Vec::new();
        while let Some(line) = within(self.log.recv()).await {
            words.push(line);
        }
        words
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it has ended")
    }

    /// The name and the niceness of each of its threads.
    pub(crate) fn threads(&self) -> Vec<(String, i32)> {
        let folder = format!("/proc/{}/task", self.pid());
        let threads = fs::read_dir(folder).unwrap().map(|thread| {
            let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
            // The 19th field, of which the name was the second.
            (name.to_owned(), rest.split(' ').nth(16).unwrap().parse().unwrap())
        });
        threads.collect()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, &[self.pid()]);
    }

    /// Waits for its end.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        within(self.child.wait()).await.unwrap()
    }

    /// One GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Response {
        Wire::connect(self.edge).await.ask(get(path, token)).await
    }

    /// Logs a user in and returns the access token.
    pub(crate) async fn login(&self, user: &str) -> String {
        let request = post("/token", &password_form(user));
        let answer = Wire::connect(self.edge).await.ask(request).await;
        answer.is(200);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Whether the metrics have this line.
    pub(crate) async fn counts(&self, line: &str) -> bool {
        self.metrics().await.lines().any(|own| own == line)
    }

    /// The metrics' text.
    pub(crate) async fn metrics(&self) -> String {
        let request = "GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n";
        Wire::connect(self.admin).await.ask(request).await.text()
    }
}

/// A GET with a token.
pub(crate) fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// A POST of a form.
pub(crate) fn post(path: &str, form: &str) -> String {
    let length = form.len();
    let kind = "application/x-www-form-urlencoded";
    format!(
        "POST {path} HTTP/1.1\r\nHost: edge\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{form}"
    )
}

/// What a user sends to log in.
pub(crate) fn password_form(user: &str) -> String {
    let password = PASSWORD.replace(' ', "+");
    format!("grant_type=password&username={user}&password={password}")
}

/// Sends a signal to all of these.
pub(crate) fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let kill = format!("kill -s {name} {}", pids.join(" "));
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Reads the log as it comes: a process whose log nobody reads stands still once the pipe is full.
fn lines(log: ChildStderr) -> UnboundedReceiver<String> {
    let (read, reading) = unbounded_channel();
    tokio::spawn(async move {
        let mut log = BufReader::new(log).lines();
        while let Ok(Some(line)) = log.next_line().await {
            if read.send(line).is_err() {
                return;
            }
        }
    });
    reading
}

async fn logged(
    log: &mut UnboundedReceiver<String>,
    message: &str,
    others: &mut Vec<Value>,
) -> Value {
    let mut before = String::new();
    loop {
        let line = within(log.recv()).await;
        let line = line.unwrap_or_else(|| panic!("it ended without {message:?}:\n{before}"));
        let said: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        if said["message"].as_str().is_some_and(|own| own.contains(message)) {
            return said;
        }
        before = before + &line + "\n";
        others.push(said);
    }
}

fn address(line: &Value) -> SocketAddr {
    line["address"].as_str().unwrap().parse().unwrap()
}
