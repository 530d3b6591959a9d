//! Cookies: however many fields they come in, an application is sent one (RFC 9113 section 8.2.3, RFC 6265 section 5.4).

use http::Request;
use http::header::COOKIE;

use crate::harness::frames::{Field, Outcome, request};
use crate::harness::{HOST, edge};

// Part 4, item 4.
#[tokio::test]
async fn cookies_of_http2_arrive_as_one_field_in_their_order() {
    let edge = edge().tls().start().await;
    let token = edge.mint.with(edge.now(), serde_json::json!({}));
    let mut h2 = edge.h2().await;
    for (target, bearer) in [("/public", false), ("/", false), ("/admin", true), ("/", true)] {
        // As Chrome sends them.
        let mut request = Request::get(format!("https://{HOST}{target}"))
            .header(COOKIE, "session=S1")
            .header("accept", "text/html")
            .header(COOKIE, "csrftoken=T2")
            .header(COOKIE, "theme=dark");
        if bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        h2.ask(request.body(()).unwrap(), b"", None).await.unwrap().is(200);
        let seen = edge.upstream.last();
        assert_eq!(seen.values("cookie"), ["session=S1; csrftoken=T2; theme=dark"], "{target}");
    }
    for (sent, expected) in [
        (&["a=1"][..], "a=1"),
        (&["a=1; b=2", "c=3"], "a=1; b=2; c=3"),
        (&["a=\"x, y\"", "b=="], "a=\"x, y\"; b=="),
        (&["a=1", "a=2"], "a=1; a=2"),
    ] {
        let request = Request::get(format!("https://{HOST}/public"));
        let request = sent.iter().fold(request, |request, cookie| request.header(COOKIE, *cookie));
        h2.ask(request.body(()).unwrap(), b"", None).await.unwrap().is(200);
        assert_eq!(edge.upstream.last().values("cookie"), [expected]);
    }
    let none = Request::get(format!("https://{HOST}/public")).body(()).unwrap();
    h2.ask(none, b"", None).await.unwrap().is(200);
    assert!(edge.upstream.last().values("cookie").is_empty());
}

/// So many fields besides the cookies, and so many cookies of this length.
fn head(others: usize, cookies: usize, length: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let others = (0..others).map(|i| (format!("x-{i}").into_bytes(), b"1".to_vec()));
    let cookie = |i: usize| format!("c{i}={}", "v".repeat(length)).into_bytes();
    let cookies = (0..cookies).map(|i| (b"cookie".to_vec(), cookie(i)));
    others.chain(cookies).collect()
}

/// A TLS listener that takes heads of 8 KiB, which fit into one frame.
const SMALL: &str = "{ address: '127.0.0.1:0', tls: { certificate: edge.pem, private_key: edge.key }, limits: { header_bytes: 8KiB } }";

// Part 4, item 4.
#[tokio::test]
async fn cookies_count_as_one_field_and_all_their_bytes_count() {
    let (usual, small) = (edge().tls().start().await, edge().listener(SMALL).start().await);
    for (edge, others, cookies, length, status) in [
        (&usual, 0, 120, 8, 200),
        (&usual, 0, 180, 64, 200),
        (&usual, 99, 120, 8, 200),
        (&usual, 100, 0, 0, 200),
        (&usual, 100, 1, 8, 431),
        (&usual, 100, 120, 8, 431),
        (&usual, 101, 0, 0, 431),
        (&small, 0, 120, 8, 200),
        (&small, 0, 180, 64, 431),
        (&small, 0, 250, 0, 431),
    ] {
        let fields = head(others, cookies, length);
        let mut all: Vec<Field<'_>> = request("GET", "/public").to_vec();
        all.extend(fields.iter().map(|(name, value)| (&name[..], &value[..])));
        let outcome = edge.frames().await.ask(&all, None).await;
        let what = format!("{others} fields and {cookies} cookies of {length}");
        assert_eq!(outcome, Outcome::Answered(status), "{what}");
        if status == 200 {
            let sent: Vec<_> =
                fields[others..].iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
            let expected = if sent.is_empty() { vec![] } else { vec![sent.join("; ")] };
            assert_eq!(edge.upstream.last().values("cookie"), expected, "{what}");
        }
    }
}

// Part 4, item 4: a client must not send several over HTTP/1.1, and each application reads those who do in another way. Joined
// they have one reading.
#[tokio::test]
async fn cookie_lines_of_http1_arrive_as_one_field_too() {
    let edge = edge().start().await;
    for (sent, expected) in [
        (&["a=1", "b=2", "c=3"][..], "a=1; b=2; c=3"),
        (&["a=1; b=2", "a=3"], "a=1; b=2; a=3"),
        (&["a=1", "", "b=2"], "a=1; b=2"),
        (&["a=1; b=2"], "a=1; b=2"),
    ] {
        let asked = edge.get("/public");
        let asked =
            sent.iter().fold(asked, |asked, value| asked.field(&format!("Cookie: {value}")));
        asked.await.is(200);
        assert_eq!(edge.upstream.last().values("cookie"), [expected]);
    }
    let many =
        (0..120).fold(edge.get("/public"), |asked, i| asked.field(&format!("Cookie: c{i}=1")));
    many.await.is(431);
}
