//! Peers that cost us more than themselves (I18 of the requirements): each connection has a bounded number of frames that ask
//! for nothing, and other connections are served meanwhile.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::binary::Site;
use crate::harness::captured::Captured;
use crate::harness::certs::Leaf;
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, headers, request,
};
use crate::harness::process::{Running, password_form, post};
use crate::harness::upstream::Upstream;
use crate::harness::{Behaviour, Edge, HOST, Wire, edge, within};
use crate::metrics::admin;

/// Far more frames than any honest client sends for one request.
const MANY: usize = 10_000;

/// Whether the connection is ended before all of these are taken and a request behind them answered.
async fn ends(edge: &Edge, one: &[u8]) -> Outcome {
    let mut client = edge.frames().await;
    // A request that is answered shows that the connection was a good one.
    assert_eq!(client.ask(&request("GET", "/public/before"), None).await, Outcome::Answered(200));
    client.send(one.repeat(MANY)).await;
    let behind = client.ask(&request("GET", "/public/behind"), None).await;
    let other = edge.frames().await.ask(&request("GET", "/public/other"), None).await;
    assert_eq!(other, Outcome::Answered(200));
    behind
}

#[tokio::test]
async fn frames_that_ask_for_nothing_end_the_connection() {
    let edge = edge().tls().start().await;
    let mut endless = Vec::new();
    for (what, one) in [
        ("PING", frame(PING, 0, 0, b"portcull")),
        ("SETTINGS", frame(SETTINGS, 0, 0, b"")),
        ("SETTINGS that change", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("no known kind", frame(0xfa, 0, 0, b"")),
    ] {
        let outcome = ends(&edge, &one).await;
        if !matches!(outcome, Outcome::Gone(_)) {
            endless.push(format!("{what}: {outcome:?}"));
        }
    }
    assert!(endless.is_empty(), "{}", endless.join("\n"));
    assert!(edge.upstream.settled().await.iter().all(|seen| seen.target() != "/public/behind"));
}

#[tokio::test]
async fn empty_data_ends_the_connection_or_the_stream() {
    let edge = edge().tls().start().await;
    let mut client = edge.frames().await;
    let open = headers(1, 0, &request("POST", "/public/empty"));
    let last = frame(DATA, END_STREAM, 1, b"a");
    client.send([open, frame(DATA, 0, 1, b"").repeat(MANY), last].concat()).await;
    assert!(client.outcome(1).await.is_refusal());
    let seen = edge.upstream.settled().await;
    assert!(seen.iter().all(|seen| !seen.complete), "{seen:?}");
    // A few are honest.
    let mut client = edge.frames().await;
    let open = headers(1, 0, &request("POST", "/public/few"));
    let last = frame(DATA, END_STREAM, 1, b"a");
    client.send([open, frame(DATA, 0, 1, b"").repeat(5), last].concat()).await;
    assert_eq!(client.outcome(1).await, Outcome::Answered(200));
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let edge = edge().tls().start().await;
    let field = block(&[(b"x-a", b"b")]);
    for (what, part) in [("fields", &field[..]), ("nothing", b"")] {
        let mut client = edge.frames().await;
        let first = frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/public/endless")));
        let flood = frame(CONTINUATION, 0, 1, part).repeat(MANY);
        client.send([first, flood, frame(CONTINUATION, END_HEADERS, 1, b"")].concat()).await;
        let outcome = client.outcome(1).await;
        assert!(matches!(outcome, Outcome::Gone(_)), "{what}: {outcome:?}");
    }
    let honest = edge.frames().await.ask(&request("GET", "/public/honest"), None).await;
    assert_eq!(honest, Outcome::Answered(200));
    assert_eq!(edge.upstream.settled().await.len(), 1);
}

#[tokio::test]
async fn requests_that_are_taken_back_end_the_connection() {
    let edge = edge().tls().start().await;
    let mut client = edge.frames().await;
    let cancel = 8_u32.to_be_bytes();
    let mut taken_back = 0;
    while taken_back < MANY {
        let mut batch = Vec::new();
        for _ in 0..100 {
            let stream = client.stream();
            batch.extend(headers(stream, END_STREAM, &request("GET", "/public/rapid")));
            batch.extend(frame(RST_STREAM, 0, stream, &cancel));
        }
        taken_back += 100;
        if !client.send(batch).await {
            break;
        }
    }
    let behind = client.ask(&request("GET", "/public/behind"), None).await;
    assert!(matches!(behind, Outcome::Gone(_)), "{behind:?}");
    let honest = edge.frames().await.ask(&request("GET", "/public/honest"), None).await;
    assert_eq!(honest, Outcome::Answered(200));
    let rapid = edge.upstream.seen().len();
    assert!(rapid < MANY / 4, "{rapid} of {MANY} reached the application");
}

/// Each of these makes a codec, or the proxy itself, speak of its peer.
#[tokio::test]
async fn whatever_clients_send_the_log_does_not_grow() {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let application = upstream.address.to_string();
    let site = Site::new(&application);
    let leaf = Leaf::for_hosts(&[HOST]);
    leaf.write(&site.path(""), "edge");
    let tls = "'127.0.0.1:0', tls: { certificate: edge.pem, private_key: edge.key } }";
    let yaml = Site::yaml(&application).replacen("'127.0.0.1:0' }", tls, 1);
    site.write("portcullis.yaml", yaml);
    let edge = Running::start(&site).await;

    // More requests taken back than may wait to be looked at.
    let mut client = Frames::connect(edge.edge, &leaf.der).await;
    let mut rapid = Vec::new();
    for _ in 0..500 {
        let stream = client.stream();
        rapid.extend(headers(stream, END_STREAM, &request("GET", "/orders/1")));
        rapid.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    client.send(rapid).await;
    let behind = client.ask(&request("GET", "/elsewhere"), None).await;
    assert!(matches!(behind, Outcome::Gone(_)), "{behind:?}");
    // A PING answered that was never sent.
    let mut client = Frames::connect(edge.edge, &leaf.der).await;
    client.send(frame(PING, 1, 0, b"portcull")).await;
    assert_eq!(client.ask(&request("GET", "/elsewhere"), None).await, Outcome::Answered(404));
    // A handshake that begins with its end, and one that is warned of.
    for record in [&b"\x16\x03\x01\x00\x04\x14\x00\x00\x00"[..], b"\x15\x03\x01\x00\x02\x01\x5a"] {
        let mut stream = TcpStream::connect(edge.edge).await.unwrap();
        stream.write_all(record).await.unwrap();
        stream.shutdown().await.unwrap();
        within(stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    // A body in chunks that are none, on its way to the application.
    let mut wire = Wire::connect_tls(edge.edge, &leaf.der).await;
    let form = password_form("alice");
    let token = wire.ask(post("/token", &form)).await.json()["access_token"].clone();
    let token = token.as_str().unwrap();
    let head = "POST /orders/1 HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n";
    let broken = format!("{head}Authorization: Bearer {token}\r\n\r\n1\r\nx\r\nno chunk\r\n");
    wire.ask(broken).await.is(400);

    let words = edge.last_words().await;
    let words = words.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    // Whatever its level, a line that a client can cause is one too many (Part 4, item 32).
    let own = ["draining", "drained, ending"];
    let said: Vec<_> =
        words.filter(|line| !own.iter().any(|own| line["message"] == *own)).collect();
    assert!(said.is_empty(), "{said:#?}");
}

// Part 4, item 18: all of this runs on one thread, so what is counted hangs on the order in which it takes the requests.
#[tokio::test]
async fn whoever_fills_his_connections_with_requests_is_not_before_everybody_else() {
    const CONNECTIONS: usize = 10;
    const STREAMS: usize = 100;
    const ALL: usize = CONNECTIONS * STREAMS;
    let log = Captured::default();
    let edge = edge().tls().log_to(&log).start().await;
    let mut honest = edge.frames().await;
    assert_eq!(honest.ask(&request("GET", "/honest/0"), None).await, Outcome::Answered(404));
    let mut flood = Vec::new();
    for _ in 0..CONNECTIONS {
        flood.push(edge.frames().await);
    }
    for client in &mut flood {
        let streams: Vec<u32> = (0..STREAMS).map(|_| client.stream()).collect();
        let head = |stream| headers(stream, END_STREAM, &request("GET", "/flood"));
        client.send(streams.into_iter().flat_map(head).collect::<Vec<_>>()).await;
    }
    assert_eq!(honest.ask(&request("GET", "/honest/1"), None).await, Outcome::Answered(404));
    for client in &mut flood {
        let last = u32::try_from(2 * STREAMS - 1).unwrap();
        assert_eq!(client.outcome(last).await, Outcome::Answered(404));
    }
    let lines = log.lines(ALL + 2).await;
    let before = lines.iter().position(|line| line["path"] == "/honest/1").unwrap();
    assert!(before < ALL / 2, "{before} of {ALL} were answered before");
}

// Part 4, item 18.
#[tokio::test]
async fn whether_we_are_ready_is_answered_while_all_the_threads_of_requests_are_busy() {
    let edge = edge().with("admin: { address: '127.0.0.1:0' }").start().await;
    let request = "GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n";
    assert_eq!(admin(&edge, "GET", "/readyz").await.status, 200);
    // Keeps the one thread that requests have from anything else, until there is an answer.
    let mut operator = std::net::TcpStream::connect(edge.admin.unwrap()).unwrap();
    operator.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::io::Write::write_all(&mut operator, request.as_bytes()).unwrap();
    let mut status = [0; 12];
    std::io::Read::read_exact(&mut operator, &mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}
