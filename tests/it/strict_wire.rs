//! What the reader of our own demands before Pingora sees a byte (I4, I5, H4, H5 of the requirements): chunks in their one
//! spelling, targets of their grammar, and a trace of every refusal.

use std::io::Write as _;

use crate::harness::captured::Captured;
use crate::harness::{Edge, HOST, STREAMED, edge};

const ADMIN: &str = "admin: { address: '127.0.0.1:0' }";

fn chunked(body: &str) -> String {
    format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[tokio::test]
async fn i5_a_chunk_has_one_spelling() {
    let edge = edge().start().await;
    let last = "\r\nhello\r\n0\r\n\r\n";
    let mut wrong = Vec::new();
    for size in [
        "+5",
        "-5",
        "0x5",
        "0X5",
        "5_0",
        "_5",
        " 5",
        "5 ",
        "5\t",
        "\t5",
        "",
        "5 5",
        "5h",
        "zz",
        "5,5",
        "10000000000000005",
        "ffffffffffffffff",
        "fffffffffffffffff",
        "5;a\nb",
        "5;a\rb",
        "5;a\0b",
        "5\n",
        "5;\n",
        "5\r",
        "５",
    ] {
        let before = edge.upstream.settled().await.len();
        let mut wire = edge.wire().await;
        wire.send(chunked(&format!(
            "{size}{last}GET /public/smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        )))
        .await;
        let status = wire.read_response(false).await.map(|answer| answer.status);
        let rest = wire.read_to_end().await;
        let seen = edge.upstream.settled().await;
        let passed = seen[before..].iter().any(|seen| seen.complete);
        if passed || !rest.is_empty() || !matches!(status, None | Some(400)) {
            wrong.push(format!("{size:?}: {status:?} {rest:?} passed {passed}"));
        }
    }
    for body in [
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nX-A: b\n\r\n",
    ] {
        let before = edge.upstream.settled().await.len();
        let mut wire = edge.wire().await;
        wire.send(chunked(body)).await;
        let status = wire.read_response(false).await.map(|answer| answer.status);
        let seen = edge.upstream.settled().await;
        let passed = seen[before..].iter().any(|seen| seen.complete);
        if passed || !matches!(status, None | Some(400)) {
            wrong.push(format!("{body:?}: {status:?} passed {passed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn i5_a_chunked_request_is_followed_by_another() {
    let edge = edge().start().await;
    let mut wire = edge.wire().await;
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "a;name=value;other=\"x\"\r\n0123456789\r\n00\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\nX-Checksum: 1\r\n\r\n",
    ] {
        wire.ask(chunked(body)).await.is(200);
        let next = wire.ask(edge.get("/public/next").bytes()).await;
        assert!(next.is(200).text().contains("/public/next"), "{body:?}");
    }
    // Ahead of the answer too.
    let both =
        [chunked("5\r\nhello\r\n0\r\n\r\n").into_bytes(), edge.get("/admin").bytes()].concat();
    wire.ask(both).await.is(200);
    wire.read_response(false).await.unwrap().is(401);
}

#[tokio::test]
async fn h5_what_no_target_holds_is_refused() {
    let edge = edge().start().await;
    for target in [
        "/public/a b",
        "/public/\"a\"",
        "/public/<a>",
        "/public/a>",
        "/public/{a}\u{7f}",
        "/public?a b",
        "/public\"?",
        "/public?a=\u{1}",
        "/public/\u{80}",
    ] {
        let answer = edge.get(target).await;
        assert_eq!(answer.status, 400, "{target:?}: {}", answer.text());
    }
    assert!(edge.upstream.seen().is_empty());
    edge.get("/public/a%20b?a=%22%3C%3E").await.is(200);
    // Part 4, item 7: of the query only what would end it is refused.
    edge.get("/public?\"<a>\u{80}").await.is(200);
}

/// How often a reason was counted.
async fn counted(edge: &Edge, reason: &str) -> usize {
    let mut wire = crate::harness::Wire::connect(edge.admin.unwrap()).await;
    let text = wire.ask(format!("GET /metrics HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await.text();
    let label = format!("reason=\"{reason}\"");
    let counts = text
        .lines()
        .filter(|line| line.starts_with("portcullis_decisions_total{") && line.contains(&label));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

#[tokio::test]
async fn h4_what_is_refused_before_the_decision_is_logged_and_counted() {
    let mut log = Captured::default();
    let edge = edge().with(ADMIN).log_to(&log).start().await;
    let host = format!("Host: {HOST}\r\n\r\n");
    let broken = [
        format!("CONNECT edge.example.com:443 HTTP/1.1\r\n{host}"),
        format!("CONNECT /public HTTP/1.1\r\n{host}"),
        format!("GET /public\r\n{host}"),
        format!("GET  /public HTTP/1.1\r\n{host}"),
        format!("G\0T /public HTTP/1.1\r\n{host}"),
        format!("GET /public HTTP/2.0\r\n{host}"),
        format!("GET /public HTTP/1.1\r\nX A: b\r\n{host}"),
        format!("GET /public HTTP/1.1\nX-A: b\n{host}"),
        "GET /public HTTP/1.1\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned(),
    ];
    for (number, bytes) in broken.iter().enumerate() {
        let mut wire = edge.wire().await;
        let answer = wire.ask(bytes).await;
        assert!(matches!(answer.status, 400 | 405), "{bytes:?}: {}", answer.status);
        wire.is_closed().await;
        let lines = log.lines(number + 1).await;
        assert_eq!(lines.len(), number + 1, "{bytes:?}");
        let status = answer.status;
        assert_eq!(
            (&lines[number]["decision"], &lines[number]["status"]),
            (&"refuse".into(), &status.into())
        );
    }
    let total = counted(&edge, "bad_request").await + counted(&edge, "method_not_allowed").await;
    assert_eq!(total, broken.len());
    log.flush().unwrap();
}

#[tokio::test]
async fn j1_an_upload_that_stops_is_given_up() {
    let listener = "{ address: '127.0.0.1:0', limits: { body_timeout: 1s } }";
    let edge = edge().listener(listener).upstream_with(STREAMED).start().await;
    let mut wire = edge.wire().await;
    wire.send(format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nabc"))
        .await;
    let heard = wire.read_to_end().await;
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 40"), "{heard}");
    let seen = edge.upstream.saw(1).await;
    assert!(!seen[0].complete, "{seen:?}");
    edge.ask("POST", "/public").body(b"whole").await.is(200);
}
