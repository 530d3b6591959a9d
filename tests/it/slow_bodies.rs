//! Part 4, item 15. Bodies that come slowly: the application is not asked before it can have them, so a client cannot keep its
//! workers waiting, and whoever is too slow altogether is 408.

use std::time::Duration;

use http::Request;
use tokio::time::timeout;

use super::harness::captured::Captured;
use super::harness::frames::{DATA, END_STREAM, Frames, Outcome, frame, headers, request};
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Edge, HOST, STREAMED, edge, within};
use super::metrics::{metrics, value};

const ADMIN: &str = "admin: { address: '127.0.0.1:0' }";
const LENGTH: &str = "Content-Length: 10";
const CHUNKED: &str = "Transfer-Encoding: chunked";

/// The head of a request with a body.
fn head(fields: &str) -> String {
    format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n")
}

/// The first and the second half of a request, with a length and without.
fn halves() -> [(String, &'static str); 2] {
    [
        (head(LENGTH) + "first", "other"),
        (head(CHUNKED) + "5\r\nfirst\r\n", "5\r\nother\r\n0\r\n\r\n"),
    ]
}

/// Begins a request over HTTP/2 and sends half of its body.
async fn half(frames: &mut Frames, more: &[(&[u8], &[u8])]) -> u32 {
    let stream = frames.stream();
    let fields = [&request("POST", "/public")[..], more].concat();
    frames.send([headers(stream, 0, &fields), frame(DATA, 0, stream, b"first")].concat()).await;
    stream
}

/// Waits until so many requests are under way.
async fn under_way(edge: &Edge, count: f64) {
    while value(&metrics(edge).await, "portcullis_requests_in_flight") < count {}
}

#[tokio::test]
async fn five_hundred_of_them_hold_no_connection_to_the_application() {
    let listener =
        "{ address: '127.0.0.1:0', limits: { per_address: 1000, max_requests_per_address: 1000 } }";
    // It has one worker.
    let upstream = ", limits: { max_requests: 1, queue: 0 }";
    let edge = edge().listener(listener).upstream_with(upstream).with(ADMIN).start().await;
    let mut slow = Vec::new();
    for _ in 0..250 {
        for (first, rest) in halves() {
            let mut wire = edge.wire().await;
            wire.send(first).await;
            slow.push((wire, rest));
        }
    }
    under_way(&edge, 500.0).await;
    assert_eq!(edge.upstream.connections(), 0);
    // Others are served meanwhile.
    edge.ask("POST", "/public").body(b"whole").await.is(200);
    edge.get("/public").await.is(200);
    // And each of them once it has come to its end.
    for (wire, rest) in slow.iter_mut().rev().take(10) {
        wire.ask(*rest).await.is(200);
        assert!(edge.upstream.last().complete);
    }
    assert!(edge.upstream.connections() <= 12, "{}", edge.upstream.connections());
}

#[tokio::test]
async fn nor_do_those_on_streams_of_http_2() {
    let edge = edge().tls().with(ADMIN).start().await;
    let mut frames = edge.frames().await;
    let mut streams = Vec::new();
    for _ in 0..45 {
        streams.push(half(&mut frames, &[]).await);
        streams.push(half(&mut frames, &[(b"content-length", b"10")]).await);
    }
    under_way(&edge, 90.0).await;
    assert_eq!(edge.upstream.connections(), 0);
    let whole = frames.ask(&request("POST", "/public"), Some(b"whole")).await;
    assert_eq!(whole, Outcome::Answered(200));
    for stream in streams.into_iter().rev().take(4) {
        frames.send(frame(DATA, END_STREAM, stream, b"other")).await;
        assert_eq!(frames.outcome(stream).await, Outcome::Answered(200));
        assert!(edge.upstream.last().complete);
    }
}

#[tokio::test]
async fn what_was_gathered_arrives_as_it_was_sent() {
    let edge = edge().tls().start().await;
    let mut wire = edge.wire_tls().await;
    for (body, framing) in [
        ("5\r\nfirst\r\n5\r\nother\r\n0\r\n\r\n", CHUNKED),
        ("0\r\n\r\n", CHUNKED),
        ("firstother", LENGTH),
        ("", "Content-Length: 0"),
    ] {
        wire.ask(head(framing) + body).await.is(200);
        let seen = edge.upstream.last();
        let text = String::from_utf8(seen.body.clone()).unwrap();
        assert!(seen.complete, "{framing}: {text}");
        let unframed: String = text.lines().filter(|line| line.len() > 1).collect();
        assert_eq!(unframed.contains("first"), body.contains("first"), "{framing}: {text}");
        // An empty body needs no chunks.
        let (lengths, codings) = (seen.values("content-length"), seen.values("transfer-encoding"));
        match body {
            "" | "0\r\n\r\n" => assert_eq!((lengths, codings, &*text), (vec!["0"], vec![], "")),
            _ if framing == CHUNKED => assert_eq!((lengths, codings), (vec![], vec!["chunked"])),
            _ => assert_eq!((lengths, codings), (vec!["10"], vec![])),
        }
    }
    // Up to the limit, over it, and far over it.
    for length in [65_535, 65_536, 65_537, 131_072, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|i: u32| b'a' + (i % 23) as u8).collect();
        let asked = edge.ask("POST", "/public").body(&body).bytes();
        wire.ask(asked).await.is(200);
        assert_eq!(edge.upstream.last().body, body, "{length}");
        let post = Request::post(format!("https://{HOST}/public"));
        let post = post.header("content-length", length).body(()).unwrap();
        edge.h2().await.ask(post, &body, None).await.unwrap().is(200);
        assert_eq!(edge.upstream.last().body, body, "{length} over HTTP/2");
    }
}

#[tokio::test]
async fn a_longer_body_follows_as_it_comes() {
    let edge = edge().tls().upstream_with(", buffer_request: 4B").start().await;
    let mut before = 0;
    for (first, rest) in halves() {
        let mut wire = edge.wire_tls().await;
        wire.send(first).await;
        edge.upstream.began(before + 1).await;
        wire.ask(rest).await.is(200);
        assert!(edge.upstream.last().complete);
        before += 1;
    }
    let mut frames = edge.frames().await;
    let stream = half(&mut frames, &[]).await;
    edge.upstream.began(before + 1).await;
    frames.send(frame(DATA, END_STREAM, stream, b"other")).await;
    assert_eq!(frames.outcome(stream).await, Outcome::Answered(200));
    let text = String::from_utf8(edge.upstream.last().body).unwrap();
    assert!(text.contains("first") && text.contains("other"), "{text}");
}

/// Another server has it whole when the first is not there, or leaves before it has answered.
#[tokio::test]
async fn it_is_sent_again_to_another_server() {
    for first in [Behaviour::Refuses, Behaviour::Closes] {
        let other = Upstream::start(Behaviour::Echo).await;
        let more = format!(
            " }}\n  pool: {{ servers: ['{}', '{}']",
            Upstream::start(first).await.address,
            other.address
        );
        let routes = "\n  - { id: pool, path: /public, upstream: pool, auth: public }\n";
        let edge = edge().routes(routes).upstream_with(&more).start().await;
        for (body, framing) in [
            ("firstother", LENGTH),
            ("a\r\nfirstother\r\n0\r\n\r\n", CHUNKED),
            ("0\r\n\r\n", CHUNKED),
        ] {
            // Whichever is asked first.
            for _ in 0..2 {
                let asked = head(framing).replace("POST", "PUT") + body;
                edge.wire().await.ask(asked).await.is(200);
                let seen = other.last();
                let text = String::from_utf8(seen.body.clone()).unwrap();
                assert!(seen.complete, "{first:?} {framing}: {text}");
                assert_eq!(text.contains("firstother"), body.contains("firstother"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn who_waits_for_the_application_is_not_waited_for() {
    let edge = edge().tls().start().await;
    // It waits for 100, which Pingora's or the application's answer gives it.
    let mut wire = edge.wire_tls().await;
    wire.send(head(&format!("{LENGTH}\r\nExpect: 100-continue"))).await;
    edge.upstream.began(1).await;
    wire.send("firstother").await;
    drop(wire);
    // Its messages and those of the application follow each other.
    let mut frames = edge.frames().await;
    let stream = half(&mut frames, &[(b"content-type", b"application/grpc")]).await;
    edge.upstream.began(2).await;
    frames.send(frame(DATA, END_STREAM, stream, b"other")).await;
    assert_eq!(frames.outcome(stream).await, Outcome::Answered(200));
    // And so are all where the file says so.
    let streamed = streamed(Behaviour::Echo).await;
    for (count, (first, rest)) in halves().into_iter().enumerate() {
        let mut wire = streamed.wire().await;
        wire.send(first).await;
        streamed.upstream.began(count + 1).await;
        wire.ask(rest).await.is(200);
    }
}

async fn streamed(behaviour: Behaviour) -> Edge {
    edge().upstream(behaviour).upstream_with(STREAMED).start().await
}

#[tokio::test]
async fn a_body_that_is_too_long_does_not_reach_the_application_at_all() {
    let routes = "
  - { id: small, path: /public, upstream: app, auth: public, limits: { body: 9B } }
";
    let log = Captured::default();
    let edge = edge().tls().routes(routes).log_to(&log).start().await;
    for (count, rest) in ["5\r\nother\r\n", "5\r\nother\r\n0\r\n\r\n"].into_iter().enumerate() {
        let mut wire = edge.wire_tls().await;
        let answer = wire.ask(head(CHUNKED) + "5\r\nfirst\r\n" + rest).await;
        assert_eq!(answer.is(413).json()["error"], "content_too_large");
        let line = log.lines(count + 1).await.pop().unwrap();
        assert_eq!(
            (&line["reason"], &line["decision"]),
            (&"content_too_large".into(), &"refuse".into())
        );
    }
    let mut frames = edge.frames().await;
    let stream = half(&mut frames, &[]).await;
    frames.send(frame(DATA, 0, stream, b"other")).await;
    assert_eq!(frames.outcome(stream).await, Outcome::Answered(413));
    assert_eq!(edge.upstream.connections(), 0);
    edge.wire_tls().await.ask(head(CHUNKED) + "9\r\nninebytes\r\n0\r\n\r\n").await.is(200);
}

#[tokio::test]
async fn a_client_that_leaves_meanwhile_is_logged_as_that() {
    for (first, _) in halves() {
        let log = Captured::default();
        let edge = edge().with(ADMIN).log_to(&log).start().await;
        let mut wire = edge.wire().await;
        wire.send(first).await;
        under_way(&edge, 1.0).await;
        drop(wire);
        let line = log.lines(1).await.pop().unwrap();
        assert_eq!((&line["reason"], &line["status"]), (&"client_gone".into(), &499.into()));
        assert_eq!((&line["route"], edge.upstream.connections()), (&"public".into(), 0));
    }
}

#[tokio::test]
async fn a_body_that_breaks_its_grammar_is_400_and_not_forwarded() {
    let edge = edge().start().await;
    let mut wire = edge.wire().await;
    let answer = wire.ask(head(CHUNKED) + "5\r\nfirst\r\nxyz\r\n").await;
    answer.is(400);
    wire.is_closed().await;
    assert_eq!(edge.upstream.connections(), 0);
}

#[tokio::test]
async fn a_user_that_is_disabled_meanwhile_does_not_get_through() {
    let edge = edge().with(ADMIN).start().await;
    let begin = async |user: &str| {
        let token = edge.login(user, "notes:read").await;
        let asked = edge.ask("POST", "/notes").bearer(&token).field(LENGTH).bytes();
        let mut wire = edge.wire().await;
        wire.send([&asked[..], b"first"].concat()).await;
        wire
    };
    let (mut bob, mut alice) = (begin("bob").await, begin("alice").await);
    under_way(&edge, 2.0).await;
    edge.disable_bob();
    bob.is_closed().await;
    assert_eq!(edge.upstream.connections(), 0);
    alice.ask("other").await.is(200);
}

/// An edge whose clients may pause for longer than any test, and must bring so much a second.
async fn paced(rate: &str, upstream: &str, log: &Captured) -> Edge {
    let listener = format!(
        "{{ address: '127.0.0.1:0', limits: {{ body_timeout: 1m, body_rate: {rate} }}, \
         tls: {{ certificate: edge.pem, private_key: edge.key }} }}"
    );
    edge().listener(&listener).upstream_with(upstream).log_to(log).start().await
}

/// Time for what was sent to be read.
const MOMENT: Duration = Duration::from_millis(20);
/// The pause after each piece: within what one may be.
const PAUSE: Duration = Duration::from_secs(10);

/// Sends byte after byte of a long body, with a pause after each, until it is told to stop.
async fn drips(edge: &Edge) -> u16 {
    let mut wire = edge.wire_tls().await;
    wire.send(head("Content-Length: 1000000")).await;
    let stopped = async {
        loop {
            wire.send("a").await;
            if let Ok(answer) = timeout(MOMENT, wire.read_response(false)).await {
                return answer.unwrap().status;
            }
            edge.clock.advance_instant(PAUSE);
        }
    };
    within(stopped).await
}

/// The same over HTTP/2.
async fn drips_in_frames(edge: &Edge) -> Outcome {
    let mut frames = edge.frames().await;
    let stream = frames.stream();
    frames.send(headers(stream, 0, &request("POST", "/public"))).await;
    let stopped = async {
        loop {
            frames.send(frame(DATA, 0, stream, b"a")).await;
            if let Ok(outcome) = timeout(MOMENT, frames.outcome(stream)).await {
                return outcome;
            }
            edge.clock.advance_instant(PAUSE);
        }
    };
    within(stopped).await
}

/// Sends a body in pieces, with a pause after each.
async fn in_pieces(edge: &Edge, piece: usize, pause: Duration) -> u16 {
    let mut wire = edge.wire_tls().await;
    wire.send(head(&format!("Content-Length: {}", 20 * piece))).await;
    for left in (0..20).rev() {
        wire.send(vec![b'a'; piece]).await;
        if left > 0 {
            assert!(timeout(MOMENT, wire.read_response(false)).await.is_err());
            edge.clock.advance_instant(pause);
        }
    }
    wire.read_response(false).await.unwrap().status
}

async fn in_frames(edge: &Edge, piece: usize, pause: Duration) -> Outcome {
    let mut frames = edge.frames().await;
    let stream = frames.stream();
    frames.send(headers(stream, 0, &request("POST", "/public"))).await;
    for left in (0..20).rev() {
        let flags = if left == 0 { END_STREAM } else { 0 };
        frames.send(frame(DATA, flags, stream, &vec![b'a'; piece])).await;
        if left > 0 {
            timeout(MOMENT, frames.outcome(stream)).await.unwrap_err();
            edge.clock.advance_instant(pause);
        }
    }
    frames.outcome(stream).await
}

#[tokio::test]
async fn who_is_too_slow_altogether_is_408() {
    for upstream in ["", STREAMED] {
        let log = Captured::default();
        let edge = paced("500B", upstream, &log).await;
        assert_eq!(drips(&edge).await, 408);
        assert_eq!(drips_in_frames(&edge).await, Outcome::Answered(408));
        for line in log.lines(2).await {
            assert_eq!(
                (&line["reason"], &line["status"]),
                (&"request_timeout".into(), &408.into())
            );
        }
    }
}

#[tokio::test]
async fn who_is_as_slow_and_brings_enough_is_served() {
    for upstream in ["", STREAMED] {
        let edge = paced("500B", upstream, &Captured::default()).await;
        assert_eq!(in_pieces(&edge, 5_000, PAUSE).await, 200);
        assert_eq!(in_frames(&edge, 5_000, PAUSE).await, Outcome::Answered(200));
        // A short body may take as long as one pause.
        let short = Duration::from_secs(2);
        assert_eq!(in_pieces(&edge, 1, short).await, 200);
        assert_eq!(in_frames(&edge, 1, short).await, Outcome::Answered(200));
        // Where the file says so, everybody may take any time.
        let off = paced("off", upstream, &Captured::default()).await;
        assert_eq!(in_pieces(&off, 1, PAUSE).await, 200);
        assert_eq!(in_frames(&off, 1, PAUSE).await, Outcome::Answered(200));
    }
}
