//! Part 4, item 16. What lasts ends when what let it pass ends, silent or not; its honest twin lives on through the same
//! change. Every wait is bounded by the harness, and each end comes within the second between two looks.

use std::fs;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use serde_json::json;

use super::harness::client::{H2, Wire};
use super::harness::gateway::Ask;
use super::harness::{Behaviour, Edge, HOST, STREAMED, edge, within};

/// Something that lasts.
enum Lasting {
    Tunnel(Wire),
    /// An answer over HTTP/1.1 whose head has come.
    Http1(Wire),
    /// An answer over HTTP/2 whose head has come.
    Http2(H2, h2::RecvStream),
    /// A request over HTTP/1.1 whose body is not at its end.
    Upload1(Wire),
    /// The same over HTTP/2.
    Upload2(H2, h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>),
}

fn upgrade<'a>(edge: &'a Edge, path: &str, token: &str) -> Ask<'a> {
    let asked = edge.get(path).field("Connection: Upgrade").field("Upgrade: websocket");
    let asked = if token.is_empty() { asked } else { asked.bearer(token) };
    asked.field("Sec-WebSocket-Version: 13").field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
}

async fn tunnel(edge: &Edge, path: &str, token: &str) -> Lasting {
    let mut wire = edge.wire().await;
    wire.ask(upgrade(edge, path, token).bytes()).await.is(101);
    Lasting::Tunnel(wire)
}

fn request(method: &str, path: &str, token: &str) -> http::Request<()> {
    let uri = format!("https://{HOST}{path}");
    let built = http::Request::builder().method(method).uri(uri);
    built.header("authorization", format!("Bearer {token}")).body(()).unwrap()
}

/// An answer that has begun, over HTTP/1.1 and over HTTP/2.
async fn answers(edge: &Edge, path: &str, token: &str) -> [Lasting; 2] {
    let mut wire = edge.wire_tls().await;
    wire.send(edge.get(path).bearer(token).bytes()).await;
    assert!(wire.read_bytes(12).await.starts_with(b"HTTP/1.1 200"));
    let mut h2 = edge.h2().await;
    let (response, _) = h2.begin(request("GET", path, token), true).await;
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), 200);
    [Lasting::Http1(wire), Lasting::Http2(h2, response.into_body())]
}

/// A request that has begun, over HTTP/1.1 and over HTTP/2.
async fn uploads(edge: &Edge, path: &str, token: &str, before: usize) -> [Lasting; 2] {
    let mut wire = edge.wire_tls().await;
    let ask = edge.ask("POST", path).bearer(token).field("Content-Length: 100");
    wire.send([&ask.bytes()[..], b"some"].concat()).await;
    let mut h2 = edge.h2().await;
    let (response, mut body) = h2.begin(request("POST", path, token), false).await;
    body.send_data(bytes::Bytes::from_static(b"some"), false).unwrap();
    edge.upstream.began(before + 2).await;
    [Lasting::Upload1(wire), Lasting::Upload2(h2, response, body)]
}

impl Lasting {
    /// Waits for its end, which is no proper one.
    async fn ends(&mut self) {
        match self {
            Self::Tunnel(wire) | Self::Upload1(wire) => wire.is_closed().await,
            Self::Http1(wire) => {
                let mut last = wire.read_bytes(PIECE).await;
                while last.len() == PIECE {
                    last = wire.read_bytes(PIECE).await;
                }
                assert!(!last.ends_with(b"0\r\n\r\n"), "it looks complete");
            }
            Self::Http2(_, body) => {
                let reset = loop {
                    match within(body.data()).await {
                        Some(Ok(chunk)) => {
                            body.flow_control().release_capacity(chunk.len()).unwrap();
                        }
                        Some(Err(error)) => break error,
                        None => panic!("it looks complete"),
                    }
                };
                assert!(reset.is_reset(), "{reset}");
            }
            Self::Upload2(_, response, _) => {
                let reset = within(response).await.unwrap_err();
                assert!(reset.is_reset(), "{reset}");
            }
        }
    }

    /// Something more passes.
    async fn lives(&mut self) {
        match self {
            Self::Tunnel(wire) => {
                wire.send("still here").await;
                assert_eq!(wire.read_bytes(10).await, b"still here");
            }
            Self::Http1(wire) => {
                let mut seen = Vec::new();
                while !has_gone_on(&seen) {
                    let piece = if seen.len() > SHORT { PIECE } else { 1 };
                    let more = wire.read_bytes(piece).await;
                    assert!(!more.is_empty(), "it has ended");
                    seen.extend(more);
                }
            }
            Self::Http2(_, body) => {
                let mut seen = Vec::new();
                while !has_gone_on(&seen) {
                    let chunk = within(body.data()).await.unwrap().unwrap();
                    body.flow_control().release_capacity(chunk.len()).unwrap();
                    seen.extend(chunk);
                }
            }
            Self::Upload1(wire) => {
                wire.send([b'.'; 96]).await;
                wire.read_response(false).await.unwrap().is(200);
            }
            Self::Upload2(_, response, body) => {
                body.send_data(bytes::Bytes::from_static(b"more"), true).unwrap();
                assert_eq!(within(response).await.unwrap().status(), 200);
            }
        }
    }
}

/// Whether more has come than was on its way before: a second event, or more than any buffer holds.
fn has_gone_on(seen: &[u8]) -> bool {
    const EVENT: &[u8] = b"data: one";
    if seen.len() > SHORT {
        return seen.len() > 16 << 20;
    }
    seen.windows(EVENT.len()).filter(|part| *part == EVENT).count() == 2
}

/// Runs them all at once.
async fn all<F: Future<Output = ()>>(trials: impl IntoIterator<Item = F>) {
    let mut trials: Vec<_> = trials.into_iter().map(Box::pin).collect();
    poll_fn(|cx| {
        trials.retain_mut(|trial| trial.as_mut().poll(cx).is_pending());
        if trials.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Writes the configuration with one text in place of another, and reloads.
fn change(edge: &Edge, from: &str, to: &str) {
    let file = edge.directory().join("portcullis.yaml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&file, text.replacen(from, to, 1)).unwrap();
    edge.reload();
}

/// What is read of an endless answer at a time.
const PIECE: usize = 64 * 1024;
/// An event stream is shorter.
const SHORT: usize = 1024;
const QUARTER: Duration = Duration::from_secs(15 * 60);

/// What ends a tunnel of bob's on `/notes/socket` that nothing passes through.
#[tokio::test]
async fn a_silent_tunnel_ends_with_each_part_of_its_authority() {
    type Cause = (&'static str, fn(&Edge));
    let causes: [Cause; 6] = [
        ("its token expires", |edge| edge.advance(QUARTER)),
        ("its user is disabled", |edge| edge.disable_bob()),
        ("its user is gone", |edge| {
            edge.change_users("name: bob,", "name: robert,");
        }),
        ("its user may no longer", |edge| {
            edge.change_users("scopes: ['notes:read'] }", "scopes: [admin] }");
        }),
        ("its route is gone", |edge| change(edge, "path: /notes/**", "path: /elsewhere/**")),
        ("its route asks for more", |edge| {
            change(
                edge,
                "upstream: app, scopes: [notes:read]",
                "upstream: app, scopes: [notes:write]",
            );
        }),
    ];
    let trials = causes.map(async |(cause, end)| {
        let edge = edge().stateful().upstream(Behaviour::Tunnels).start().await;
        let alice = edge.login("alice", "admin notes:read notes:write").await;
        let bob = edge.login("bob", "notes:read").await;
        let mut theirs = tunnel(&edge, "/notes/socket", &bob).await;
        let mut public = tunnel(&edge, "/public/socket", "").await;
        let mut twin = tunnel(&edge, "/admin/socket", &alice).await;
        end(&edge);
        theirs.ends().await;
        public.lives().await;
        if cause != "its token expires" {
            twin.lives().await;
        }
    });
    all(trials).await;
}

#[tokio::test]
async fn a_silent_tunnel_ends_when_it_is_revoked_or_its_key_is_gone() {
    let edge = edge().stateful().upstream(Behaviour::Tunnels).start().await;
    let (bob, alice) = (edge.login("bob", "notes:read").await, edge.login("alice", "admin").await);
    let mut revoked = tunnel(&edge, "/notes/socket", &bob).await;
    let mut kept = tunnel(&edge, "/admin/socket", &alice).await;
    let mut public = tunnel(&edge, "/public/socket", "").await;
    edge.post("/token/revoke", &format!("token={bob}")).await.is(200);
    revoked.ends().await;
    kept.lives().await;

    let key = portcullis::keys::generate(
        portcullis::keys::Algorithm::EdDsa,
        &portcullis::random::OsRandom,
    );
    fs::write(edge.directory().join("signing.pem"), key.unwrap().expose()).unwrap();
    change(&edge, "id: k1, algorithm", "id: k2, algorithm");
    kept.ends().await;
    public.lives().await;
}

#[tokio::test]
async fn a_public_tunnel_ends_when_its_route_is_gone_or_no_longer_public() {
    for (from, to) in [
        ("path: /public/**, upstream: app, auth: public", "path: /public/**, upstream: app"),
        ("path: /public/**", "path: /elsewhere/**"),
    ] {
        let edge = edge().upstream(Behaviour::Tunnels).start().await;
        let alice = edge.login("alice", "admin").await;
        let mut public = tunnel(&edge, "/public/socket", "").await;
        let mut twin = tunnel(&edge, "/admin/socket", &alice).await;
        change(&edge, from, to);
        public.ends().await;
        twin.lives().await;
    }
}

/// With everything that is no tunnel, over HTTP/1.1 and HTTP/2.
#[tokio::test]
async fn every_kind_of_exchange_ends_with_its_user_and_with_its_token() {
    let kinds = [Behaviour::Streams, Behaviour::Pours(1 << 40), Behaviour::Echo];
    let trials = kinds.map(async |kind| {
        let edge = edge().tls().upstream(kind).upstream_with(STREAMED).start().await;
        let now = edge.now();
        let token = |user: &str| {
            let until = now + QUARTER.as_secs();
            edge.mint.with(now, json!({ "sub": user, "scope": "notes:read", "exp": until }))
        };
        let (alice, bob) = (token("alice"), token("bob"));
        let open = async |token: &str, before| match kind {
            Behaviour::Echo => uploads(&edge, "/notes/upload", token, before).await,
            _ => answers(&edge, "/notes/stream", token).await,
        };
        let (mut theirs, mut twins) = (open(&bob, 0).await, open(&alice, 2).await);
        edge.disable_bob();
        for lasting in &mut theirs {
            lasting.ends().await;
        }
        // The other streams of that connection go on.
        if let [_, Lasting::Upload2(h2, ..)] = &mut theirs {
            let again = request("GET", "/notes/again", &alice);
            h2.ask(again, b"", None).await.unwrap().is(200);
        }
        if let [_, Lasting::Http2(h2, _)] = &mut theirs {
            let (response, _) = h2.begin(request("GET", "/notes/again", &alice), true).await;
            assert_eq!(within(response).await.unwrap().status(), 200);
        }
        edge.upstream.release();
        for lasting in &mut twins {
            lasting.lives().await;
        }
        let mut last = open(&alice, 4).await;
        edge.advance(QUARTER);
        for lasting in &mut last {
            lasting.ends().await;
        }
    });
    all(trials).await;
}

#[tokio::test]
async fn where_the_route_says_so_it_outlives_its_token_and_nothing_else() {
    let routes = "
  - { id: notes, path: /notes/**, upstream: app, scopes: [notes:read], end_at_token_expiry: false }
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
";
    let edge = edge().upstream(Behaviour::Tunnels).routes(routes).start().await;
    let (bob, alice) = (edge.login("bob", "notes:read").await, edge.login("alice", "admin").await);
    let mut lives = tunnel(&edge, "/notes/socket", &bob).await;
    let mut ends = tunnel(&edge, "/admin/socket", &alice).await;
    edge.advance(QUARTER * 2);
    ends.ends().await;
    lives.lives().await;
    edge.disable_bob();
    lives.ends().await;
}

/// A slow answer to a request that came in time is given.
#[tokio::test]
async fn an_answer_may_take_longer_than_the_token_has() {
    let edge = edge().upstream(Behaviour::Holds).start().await;
    let bob = edge.login("bob", "notes:read").await;
    let mut wire = edge.wire().await;
    wire.send(edge.get("/notes/report").bearer(&bob).bytes()).await;
    let mut other = edge.wire().await;
    other.send(edge.get("/notes/report").bearer(&bob).bytes()).await;
    edge.upstream.began(2).await;
    edge.advance(QUARTER);
    // By the time that a tunnel ends, the answer has been given a look, too.
    let tunnels = self::edge().upstream(Behaviour::Tunnels).start().await;
    let mut tunnel = tunnel(&tunnels, "/notes/x", &tunnels.login("bob", "notes:read").await).await;
    tunnels.advance(QUARTER);
    tunnel.ends().await;
    edge.upstream.release();
    wire.read_response(false).await.unwrap().is(200);
    other.read_response(false).await.unwrap().is(200);
}

/// It stands in the log as what it was: let through, and ended for a reason.
#[tokio::test]
async fn the_log_says_why_it_ended() {
    let log = super::harness::captured::Captured::default();
    let edge = edge().upstream(Behaviour::Tunnels).log_to(&log).start().await;
    let bob = edge.login("bob", "notes:read").await;
    let mut tunnel = tunnel(&edge, "/notes/socket", &bob).await;
    edge.disable_bob();
    tunnel.ends().await;
    let lines = log.lines(2).await;
    let line = lines.iter().find(|line| line["route"] == "notes").unwrap();
    assert_eq!(line["reason"], "user_disabled");
    assert_eq!((&line["status"], &line["decision"]), (&101.into(), &"forward".into()));
}
