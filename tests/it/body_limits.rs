//! How long a request's body may be: refused when it says so itself, cut when it does not.

use http::Request;

use super::harness::captured::Captured;
use super::harness::{Behaviour, Edge, HOST, STREAMED, edge};

const ROUTES: &str = "
  - { id: small, path: /small/**, upstream: app, auth: public, limits: { body: 10B } }
  - { id: none, path: /none/**, upstream: app, auth: public, limits: { body: 0B } }
  - { id: free, path: /free/**, upstream: app, auth: public }
  - { id: closed, path: /closed/**, upstream: app, limits: { body: 10B } }
";

async fn limited() -> Edge {
    edge().routes(ROUTES).start().await
}

/// A POST in chunks, without the last one.
fn chunked(path: &str, chunks: &[&str]) -> String {
    let chunks = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    let chunks: String = chunks.collect();
    format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
}

#[tokio::test]
async fn an_announced_body_that_is_too_long_never_reaches_the_application() {
    let edge = limited().await;
    for (path, length) in [("/small", 11), ("/none", 1), ("/small", 1_000_000)] {
        let answer = edge.ask("POST", path).body(&vec![b'a'; length]).await;
        assert_eq!(answer.is(413).json()["error"], "content_too_large");
    }
    let endless = edge.ask("POST", "/small").field("Content-Length: 18446744073709551615");
    endless.await.is(413);
    let waiting = edge.ask("POST", "/small").field("Content-Length: 11");
    waiting.field("Expect: 100-continue").await.is(413);
    // Who may not come in hears nothing of limits.
    edge.ask("POST", "/closed").body(b"elevenbytes").await.is(401);
    assert!(edge.upstream.seen().is_empty());
    for (path, length) in [("/small", 10), ("/none", 0), ("/free", 1_000_000)] {
        edge.ask("POST", path).body(&vec![b'a'; length]).await.is(200);
        let seen = edge.upstream.last();
        assert_eq!((seen.body.len(), seen.complete), (length, true));
    }
}

#[tokio::test]
async fn a_small_body_that_is_refused_leaves_the_connection_as_it_was() {
    let edge = limited().await;
    let mut wire = edge.wire().await;
    wire.ask(edge.ask("POST", "/small").body(b"elevenbytes").bytes()).await.is(413);
    wire.ask(edge.ask("POST", "/small").body(b"ten bytes.").bytes()).await.is(200);
    assert_eq!(edge.upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_and_its_connection_not_used_again() {
    let log = Captured::default();
    let edge = edge().routes(ROUTES).upstream_with(STREAMED).log_to(&log).start().await;
    edge.get("/free").await.is(200);
    let mut wire = edge.wire().await;
    wire.send(chunked("/small", &["hello"])).await;
    edge.upstream.began(2).await;
    wire.send("6\r\nworlds\r\n").await;
    let answer = wire.read_response(false).await.unwrap();
    assert_eq!(answer.is(413).json()["error"], "content_too_large");
    let seen = edge.upstream.saw(2).await.pop().unwrap();
    assert_eq!((seen.line(), seen.complete), ("POST /small HTTP/1.1", false));
    assert!(!String::from_utf8_lossy(&seen.body).contains("worlds"));

    edge.get("/free").await.is(200);
    let last = edge.upstream.last();
    assert_eq!(last.line(), "GET /free HTTP/1.1");
    assert_ne!(last.connection, seen.connection);

    let mut wire = edge.wire().await;
    wire.ask(chunked("/small", &["hello", "five."]) + "0\r\n\r\n").await.is(200);
    let seen = edge.upstream.last();
    assert_eq!((seen.complete, seen.line()), (true, "POST /small HTTP/1.1"));
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_followed_by_another() {
    let early = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal";
    let edge = edge().routes(ROUTES).upstream(Behaviour::SaysEarly(early));
    let edge = edge.upstream_with(STREAMED).start().await;
    let mut wire = edge.wire().await;
    wire.send(chunked("/small", &["hello"])).await;
    edge.upstream.began(1).await;
    let begun = wire.read_bytes(15).await;
    assert_eq!(begun, b"HTTP/1.1 200 OK");
    wire.send("6\r\nworlds\r\n").await;
    let rest = wire.read_to_end().await;
    assert!(!rest.contains("413") && !rest.contains("HTTP/1.1"), "{rest}");
    assert!(!edge.upstream.saw(1).await[0].complete);
}

#[tokio::test]
async fn the_same_holds_for_http_2() {
    let edge = edge().tls().routes(ROUTES).upstream_with(STREAMED).start().await;
    let post = |path: &str| Request::post(format!("https://{HOST}{path}"));
    let announced = post("/small").header("content-length", "11").body(()).unwrap();
    edge.h2().await.ask(announced, b"elevenbytes", None).await.unwrap().is(413);
    assert!(edge.upstream.seen().is_empty());
    let mut h2 = edge.h2().await;
    let honest = post("/small").body(()).unwrap();
    h2.ask_in_frames(honest, &[b"hello", b"five."]).await.unwrap().is(200);
    assert!(edge.upstream.last().complete);
    let long = post("/small").body(()).unwrap();
    // Part 4, item 32.
    h2.ask_in_frames(long, &[b"hello", b"worlds"]).await.unwrap().is(413);
    let cut = edge.upstream.saw(2).await.pop().unwrap();
    assert!(!cut.complete, "{cut:?}");
    // The other streams of the connection go on.
    h2.ask(post("/free").body(()).unwrap(), b"anything at all", None).await.unwrap().is(200);
}
