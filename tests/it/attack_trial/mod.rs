//! The attack trial: what has opened other proxies of this class, tried here class by class over both protocols beside the
//! honest request that each attack resembles. The judge is the application, by the bytes it was sent.

mod credentials;
mod framing;
mod requests;

use crate::harness::frames::{Field, Frames, Outcome};
use crate::harness::gateway::EdgeBuilder;
use crate::harness::upstream::Seen;
use crate::harness::{Edge, HOST, Wire};
use crate::identity_header::users;

/// What an attacker hopes to have read as a request of its own. Anybody may ask for it, so the edge refuses it for nothing but
/// where it stands.
const SMUGGLED: &str = "GET /public/smuggled HTTP/1.1\r\nHost: edge.example.com\r\n\r\n";
/// The same where a request of its own is honest, but not authorised.
const GUARDED: &str = "GET /admin/smuggled HTTP/1.1\r\nHost: edge.example.com\r\n\r\n";

#[tokio::test]
async fn no_attack_reaches_the_application_and_every_honest_twin_does() {
    let (requests, framing, credentials) =
        tokio::join!(requests::rows(), framing::rows(), credentials::rows());
    let rows = [requests, framing, credentials].concat();
    let mut table = format!(
        "{:<40} | {:>8} | {:>20} | {:>11} | {:>6}\n",
        "attack class", "attempts", "reached unauthorised", "twins sent", "passed"
    );
    for row in &rows {
        table += &format!(
            "{:<40} | {:>8} | {:>20} | {:>11} | {:>6}\n",
            row.class,
            row.attempts,
            row.reached.len(),
            row.twins,
            row.twins - row.failed.len()
        );
    }
    println!("{table}");
    for row in rows {
        assert!(row.attempts > 0 && row.twins > 0, "{}", row.class);
        assert!(row.reached.is_empty(), "{}:\n{}", row.class, row.reached.join("\n"));
        assert!(row.failed.is_empty(), "{}: refused\n{}", row.class, row.failed.join("\n"));
    }
}

/// What the trial found of one class of attacks.
#[derive(Debug, Clone)]
struct Row {
    class: String,
    attempts: usize,
    /// The requests that the application should never have been sent.
    reached: Vec<String>,
    twins: usize,
    /// The honest requests that were refused.
    failed: Vec<String>,
}

/// One class of attacks, tried on an edge of its own.
struct Class {
    edge: Edge,
    /// Alice's token for everything.
    token: String,
    /// A connection over HTTP/2 as long as the edge keeps it.
    h2: Option<Frames>,
    row: Row,
}

impl Class {
    async fn new(class: &str, edge: EdgeBuilder) -> Self {
        let edge = edge.start().await;
        let token = edge.mint.with(edge.now(), serde_json::json!({}));
        let (reached, failed) = (Vec::new(), Vec::new());
        let row = Row { class: class.to_owned(), attempts: 0, reached, twins: 0, failed };
        Self { edge, token, h2: None, row }
    }

    /// Sends bytes that should not pass, and behind the first answer an honest request, until the connection ends.
    async fn attack(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.row.attempts += 1;
        let mut wire: Wire = self.edge.wire().await;
        wire.send(bytes).await;
        if wire.read_response(bytes.starts_with(b"HEAD ")).await.is_some() {
            wire.send(self.edge.get("/public/after").field("Connection: close").bytes()).await;
            wire.read_to_end().await;
        }
    }

    /// Sends bytes that must pass.
    async fn twin(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.row.twins += 1;
        let before = self.edge.upstream.settled().await.len();
        let status = self.edge.wire().await.ask(bytes).await.status;
        let arrived = self.edge.upstream.settled().await.len() - before;
        if (status, arrived) != (200, 1) {
            self.row.failed.push(format!("{status} for {}", bytes.escape_ascii()));
        }
    }

    /// Sends a request over HTTP/2 that should not pass.
    async fn attack_h2(&mut self, fields: &[Field<'_>], body: Option<&[u8]>) {
        self.row.attempts += 1;
        self.ask_h2(fields, body).await;
    }

    /// Sends frames that should not pass, the last of which ends stream 1.
    async fn attack_frames(&mut self, frames: &[Vec<u8>]) {
        self.row.attempts += 1;
        let mut client = self.edge.frames().await;
        client.send(frames.concat()).await;
        client.outcome(1).await;
    }

    /// Sends a request over HTTP/2 that must pass.
    async fn twin_h2(&mut self, fields: &[Field<'_>], body: Option<&[u8]>) {
        self.row.twins += 1;
        let outcome = self.ask_h2(fields, body).await;
        if outcome != Outcome::Answered(200) {
            self.row.failed.push(format!("{outcome:?} for {fields:?}"));
        }
    }

    async fn ask_h2(&mut self, fields: &[Field<'_>], body: Option<&[u8]>) -> Outcome {
        let mut client = match self.h2.take() {
            Some(client) => client,
            None => self.edge.frames().await,
        };
        let outcome = client.ask(fields, body).await;
        if !matches!(outcome, Outcome::Gone(_)) {
            self.h2 = Some(client);
        }
        outcome
    }

    /// Asks the judge, who by default knows the usual routes.
    async fn row(self) -> Row {
        self.judged(is_authorised).await
    }

    async fn judged(mut self, is_authorised: fn(&Seen) -> bool) -> Row {
        let seen = self.edge.upstream.settled().await;
        let reached = seen.iter().filter(|seen| !is_authorised(seen));
        self.row.reached = reached.map(|seen| seen.head.clone()).collect();
        self.row
    }
}

/// Whether the application may have been sent this: by nobody for `/public`, by alice for what needs a user.
fn is_authorised(seen: &Seen) -> bool {
    let mut line = seen.line().split(' ');
    let (method, path) = (line.next().unwrap(), line.next().unwrap().split('?').next().unwrap());
    let below = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
    let users = users(seen);
    let is_alice = users == ["alice"];
    let ambiguous = path.contains("..") || path.contains(['\\', ';', '#']) || path.contains("//");
    let routed = match path {
        _ if ambiguous => false,
        "/" => users.is_empty() || is_alice,
        _ if below("/public") => users.is_empty(),
        _ if below("/admin") => is_alice,
        _ if below("/read-only") => is_alice && matches!(method, "GET" | "HEAD"),
        _ => false,
    };
    let text = format!("{}{}", seen.head, String::from_utf8_lossy(&seen.body));
    routed
        && seen.values("host") == [HOST]
        && !path.contains("smuggled")
        && !text.contains("mallory")
        && seen.values("upgrade").iter().all(|protocol| *protocol == "websocket")
        && ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method)
}
