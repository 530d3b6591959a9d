//! Who is blamed for a silence: the client that pauses in its request, the application that does not answer, or nobody.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::harness::captured::Captured;
use super::harness::frames::{DATA, END_STREAM, Outcome, frame, headers, request};
use super::harness::{Behaviour, Edge, HOST, STREAMED, Wire, edge};

/// A client that pauses for longer than the application may be silent, and for less than it may itself.
const PAUSE: Duration = Duration::from_millis(600);
/// What the application may take.
const READ: &str = ", timeouts: { read: 200ms }";

async fn limited(behaviour: Behaviour, upstream: &str, log: &Captured) -> Edge {
    let listener = "{ address: '127.0.0.1:0', limits: { body_timeout: 1s } }";
    edge().upstream(behaviour).listener(listener).upstream_with(upstream).log_to(log).start().await
}

async fn limited_h2(behaviour: Behaviour, upstream: &str, log: &Captured) -> Edge {
    let tls = "tls: { certificate: edge.pem, private_key: edge.key }";
    let listener = format!("{{ address: '127.0.0.1:0', limits: {{ body_timeout: 1s }}, {tls} }}");
    edge().upstream(behaviour).listener(&listener).upstream_with(upstream).log_to(log).start().await
}

/// The first and the second half of a request, with a length and without.
fn halves() -> [(String, &'static str); 2] {
    let head =
        |framing: &str| format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n");
    [
        (head("Content-Length: 10") + "first", "other"),
        (head("Transfer-Encoding: chunked") + "5\r\nfirst\r\n", "5\r\nother\r\n0\r\n\r\n"),
    ]
}

/// Sends half of a request over HTTP/2 and, after a pause, the rest if there is one.
async fn in_halves(edge: &Edge, length: bool, rest: bool) -> Outcome {
    let mut frames = edge.frames().await;
    let stream = frames.stream();
    let mut fields = request("POST", "/public").to_vec();
    if length {
        fields.push((b"content-length", b"10"));
    }
    let begin = [headers(stream, 0, &fields), frame(DATA, 0, stream, b"first")].concat();
    frames.send(begin).await;
    if rest {
        sleep(PAUSE).await;
        frames.send(frame(DATA, END_STREAM, stream, b"other")).await;
    }
    frames.outcome(stream).await
}

async fn is_blamed(log: &Captured, count: usize, status: u16, reason: &str) {
    let line = log.lines(count).await.pop().unwrap();
    assert_eq!(
        (line["status"].as_u64(), line["reason"].as_str()),
        (Some(status.into()), Some(reason))
    );
}

// Part 4, item 13.
#[tokio::test]
async fn a_client_that_pauses_for_too_long_is_late_and_the_application_is_not() {
    let log = Captured::default();
    let edge = limited(Behaviour::Echo, READ, &log).await;
    for (count, (first, _)) in halves().into_iter().enumerate() {
        let begun = Instant::now();
        let mut wire = edge.wire().await;
        wire.send(first).await;
        let answer = wire.read_response(false).await.unwrap();
        assert_eq!(answer.is(408).json()["error"], "request_timeout");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
        wire.is_closed().await;
        is_blamed(&log, count + 1, 408, "request_timeout").await;
    }
}

// Part 4, item 13.
#[tokio::test]
async fn over_http_2_as_well() {
    let log = Captured::default();
    let edge = limited_h2(Behaviour::Echo, READ, &log).await;
    for (count, length) in [true, false].into_iter().enumerate() {
        let begun = Instant::now();
        // The stream is reset after the answer, because its request is not complete (RFC 9113 section 8.1).
        assert_eq!(in_halves(&edge, length, false).await, Outcome::Answered(408));
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
        is_blamed(&log, count + 1, 408, "request_timeout").await;
    }
}

// Part 4, item 13.
#[tokio::test]
async fn a_client_that_pauses_for_less_is_served_however_quick_the_application_must_be() {
    let log = Captured::default();
    let edge = limited(Behaviour::Echo, READ, &log).await;
    for (first, rest) in halves() {
        let mut wire = edge.wire().await;
        wire.send(first).await;
        sleep(PAUSE).await;
        wire.ask(rest).await.is(200);
        assert!(edge.upstream.last().complete);
        // The connection goes on.
        wire.ask(edge.get("/public").bytes()).await.is(200);
    }
    let edge = limited_h2(Behaviour::Echo, READ, &log).await;
    for length in [true, false] {
        assert_eq!(in_halves(&edge, length, true).await, Outcome::Answered(200));
        assert!(edge.upstream.last().complete);
    }
}

// Part 4, item 13.
#[tokio::test]
async fn an_application_that_has_the_request_and_is_silent_is_the_one_that_is_late() {
    let log = Captured::default();
    let edge = limited(Behaviour::IsSilent, READ, &log).await;
    let mut count = 0;
    for (first, rest) in halves() {
        let mut wire = edge.wire().await;
        wire.send(first).await;
        sleep(PAUSE).await;
        let begun = Instant::now();
        wire.ask(rest).await.is(504);
        assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
        count += 1;
        is_blamed(&log, count, 504, "upstream_timeout").await;
    }
    edge.get("/public").await.is(504);
    is_blamed(&log, count + 1, 504, "upstream_timeout").await;
    let h2 = limited_h2(Behaviour::IsSilent, READ, &Captured::default()).await;
    for length in [true, false] {
        let begun = Instant::now();
        assert_eq!(in_halves(&h2, length, true).await, Outcome::Answered(504));
        assert!(begun.elapsed() < PAUSE + Duration::from_millis(900), "{:?}", begun.elapsed());
    }
}

// Part 4, item 13. The client waits for `100 Continue`, which the application does not say.
#[tokio::test]
async fn an_application_that_does_not_invite_the_body_is_late_too() {
    let log = Captured::default();
    let edge = limited(Behaviour::Holds, READ, &log).await;
    let asked = edge.ask("POST", "/public").field("Content-Length: 10");
    edge.wire().await.ask(asked.field("Expect: 100-continue").bytes()).await.is(504);
    is_blamed(&log, 1, 504, "upstream_timeout").await;
}

/// An edge with an application that begins to answer at once, and then waits for the rest of the request.
async fn early() -> Edge {
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal";
    let upstream = format!("{READ}{STREAMED}");
    limited(Behaviour::SaysEarly(begun), &upstream, &Captured::default()).await
}

// Part 4, item 13. An answer that has begun is cut by the silence of the application, and not followed by another.
#[tokio::test]
async fn an_application_that_stops_in_its_answer_is_late_while_the_client_sends() {
    let edge = early().await;
    let (first, _) = &halves()[1];
    let mut wire = edge.wire().await;
    let begun = Instant::now();
    wire.send(first).await;
    let heard = wire.read_to_end().await;
    assert!(heard.starts_with("HTTP/1.1 200 OK") && heard.ends_with("\r\n\r\nhal"), "{heard}");
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

/// Asks for a tunnel.
async fn upgrade(edge: &Edge, wire: &mut Wire) -> u16 {
    let asked = edge.get("/public/socket").field("Connection: Upgrade").field("Upgrade: websocket");
    let asked = asked.field("Sec-WebSocket-Version: 13");
    wire.ask(asked.field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==").bytes()).await.status
}

// Part 4, item 12 (b).
#[tokio::test]
async fn a_tunnel_may_be_silent_for_longer_than_bodies_and_answers() {
    for tunnel in ["1m", "off"] {
        let timeouts = format!(", timeouts: {{ read: 200ms, tunnel: {tunnel} }}");
        let edge = limited(Behaviour::Tunnels, &timeouts, &Captured::default()).await;
        let mut wire = edge.wire().await;
        assert_eq!(upgrade(&edge, &mut wire).await, 101);
        for word in ["one", "two"] {
            sleep(Duration::from_millis(1300)).await;
            wire.send(word).await;
            assert_eq!(wire.read_bytes(3).await, word.as_bytes());
        }
    }
}

// Part 4, item 12 (b).
#[tokio::test]
async fn a_tunnel_that_is_silent_for_too_long_ends_and_is_logged_as_that() {
    let log = Captured::default();
    let edge = limited(Behaviour::Tunnels, ", timeouts: { tunnel: 500ms }", &log).await;
    let mut wire = edge.wire().await;
    assert_eq!(upgrade(&edge, &mut wire).await, 101);
    // What passes in either direction keeps it open.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        wire.send("on").await;
        assert_eq!(wire.read_bytes(2).await, b"on");
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(wire.read_to_end().await, "");
    is_blamed(&log, 1, 101, "tunnel_timeout").await;
    assert_eq!(log.lines(1).await[0]["decision"], "forward");
}

// Part 4, item 12 (b). Before the tunnel there is a request, and its answer may be another.
#[tokio::test]
async fn an_upgrade_that_is_not_answered_is_late_and_one_that_is_declined_leaves_the_connection() {
    let log = Captured::default();
    let silent = limited(Behaviour::IsSilent, READ, &log).await;
    assert_eq!(upgrade(&silent, &mut silent.wire().await).await, 504);
    is_blamed(&log, 1, 504, "upstream_timeout").await;
    let declines = limited(Behaviour::Echo, READ, &log).await;
    let mut wire = declines.wire().await;
    assert_eq!(upgrade(&declines, &mut wire).await, 200);
    wire.ask(declines.get("/public").bytes()).await.is(200);
}

// Part 4, item 12 (b).
#[tokio::test]
async fn an_application_may_take_its_time_where_reads_have_no_bound() {
    let ends = async |upstream: &str, body: &[u8]| {
        let edge = limited(Behaviour::Holds, upstream, &Captured::default()).await;
        let mut wire = edge.wire().await;
        wire.send(edge.ask("POST", "/public").body(body).bytes()).await;
        edge.upstream.began(1).await;
        sleep(PAUSE).await;
        edge.upstream.release();
        wire.read_response(false).await.unwrap().status
    };
    for body in [&b""[..], b"body"] {
        assert_eq!(ends(READ, body).await, 504);
        assert_eq!(ends(", timeouts: { read: off }", body).await, 200);
    }
}
