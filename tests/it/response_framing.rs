//! Where the body of an application's answer ends: it is said in one way, to clients of either version, or the answer is
//! 502. Part 4, item 10.

use super::harness::{Behaviour, Edge, HOST, Response, edge};

/// One answer, and what becomes of it: the status and the body.
type Row = (&'static str, &'static str, u16, &'static str);

const ROWS: &[Row] = &[
    // The honest.
    ("a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"),
    (
        "chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        200,
        "hello",
    ),
    (
        "Chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        200,
        "hello",
    ),
    ("until the end", "HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello"),
    ("1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"),
    ("1.0 until the end", "HTTP/1.0 200 OK\r\n\r\nhello", 200, "hello"),
    ("1.0 without a body", "HTTP/1.0 204 No Content\r\n\r\n", 204, ""),
    ("1.0 not modified", "HTTP/1.0 304 Not Modified\r\nETag: \"a\"\r\n\r\n", 304, ""),
    ("204", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
    ("304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, ""),
    ("an empty body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""),
    // What may not be there means nothing.
    (
        "204 with a coding",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        204,
        "",
    ),
    ("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, ""),
    ("204 with no length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, ""),
    (
        "1.0 204 with a coding",
        "HTTP/1.0 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        204,
        "",
    ),
    (
        "304 with a coding",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        304,
        "",
    ),
    (
        "a framed interim answer",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        200,
        "hello",
    ),
    // RFC 9112 section 6.3: the coding overrides the length, which a proxy removes.
    (
        "a length and a coding",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n",
        200,
        "hello",
    ),
    (
        "a coding and a length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n",
        200,
        "hello",
    ),
    // What can be read in more than one way.
    (
        "chunked twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "chunked in two fields",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "gzip, chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "gzip and chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "chunked, gzip",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    ("gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", 502, ""),
    ("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", 502, ""),
    (
        "identity and a length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
        502,
        "",
    ),
    (
        "identity, chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "xchunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "chunked with a parameter",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    ("an empty coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nhello", 502, ""),
    (
        "an empty member",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "1.0 with a coding",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "1.0 with both",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n",
        502,
        "",
    ),
    (
        "304 with two codings",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        502,
        "",
    ),
    (
        "two lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        502,
        "",
    ),
    (
        "one length twice",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        502,
        "",
    ),
];

/// An edge whose application says each of the rows once, and hangs up each time.
async fn application() -> Edge {
    let answers: Vec<&'static [u8]> =
        ROWS.iter().map(|(_, answer, ..)| answer.as_bytes()).collect();
    edge().tls().upstream(Behaviour::Scripted(answers.leak())).start().await
}

/// What is wrong with the answer to a row.
fn fault(row: &Row, heard: &Response, most_framings: usize) -> Option<String> {
    let (what, _, status, body) = row;
    let framings = ["content-length", "transfer-encoding"].map(|name| heard.values(name).len());
    let framings: usize = framings.iter().sum();
    let is_right = heard.status == *status
        && (*status == 502 || heard.text() == *body)
        && framings <= most_framings
        // A 304 may say how long the body would be.
        && (*status != 204 || framings == 0);
    (!is_right).then(|| format!("{what}: {heard:?}"))
}

#[tokio::test]
async fn an_answer_ends_where_it_says_over_http_1() {
    let edge = application().await;
    let mut wrong = Vec::new();
    for row in ROWS {
        let mut wire = edge.wire_tls().await;
        wire.send(edge.get("/public").field("Connection: close").bytes()).await;
        let mut heard = wire.read_response(false).await.unwrap();
        while heard.status < 200 {
            if heard.fields.iter().any(|(name, _)| name == "content-length") {
                wrong.push(format!("{}: a length in {}", row.0, heard.status));
            }
            heard = wire.read_response(false).await.unwrap();
        }
        wire.is_closed().await;
        wrong.extend(fault(row, &heard, 1));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_answer_ends_where_it_says_over_http_2() {
    let edge = application().await;
    let mut wrong = Vec::new();
    for row in ROWS {
        let uri = format!("https://{HOST}/public");
        let request = http::Request::get(uri).version(http::Version::HTTP_2).body(()).unwrap();
        let heard = edge.h2().await.ask(request, b"", None).await.unwrap();
        if !heard.values("transfer-encoding").is_empty() {
            wrong.push(format!("{}: a transfer coding over HTTP/2", row.0));
        }
        wrong.extend(fault(row, &heard, 1));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn we_say_our_own_version() {
    let answers: &'static [&'static [u8]] = &[
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.0 204 No Content\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ];
    let edge = edge().upstream(Behaviour::Scripted(answers)).start().await;
    for answer in answers {
        let mut wire = edge.wire().await;
        wire.send(edge.get("/public").field("Connection: close").bytes()).await;
        let heard = wire.read_to_end().await;
        assert!(heard.starts_with("HTTP/1.1 "), "{:?}: {heard}", String::from_utf8_lossy(answer));
    }
}
