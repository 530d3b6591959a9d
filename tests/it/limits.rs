//! What the clients of a listener may take, and what they see when they take more.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::harness::captured::Captured;
use super::harness::{Behaviour, Edge, HOST, Wire, edge, within};
use super::metrics::{metrics, value};

const ADMIN: &str = "admin: { address: '127.0.0.1:0' }";

/// An edge whose listener has these limits, and further keys.
async fn limited(limits: &str, listener: &str, more: &str) -> (Edge, Captured) {
    let log = Captured::default();
    let listener = format!("{{ address: '127.0.0.1:0', limits: {{ {limits} }}{listener} }}");
    let edge = edge().listener(&listener).with(&format!("{ADMIN}\n{more}")).log_to(&log);
    (edge.start().await, log)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

async fn refused(edge: &Edge, reason: &str) -> f64 {
    let series = format!(
        "portcullis_connections_refused_total{{listener=\"127.0.0.1:0\",reason=\"{reason}\"}}"
    );
    value(&metrics(edge).await, &series)
}

#[tokio::test]
async fn beyond_so_many_connections_the_next_is_closed_and_those_inside_are_served() {
    let (edge, _) = limited("connections: 2", "", "").await;
    let (mut one, mut two) = (edge.wire().await, edge.wire().await);
    one.ask(get("/public")).await.is(200);
    two.ask(get("/public")).await.is(200);
    let mut three = edge.wire().await;
    three.send(get("/public")).await;
    three.is_closed().await;
    assert_eq!(refused(&edge, "connections").await, 1.0);
    one.ask(get("/public")).await.is(200);
    let open = "portcullis_connections{listener=\"127.0.0.1:0\"}";
    assert_eq!(value(&metrics(&edge).await, open), 2.0);

    two.send("GET /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    two.read_to_end().await;
    // The edge notices the end in its own time.
    while value(&metrics(&edge).await, open) > 1.0 {}
    edge.get("/public").await.is(200);
}

#[tokio::test]
async fn one_address_cannot_take_all_the_connections() {
    let (edge, _) = limited("per_address: 2", "", "").await;
    let (mut one, mut two) = (edge.wire().await, edge.wire().await);
    one.ask(get("/public")).await.is(200);
    two.ask(get("/public")).await.is(200);
    let mut three = edge.wire().await;
    three.send(get("/public")).await;
    three.is_closed().await;
    assert_eq!(refused(&edge, "per_address").await, 1.0);

    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = within(socket.connect(edge.address)).await.unwrap();
    other.write_all(get("/public").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within(other.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_trusted_proxy_may_bring_as_many_connections_as_there_can_be() {
    let (edge, _) = limited("per_address: 1", "", "trusted_proxies: [127.0.0.1]").await;
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = edge.wire().await;
        wire.ask(get("/public")).await.is(200);
        wires.push(wire);
    }
}

#[tokio::test]
async fn heads_are_bounded_in_bytes_in_fields_and_in_their_target() {
    let (edge, log) =
        limited("header_bytes: 2KiB, header_count: 10, target_bytes: 1KiB", "", "").await;
    let with = |fields: String| format!("GET /public HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n");
    for (request, status) in [
        (with(format!("X-A: {}\r\n", "a".repeat(1900))), 200),
        (with(format!("X-A: {}\r\n", "a".repeat(2100))), 431),
        (with("X-A: b\r\n".repeat(9)), 200),
        (with("X-A: b\r\n".repeat(10)), 431),
        (get(&format!("/public/{}", "a".repeat(1000))), 200),
        (get(&format!("/public/{}", "a".repeat(1100))), 414),
    ] {
        edge.wire().await.ask(request).await.is(status);
    }
    assert_eq!(edge.upstream.seen().len(), 3);
    let lines = log.lines(6).await;
    let refused = lines.iter().filter(|line| line["reason"] == "bad_request").count();
    assert_eq!(refused, 3, "what is refused is in the log");
}

#[tokio::test]
async fn j1_a_head_that_trickles_is_cut_at_its_deadline_and_an_honest_one_is_not() {
    let (edge, log) = limited("header_timeout: 1s", "", "").await;
    let mut slow = TcpStream::connect(edge.address).await.unwrap();
    slow.set_nodelay(true).unwrap();
    let (mut answers, mut trickle) = slow.split();
    let trickling = async {
        // For as long as anybody listens, faster than any timeout between two reads.
        for byte in get("/public").bytes().cycle().filter(|byte| !byte.is_ascii_control()) {
            if trickle.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = String::new();
    let reading = async {
        within(answers.read_to_string(&mut answer)).await.ok();
    };
    tokio::select! { () = trickling => {}, () = reading => {} }
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    let line = &log.lines(1).await[0];
    assert_eq!(
        (line["status"].as_u64(), line["reason"].as_str()),
        (Some(408), Some("bad_request"))
    );
    edge.get("/public").await.is(200);
}

#[tokio::test]
async fn a_connection_that_never_asks_is_closed_and_counted() {
    let (edge, _) = limited("header_timeout: 1s", "", "").await;
    let mut wire = edge.wire().await;
    wire.is_closed().await;
    assert_eq!(refused(&edge, "no_request").await, 1.0);
}

#[tokio::test]
async fn a_connection_ends_after_so_many_requests() {
    let (edge, _) = limited("requests: 3", "", "").await;
    let mut wire = edge.wire().await;
    for left in [2, 1, 0] {
        let answer = wire.ask(get("/public")).await;
        let closes = answer.is(200).values("connection").contains(&"close");
        assert_eq!(closes, left == 0, "{left} left");
    }
    wire.is_closed().await;
    edge.get("/public").await.is(200);
}

#[tokio::test]
async fn j1_a_body_that_pauses_for_too_long_ends_the_request() {
    let (edge, _) = limited("body_timeout: 1s", "", "").await;
    let mut wire = edge.wire().await;
    wire.send(format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf"))
        .await;
    wire.read_to_end().await;
    assert!(edge.upstream.seen().iter().all(|seen| !seen.complete), "nobody completes it");
}

#[tokio::test]
async fn h5_what_pingora_would_have_mended_or_refused_unseen_is_refused_logged_and_counted() {
    let (edge, log) = limited("", "", "").await;
    let line = |line: &str| format!("{line}\r\nHost: {HOST}\r\n\r\n");
    let heads = [
        (line("GET /public/a b HTTP/1.1"), 400, "GET", "/public/a"),
        (line("GET /public/\"a HTTP/1.1"), 400, "GET", "/public/\"a"),
        (line("GET /public/<a> HTTP/1.1"), 400, "GET", "/public/<a>"),
        (line("CONNECT edge.example.com:443 HTTP/1.1"), 405, "CONNECT", "edge.example.com:443"),
        (line("GET /public HTTP/3.0"), 400, "GET", "/public"),
        ("GET /public HTTP/1.1\nHost: a\n\n".to_owned(), 400, "GET", "/public"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}".to_owned(), 400, "", ""),
    ];
    for (index, (head, status, method, path)) in heads.iter().enumerate() {
        let mut wire = edge.wire().await;
        wire.ask(head).await.is(*status);
        wire.is_closed().await;
        let lines = log.lines(index + 1).await;
        let line = lines.last().unwrap();
        assert_eq!(line["method"], *method);
        assert_eq!(line["path"], *path);
        assert_eq!(line["reason"], "bad_request");
    }
    let series = "portcullis_decisions_total{reason=\"bad_request\",route=\"\"}";
    assert_eq!(value(&metrics(&edge).await, series), heads.len() as f64);
    assert!(edge.upstream.seen().is_empty());
    edge.get("/public/a%20b").await.is(200);
}

#[tokio::test]
async fn the_client_named_by_a_trusted_balancer_is_the_client() {
    let (edge, log) = limited("", ", proxy_protocol: true", "trusted_proxies: [127.0.0.1]").await;
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    binary.extend([203, 0, 113, 8, 10, 0, 0, 1, 0x12, 0x34, 0, 80]);
    for (header, client) in [
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 80\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4660 80\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary, "203.0.113.8"),
    ] {
        let mut wire = edge.wire().await;
        wire.send([header, get("/public").into_bytes()].concat()).await;
        wire.read_response(false).await.unwrap().is(200);
        assert_eq!(edge.upstream.last().values("x-forwarded-for"), [client]);
        wire.ask(get("/public")).await.is(200);
        assert_eq!(edge.upstream.last().values("x-forwarded-for"), [client], "on each request");
    }
    assert_eq!(log.lines(8).await[0]["client"], "203.0.113.7");
    for header in ["", "PROXY TCP4 203.0.113.7\r\n", "PROXY TCP4 a b 1 2\r\n"] {
        let mut wire = edge.wire().await;
        wire.send(format!("{header}{}", get("/public"))).await;
        wire.is_closed().await;
    }
    assert_eq!(refused(&edge, "proxy_protocol").await, 3.0);
    assert_eq!(edge.upstream.seen().len(), 8);
}

#[tokio::test]
async fn nobody_else_says_whose_connection_it_is() {
    let (edge, _) = limited("", ", proxy_protocol: true", "trusted_proxies: [10.0.0.1]").await;
    let mut wire = edge.wire().await;
    wire.send(format!("PROXY TCP4 10.0.0.1 10.0.0.1 4660 80\r\n{}", get("/public"))).await;
    wire.is_closed().await;
    assert_eq!(refused(&edge, "proxy_protocol").await, 1.0);
    assert!(edge.upstream.seen().is_empty());

    // Where no header is expected, it is no request.
    let (edge, _) = limited("", "", "trusted_proxies: [127.0.0.1]").await;
    let header = format!("PROXY TCP4 203.0.113.7 10.0.0.1 4660 80\r\n{}", get("/public"));
    edge.wire().await.ask(header).await.is(400);
    edge.get("/public").await.is(200);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_is_not_lost_to_a_reset() {
    let edge = edge().start().await;
    for _ in 0..20 {
        let mut wire: Wire = edge.wire().await;
        let head =
            format!("POST /admin HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n");
        wire.send([head.into_bytes(), vec![b'a'; 300_000]].concat()).await;
        let answer = wire.read_response(false).await.unwrap();
        assert_eq!(answer.is(401).values("connection"), ["close"]);
    }
    assert!(edge.upstream.seen().is_empty());
}

#[tokio::test]
async fn cut_answers_and_cut_heads_leave_no_gauge_wrong() {
    let edge = edge().with(ADMIN).upstream(Behaviour::Closes).start().await;
    for _ in 0..10 {
        let mut wire = edge.wire().await;
        wire.ask(get("/public")).await.is(502);
        drop(wire);
        edge.wire().await.send("GET /pub").await;
    }
    let open = "portcullis_connections{listener=\"127.0.0.1:0\"}";
    while value(&metrics(&edge).await, open) > 0.0 {}
    assert_eq!(value(&metrics(&edge).await, "portcullis_requests_in_flight"), 0.0);
}
