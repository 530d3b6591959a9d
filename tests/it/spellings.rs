//! Spellings of a path that an upstream's owner can allow by name, and the query, which nobody looks at. Routes: a public
//! `/public/**` and a scoped `/admin/**`; nobody has a token.

use crate::binary::{Site, ended};
use crate::harness::frames::{self, Outcome};
use crate::harness::{Edge, HOST, edge};

/// A spelling, the allowance that takes it, and how it is forwarded.
const HONEST: &[(&str, &str, &str)] = &[
    ("encoded_percent", "/public/job/feature%252Fx", "/public/job/feature%252Fx"),
    ("encoded_percent", "/public/100%25ab.txt", "/public/100%25ab.txt"),
    ("encoded_percent", "/public/100%25effort", "/public/100%25effort"),
    ("trailing_dot", "/public/Washington_D.C.", "/public/Washington_D.C."),
    ("trailing_dot", "/public/etc./x", "/public/etc./x"),
    ("trailing_space", "/public/My%20Dir%20/x", "/public/My%20Dir%20/x"),
    ("trailing_space", "/public/x%c2%a0", "/public/x%C2%A0"),
    ("encoded_backslash", "/public/DOMAIN%5cjoe", "/public/DOMAIN%5Cjoe"),
    ("non_utf8", "/public/caf%e9", "/public/caf%E9"),
    ("non_utf8", "/public/%8E%BD%91/x", "/public/%8E%BD%91/x"),
];

/// What an application that reads any of them could take for `/admin`, or for a dot segment.
const ATTACKS: &[&str] = &[
    "/public/%252e%252e/admin",
    "/public/%25252e%25252e/admin",
    "/public/%25%32e%25%32e/admin",
    "/public%252f..%252fadmin",
    "/public/..%252fadmin",
    "/%2561dmin",
    "/admin%252Fx",
    "/admin%2500",
    "/admin%253bx",
    "/admin.",
    "/admin.%20.",
    "/admin./x",
    "/admin%20",
    "/admin%C2%A0/x",
    "/%20admin%20",
    "/admin%5cx",
    "/admin%255cx",
    "/public%5c..%5cadmin",
    "/public/..%5cadmin",
    "/public/...",
    "/public/..%20/admin",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%c0%ae%c0%ae%c0%afadmin",
    "/public/.%ff./admin",
    "/adm%FFin",
    "/%C1%A1dmin",
    "/token.",
    "/%2574oken",
    "/token%5c",
    "/tok%FFen",
];

fn arrived(edge: &Edge) -> Vec<String> {
    edge.upstream.seen().iter().map(|seen| seen.target().to_owned()).collect()
}

// Part 4, item 7.
#[tokio::test]
async fn each_allowance_takes_its_spelling_and_no_other() {
    let none = edge().start().await;
    for (_, target, _) in HONEST {
        none.get(target).await.is(400);
    }
    assert_eq!(arrived(&none), [""; 0]);
    for allowed in
        ["encoded_percent", "trailing_dot", "trailing_space", "encoded_backslash", "non_utf8"]
    {
        let paths = format!(", paths: {{ allow: [{allowed}] }}");
        let edge = edge().upstream_with(&paths).start().await;
        let mut expected = Vec::new();
        for (allowance, target, forwarded) in HONEST {
            let taken = *allowance == allowed;
            edge.get(target).await.is(if taken { 200 } else { 400 });
            expected.extend(taken.then_some(*forwarded));
        }
        assert_eq!(arrived(&edge), expected, "{allowed}");
    }
}

// Part 4, item 7.
#[tokio::test]
async fn whatever_is_allowed_no_reading_leads_elsewhere() {
    let edge = edge()
        .routes(
            "
  - { id: public, path: /public/**, upstream: app, auth: public }
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
  - { id: all, path: /**, upstream: app, auth: public }
",
        )
        .upstream_with(
            ", paths: { allow: [semicolon, empty_segments, encoded_slash, encoded_percent, \
             trailing_dot, trailing_space, encoded_backslash, non_utf8] }",
        )
        .start()
        .await;
    for target in ATTACKS {
        let answer = edge.get(target).await;
        assert_eq!(answer.status, 400, "{target}");
    }
    edge.get("/admin/x.").await.is(401);
    edge.get("/admin/x%5cy").await.is(401);
    assert_eq!(arrived(&edge), [""; 0]);
    for (_, target, forwarded) in HONEST {
        edge.get(target).await.is(200);
        assert_eq!(edge.upstream.last().target(), *forwarded);
    }
    for honest in ["/other.", "/caf%E9", "/a%5cb", "/tokens.", "/administration."] {
        edge.get(honest).await.is(200);
    }
}

/// Queries as clients send them, and as they arrive where Pingora cannot send them as they are.
fn queries() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let visible: Vec<u8> = (0x21..0x7f).filter(|b| !b"#\"<>".contains(b)).collect();
    let high: Vec<u8> = (0x80..=0xff).collect();
    vec![
        (visible, None),
        (b"path=C:\\Users\\joe".to_vec(), None),
        ("q=caf\u{e9}&\u{65e5}".as_bytes().to_vec(), None),
        (b"q=caf\xe9".to_vec(), None),
        (high, None),
        (b"a=/../b;c//%2e%zz%00%".to_vec(), None),
        (b"{[|]}^`".to_vec(), None),
        (b"".to_vec(), None),
        (b"q=\"a\"<b>\\".to_vec(), Some("q=%22a%22%3Cb%3E\\")),
        (b"q=\"a\"<b>\\\xe9".to_vec(), Some("q=%22a%22%3Cb%3E\\\\xe9")),
    ]
}

/// As the harness shows what is not UTF-8.
fn shown(bytes: &[u8]) -> String {
    bytes.utf8_chunks().map(|c| format!("{}{}", c.valid(), c.invalid().escape_ascii())).collect()
}

// Part 4, item 7.
#[tokio::test]
async fn the_query_arrives_byte_for_byte() {
    let edge = edge().start().await;
    for origin in ["", "http://edge.example.com"] {
        for (query, rewritten) in queries() {
            let mut wire = edge.wire().await;
            let start = format!("GET {origin}/public/x?");
            let end = format!(" HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
            let head = [start.as_bytes(), &query, end.as_bytes()].concat();
            let answer = wire.ask(head).await;
            assert_eq!(answer.status, 200, "{}", query.escape_ascii());
            let expected = rewritten.map_or_else(|| shown(&query), str::to_owned);
            assert_eq!(edge.upstream.last().target(), format!("/public/x?{expected}"));
        }
    }
}

// Part 4, item 7.
#[tokio::test]
async fn a_connection_goes_on_after_an_odd_query() {
    let edge = edge().start().await;
    let mut wire = edge.wire().await;
    for (query, body) in [("\"<>", "first"), ("\u{e9}", ""), ("\\", "third")] {
        let length = body.len();
        let head = format!(
            "POST /public?{query} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        wire.ask(head).await.is(200);
        assert_eq!(edge.upstream.last().body, body.as_bytes());
    }
    // The route and its rule are those of the path, whatever the query says.
    for query in ["\"", "\u{e9}", "\\..\\public", "x=/public/"] {
        edge.get(&format!("/admin?{query}")).await.is(401);
    }
    assert_eq!(edge.upstream.seen().len(), 3);
}

// Part 4, item 7.
#[tokio::test]
async fn what_would_end_the_target_is_refused_in_the_query() {
    let edge = edge().start().await;
    let controls = (0..0x20).chain([0x7f]).map(|byte: u8| vec![b'a', byte, b'b']);
    for query in controls.chain([b"a b".to_vec(), b"a#b".to_vec(), b"\xe9 ".to_vec()]) {
        let mut wire = edge.wire().await;
        let end = format!(" HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let answer = wire.ask([b"GET /public?", &query[..], end.as_bytes()].concat()).await;
        assert_eq!(answer.status, 400, "{}", query.escape_ascii());
    }
    for path in [&b"/public/\\"[..], b"/public/\"", b"/public/<", b"/public/\xe9"] {
        let mut wire = edge.wire().await;
        let end = format!(" HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let answer = wire.ask([b"GET ", path, end.as_bytes()].concat()).await;
        assert_eq!(answer.status, 400, "{}", path.escape_ascii());
    }
    assert_eq!(arrived(&edge), [""; 0]);
}

// Part 4, item 7. The decoder of HTTP/2 resets a stream whose `:path` has one of `"<>` in the query, and ends the
// connection of one that is not UTF-8.
#[tokio::test]
async fn over_http2_the_query_arrives_byte_for_byte_or_the_stream_is_reset() {
    let edge = edge().tls().start().await;
    for (query, rewritten) in queries() {
        let path = [b"/public/x?", &query[..]].concat();
        let mut fields = frames::request("GET", "/").to_vec();
        fields.retain(|(name, _)| *name != b":path");
        fields.push((b":path", &path));
        let mut wire = edge.frames().await;
        let outcome = wire.ask(&fields, None).await;
        if std::str::from_utf8(&query).is_err() {
            assert_eq!(outcome, Outcome::Gone(Some(1)), "{}", query.escape_ascii());
        } else if rewritten.is_some() {
            assert_eq!(outcome, Outcome::Reset(1), "{}", query.escape_ascii());
        } else {
            assert_eq!(outcome, Outcome::Answered(200), "{}", query.escape_ascii());
            assert_eq!(edge.upstream.last().target(), format!("/public/x?{}", shown(&query)));
        }
    }
}

// Part 4, item 28.
#[test]
fn explain_says_why_a_path_is_bad_and_what_would_take_it() {
    let site = Site::new("127.0.0.1:1");
    let explain = |target: &str| {
        ended(&site.run(&["explain", "-c", "portcullis.yaml", "GET", target], ""), 1).0
    };
    for (target, why, allow) in [
        ("/orders/D.C.", "a segment that ends in a dot", Some("[trailing_dot]")),
        ("/orders/x%20", "a segment that ends in white space", Some("[trailing_space]")),
        ("/orders/a%2Fb", "an escaped slash", Some("[encoded_slash]")),
        ("/orders/a;b//c", "a `;`", Some("[semicolon, empty_segments]")),
        ("/orders/a%252Fb", "an escape of an escape", Some("[encoded_percent]")),
        (
            "/orders/x%5cy.",
            "a segment that ends in a dot",
            Some("[trailing_dot, encoded_backslash]"),
        ),
        ("/orders/%E9", "escapes that are not UTF-8", Some("[non_utf8]")),
        ("/orders/..", "a dot segment", None),
        ("/orders/%5c.", "a segment that ends in a dot", None),
        ("/orders/%252e%252e/x", "an escape of an escape", None),
        ("/orders/\\", "a character that is not allowed", None),
        ("/orders/%zz", "a broken escape", None),
        ("/other.", "a segment that ends in a dot", None),
        ("/orders?a#b", "a control character, a raw space or a `#`", None),
    ] {
        let out = explain(target);
        assert!(out.contains("400 bad_path") && out.contains(why), "{target}: {out}");
        match allow {
            Some(allow) => {
                let remedy = format!("would pass with `paths.allow: {allow}` of upstream app\n");
                assert!(out.contains(&remedy), "{target}: {out}");
            }
            None => assert!(!out.contains("paths.allow"), "{target}: {out}"),
        }
    }
    for honest in ["/orders/x?q=\"<>\\é", "https://edge.example.com/orders/x?\"<>\\é"] {
        let out = explain(honest);
        assert!(out.contains("401 no_token") && !out.contains("paths.allow"), "{honest}: {out}");
    }
}
