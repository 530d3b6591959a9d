//! Where a message ends: requests hidden in the bodies, lines and frames of others, and behind answers that came early.

use super::{Class, GUARDED, Row, SMUGGLED};
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Field, HEADERS, block, frame, headers, request,
};
use crate::harness::{HOST, edge};

pub(super) async fn rows() -> Vec<Row> {
    vec![
        heads().await,
        chunks().await,
        lines().await,
        frames().await,
        early_answers().await,
        early_answers_h2().await,
    ]
}

fn post(target: &str, fields: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n{body}")
}

async fn heads() -> Row {
    let mut class = Class::new("lengths and codings, HTTP/1.1", edge()).await;
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let (length, short) = (chunked.len(), "Content-Length: 4");
    let framings = [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\n{short}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n{short}"),
        format!("{short}\r\nTransfer-Encoding: identity"),
        format!("{short}\r\nTransfer-Encoding : chunked"),
        format!("{short}\r\nTransfer-Encoding:\u{b}chunked"),
        format!("{short}\r\nX: y\nTransfer-Encoding: chunked"),
        format!("{short}\r\n Transfer-Encoding: chunked"),
        format!("{short}\r\nTransfer-Encoding\r\n: chunked"),
        format!("{short}\r\nTransfer\0-Encoding: chunked"),
        format!("{short}\r\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\n{short}"),
    ];
    for fields in framings {
        class.attack(post("/public", &fields, &chunked)).await;
        class.attack(post("/admin", &fields, &chunked)).await;
    }
    for coding in [
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ", chunked",
        "chu nked",
        "chunked\u{b}",
        "x",
        "",
        "chunked\r\n chunked",
    ] {
        class.attack(post("/public", &format!("Transfer-Encoding: {coding}"), &chunked)).await;
    }
    for number in [
        "4, 4",
        "4,5",
        "+4",
        "-4",
        "0x4",
        "4 4",
        "4;",
        "4.0",
        "four",
        "",
        "4_0",
        "\"4\"",
        "4\r\n 4",
        "18446744073709551620",
        "99999999999999999999999",
    ] {
        class.attack(post("/public", &format!("Content-Length: {number}"), &chunked)).await;
    }
    let old =
        format!("POST /public HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    class.attack(format!("{old}{chunked}")).await;
    for fields in
        ["Content-Length: 5", "Content-Length: 005", "content-length:5", "CONTENT-LENGTH: 5\t"]
    {
        class.twin(post("/public", fields, "hello")).await;
    }
    for fields in ["Transfer-Encoding: chunked", "transfer-encoding:\tChunked"] {
        class.twin(post("/public", fields, "5\r\nhello\r\n0\r\n\r\n")).await;
    }
    // What would be a request is one when it says so.
    let length = SMUGGLED.len();
    class.twin(post("/public", &format!("Content-Length: {length}"), SMUGGLED)).await;
    class.row().await
}

async fn chunks() -> Row {
    let mut class = Class::new("chunks, HTTP/1.1", edge()).await;
    let hidden = SMUGGLED.len();
    for body in [
        "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
        "+5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "-5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "0x5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "0_5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "zz\r\nhello\r\n0\r\n\r\n".to_owned(),
        "\r\nhello\r\n0\r\n\r\n".to_owned(),
        "5\nhello\n0\n\n".to_owned(),
        "5\nhello\r\n0\r\n\r\n".to_owned(),
        "5\r\nhello0\r\n\r\n".to_owned(),
        "5\r\nhelloXX0\r\n\r\n".to_owned(),
        "5 5\r\nhello\r\n0\r\n\r\n".to_owned(),
        " 5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "5;a\nb\r\nhello\r\n0\r\n\r\n".to_owned(),
        "5;a\rb\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("2;\n\r\nxx\r\n{hidden:x}\r\n0\r\n\r\n"),
        format!("2;\nxx\r\n{hidden:x}\r\n0\r\n\r\n"),
        "0\n\r\n".to_owned(),
        "0;\n\r\n".to_owned(),
        "0\r\n\n".to_owned(),
        "00000000000000000000\n\n".to_owned(),
    ] {
        class
            .attack(post("/public", "Transfer-Encoding: chunked", &format!("{body}{SMUGGLED}")))
            .await;
    }
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n00\r\n\r\n",
        "A;name=value\r\n0123456789\r\n0\r\n\r\n",
        "1\r\nh\r\n4;a=\"b\"\r\nello\r\n0\r\nX-Checksum: 1\r\n\r\n",
    ] {
        class.twin(post("/public", "Transfer-Encoding: chunked", body)).await;
    }
    class.row().await
}

async fn lines() -> Row {
    let mut class = Class::new("lines of the head, HTTP/1.1", edge()).await;
    let rest = format!("HTTP/1.1\r\nHost: {HOST}");
    for head in [
        format!("GET /public {rest}\n\n"),
        format!("GET /public HTTP/1.1\nHost: {HOST}\n\n"),
        format!("GET /public {rest}\r\n X-User: mallory\r\n\r\n"),
        format!("GET /public {rest}\r\nX-A: b\r\n\tX-User: mallory\r\n\r\n"),
        format!("GET /public {rest}\r\nX-A: b\rX-User: mallory\r\n\r\n"),
        format!("GET /public {rest}\r\nX-A: b\nX-User: mallory\r\n\r\n"),
        format!("GET /public {rest}\r\nX-A: b\0X-User: mallory\r\n\r\n"),
        format!("GET /public {rest}\r\nX-A: b\n\n{SMUGGLED}"),
        format!("GET /public {rest}\r\nX-A: b\r\r{SMUGGLED}"),
        format!("GET /public {rest}\r\nX-User\r\n: mallory\r\n\r\n"),
        format!("GET /public\r {rest}\r\n\r\n"),
        format!("GET  /public {rest}\r\n\r\n"),
        format!("GET\t/public\tHTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /public HTTP/1.2.3\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /public\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /public HTTP/2.0\r\nHost: {HOST}\r\n\r\n"),
        format!("\0GET /public {rest}\r\n\r\n"),
        format!("GET /public HTTP/1.1\r\n Host: {HOST}\r\n\r\n"),
    ] {
        class.attack(format!("{head}{SMUGGLED}")).await;
    }
    // Requests that are sent ahead are each judged for itself.
    let both = format!("GET /public {rest}\r\n\r\n{GUARDED}");
    class.attack(both).await;
    class.twin(format!("GET /public {rest}\r\nX-A: b\tc d\r\nX-B:\r\nX-C:no space\r\n\r\n")).await;
    class.twin(format!("\r\nGET /public {rest}\r\n\r\n")).await;
    class.row().await
}

async fn frames() -> Row {
    let mut class = Class::new("framing, HTTP/2", edge().tls()).await;
    let smuggled = SMUGGLED.as_bytes();
    let hidden = format!("0\r\n\r\n{SMUGGLED}");
    let mut odd: Vec<Vec<Field<'_>>> = Vec::new();
    for length in ["0", "4", "+5", "5, 5", "99999999999999999999"] {
        odd.push(vec![(b"content-length", length.as_bytes())]);
    }
    odd.push(vec![(b"content-length", b"4"), (b"content-length", b"5")]);
    odd.push(vec![(b"transfer-encoding", b"chunked")]);
    odd.push(vec![(b"transfer-encoding", b"chunked"), (b"content-length", b"4")]);
    odd.push(vec![(b"transfer-encoding ", b"chunked")]);
    odd.push(vec![(b"x-a", b"b\r\ntransfer-encoding: chunked")]);
    odd.push(vec![(
        b"x-a",
        b"b\r\n\r\nGET /public/smuggled HTTP/1.1\r\nhost: edge.example.com\r\n",
    )]);
    odd.push(vec![(b"x: y\r\ntransfer-encoding", b"chunked")]);
    for target in ["/public", "/admin"] {
        for fields in &odd {
            let fields = [&request("POST", target)[..], fields].concat();
            class.attack_h2(&fields, Some(hidden.as_bytes())).await;
        }
    }
    let path = "/public HTTP/1.1\r\nHost: edge.example.com\r\n\r\nGET /admin/smuggled";
    class.attack_h2(&request("GET", path), None).await;
    class.attack_h2(&request("GET /admin/smuggled HTTP/1.1\r\nX: ", "/public"), None).await;
    let get = headers(1, END_STREAM, &request("GET", "/public"));
    class.attack_frames(&[get, frame(DATA, END_STREAM, 1, smuggled)]).await;
    let guarded = block(&request("GET", "/admin/smuggled"));
    let part = frame(HEADERS, END_STREAM, 1, &guarded[..20]);
    let open = headers(3, END_STREAM, &request("GET", "/public"));
    let rest = frame(CONTINUATION, END_HEADERS, 1, &guarded[20..]);
    class.attack_frames(&[part, open, rest]).await;
    class.attack_frames(&[frame(CONTINUATION, END_HEADERS, 1, &guarded)]).await;

    class.twin_h2(&request("POST", "/public"), Some(smuggled)).await;
    let length = smuggled.len().to_string();
    let announced = [(&b"content-length"[..], length.as_bytes())];
    class.twin_h2(&[&request("POST", "/public")[..], &announced].concat(), Some(smuggled)).await;
    class.row().await
}

async fn early_answers() -> Row {
    let mut class = Class::new("behind early answers, HTTP/1.1", edge()).await;
    let long = format!("{}{SMUGGLED}", "x".repeat(70_000));
    for line in [
        "POST /admin",
        "PUT /admin",
        "POST /nowhere",
        "POST /public/../x",
        "PUT /token",
        "POST /token",
        "POST /token/",
        "POST /read-only",
        "DELETE /read-only",
        "GET /admin",
        "HEAD /admin",
        "GET /token",
        "POST /.well-known/jwks.json",
    ] {
        for body in [SMUGGLED, &long] {
            let head = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n");
            let length = body.len();
            class.attack(format!("{head}Content-Length: {length}\r\n\r\n{body}")).await;
            let expect = "Expect: 100-continue\r\n";
            class.attack(format!("{head}{expect}Content-Length: {length}\r\n\r\n{body}")).await;
            let chunk = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
            class.attack(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}")).await;
            class.attack(format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{body}")).await;
        }
    }
    let length = SMUGGLED.len();
    // It is waited for, but not for long.
    class.attack(post("/admin", &format!("Content-Length: {}", length + 1), SMUGGLED)).await;
    class.twin(post("/public", &format!("Content-Length: {length}"), SMUGGLED)).await;
    let chunk = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    class.twin(post("/public", "Transfer-Encoding: chunked", &chunk)).await;
    class.row().await
}

async fn early_answers_h2() -> Row {
    let mut class = Class::new("behind early answers, HTTP/2", edge().tls()).await;
    let long = format!("{}{SMUGGLED}", "x".repeat(10_000));
    for target in ["/admin", "/nowhere", "/public/../x", "/token", "/token/", "/read-only"] {
        for method in ["POST", "PUT"] {
            class.attack_h2(&request(method, target), Some(SMUGGLED.as_bytes())).await;
            class.attack_h2(&request(method, target), Some(long.as_bytes())).await;
        }
    }
    class.twin_h2(&request("POST", "/public"), Some(long.as_bytes())).await;
    class.row().await
}
