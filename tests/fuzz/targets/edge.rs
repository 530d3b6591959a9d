//! Raw bytes to a real edge: its upstream gets the requests that a strict reader finds in them, if they may pass, each to the
//! byte, in order, with our identity and nobody else's, and nothing more. In the input, `@A` and `@B` stand for tokens of alice
//! and bob, `@X` for one of alice that has expired.

#![no_main]

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::http1::{Next, Request, next};
use portcullis_fuzz::naive::{decoded, spelt};
use portcullis_fuzz::names::{folded, goes};
use portcullis_fuzz::socket::Edge;
use portcullis_fuzz::world::{Files, NOW, token};

/// Ends every input that does not end by itself, so that the edge closes the connection.
const LAST: &[u8] = b"GET /public/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// How many former inputs are watched for requests that come late.
const WATCHED: usize = 64;

struct World {
    edge: Edge,
    alice: String,
    bob: String,
    expired: String,
    former: VecDeque<(IpAddr, Vec<Expected>, Vec<u8>)>,
}

static WORLD: LazyLock<Mutex<World>> = LazyLock::new(|| {
    let files = Files::new();
    let past = NOW.minus(Duration::from_secs(7200));
    Mutex::new(World {
        alice: token(&files, "ed", "alice", "admin read", NOW),
        bob: token(&files, "es", "bob", "read", NOW),
        expired: token(&files, "ed", "alice", "admin read", past),
        edge: Edge::start(&files),
        former: VecDeque::new(),
    })
});

fuzz_target!(|input: &[u8]| {
    let mut world = WORLD.lock().expect("no panic before");
    let world = &mut *world;
    let mut bytes = world.filled_in(input);
    let mut script = world.script(&bytes);
    if script.end == End::Open {
        bytes.extend_from_slice(LAST);
        script = world.script(&bytes);
    }
    let (from, answers) = world.edge.send(&bytes, script.end == End::Cut);
    let got = world.edge.got(from);
    if std::env::var_os("SHOW").is_some() {
        show(&[&bytes, &answers], &script, &got);
    }
    let matched = check(&got, &script.expected, from);
    if script.is_exact && script.end == End::Closed {
        assert_eq!(matched, script.expected.len(), "an honest request did not arrive");
    }
    // What was cut off may still be on its way.
    world.former.push_back((from, script.expected, bytes));
    for (from, expected, bytes) in &world.former {
        let late = world.edge.got(*from);
        if late.len() > expected.len() {
            panic!("late: {}", String::from_utf8_lossy(bytes));
        }
        check(&late, expected, *from);
    }
    if world.former.len() > WATCHED
        && let Some((from, ..)) = world.former.pop_front()
    {
        world.edge.forget(from);
    }
});

/// Prints an exchange, for whoever looks at a finding.
fn show(sides: &[&[u8]; 2], script: &Script, got: &[Request]) {
    for side in sides {
        eprintln!("{}\n--", String::from_utf8_lossy(side));
    }
    for expected in &script.expected {
        let Expected { request, target, subject, .. } = expected;
        let Request { method, body, is_whole, .. } = request;
        eprintln!("expected: {method} {target} of {subject:?}, {} bytes, {is_whole}", body.len());
    }
    for Request { method, target, body, is_whole, .. } in got {
        let target = String::from_utf8_lossy(target);
        eprintln!("arrived: {method} {target}, {} bytes, {is_whole}", body.len());
    }
    eprintln!("{:?}, exactly: {}", script.end, script.is_exact);
}

/// How a sequence of requests ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With the last byte; the connection stays open.
    Open,
    /// With a request after which the connection is closed.
    Closed,
    /// Within a request.
    Cut,
    /// With something that is no request.
    Bad,
}

/// What may reach the upstream.
#[derive(Debug)]
struct Script {
    expected: Vec<Expected>,
    /// Whether all of it must.
    is_exact: bool,
    end: End,
}

#[derive(Debug)]
struct Expected {
    request: Request,
    target: String,
    host: Vec<u8>,
    subject: Option<&'static str>,
}

/// What a request comes to.
enum Disposition {
    Forward(String, Option<&'static str>),
    /// It is answered at the edge, and the connection goes on.
    Refuse,
    /// It is answered at the edge, which may close the connection then.
    Doubtful,
}

impl World {
    fn filled_in(&self, input: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(input.len());
        let mut rest = input;
        while let [byte, tail @ ..] = rest {
            let token = match (byte, tail.first()) {
                (b'@', Some(b'A')) => Some(&self.alice),
                (b'@', Some(b'B')) => Some(&self.bob),
                (b'@', Some(b'X')) => Some(&self.expired),
                _ => None,
            };
            match token {
                Some(token) => {
                    bytes.extend_from_slice(token.as_bytes());
                    rest = &tail[1..];
                }
                None => {
                    bytes.push(*byte);
                    rest = tail;
                }
            }
        }
        bytes
    }

    fn script(&self, bytes: &[u8]) -> Script {
        let mut script = Script { expected: Vec::new(), is_exact: true, end: End::Open };
        let mut at = 0;
        loop {
            let (request, used) = match next(&bytes[at..]) {
                Next::Nothing => return script,
                Next::Whole(request, used) => (request, used),
                Next::Cut(request) => {
                    self.add(request, &mut script);
                    script.end = End::Cut;
                    return script;
                }
                Next::Bad(request) => {
                    self.add(request, &mut script);
                    script.end = End::Bad;
                    return script;
                }
            };
            at += used;
            let options: Vec<_> = request.values("connection").collect();
            let closes = match options.as_slice() {
                [] => request.is_old,
                [option] => option.eq_ignore_ascii_case(b"close"),
                [..] => false,
            };
            script.is_exact &= options.len() < 2;
            self.add(Some(request), &mut script);
            if closes {
                script.end = End::Closed;
                return script;
            }
        }
    }

    fn add(&self, request: Option<Request>, script: &mut Script) {
        let Some(request) = request else { return };
        let special = ["expect", "upgrade", "connection", "te", "keep-alive"];
        let is_plain =
            |name: &&str| request.values(name).all(|value| value.eq_ignore_ascii_case(b"close"));
        let plain = special.iter().all(is_plain);
        script.is_exact &= plain && !request.is_old && request.is_whole;
        let (host, path, is_sure) = place(&request);
        script.is_exact &= is_sure;
        // Others arrive in another spelling: without a last dot, or with a shorter port.
        let host = if is_sure { host } else { Vec::new() };
        match self.fate(&request, &path) {
            Disposition::Forward(target, subject) => {
                script.expected.push(Expected { request, target, host, subject });
            }
            Disposition::Refuse => {}
            Disposition::Doubtful => script.is_exact = false,
        }
    }

    fn fate(&self, request: &Request, target: &[u8]) -> Disposition {
        let mut halves = target.splitn(2, |byte| *byte == b'?');
        let (path, query) = (halves.next().unwrap_or_default(), halves.next());
        let Some(segments) = clean(path) else { return Disposition::Doubtful };
        let good = |byte: &u8| matches!(byte, 0x21..=0x7e) && !b"#\"<>\\".contains(byte);
        if !query.unwrap_or_default().iter().all(good) {
            return Disposition::Doubtful;
        }
        let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        if !methods.contains(&&*request.method) {
            return Disposition::Doubtful;
        }
        let mut sent = spelt(path);
        if let Some(query) = query {
            sent = format!("{sent}?{}", String::from_utf8_lossy(query));
        }
        let who = self.bearer(request);
        match (segments.first().map(|first| &**first), who) {
            (Some(b"public"), _) => Disposition::Forward(sent, None),
            (Some(b"private"), Credential::Good(who)) => Disposition::Forward(sent, Some(who)),
            (Some(b"admin"), Credential::Good("alice")) => Disposition::Forward(sent, Some("alice")),
            (Some(b""), Credential::Good(who)) if segments.len() == 1 => {
                Disposition::Forward(sent, Some(who))
            }
            (Some(b""), Credential::Absent) if segments.len() == 1 => Disposition::Forward(sent, None),
            (Some(b"private" | b"admin"), Credential::Absent | Credential::Good(_)) => Disposition::Refuse,
            _ => Disposition::Doubtful,
        }
    }

    fn bearer(&self, request: &Request) -> Credential {
        let mut values = request.values("authorization");
        let (Some(value), None) = (values.next(), values.next()) else {
            let none = request.values("authorization").next().is_none();
            return if none { Credential::Absent } else { Credential::Bad };
        };
        let Some((scheme, rest)) = value.split_at_checked(7) else { return Credential::Bad };
        let token = String::from_utf8_lossy(rest.trim_ascii_start()).into_owned();
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Credential::Bad;
        }
        match token {
            token if token == self.alice => Credential::Good("alice"),
            token if token == self.bob => Credential::Good("bob"),
            _ => Credential::Bad,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Credential {
    Absent,
    Good(&'static str),
    Bad,
}

/// The host, the target in origin form, and whether the host is surely one.
fn place(request: &Request) -> (Vec<u8>, Vec<u8>, bool) {
    let plain = |host: &[u8]| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        (1..64).contains(&host.len())
            && host.iter().all(plain)
            && !host.starts_with(b"-")
            && !host.ends_with(b"-")
    };
    let field = request.only("host").unwrap_or_default().to_vec();
    let is_sure = plain(&field);
    let target = request.target.as_slice();
    let after = ["http://", "https://"].iter().find_map(|scheme| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    });
    let Some(after) = after else { return (field, target.to_vec(), is_sure) };
    let end = after.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let mut path = rest.to_vec();
    if !path.starts_with(b"/") {
        path.insert(0, b'/');
    }
    // Two hosts are one too many (RFC 9112 section 3.2.2 would believe the first).
    let path = if request.is_old || field == authority { path } else { Vec::new() };
    (authority.to_vec(), path, is_sure && plain(authority))
}

/// The segments of a path that can be read in one way only.
fn clean(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    let inner = path.strip_prefix(b"/")?;
    let plain = decoded(inner, false);
    let text = std::str::from_utf8(&plain).ok()?;
    let raw = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/%[]^|".contains(byte);
    let escapes = inner.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let mut escapes = escapes.map(|(at, _)| inner.get(at + 1..at + 3));
    let whole = escapes.all(|digits| digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)));
    let twice = decoded(&plain, true) != decoded(inner, true);
    if !inner.iter().all(raw) || !whole || twice || text.chars().any(|c| c.is_control()) {
        return None;
    }
    if text.contains([';', '\\']) || text.contains("%2F") || path.windows(2).any(|w| w == b"//") {
        return None;
    }
    let segments: Vec<Vec<u8>> = plain.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
    let shortened = |segment: &Vec<u8>| segment.ends_with(b".") || segment.ends_with(b" ");
    (!segments.iter().any(shortened)).then_some(segments)
}

/// Holds what arrived against what may; gives how much of it arrived.
fn check(got: &[Request], expected: &[Expected], from: IpAddr) -> usize {
    assert!(got.len() <= expected.len(), "the upstream got too much: {got:?}");
    for (got, expected) in got.iter().zip(expected) {
        let Expected { request, target, host, subject } = expected;
        assert_eq!(got.method, request.method, "the method");
        assert_eq!(String::from_utf8_lossy(&got.target), *target, "the target");
        let got_host = got.only("host").expect("one host");
        if !host.is_empty() {
            assert!(got_host.eq_ignore_ascii_case(host), "the host: {got_host:?}");
        }
        if got.is_whole {
            assert!(request.is_whole, "a body was completed that was not whole: {got:?}");
            assert_eq!(got.body, request.body, "the body");
        } else {
            assert!(request.body.starts_with(&got.body), "the beginning of the body");
        }
        let named: Vec<_> =
            got.fields.iter().filter(|(name, _)| folded(name) == "x_user").collect();
        match subject {
            None => assert!(named.is_empty(), "somebody became {named:?}"),
            Some(subject) => {
                assert_eq!(named.len(), 1, "{named:?}");
                assert!(named[0].0.eq_ignore_ascii_case("x-user"), "{named:?}");
                assert_eq!(named[0].1, subject.as_bytes(), "{named:?}");
            }
        }
        assert!(got.trailers.is_empty(), "trailers passed: {got:?}");
        for (name, value) in &got.fields {
            check_field(name, value, request, from);
        }
    }
    got.len()
}

/// Every field is ours, or one that the client sent and that may pass.
fn check_field(name: &str, value: &[u8], request: &Request, from: IpAddr) {
    let sent = || request.values(name).any(|own| own == value);
    match &*name.to_ascii_lowercase() {
        "x-forwarded-for" => assert_eq!(value, from.to_string().as_bytes(), "{name}"),
        "x-forwarded-proto" => assert_eq!(value, b"http", "{name}"),
        "x-request-id" => assert!(value.len() == 22, "{name}"),
        "x-user" | "host" | "x-forwarded-host" | "connection" | "transfer-encoding" => {}
        "content-length" => assert!(sent() || value == b"0", "{name}"),
        "upgrade" => {
            let mut named =
                request.values("connection").flat_map(|field| field.split(|b| *b == b','));
            let named = named.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
            let asked =
                request.only(name).is_some_and(|own| own.eq_ignore_ascii_case(b"websocket"));
            assert!(named && asked && value == b"websocket", "{name} was not asked for");
        }
        "cookie" => {
            let sent: Vec<_> = request.values(name).filter(|own| !own.is_empty()).collect();
            assert_eq!(value, sent.join(&b"; "[..]), "{name}");
        }
        // On public routes what is no bearer token.
        "authorization" => {
            let bearer = value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
            assert!(request.only(name) == Some(value) && !bearer, "{name} passed");
        }
        _ => {
            assert!(!goes(name), "{name} passed");
            assert!(sent(), "{name}: {} was never sent", String::from_utf8_lossy(value));
        }
    }
}
