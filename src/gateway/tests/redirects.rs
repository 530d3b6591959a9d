//! The listener that only says where to find things over https.

use http::header::LOCATION;

use super::*;

const ROUTES: &str = r"
  - { id: all, path: /**, upstream: app, auth: public }
  - { id: shop, host: shop.example.com, path: /**, upstream: app }
  - { id: many, host: '*.many.example.com', path: /**, upstream: app }
";

/// What a request comes to on that listener: a status and a reason, and where it is sent.
fn asked(gateway: &Gateway, method: &Method, host: &str, target: &str) -> String {
    let transport = Transport::Plain(PlaintextPolicy::Redirect);
    let connection =
        Connection { peer: "203.0.113.9:1".parse().unwrap(), transport, certificate: None };
    let mut ask = Ask { connection, ..Ask::new(gateway) };
    ask.headers.insert(HOST, host.parse().unwrap());
    ask.headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer a, b"));
    let head = RequestHead {
        method,
        target: target.as_bytes(),
        authority: None,
        headers: &ask.headers,
        connection: &ask.connection,
        request_id: "1",
    };
    let Decision::Refuse(denial) = gateway.decide(&head, NOW) else {
        return "let through".to_owned();
    };
    let answer = denial.answer();
    let location = answer.headers.get(LOCATION).map(|url| url.to_str().unwrap());
    format!("{} {} {}", answer.status.as_u16(), denial.reason(), location.unwrap_or("nowhere"))
}

#[test]
fn get_and_head_are_sent_to_the_configured_host_they_asked_for() {
    let gateway = gateway(&text("semicolon", ROUTES));
    for (host, target, url) in [
        ("edge.example.com", "/token?a=b&c", "https://edge.example.com/token?a=b&c"),
        ("EDGE.example.COM.:8080", "/%61/", "https://edge.example.com/a/"),
        ("shop.example.com", "/", "https://shop.example.com/"),
        ("a.b.many.example.com", "/x?", "https://a.b.many.example.com/x?"),
        ("shop.example.com", "/a;b", "https://shop.example.com/a;b"),
        // Part 4, item 7: the query is passed on; what no URI holds is escaped in ours.
        ("shop.example.com", "/a?\"<\\é|", "https://shop.example.com/a?%22%3C%5C%C3%A9%7C"),
        (
            "shop.example.com",
            "/.well-known/acme-challenge/x",
            "https://shop.example.com/.well-known/acme-challenge/x",
        ),
        (
            "shop.example.com",
            "/a?to=https://evil.example",
            "https://shop.example.com/a?to=https://evil.example",
        ),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let expected = format!("308 redirected {url}");
            assert_eq!(asked(&gateway, &method, host, target), expected);
        }
    }
}

#[test]
fn no_other_host_and_no_other_method_is_sent_anywhere() {
    let gateway = gateway(&text("", ROUTES));
    for host in [
        "evil.example",
        "many.example.com",
        "edge.example.com.evil.example",
        "example.com",
        "127.0.0.1",
    ] {
        assert_eq!(asked(&gateway, &Method::GET, host, "/"), "404 no_route nowhere", "{host}");
    }
    for method in
        [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE, Method::PATCH]
    {
        let refused = asked(&gateway, &method, "edge.example.com", "/token");
        assert_eq!(refused, "403 plaintext_refused nowhere", "{method}");
    }
}

#[test]
fn a_target_that_could_be_read_in_two_ways_is_no_place_to_send_anybody() {
    let gateway = gateway(&text("", ROUTES));
    for target in [
        "//evil.example/",
        "/a/../b",
        "/a;b",
        "/a%2fb",
        "/a%00",
        "/a#b",
        "/\\evil.example",
        "*",
        "x",
        "/a%0d%0aSet-Cookie:x",
        "http://edge.example.com/a",
        "https://evil.example/a",
        "/a?b#c",
    ] {
        let refused = asked(&gateway, &Method::GET, "edge.example.com", target);
        assert_eq!(refused, "400 bad_path nowhere", "{target}");
    }
    let refused = asked(&gateway, &Method::GET, "user@edge.example.com", "/");
    assert_eq!(refused, "400 bad_request nowhere");
}
