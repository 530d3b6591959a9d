//! HTTP/2 as no library speaks it (RFC 9113; I18 of the requirements): by frames made by hand, judged by what the application
//! was sent. Whatever is malformed ends its stream or its connection, and no request of it is ever completed.

use crate::harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Field, GOAWAY, HEADERS, Outcome, PADDED,
    PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, headers,
    request,
};
use crate::harness::{Edge, Frames, HOST, STREAMED, edge};

const PRIORITIZED: u8 = 0x20;

/// What no request may be, sent on a connection each.
struct Malformed<'a> {
    edge: &'a Edge,
    wrong: Vec<String>,
}

impl<'a> Malformed<'a> {
    const fn at(edge: &'a Edge) -> Self {
        Self { edge, wrong: Vec::new() }
    }

    /// Bytes behind the preface and settings, and the stream that must not be served for them.
    async fn send(&mut self, what: &str, bytes: Vec<u8>, stream: u32) {
        let mut client = self.edge.frames().await;
        client.send(bytes).await;
        let outcome = client.outcome(stream).await;
        if !outcome.is_refusal() {
            self.wrong.push(format!("{what}: {outcome:?}"));
        }
    }

    /// A GET with these fields only.
    async fn fields(&mut self, what: &str, fields: &[Field<'_>]) {
        self.send(what, headers(1, END_STREAM, fields), 1).await;
    }

    /// A GET with a further field.
    async fn field(&mut self, what: &str, name: &[u8], value: &[u8]) {
        let all = [&request("GET", "/public/malformed")[..], &[(name, value)]].concat();
        self.fields(what, &all).await;
    }

    /// Nothing was served, and a well-formed request is.
    async fn were_refused(self) {
        let honest = self.edge.frames().await.ask(&request("GET", "/public/honest"), None).await;
        assert_eq!(honest, Outcome::Answered(200));
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        for seen in self.edge.upstream.settled().await {
            assert!(!seen.complete || seen.target() == "/public/honest", "{seen:?}");
        }
    }
}

#[tokio::test]
async fn i18_fields_hold_no_control_and_no_upper_case() {
    let edge = edge().tls().start().await;
    let mut malformed = Malformed::at(&edge);
    for (what, name, value) in [
        ("CR in the value", &b"x-a"[..], &b"b\rc"[..]),
        ("LF in the value", b"x-a", b"b\nc"),
        ("a field in the value", b"x-a", b"b\r\nx-user: mallory"),
        ("NUL in the value", b"x-a", b"b\0c"),
        ("control in the value", b"x-a", b"b\x01c"),
        ("space before the value", b"x-a", b" b"),
        ("space behind the value", b"x-a", b"b "),
        ("tab before the value", b"x-a", b"\tb"),
        ("tab behind the value", b"x-a", b"b\t"),
        ("upper case", b"X-User", b"mallory"),
        ("one upper-case letter", b"x-uSer", b"mallory"),
        ("space in the name", b"x a", b"b"),
        ("space before the name", b" x-a", b"b"),
        ("space behind the name", b"x-a ", b"b"),
        ("colon in the name", b"x:a", b"b"),
        ("colon behind the name", b"x-a:", b"b"),
        ("CR in the name", b"x\ra", b"b"),
        ("LF in the name", b"x\na", b"b"),
        ("a field in the name", b"x: a\r\nx-user", b"mallory"),
        ("NUL in the name", b"x\0a", b"b"),
        ("DEL in the name", b"x\x7fa", b"b"),
        ("not ASCII in the name", "x-ä".as_bytes(), b"b"),
        ("no name", b"", b"b"),
    ] {
        malformed.field(what, name, value).await;
    }
    malformed.were_refused().await;
}

#[tokio::test]
async fn i18_fields_of_one_connection_are_no_fields_here() {
    let edge = edge().tls().start().await;
    let mut malformed = Malformed::at(&edge);
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-user"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        malformed.field(&format!("{name}: {value}"), name.as_bytes(), value.as_bytes()).await;
    }
    malformed.were_refused().await;
    let fields = [&request("GET", "/public/te")[..], &[(b"te", b"trailers")]].concat();
    assert_eq!(edge.frames().await.ask(&fields, None).await, Outcome::Answered(200));
    assert_eq!(edge.upstream.last().values("te"), [""; 0]);
}

#[tokio::test]
async fn i18_pseudo_fields_stand_first_once_and_are_known() {
    let edge = edge().tls().start().await;
    let mut malformed = Malformed::at(&edge);
    let whole = request("GET", "/public/malformed");
    let [method, scheme, authority, path] = whole;
    let admin: Field<'_> = (b":path", b"/admin");
    for (what, fields) in [
        ("two methods", &[method, method, scheme, authority, path][..]),
        ("two schemes", &[method, scheme, scheme, authority, path]),
        ("two authorities", &[method, scheme, authority, authority, path]),
        ("two paths", &[method, scheme, authority, path, admin]),
        ("two paths, the other first", &[method, scheme, authority, admin, path]),
        ("no method", &[scheme, authority, path]),
        ("no scheme", &[method, authority, path]),
        ("no path", &[method, scheme, authority]),
        ("no authority", &[method, scheme, path]),
        ("a field first", &[(b"x-a", b"b"), method, scheme, authority, path]),
        ("a field between", &[method, scheme, authority, (b"x-a", b"b"), path]),
        ("an unknown one", &[method, scheme, authority, path, (b":x-user", b"mallory")]),
        ("one of answers", &[method, scheme, authority, path, (b":status", b"200")]),
        ("an extended one", &[method, scheme, authority, path, (b":protocol", b"websocket")]),
    ] {
        malformed.fields(what, fields).await;
    }
    for target in [
        "",
        "*",
        "public",
        "admin/x",
        "?x",
        "/public/a b",
        "/public\t",
        "/public\0",
        "/public\r\nX-User: mallory",
        "/public\\..\\admin",
        "/public/ä",
        "/public/../admin",
        "/public/\"a\"",
        "/public/<a>",
        "http://edge.example.com/public",
        "//edge.example.com/public",
    ] {
        malformed.fields(target, &request("GET", target)).await;
    }
    for value in ["", " ", "a b", "user@edge.example.com", "a/b", "a\r\nX-User: mallory", "a:99999"]
    {
        let fields = [method, scheme, (b":authority", value.as_bytes()), path];
        malformed.fields(&format!("authority {value:?}"), &fields).await;
    }
    for value in ["", "G ET", "GET\r\nX-User: mallory", "CONNECT", "TRACE", "GET\0"] {
        let fields = [(&b":method"[..], value.as_bytes()), scheme, authority, path];
        malformed.fields(&format!("method {value:?}"), &fields).await;
    }
    malformed.were_refused().await;
}

#[tokio::test]
async fn h5_a_fragment_is_gone_before_the_decision() {
    let edge = edge().tls().start().await;
    let mut client = edge.frames().await;
    for (target, arrives) in [("/public#/../admin", "/public"), ("/public/x#y?z", "/public/x")] {
        if client.ask(&request("GET", target), None).await == Outcome::Answered(200) {
            assert_eq!(edge.upstream.last().target(), arrives);
        }
    }
    assert!(client.ask(&request("GET", "/admin#/public"), None).await.is_refusal());
}

#[tokio::test]
async fn i18_the_host_field_agrees_with_the_authority() {
    let edge = edge().tls().start().await;
    let mut malformed = Malformed::at(&edge);
    for host in ["evil.example.com", "", "edge.example.com:1", "edge.example.com, a", "a@b"] {
        malformed.field(host, b"host", host.as_bytes()).await;
    }
    let twice = [(&b"host"[..], HOST.as_bytes()), (b"host", b"evil.example.com")];
    let twice = [&request("GET", "/public/malformed")[..], &twice].concat();
    malformed.fields("two that differ", &twice).await;
    malformed.were_refused().await;
    let [method, scheme, _, path] = request("GET", "/public/host");
    let only = [method, scheme, path, (b"host", HOST.as_bytes())];
    assert_eq!(edge.frames().await.ask(&only, None).await, Outcome::Answered(200));
    assert_eq!(edge.upstream.last().values("host"), [HOST]);
}

fn post(length: &str) -> Vec<Field<'_>> {
    let pseudo = request("POST", "/public/malformed");
    [&pseudo[..], &[(b"content-length", length.as_bytes())]].concat()
}

#[tokio::test]
async fn i18_a_length_is_that_of_the_data() {
    let edge = edge().tls().start().await;
    let mut malformed = Malformed::at(&edge);
    for (length, data) in [("5", "abc"), ("5", "abcdefgh"), ("5, 5", "abcde"), ("+5", "abcde")] {
        let bytes = [headers(1, 0, &post(length)), frame(DATA, END_STREAM, 1, data.as_bytes())];
        malformed.send(&format!("{length} for {data}"), bytes.concat(), 1).await;
        let (first, second) = data.as_bytes().split_at(2);
        let frames = [frame(DATA, 0, 1, first), frame(DATA, END_STREAM, 1, second)].concat();
        let bytes = [headers(1, 0, &post(length)), frames].concat();
        malformed.send(&format!("{length} for {data} in two"), bytes, 1).await;
    }
    malformed.send("no data", headers(1, END_STREAM, &post("5")), 1).await;
    let twice = [&post("5")[..], &[(b"content-length", b"6")]].concat();
    let bytes = [headers(1, 0, &twice), frame(DATA, END_STREAM, 1, b"abcde")].concat();
    malformed.send("two that differ", bytes, 1).await;
    malformed.were_refused().await;

    // None at all is whole before the data comes, which is then nobody's.
    let mut client = edge.frames().await;
    let smuggled = frame(DATA, END_STREAM, 1, b"GET /public/smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send([headers(1, 0, &post("0")), smuggled].concat()).await;
    assert!(client.outcome(1).await.is_refusal());
    for seen in edge.upstream.settled().await {
        assert!(!seen.head.contains("smuggled") && !seen.body.starts_with(b"GET"), "{seen:?}");
    }

    let mut fields = post("5");
    fields[3] = (b":path", b"/public/length");
    assert_eq!(edge.frames().await.ask(&fields, Some(b"abcde")).await, Outcome::Answered(200));
    let seen = edge.upstream.last();
    assert_eq!((seen.target(), &seen.body[..]), ("/public/length", &b"abcde"[..]));
}

#[tokio::test]
async fn i12_i18_a_cut_body_is_not_completed() {
    for length in [None, Some("10")] {
        let edge = edge().tls().upstream_with(STREAMED).start().await;
        let mut fields = request("POST", "/public/cut").to_vec();
        fields.extend(length.map(|length| (&b"content-length"[..], length.as_bytes())));
        let mut client = edge.frames().await;
        let stream = client.stream();
        client.send([headers(stream, 0, &fields), frame(DATA, 0, stream, b"short")].concat()).await;
        edge.upstream.began(1).await;
        client.send(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
        let seen = edge.upstream.saw(1).await.pop().unwrap();
        assert!(!seen.complete, "{seen:?}");
        let next = client.ask(&request("GET", "/public/next"), None).await;
        assert_eq!(next, Outcome::Answered(200));
    }
}

#[tokio::test]
async fn i18_frames_are_of_their_size_on_their_stream_in_their_order() {
    let edge = edge().tls().start().await;
    let mut malformed = Malformed::at(&edge);
    let get = |stream| headers(stream, END_STREAM, &request("GET", "/public/malformed"));
    let open = headers(1, 0, &request("POST", "/public/malformed"));
    let fields = block(&request("GET", "/public/malformed"));
    let part = |stream| frame(HEADERS, END_STREAM, stream, &fields[..10]);
    let rest = |stream| frame(CONTINUATION, END_HEADERS, stream, &fields[10..]);
    let window = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let code = 8_u32.to_be_bytes();
    let large = vec![b'a'; 16_385];
    for (what, stream, bytes) in [
        ("DATA on an idle stream", 1, [frame(DATA, 0, 1, b"a"), get(1)]),
        ("DATA on the connection", 1, [frame(DATA, 0, 0, b"a"), get(1)]),
        ("HEADERS on the connection", 1, [get(0), get(1)]),
        ("HEADERS on an even stream", 2, [get(2), get(2)]),
        ("HEADERS on a lower stream", 3, [frame(RST_STREAM, 0, 5, &code), get(3)]),
        ("HEADERS twice", 1, [open.clone(), open.clone()]),
        ("CONTINUATION alone", 1, [rest(1), get(1)]),
        ("CONTINUATION of another stream", 1, [part(1), rest(3)]),
        ("DATA before the CONTINUATION", 1, [part(1), [frame(DATA, 0, 1, b"a"), rest(1)].concat()]),
        (
            "PING before the CONTINUATION",
            1,
            [part(1), [frame(PING, 0, 0, &[0; 8]), rest(1)].concat()],
        ),
        ("HEADERS before the CONTINUATION", 1, [part(1), [get(3), rest(1)].concat()]),
        (
            "more padding than HEADERS",
            1,
            [frame(HEADERS, END_HEADERS | PADDED, 1, b"\xffab"), get(1)],
        ),
        (
            "more padding than DATA",
            1,
            [open.clone(), frame(DATA, PADDED | END_STREAM, 1, b"\x05ab")],
        ),
        ("padded and empty", 1, [open.clone(), frame(DATA, PADDED | END_STREAM, 1, b"")]),
        ("PRIORITY of 4", 1, [frame(PRIORITY, 0, 1, &[0; 4]), get(1)]),
        ("PRIORITY of the connection", 1, [frame(PRIORITY, 0, 0, &[0; 5]), get(1)]),
        ("RST_STREAM of 3", 1, [frame(RST_STREAM, 0, 1, &[0; 3]), get(1)]),
        ("RST_STREAM of the connection", 1, [frame(RST_STREAM, 0, 0, &code), get(1)]),
        ("RST_STREAM of an idle stream", 1, [frame(RST_STREAM, 0, 1, &code), get(1)]),
        ("SETTINGS of 5", 1, [frame(SETTINGS, 0, 0, &[0; 5]), get(1)]),
        ("SETTINGS of a stream", 1, [frame(SETTINGS, 0, 1, b""), get(1)]),
        ("an acknowledgement that says something", 1, [frame(SETTINGS, ACK, 0, &[0; 6]), get(1)]),
        ("a window that cannot be", 1, [frame(SETTINGS, 0, 0, b"\0\x04\xff\xff\xff\xff"), get(1)]),
        ("a frame size that cannot be", 1, [frame(SETTINGS, 0, 0, b"\0\x05\0\0\0\x01"), get(1)]),
        ("a push that cannot be", 1, [frame(SETTINGS, 0, 0, b"\0\x02\0\0\0\x02"), get(1)]),
        ("PING of 7", 1, [frame(PING, 0, 0, &[0; 7]), get(1)]),
        ("PING of a stream", 1, [frame(PING, 0, 1, &[0; 8]), get(1)]),
        ("WINDOW_UPDATE by nothing", 1, [window(0, 0), get(1)]),
        ("WINDOW_UPDATE beyond", 1, [window(0, 0x7fff_ffff), get(1)]),
        ("WINDOW_UPDATE of 3", 1, [frame(WINDOW_UPDATE, 0, 0, &[1; 3]), get(1)]),
        ("WINDOW_UPDATE of an idle stream", 1, [window(1, 1), get(1)]),
        ("GOAWAY of a stream", 1, [frame(GOAWAY, 0, 1, &[0; 8]), get(1)]),
        ("GOAWAY of 7", 1, [frame(GOAWAY, 0, 0, &[0; 7]), get(1)]),
        ("PUSH_PROMISE", 1, [frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), get(1)]),
        ("a frame that is too large", 1, [open.clone(), frame(DATA, END_STREAM, 1, &large)]),
        (
            "no such index",
            1,
            [frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\x01"), get(3)],
        ),
        ("index 0", 1, [frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"), get(3)]),
        ("a cut string", 1, [frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x10\x05ab"), get(3)]),
        (
            "a table that is too large",
            1,
            [frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x7f"), get(3)],
        ),
        ("a number without end", 1, [frame(HEADERS, END_HEADERS, 1, &[0xff; 40]), get(3)]),
        (
            "a bad code",
            1,
            [frame(HEADERS, END_HEADERS, 1, b"\x10\x84\xff\xff\xff\xff\x01a"), get(3)],
        ),
    ] {
        malformed.send(what, bytes.concat(), stream).await;
    }
    malformed.were_refused().await;
}

#[tokio::test]
async fn i18_data_behind_the_end_of_a_stream_is_no_request() {
    let edge = edge().tls().start().await;
    let mut client = edge.frames().await;
    let get = headers(1, END_STREAM, &request("GET", "/public/first"));
    let smuggled = frame(DATA, END_STREAM, 1, b"GET /public/smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send([get, smuggled].concat()).await;
    // The request that was whole may have been served; its stream or the connection has ended either way.
    client.outcome(1).await;
    let mut client = edge.frames().await;
    assert_eq!(client.ask(&request("GET", "/public/honest"), None).await, Outcome::Answered(200));
    for seen in edge.upstream.settled().await {
        assert!(!seen.head.contains("smuggled") && seen.body.is_empty(), "{seen:?}");
    }
}

#[tokio::test]
async fn i15_i18_trailers_end_the_stream_and_hold_no_pseudo_field() {
    let edge = edge().tls().start().await;
    let mut malformed = Malformed::at(&edge);
    let open = [headers(1, 0, &request("POST", "/public/malformed")), frame(DATA, 0, 1, b"a")];
    let open = open.concat();
    for (what, flags, field) in [
        ("no end", 0, (&b"x-a"[..], &b"b"[..])),
        ("a connection field", END_STREAM, (b"connection", b"x-user")),
        ("upper case", END_STREAM, (b"X-User", b"mallory")),
        ("a line", END_STREAM, (b"x-a", b"b\r\nx-user: mallory")),
    ] {
        malformed.send(what, [&open[..], &headers(1, flags, &[field])].concat(), 1).await;
    }
    malformed.were_refused().await;

    // The library below us takes these and forgets them; no trailer goes any further.
    for field in [(&b":path"[..], &b"/admin"[..]), (b":status", b"200"), (b":authority", b"evil")] {
        let mut client = edge.frames().await;
        let stream = client.stream();
        let post = headers(stream, 0, &request("POST", "/public/trailers"));
        let bytes = [post, frame(DATA, 0, stream, b"a"), headers(stream, END_STREAM, &[field])];
        client.send(bytes.concat()).await;
        if client.outcome(stream).await == Outcome::Answered(200) {
            let seen = edge.upstream.last();
            assert_eq!(seen.line(), "POST /public/trailers HTTP/1.1");
            assert_eq!(
                (seen.values("host"), &seen.body[..]),
                (vec![HOST], &b"1\r\na\r\n0\r\n\r\n"[..])
            );
        }
    }
}

#[tokio::test]
async fn honest_frames_of_every_kind_are_served() {
    let edge = edge().tls().start().await;
    let mut client = edge.frames().await;
    let fields = block(&request("POST", "/public/pieces"));
    let padded = [&[2, 0, 0, 0, 0, 9][..], &fields[..7], &[0, 0]].concat();
    let pieces = [
        frame(PING, 0, 0, b"portcull"),
        frame(0xfa, 0xff, 1, b"of no known kind"),
        frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 7]),
        frame(HEADERS, PADDED | PRIORITIZED, 1, &padded),
        frame(CONTINUATION, 0, 1, &fields[7..20]),
        frame(CONTINUATION, 0, 1, b""),
        frame(CONTINUATION, END_HEADERS, 1, &fields[20..]),
        frame(WINDOW_UPDATE, 0, 1, &1000_u32.to_be_bytes()),
        frame(DATA, 0, 1, b""),
        frame(DATA, PADDED, 1, b"\x03hel\0\0\0"),
        frame(DATA, 0, 1, b"lo"),
        headers(1, END_STREAM, &[(b"x-checksum", b"1")]),
    ];
    client.send(pieces.concat()).await;
    let pong = loop {
        let heard = client.frame().await.unwrap();
        if heard.kind == PING {
            break heard;
        }
    };
    assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"portcull"[..]));
    assert_eq!(client.outcome(1).await, Outcome::Answered(200));
    let seen = edge.upstream.last();
    assert_eq!(seen.line(), "POST /public/pieces HTTP/1.1");
    let body = String::from_utf8(seen.body).unwrap();
    assert!(body.contains("hel") && body.contains("lo") && !body.contains("checksum"), "{body}");
}

#[tokio::test]
async fn what_is_no_preface_is_no_connection() {
    let edge = edge().tls().start().await;
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"GET /public HTTP/1.1\r\nHost: edge.example.com\r\n\r\n",
        &frame(PING, 0, 0, &[0; 8]),
    ] {
        let mut client = Frames::connect_silent(edge.address, edge.root()).await;
        client.send(bytes).await;
        client.send(headers(1, END_STREAM, &request("GET", "/public"))).await;
        assert!(client.outcome(1).await.is_refusal());
    }
    assert!(edge.upstream.seen().is_empty());
}

/// Part 4, item 31. Without it a client could not tell whether a request that it sends at that moment was taken.
#[tokio::test]
async fn an_idle_connection_ends_with_goaway() {
    let tls = "tls: { certificate: edge.pem, private_key: edge.key }";
    let limits = "limits: { keepalive_timeout: 1s, header_timeout: 1s }";
    let listener = format!("{{ address: '127.0.0.1:0', {tls}, {limits} }}");
    let edge = edge().listener(&listener).start().await;
    let mut used = edge.frames().await;
    assert_eq!(used.ask(&request("GET", "/public/one"), None).await, Outcome::Answered(200));
    let mut unused = edge.frames().await;
    for client in [&mut used, &mut unused] {
        let next = client.stream();
        assert_eq!(client.outcome(next).await, Outcome::Gone(Some(0)), "NO_ERROR");
    }
}
