//! A node as its clients live with it: tokens for their whole life, and a server that may end in the middle of an answer. An
//! answer that did not come whole was not acknowledged, and is `None`; the suites keep count of those that were.

use std::io::Write as _;
use std::net::SocketAddr;

use super::process::{Running, get, password_form, post};
use super::{Response, Wire};
use crate::binary::Site;

/// Where a node listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    edge: SocketAddr,
    admin: SocketAddr,
}

/// What a login or a refresh gives.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Running {
    /// The node that clients see.
    pub(crate) const fn node(&self) -> Node {
        Node { edge: self.edge, admin: self.admin }
    }

    /// Ends it with SIGKILL, wherever it is.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.ends().await;
    }
}

impl Node {
    /// Logs a user in.
    pub(crate) async fn login(self, user: &str) -> Option<Pair> {
        let answer = ask(self.edge, post("/token", &password_form(user))).await?;
        answer.is(200);
        Some(Pair::read(&answer))
    }

    /// Presents a refresh token.
    pub(crate) async fn refresh(self, token: &str) -> Option<Response> {
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        ask(self.edge, post("/token", &form)).await
    }

    /// Revokes an access or refresh token.
    pub(crate) async fn revoke(self, token: &str) -> Option<Response> {
        ask(self.edge, post("/token/revoke", &format!("token={token}"))).await
    }

    /// Asks the application for something, through the edge.
    pub(crate) async fn get(self, path: &str, token: &str) -> Option<Response> {
        ask(self.edge, get(path, token)).await
    }

    /// The status of the operator's question whether it is ready.
    pub(crate) async fn readiness(self) -> Option<u16> {
        let request = "GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n".to_owned();
        ask(self.admin, request).await.map(|answer| answer.status)
    }
}

impl Pair {
    /// Reads what `/token` answered.
    pub(crate) fn read(answer: &Response) -> Self {
        let answer = answer.is(200).json();
        let field =
            |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name}")).into();
        Self { access: field("access_token"), refresh: field("refresh_token") }
    }
}

/// One request on a connection of its own.
async fn ask(address: SocketAddr, request: String) -> Option<Response> {
    Wire::try_connect(address).await?.try_ask(request).await
}

/// The usual configuration with a store for its state, refresh tokens, and a route that needs no token.
pub(crate) fn configuration(application: &str, state: &str) -> String {
    let changes = [
        ("scopes: {", format!("state: {state}\nscopes: {{")),
        ("grants: [password]", "grants: [password, refresh_token]".to_owned()),
        (
            "audience: app",
            "audience: app
  access: { lifetime: 2h }
  refresh: { lifetime: 14d, idle: 2d, reuse_grace: 30s }"
                .to_owned(),
        ),
        (
            "tests:",
            "  - { id: public, path: /public/**, upstream: app, auth: public }\ntests:".to_owned(),
        ),
    ];
    let usual = Site::yaml(application);
    changes.iter().fold(usual, |yaml, (from, to)| {
        assert!(yaml.contains(from), "{from}");
        yaml.replacen(from, to, 1)
    })
}

/// Chance that a failing run can have again: SplitMix64.
#[derive(Debug)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    /// A number below this one.
    pub(crate) const fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed >> 33) as usize) % bound
    }
}

/// Shows a figure even when the test passes, which `println!` in a test does not.
pub(crate) fn report(figure: &str) {
    writeln!(std::io::stderr().lock(), "{figure}").unwrap();
}
