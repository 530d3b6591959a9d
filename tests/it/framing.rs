//! Where one message ends and the next begins (RFC 9112; section I of the requirements). Nothing here may let a client speak
//! for another, pass the check with a request that was not checked, or hear an answer that was meant for somebody else.

use crate::harness::{Behaviour, Edge, HOST, Response, STREAMED, Wire, edge};

/// What a smuggler hopes to have read as a request of its own.
const SMUGGLED: &str = "GET /public/smuggled HTTP/1.1\r\nHost: edge.example.com\r\n\r\n";

/// Sends bytes and reads what comes: one answer, and behind a refusal whatever else is said before the end.
async fn answers(edge: &Edge, bytes: impl AsRef<[u8]>) -> Vec<u16> {
    let mut wire = edge.wire().await;
    wire.send(bytes).await;
    let mut heard = Vec::new();
    while let Some(answer) = wire.read_response(false).await {
        heard.push(answer.status);
        if answer.status < 400 || heard.len() == 2 {
            break;
        }
    }
    heard
}

/// Messages with faulty framing, each sent on a connection of its own: every one must be refused and its connection closed.
struct Faulty<'a> {
    edge: &'a Edge,
    wrong: Vec<String>,
}

impl<'a> Faulty<'a> {
    const fn at(edge: &'a Edge) -> Self {
        Self { edge, wrong: Vec::new() }
    }

    async fn send(&mut self, what: &str, bytes: impl AsRef<[u8]>) {
        let statuses = answers(self.edge, bytes).await;
        if !matches!(statuses[..], [] | [400 | 501]) {
            self.wrong.push(format!("{what}: {statuses:?}"));
        }
    }

    #[track_caller]
    fn were_refused(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        nothing_smuggled(self.edge, "all");
    }
}

fn nothing_smuggled(edge: &Edge, what: &str) {
    for seen in edge.upstream.seen() {
        assert!(!seen.target().contains("smuggled"), "{what}: {}", seen.head);
    }
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n{body}")
}

#[tokio::test]
async fn honest_bodies_arrive_whole() {
    let edge = edge().start().await;
    let mut wire = edge.wire().await;
    wire.ask(post("Content-Length: 5", "hello")).await.is(200);
    assert_eq!(edge.upstream.last().body, b"hello");
    for coding in ["chunked", "Chunked", "CHUNKED"] {
        let body = "5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
        wire.ask(post(&format!("Transfer-Encoding: {coding}"), body)).await.is(200);
        let seen = edge.upstream.last();
        let arrived: String = String::from_utf8(seen.body).unwrap();
        assert!(arrived.contains("hello") && arrived.contains(" world") && seen.complete);
    }
}

#[tokio::test]
async fn i1_length_and_coding_together_are_refused() {
    let edge = edge().start().await;
    let mut faulty = Faulty::at(&edge);
    let tail = format!("0\r\n\r\n{SMUGGLED}");
    for (what, fields) in [
        ("CL.TE", format!("Content-Length: {}\r\nTransfer-Encoding: chunked", tail.len())),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4".to_owned()),
        ("CL 0", "Content-Length: 0\r\nTransfer-Encoding: chunked".to_owned()),
    ] {
        faulty.send(what, post(&fields, &tail)).await;
    }
    faulty.were_refused();
}

#[tokio::test]
async fn i2_a_length_is_one_number_in_digits() {
    let edge = edge().start().await;
    let mut faulty = Faulty::at(&edge);
    let lengths = [
        "5, 5",
        "5,6",
        "+5",
        "-5",
        "0x5",
        "5 5",
        "5;",
        "5.0",
        "five",
        "",
        "18446744073709551616",
        "99999999999999999999999",
        "５",
        "5_0",
        "\"5\"",
    ];
    for length in lengths {
        let body = format!("hello{SMUGGLED}");
        faulty.send(length, post(&format!("Content-Length: {length}"), &body)).await;
    }
    let differing = post("Content-Length: 5\r\nContent-Length: 6", &format!("hello{SMUGGLED}"));
    faulty.send("two that differ", differing).await;
    faulty.were_refused();
}

#[tokio::test]
async fn i3_a_coding_is_chunked_once_and_alone() {
    let edge = edge().start().await;
    let mut faulty = Faulty::at(&edge);
    let tail = format!("0\r\n\r\n{SMUGGLED}");
    let codings = [
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "chunked, identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ", chunked",
        "chu nked",
        "chunked\u{b}",
        "\u{b}chunked",
        "gzip",
        "",
    ];
    for coding in codings {
        faulty.send(coding, post(&format!("Transfer-Encoding: {coding}"), &tail)).await;
    }
    let twice = post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &tail);
    faulty.send("twice", twice).await;
    let twice = post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", &tail);
    faulty.send("twice, chunked last", twice).await;
    faulty.send("space before the colon", post("Transfer-Encoding : chunked", &tail)).await;
    faulty.were_refused();
}

#[tokio::test]
async fn i4_http_1_0_has_no_codings() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let edge = edge().upstream(Behaviour::Says(answer)).start().await;
    let coded = format!(
        "POST /public HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    let mut faulty = Faulty::at(&edge);
    faulty.send("a request", coded).await;
    faulty.were_refused();

    let mut wire = edge.wire().await;
    let heard = wire.ask(format!("GET /public HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(heard.is(200).values("transfer-encoding").is_empty());
    assert_eq!(heard.text(), "hello");
}

#[tokio::test]
async fn i5_a_chunk_has_a_size_in_hexadecimal_and_crlf() {
    let edge = edge().start().await;
    // The last two are forgiven by the parser below us. What holds for them too: the body goes on in our own framing, and
    // the connection ends, so nobody behind or in front of us can be made to read another request.
    let bodies = [
        ("overflow", "10000000000000005\r\nhello\r\n0\r\n\r\n", false),
        ("sign", "+5\r\nhello\r\n0\r\n\r\n", false),
        ("minus", "-5\r\nhello\r\n0\r\n\r\n", false),
        ("prefix", "0x5\r\nhello\r\n0\r\n\r\n", false),
        ("underscore", "0_5\r\nhello\r\n0\r\n\r\n", false),
        ("no digits", "zz\r\nhello\r\n0\r\n\r\n", false),
        ("LF only", "5\nhello\n0\n\n", false),
        ("LF after the size", "5\nhello\r\n0\r\n\r\n", false),
        ("no CRLF after the data", "5\r\nhello0\r\n\r\n", false),
        ("space in the size", "5 5\r\nhello\r\n0\r\n\r\n", false),
        ("no size", "\r\nhello\r\n0\r\n\r\n", true),
        ("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", true),
    ];
    let mut wrong = Vec::new();
    for (what, body, forgiven) in bodies {
        let completed =
            |edge: &Edge| edge.upstream.seen().iter().filter(|seen| seen.complete).count();
        let before = completed(&edge);
        let mut wire = edge.wire().await;
        wire.send(post("Transfer-Encoding: chunked", &format!("{body}{SMUGGLED}"))).await;
        let status = wire.read_response(false).await.map(|answer| answer.status);
        let ended = wire.read_to_end().await.is_empty();
        let refused = completed(&edge) == before && matches!(status, None | Some(400 | 501 | 502));
        if !ended || !(refused || forgiven) {
            wrong.push(format!("{what}: {status:?}, ended {ended}, refused {refused}"));
        }
        nothing_smuggled(&edge, what);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn i6_i7_a_head_is_lines_of_name_colon_value() {
    let edge = edge().start().await;
    let mut faulty = Faulty::at(&edge);
    let get = |fields: &str| format!("GET /public HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n");
    for (what, field) in [
        ("folded", "X-A: b\r\n c"),
        ("folded with a tab", "X-A: b\r\n\tc"),
        ("space before the colon", "X-A : b"),
        ("tab before the colon", "X-A\t: b"),
        ("no colon", "X-A"),
        ("no name", ": b"),
        ("space in the name", "X A: b"),
        ("NUL in the name", "X\0A: b"),
        ("NUL in the value", "X-A: b\0c"),
        ("CR in the value", "X-A: b\rc"),
        ("control in the value", "X-A: b\u{1}c"),
        ("not ASCII in the name", "X-Ä: b"),
        ("quote in the name", "X\"A: b"),
        ("bare LF", "X-A: b\nX-B: c"),
    ] {
        faulty.send(what, get(field)).await;
    }
    for (what, bytes) in [
        ("LF only", format!("GET /public HTTP/1.1\nHost: {HOST}\n\n")),
        ("CR in the request line", format!("GET /public\r HTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
        ("space before the fields", format!("GET /public HTTP/1.1\r\n Host: {HOST}\r\n\r\n")),
        ("two spaces", format!("GET  /public HTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
        ("tab", format!("GET\t/public\tHTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
        ("version", format!("GET /public HTTP/1.2.3\r\nHost: {HOST}\r\n\r\n")),
        ("no version", format!("GET /public\r\nHost: {HOST}\r\n\r\n")),
        ("HTTP/2 as text", format!("GET /public HTTP/2.0\r\nHost: {HOST}\r\n\r\n")),
    ] {
        faulty.send(what, bytes).await;
    }
    faulty.were_refused();
    assert!(edge.upstream.seen().is_empty());
    let mut wire = edge.wire().await;
    wire.ask(get("X-A: b\tc d\r\nX-B:\r\nX-C:no space")).await.is(200);
}

#[tokio::test]
async fn i8_there_is_no_tunnel_before_the_applications_101() {
    let edge = edge().start().await;
    let upgrades = ["websocket", "h2c", "x", "TLS/1.0", "websocket, h2c"];
    for upgrade in upgrades {
        let upgrading = format!(
            "GET /public HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\
             GET /admin/smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        );
        // The application declines, and what came behind the request is nobody's (Part 4, item 32).
        assert_eq!(answers(&edge, upgrading).await, [200], "{upgrade}");
        nothing_smuggled(&edge, upgrade);
        let guarded = format!(
            "GET /admin HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
        );
        assert_eq!(edge.wire().await.ask(guarded).await.status, 401, "{upgrade}");
    }
    for seen in edge.upstream.seen() {
        assert!(!seen.values("upgrade").iter().any(|value| *value != "websocket"), "{}", seen.head);
    }
}

#[tokio::test]
async fn i9_an_answer_before_the_body_leaves_a_clean_connection_or_none() {
    let edge = edge().start().await;
    for (line, status) in [
        ("POST /admin", 401),
        ("POST /nowhere", 404),
        ("POST /public/../x", 400),
        ("PUT /token", 405),
        ("POST /token", 400),
        ("POST /read-only", 405),
    ] {
        let length = SMUGGLED.len();
        let bytes = format!(
            "{line} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
        );
        let heard = answers_then_honest(&edge, bytes).await;
        assert_eq!(heard[0].status, status, "{line}");
        assert!(
            heard.len() == 1 || heard[1].text().contains("/public/honest"),
            "{line}: {heard:?}"
        );
        nothing_smuggled(&edge, line);
    }
}

/// The answer to the first request and, where the connection stays open, to an honest second one.
async fn answers_then_honest(edge: &Edge, bytes: String) -> Vec<Response> {
    let mut wire = edge.wire().await;
    let mut heard = vec![wire.ask(bytes).await];
    wire.send(edge.get("/public/honest").bytes()).await;
    heard.extend(wire.read_response(false).await);
    heard
}

#[tokio::test]
async fn i9_a_body_that_never_comes_does_not_hold_the_refusal_back() {
    let edge = edge().start().await;
    let mut wire = edge.wire().await;
    wire.ask(format!("POST /admin HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\nabc"))
        .await
        .is(401);
    wire.is_closed().await;
}

#[tokio::test]
async fn i10_an_application_that_answers_early_gets_no_other_request_on_that_connection() {
    let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
    let edge = edge().upstream(Behaviour::SaysEarly(answer)).upstream_with(STREAMED).start().await;
    let mut wire = edge.wire().await;
    wire.send(format!(
        "POST /public HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\nabc"
    ))
    .await;
    wire.read_response(false).await.unwrap().is(413);
    drop(wire);
    edge.get("/public/next").await.is(413);
    let seen = edge.upstream.saw(2).await;
    let next = seen.iter().find(|seen| seen.target() == "/public/next").unwrap();
    assert!(
        seen.iter()
            .all(|other| other.target() == next.target() || other.connection != next.connection)
    );
}

#[tokio::test]
async fn i11_bytes_after_an_answer_are_nobodys_answer() {
    let answers = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned";
    let edge = edge().upstream(Behaviour::Says(answers)).start().await;
    for _ in 0..4 {
        assert_eq!(edge.get("/public").await.text(), "ok");
    }
    let connections: Vec<_> = edge.upstream.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3]);
}

#[tokio::test]
async fn i12_a_cut_answer_is_seen_as_cut() {
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort";
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n";
    for answer in [&length[..], chunked] {
        let edge = edge().upstream(Behaviour::SaysAndCloses(answer)).start().await;
        let mut wire = edge.wire().await;
        wire.send(edge.get("/public").bytes()).await;
        let heard = wire.read_to_end().await;
        assert!(!heard.contains("\r\n0\r\n") && !heard.contains("Content-Length: 5"), "{heard}");
    }
}

#[tokio::test]
async fn i12_a_cut_request_is_not_completed() {
    let edge = edge().upstream_with(STREAMED).start().await;
    for head in
        ["Content-Length: 10\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"]
    {
        let before = edge.upstream.seen().len();
        let mut wire = edge.wire().await;
        wire.send(format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\n{head}")).await;
        edge.upstream.began(before + 1).await;
        drop(wire);
        let seen = edge.upstream.saw(before + 1).await.pop().unwrap();
        assert!(!seen.complete, "{seen:?}");
    }
}

#[tokio::test]
async fn i13_answers_without_a_body_leave_the_next_one_intact() {
    let answer = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"a\"\r\n\r\n";
    let bodiless = edge().upstream(Behaviour::Says(answer)).start().await;
    let mut wire = bodiless.wire().await;
    for _ in 0..3 {
        wire.ask(bodiless.get("/public").bytes()).await.is(304);
    }
    let edge = edge().start().await;
    let mut wire = edge.wire().await;
    for _ in 0..3 {
        let head = wire.ask(edge.ask("HEAD", "/public/head").bytes()).await;
        assert!(head.is(200).body.is_empty());
        assert!(wire.ask(edge.get("/public/get").bytes()).await.text().contains("/public/get"));
    }
    wire.ask(edge.ask("HEAD", "/admin").bytes()).await.is(401);
    wire.ask(edge.get("/public").bytes()).await.is(200);
}

#[tokio::test]
async fn i14_an_unknown_expectation_desynchronises_nothing() {
    let edge = edge().start().await;
    // Part 4, item 32: an exact status for each.
    for (expectation, wanted) in [
        ("100-continue", 200),
        ("100-Continue", 200),
        ("magic", 417),
        ("100-continue, magic", 417),
        ("", 417),
    ] {
        let bytes = post(&format!("Expect: {expectation}\r\nContent-Length: 5"), "hello");
        let mut wire = edge.wire().await;
        wire.send(bytes).await;
        let mut answer = wire.read_response(false).await;
        while answer.as_ref().is_some_and(|answer| answer.status == 100) {
            answer = wire.read_response(false).await;
        }
        assert_eq!(answer.map(|answer| answer.status), Some(wanted), "{expectation}");
    }
}

#[tokio::test]
async fn i15_trailers_do_not_frame_route_or_authorise() {
    let edge = edge().start().await;
    let token = edge.login("alice", "admin").await;
    let trailers = format!("Content-Length: 50\r\nHost: evil\r\nAuthorization: Bearer {token}");
    let bytes = format!(
        "POST /admin HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n\r\n"
    );
    edge.wire().await.ask(bytes).await.is(401);
    let bytes =
        post("Transfer-Encoding: chunked", &format!("5\r\nhello\r\n0\r\n{trailers}\r\n\r\n"));
    let mut wire = edge.wire().await;
    wire.ask(bytes).await.is(200);
    for seen in edge.upstream.seen() {
        assert_eq!(seen.values("host"), [HOST]);
        assert!(!String::from_utf8_lossy(&seen.body).contains("evil"), "{seen:?}");
    }
}

#[tokio::test]
async fn i16_what_may_have_been_done_is_not_done_again() {
    let edge = edge().upstream(Behaviour::Closes).start().await;
    edge.ask("POST", "/public").body(b"pay").await.is(502);
    assert_eq!(edge.upstream.seen().len(), 1);
}

#[tokio::test]
async fn i17_pipelined_requests_are_answered_in_order() {
    let edge = edge().start().await;
    let mut bytes = edge.get("/public/1").bytes();
    bytes.extend(edge.get("/admin/2").bytes());
    bytes.extend(edge.get("/public/3").bytes());
    let mut wire: Wire = edge.wire().await;
    // Part 4, item 32. All three are answered.
    assert!(wire.ask(bytes).await.is(200).text().contains("/public/1"));
    wire.read_response(false).await.unwrap().is(401);
    assert!(wire.read_response(false).await.unwrap().is(200).text().contains("/public/3"));
    let seen = edge.upstream.seen();
    let targets: Vec<_> = seen.iter().map(|seen| seen.target()).collect();
    assert_eq!(targets, ["/public/1", "/public/3"]);
}

#[tokio::test]
async fn j2_an_application_that_fails_is_502_and_one_that_is_silent_504() {
    let broken = edge().upstream(Behaviour::Says(b"rubbish\r\n\r\n")).start().await;
    broken.get("/public").await.is(502);
    let silent = edge()
        .upstream(Behaviour::IsSilent)
        .upstream_with(", timeouts: { read: 200ms }")
        .start()
        .await;
    silent.get("/public").await.is(504);
    let gone = edge().start().await;
    gone.upstream.stop().await;
    gone.get("/public").await.is(502);
}
