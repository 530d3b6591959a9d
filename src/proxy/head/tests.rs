//! Heads, line by line, against standards H and I.

use super::*;

const BOUNDS: HeadBounds =
    HeadBounds { bytes: 32 * 1024, fields: 100, target: 8192, time: Duration::from_secs(10) };

fn read(head: &[u8]) -> Result<&[u8], HeadError> {
    super::read(head, BOUNDS).map(|head| head.target)
}

fn posted(fields: &str) -> Result<(), HeadError> {
    read(format!("POST /a HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").as_bytes()).map(|_| ())
}

fn refused(heads: &[&str]) {
    for head in heads {
        assert_eq!(read(head.as_bytes()), Err(HeadError::Malformed), "{head:?}");
    }
}

#[test]
fn an_ordinary_head_yields_its_target_as_received() {
    for (head, target) in [
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "*"),
        ("GET /a?b HTTP/1.1\r\nHost: a.example\r\n\r\n", "/a?b"),
        ("\r\nGET //%2e#f HTTP/1.1\r\nHost:a.example\t\r\nX-Empty:\r\n\r\n", "//%2e#f"),
        ("GET http://a.example/ HTTP/1.1\r\nhOST: a.example\r\n\r\n", "http://a.example/"),
        ("GET / HTTP/1.0\r\n\r\n", "/"),
    ] {
        assert_eq!(read(head.as_bytes()), Ok(target.as_bytes()), "{head:?}");
    }
}

#[test]
fn h6_one_host_is_needed() {
    refused(&[
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    ]);
    assert!(read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
}

#[test]
fn i1_a_length_and_a_coding_together_are_refused() {
    let (length, coding) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for both in [format!("{length}{coding}"), format!("{coding}{length}")] {
        assert_eq!(posted(&both), Err(HeadError::Malformed));
    }
    assert_eq!((posted(length), posted(coding), posted("")), (Ok(()), Ok(()), Ok(())));
}

#[test]
fn i2_a_length_is_one_decimal_number() {
    for value in
        ["", "+5", "-5", "5, 5", "5,6", "0x5", "5 5", "5.0", "٥", "18446744073709551616", "5\u{c}"]
    {
        let head = posted(&format!("Content-Length: {value}\r\n"));
        assert_eq!(head, Err(HeadError::Malformed), "{value}");
    }
    let twice = "Content-Length: 5\r\ncontent-length: 5\r\n";
    assert_eq!(posted(twice), Err(HeadError::Malformed));
    for value in ["0", "5", " 42 ", "18446744073709551615"] {
        assert_eq!(posted(&format!("Content-Length: {value}\r\n")), Ok(()), "{value}");
    }
}

#[test]
fn i3_the_only_coding_is_chunked_and_it_is_named_once() {
    for value in [
        "",
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked;q=1",
        "xchunked",
        "\"chunked\"",
        "identity",
        "chunked,",
    ] {
        let head = posted(&format!("Transfer-Encoding: {value}\r\n"));
        assert_eq!(head, Err(HeadError::Malformed), "{value}");
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(posted(twice), Err(HeadError::Malformed));
    assert_eq!(posted("transfer-encoding: Chunked\r\n"), Ok(()));
}

#[test]
fn i4_http_1_0_knows_no_codings() {
    refused(&["POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"]);
    assert!(read(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\n").is_ok());
}

#[test]
fn i6_fields_keep_to_the_grammar() {
    for field in [
        "X-A: b\r\n folded\r\n",
        "X-A: b\r\n\tfolded\r\n",
        " X-A: b\r\n",
        "X-A : b\r\n",
        "X-A\t: b\r\n",
        "X A: b\r\n",
        "no colon\r\n",
        ": b\r\n",
        "X(A): b\r\n",
        "X-A: b\0\r\n",
        "X-A: b\u{1}c\r\n",
        "X-A: b\u{7f}c\r\n",
    ] {
        assert_eq!(posted(field), Err(HeadError::Malformed), "{field:?}");
    }
    for field in ["X-A: b\tc\r\n", "X_A.~!:b:c\r\n", "X-A: \u{e9}\r\n", "X-A: \r\n"] {
        assert_eq!(posted(field), Ok(()), "{field:?}");
    }
}

#[test]
fn i7_every_line_ends_in_crlf_and_in_nothing_else() {
    refused(&[
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rX-B: c\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]);
}

#[test]
fn the_request_line_has_three_parts_and_two_single_spaces() {
    for line in [
        "GET / a HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "G(T / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / http/1.1",
        "GET / HTTP/2.0",
    ] {
        refused(&[&format!("{line}\r\nHost: a\r\n\r\n")]);
    }
}

#[test]
fn i14_only_100_continue_can_be_expected() {
    for value in ["", "100-continued", "200-ok", "100-continue, x", "100-continue\r\nExpect: y"] {
        let head = posted(&format!("Expect: {value}\r\n"));
        assert_eq!(head, Err(HeadError::Expectation), "{value}");
    }
    assert_eq!(posted("Expect: 100-Continue\r\n"), Ok(()));
}

#[test]
fn h3_h4_h5_a_target_has_one_form_and_is_a_uri() {
    for target in [
        "/a b",
        "/a\"b",
        "/<a>",
        "/a\u{e9}",
        "/a\u{7f}",
        "a",
        "?a",
        "foo:/a",
        "ftp://a/",
        "http:/a",
        "http://",
        "http:///a",
        "http://b/",
        "http://u@a/",
        "http://a:1/",
        "http://a\\b/",
        "http://a?b",
        "*/",
    ] {
        refused(&[&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")]);
    }
    for target in ["/a\\b", "/?{a}|^", "HTTP://a", "https://a/?b", "http://a/*"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(read(head.as_bytes()), Ok(target.as_bytes()), "{target}");
    }
    refused(&["GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"]);
    let connect = read(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!(connect, Err(HeadError::Connect));
}

#[test]
fn the_body_ends_where_the_head_says() {
    let body = |fields: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        super::read(head.as_bytes(), BOUNDS).map(|head| head.body)
    };
    assert_eq!(body(""), Ok(BodyLength::Fixed(0)));
    assert_eq!(body("Content-Length: 42\r\n"), Ok(BodyLength::Fixed(42)));
    assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(BodyLength::Chunked));
}

#[test]
fn of_anything_the_log_gets_a_method_and_a_target() {
    for (head, method, target) in [
        ("GET /a b HTTP/1.1\r\n", "GET", "/a"),
        ("\r\nPOST /a\r\n", "POST", "/a"),
        ("G(T /a HTTP/1.1\n", "", "/a"),
        ("\u{16}\u{3}", "", ""),
        ("", "", ""),
    ] {
        assert_eq!(glimpse(head.as_bytes()), (method.as_bytes(), target.as_bytes()), "{head:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let fields = |count: usize| "X-A: b\r\n".repeat(count);
    assert_eq!((posted(&fields(99)), posted(&fields(100))), (Ok(()), Err(HeadError::TooLarge)));
    let long = |count: usize| posted(&format!("X-A: {}\r\n", "b".repeat(count)));
    assert_eq!((long(32_000), long(33_000)), (Ok(()), Err(HeadError::TooLarge)));
    let far = |count: usize| {
        let target = "/".repeat(count);
        read(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).map(<[u8]>::len)
    };
    assert_eq!((far(8192), far(8193)), (Ok(8192), Err(HeadError::TargetTooLong)));
}

#[test]
fn http_2_heads_obey_the_same_bounds() {
    let with = |fields: &[(&'static str, &str)]| {
        let of = |(n, v): &(&'static str, &str)| (HeaderName::from_static(n), v.parse().unwrap());
        check_h2(b"/", &fields.iter().map(of).collect(), BOUNDS)
    };
    assert_eq!(with(&[("content-length", "5"), ("expect", "100-continue")]), Ok(()));
    assert_eq!(with(&[("content-length", "+5")]), Err(HeadError::Malformed));
    assert_eq!(
        with(&[("content-length", "5"), ("content-length", "5")]),
        Err(HeadError::Malformed)
    );
    assert_eq!(with(&[("expect", "x")]), Err(HeadError::Expectation));
    assert_eq!(with(&[("x", "y"); 101]), Err(HeadError::TooLarge));
    // Part 4, item 4.
    assert_eq!(with(&[("cookie", "a=b"); 180]), Ok(()));
    assert_eq!(with(&[&[("x", "y"); 99][..], &[("cookie", "a=b"); 180]].concat()), Ok(()));
    let many = [&[("x", "y"); 100][..], &[("cookie", "a=b"); 1]].concat();
    assert_eq!(with(&many), Err(HeadError::TooLarge));
    for padded in [" y", "y ", "\ty", "y\t", " "] {
        assert_eq!(with(&[("x", padded)]), Err(HeadError::Malformed));
    }
    assert_eq!(with(&[("x", ""), ("x", "y z")]), Ok(()));
    let far = check_h2(&[b'/'; 8193], &HeaderMap::new(), BOUNDS);
    assert_eq!(far, Err(HeadError::TargetTooLong));
}
