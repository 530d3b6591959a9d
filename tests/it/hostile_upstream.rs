//! An application that has been taken over, or is only broken (sections I and J of the requirements): what it says reaches
//! the client that asked, framed as we frame it, or nobody.

use crate::harness::frames::{Outcome, request};
use crate::harness::{Behaviour, Edge, HOST, Response, edge};

/// An application that says each of these so many times, and hangs up each time.
fn script(answers: &[impl AsRef<[u8]>], times: usize) -> Behaviour {
    let leak = |answer: &[u8]| -> &'static [u8] { answer.to_vec().leak() };
    let answers = answers.iter().flat_map(|answer| vec![leak(answer.as_ref()); times]);
    Behaviour::Scripted(answers.collect::<Vec<_>>().leak())
}

/// The answer as a client over HTTP/1.1 hears it.
async fn heard(edge: &Edge, target: &str) -> String {
    let mut wire = edge.wire().await;
    wire.send(edge.get(target).field("Connection: close").bytes()).await;
    wire.read_to_end().await
}

#[tokio::test]
async fn j2_what_is_no_head_of_an_answer_is_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "a".repeat(1 << 20));
    let large = format!("HTTP/1.1 200 OK\r\nX-Large: {}\r\n\r\n", "a".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Many: 1\r\n".repeat(1000));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X-Endless: 1\r\n".repeat(200));
    let answers = [
        "",
        "rubbish\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/3 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-A\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\0A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: b\x01c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Cut: ",
        &endless,
        &many,
        &large,
        &long,
        "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
    ];
    let edge = edge().tls().upstream(script(&answers, 2)).start().await;
    let mut wrong = Vec::new();
    for answer in answers {
        let what: String = answer.escape_debug().take(60).collect();
        let mut wire = edge.wire_tls().await;
        wire.send(edge.get("/public").field("Connection: close").bytes()).await;
        let mut last = wire.read_response(false).await;
        while last.as_ref().is_some_and(|last| last.status < 200) {
            last = wire.read_response(false).await;
        }
        let status = last.as_ref().map(|last| last.status);
        if status != Some(502) {
            wrong.push(format!("{what}: {status:?}"));
        }
        let outcome = edge.frames().await.ask(&request("GET", "/public"), None).await;
        if outcome != Outcome::Answered(502) {
            wrong.push(format!("{what} over HTTP/2: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_said_in_one() {
    // Part 4, item 32.
    const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";
    let answers = [
        ("CL and TE", "Content-Length: 3\r\nTransfer-Encoding: chunked", CHUNKED, 200),
        ("TE and CL", "Transfer-Encoding: chunked\r\nContent-Length: 3", CHUNKED, 200),
        ("one length twice", "Content-Length: 5\r\nContent-Length: 5", "hello", 502),
        ("folded", "X-A: b\r\n X-Evil: c\r\nContent-Length: 5", "hello", 200),
        ("folded with a tab", "X-A: b\r\n\tX-Evil: c\r\nContent-Length: 5", "hello", 200),
        ("space before the colon", "X-A : b\r\nContent-Length: 5", "hello", 200),
        ("bare LF", "X-A: b\nContent-Length: 5", "hello", 200),
        ("until the end", "X-A: b", "hello", 200),
    ];
    let all =
        answers.map(|(_, fields, body, _)| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}"));
    let edge = edge().upstream(script(&all, 1)).start().await;
    let mut wrong = Vec::new();
    for (what, _, _, status) in answers {
        let mut wire = edge.wire().await;
        let heard = wire.ask(edge.get("/public").field("Connection: close").bytes()).await;
        wire.is_closed().await;
        let framed = heard.values("content-length").len() + heard.values("transfer-encoding").len();
        let is_right = heard.status == status
            && (status == 502 || heard.text() == "hello")
            && framed == 1
            && heard.values("x-evil").is_empty();
        if !is_right {
            wrong.push(format!("{what}: {heard:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn i12_what_is_cut_or_garbled_is_never_whole_in_either_protocol() {
    let bodies = [
        "Content-Length: 10\r\n\r\nshort",
        "Content-Length: 10\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nsh",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\nshort\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-5\r\nshort\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n+5\r\nshort\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x5\r\nshort\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nshort\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nshort0\r\n\r\n",
    ];
    let answers = bodies.map(|body| format!("HTTP/1.1 200 OK\r\n{body}"));
    let edge = edge().tls().upstream(script(&answers, 2)).start().await;
    let mut wrong = Vec::new();
    for body in bodies {
        let mut wire = edge.wire_tls().await;
        wire.send(edge.get("/public").field("Connection: close").bytes()).await;
        let heard = wire.read_to_end().await;
        let whole = heard.ends_with("0\r\n\r\n") && heard.starts_with("HTTP/1.1 200");
        if whole || heard.contains("Content-Length: 5\r\n") {
            wrong.push(format!("{body:?}: {heard:?}"));
        }
        let outcome = edge.frames().await.ask(&request("GET", "/public"), None).await;
        if !matches!(outcome, Outcome::Reset(_) | Outcome::Gone(_) | Outcome::Answered(502)) {
            wrong.push(format!("{body:?} over HTTP/2: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn i13_a_body_where_none_can_be_is_nobodys_answer() {
    let poisoned = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned";
    for (method, head) in [
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 53"),
        ("GET", "HTTP/1.1 204 No Content"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 53"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 53"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"),
    ] {
        let answer = format!("{head}\r\n\r\n{poisoned}").into_bytes().leak();
        let edge = edge().upstream(Behaviour::Says(answer)).start().await;
        let mut wire = edge.wire().await;
        for _ in 0..3 {
            let answer = wire.ask(edge.ask(method, "/public").bytes()).await;
            assert!(matches!(answer.status, 200 | 204 | 304) && answer.body.is_empty(), "{head}");
        }
        let connections: Vec<_> = edge.upstream.seen().iter().map(|seen| seen.connection).collect();
        assert_eq!(connections, [0, 1, 2], "{head}");
    }
}

#[tokio::test]
async fn i11_what_was_said_before_it_was_asked_is_nobodys_answer() {
    let early = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
    let edge = edge().upstream(Behaviour::SpeaksFirst(early)).start().await;
    for number in 0..4 {
        let target = format!("/public/{number}");
        let answer = edge.get(&target).await;
        edge.upstream.settled().await;
        assert!(answer.text() == "early" || answer.text().contains(&target), "{}", answer.text());
    }
    let seen = edge.upstream.seen();
    let connections: Vec<_> = seen.iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3]);
}

#[tokio::test]
async fn i15_trailers_of_an_answer_become_no_fields() {
    let answer = b"HTTP/1.1 200 OK\r\nTrailer: X-User\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
        X-User: mallory\r\nSet-Cookie: a=mallory\r\nContent-Length: 50\r\n\r\n";
    let edge = edge().tls().upstream(Behaviour::Says(answer)).start().await;
    for _ in 0..3 {
        let mut wire = edge.wire_tls().await;
        wire.send(edge.get("/public").field("Connection: close").bytes()).await;
        let heard = wire.read_to_end().await;
        assert!(heard.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{heard}");
        assert!(!heard.contains("mallory") && !heard.contains("Content-Length"), "{heard}");
    }
    let outcome = edge.frames().await.ask(&request("GET", "/public"), None).await;
    assert_eq!(outcome, Outcome::Answered(200));
}

#[tokio::test]
async fn i16_a_stale_connection_costs_a_get_nothing_and_a_post_is_sent_once() {
    let edge = edge().upstream(Behaviour::AnswersOnce).start().await;
    edge.get("/public/1").await.is(200);
    edge.get("/public/2").await.is(200);
    let seen = edge.upstream.seen();
    let ways: Vec<_> = seen.iter().map(|seen| (seen.connection, seen.target())).collect();
    assert_eq!(ways, [(0, "/public/1"), (0, "/public/2"), (1, "/public/2")]);
    edge.ask("POST", "/public/3").body(b"pay").await.is(502);
    let seen = edge.upstream.settled().await;
    assert_eq!(seen.iter().filter(|seen| seen.target() == "/public/3").count(), 1);
}

#[tokio::test]
async fn interim_answers_pass_and_end() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let answers = [
        format!("{hint}{last}"),
        format!("{hint}{last}"),
        format!("HTTP/1.1 100 Continue\r\n\r\n{last}"),
        format!("{}{last}", hint.repeat(10_000)),
    ];
    let edge = edge().upstream(script(&answers, 1)).start().await;
    let few = heard(&edge, "/public").await;
    assert!(few.ends_with("hello") && few.matches("103").count() <= 1, "{few}");
    // HTTP/1.0 knows none (RFC 9110 section 15.2).
    for _ in 0..2 {
        let mut wire = edge.wire().await;
        wire.send(format!("GET /public HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
        let heard: Response = wire.read_response(false).await.unwrap();
        assert_eq!(heard.is(200).text(), "hello");
    }
    let flood = heard(&edge, "/public").await;
    assert!(flood.matches("103 Early Hints").count() < 100, "{}", flood.len());
    assert!(!flood.contains("hello"), "after a flood it was still believed");
}

#[tokio::test]
async fn i8_a_tunnel_is_what_was_asked_for_or_none() {
    let answers = [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ];
    let edge = edge().upstream(script(&answers, 1)).start().await;
    let mut wrong = Vec::new();
    for answer in answers {
        let asked = edge.get("/public").field("Connection: Upgrade").field("Upgrade: websocket");
        let asked = asked.field("Sec-WebSocket-Version: 13");
        let asked = asked.field("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==");
        let mut wire = edge.wire().await;
        wire.send(asked.bytes()).await;
        let heard = wire.read_to_end().await;
        if heard.starts_with("HTTP/1.1 101") {
            wrong.push(format!("{answer:?}: {heard:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
