//! Clients that leave: whatever the moment, their request is logged and counted, as what it is.

use serde_json::{Value, json};

use super::harness::captured::Captured;
use super::harness::frames::{
    DATA, END_STREAM, Frames, Outcome, RST_STREAM, frame, headers, request,
};
use super::harness::{Behaviour, Edge, HOST, STREAMED, edge};
use super::metrics::{decisions, metrics, value};

const ADMIN: &str = "admin: { address: '127.0.0.1:0' }";
/// `CANCEL` (RFC 9113 section 7).
const CANCEL: &[u8] = &[0, 0, 0, 8];

async fn observed(behaviour: Behaviour) -> (Edge, Captured) {
    let log = Captured::default();
    let edge = edge().tls().upstream(behaviour).upstream_with(STREAMED).with(ADMIN);
    (edge.log_to(&log).start().await, log)
}

async fn observed_plain(behaviour: Behaviour) -> (Edge, Captured) {
    let log = Captured::default();
    let edge = edge().upstream(behaviour).upstream_with(STREAMED).with(ADMIN);
    (edge.log_to(&log).start().await, log)
}

/// The line of the only request, and that it was counted under its reason and not as an error of the protocol.
async fn gone(edge: &Edge, log: &Captured, status: u16) -> Value {
    gone_after(edge, log, 0, status).await
}

/// The same after so many others.
async fn gone_after(edge: &Edge, log: &Captured, others: usize, status: u16) -> Value {
    let line = log.lines(others + 1).await.pop().unwrap();
    assert_eq!(
        (&line["reason"], &line["status"]),
        (&json!("client_gone"), &json!(status)),
        "{line}"
    );
    assert_eq!(line["client"], "127.0.0.1");
    let metrics = metrics(edge).await;
    assert!((decisions(&metrics, "client_gone") - 1.0).abs() < 0.1);
    let early = "portcullis_requests_refused_early_total{listener=\"127.0.0.1:0\"}";
    assert!(value(&metrics, early).abs() < 0.1);
    assert!(!metrics.contains("code=\"none\""), "{metrics}");
    line
}

fn get() -> String {
    format!("GET /public/a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

fn half(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf")
}

// Part 4, item 22b.
#[tokio::test]
async fn before_its_answer() {
    for bytes in [get(), half("/public/a")] {
        let (edge, log) = observed_plain(Behaviour::IsSilent).await;
        let mut wire = edge.wire().await;
        wire.send(bytes).await;
        edge.upstream.began(1).await;
        drop(wire);
        let line = gone(&edge, &log, 499).await;
        assert_eq!((&line["decision"], &line["route"]), (&json!("forward"), &json!("public")));
        let series = "portcullis_requests_total{code=\"4xx\",route=\"public\"}";
        assert!((value(&metrics(&edge).await, series) - 1.0).abs() < 0.1);
    }
}

// Part 4, item 22b.
#[tokio::test]
async fn as_soon_as_it_has_asked() {
    for bytes in [get(), half("/public/a")] {
        let (edge, log) = observed_plain(Behaviour::IsSilent).await;
        edge.wire().await.send(bytes).await;
        assert_eq!(gone(&edge, &log, 499).await["path"], "/public/a");
    }
}

// Part 4, item 22b.
#[tokio::test]
async fn during_its_answer() {
    let (edge, log) = observed_plain(Behaviour::Pours(100_000_000)).await;
    let mut wire = edge.wire().await;
    wire.send(get()).await;
    assert_eq!(wire.read_bytes(15).await, b"HTTP/1.1 200 OK");
    drop(wire);
    assert_eq!(gone(&edge, &log, 200).await["decision"], "forward");
}

// Part 4, item 22b.
#[tokio::test]
async fn in_a_form_for_us() {
    let (edge, log) = observed_plain(Behaviour::Echo).await;
    edge.wire().await.send(half("/token")).await;
    gone(&edge, &log, 499).await;
}

// Part 4, item 22b. What was decided before it left stays the reason.
#[tokio::test]
async fn who_is_answered_before_it_leaves_is_no_such_client() {
    let (edge, log) = observed_plain(Behaviour::Echo).await;
    edge.get("/public/a").await.is(200);
    edge.get("/admin").await.is(401);
    let lines = log.lines(2).await;
    assert_eq!((&lines[0]["reason"], &lines[0]["status"]), (&Value::Null, &json!(200)));
    assert_eq!((&lines[1]["reason"], &lines[1]["status"]), (&json!("no_token"), &json!(401)));
    assert!(decisions(&metrics(&edge).await, "client_gone").abs() < 0.1);
}

/// A request over HTTP/2, whole or half.
fn stream(frames: &mut Frames, half: bool) -> (u32, Vec<u8>) {
    let stream = frames.stream();
    if half {
        let head = headers(stream, 0, &request("POST", "/public/a"));
        (stream, [head, frame(DATA, 0, stream, b"half")].concat())
    } else {
        (stream, headers(stream, END_STREAM, &request("GET", "/public/a")))
    }
}

// Part 4, item 22b.
#[tokio::test]
async fn with_a_reset_of_its_stream() {
    for half in [false, true] {
        let (edge, log) = observed(Behaviour::IsSilent).await;
        let mut frames = edge.frames().await;
        let (stream, bytes) = stream(&mut frames, half);
        frames.send(bytes).await;
        edge.upstream.began(1).await;
        frames.send(frame(RST_STREAM, 0, stream, CANCEL)).await;
        assert_eq!(gone(&edge, &log, 499).await["route"], "public");
    }
}

// Part 4, item 22b.
#[tokio::test]
async fn with_a_reset_of_its_stream_as_soon_as_it_has_asked() {
    for half in [false, true] {
        let (edge, log) = observed(Behaviour::IsSilent).await;
        let mut frames = edge.frames().await;
        let (stream, bytes) = stream(&mut frames, half);
        frames.send([bytes, frame(RST_STREAM, 0, stream, CANCEL)].concat()).await;
        assert_eq!(gone(&edge, &log, 499).await["path"], "/public/a");
    }
}

// Part 4, item 22b.
#[tokio::test]
async fn with_a_reset_during_its_answer() {
    let (edge, log) = observed(Behaviour::Pours(100_000_000)).await;
    let mut frames = edge.frames().await;
    let (stream, bytes) = stream(&mut frames, false);
    frames.send(bytes).await;
    while frames.frame().await.unwrap().kind != DATA {}
    frames.send(frame(RST_STREAM, 0, stream, CANCEL)).await;
    gone(&edge, &log, 200).await;
}

// Part 4, item 22b.
#[tokio::test]
async fn with_the_end_of_its_http_2_connection() {
    for half in [false, true] {
        let (edge, log) = observed(Behaviour::IsSilent).await;
        let mut frames = edge.frames().await;
        let (_, bytes) = stream(&mut frames, half);
        frames.send(bytes).await;
        edge.upstream.began(1).await;
        drop(frames);
        assert_eq!(gone(&edge, &log, 499).await["path"], "/public/a");
    }
}

// Part 4, item 22b. The codec forgets what comes together with the end of the connection, unless that is held back.
#[tokio::test]
async fn with_the_end_of_its_http_2_connection_as_soon_as_it_has_asked() {
    for half in [false, true] {
        let (edge, log) = observed(Behaviour::IsSilent).await;
        let mut frames = edge.frames().await;
        // The handshake is over on both sides.
        assert_eq!(frames.ask(&request("GET", "/nowhere"), None).await, Outcome::Answered(404));
        let (_, bytes) = stream(&mut frames, half);
        frames.send(bytes).await;
        drop(frames);
        assert_eq!(gone_after(&edge, &log, 1, 499).await["path"], "/public/a");
    }
}

// Part 4, item 22b. The honest twin of the counter: what breaks the protocol is counted there, and is no client that left.
#[tokio::test]
async fn who_breaks_the_protocol_is_counted_as_that() {
    let (edge, _) = observed(Behaviour::Echo).await;
    let mut frames = edge.frames().await;
    let stream = frames.stream();
    let fields = [&request("GET", "/public/a")[..], &[(b"X-Upper", b"a")]].concat();
    frames.send(headers(stream, END_STREAM, &fields)).await;
    assert!(frames.outcome(stream).await.is_refusal());
    drop(frames);
    let early = "portcullis_requests_refused_early_total{listener=\"127.0.0.1:0\"}";
    while value(&metrics(&edge).await, early) < 1.0 {}
    assert!(decisions(&metrics(&edge).await, "client_gone").abs() < 0.1);
}
