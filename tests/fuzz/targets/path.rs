//! Request targets: whatever an upstream could make of what is forwarded leads to the route that was decided, or the answer was
//! 400. Several hosts have the same routes; their upstreams are allowed none of the ambiguous spellings, each alone, all but
//! each, and all.

#![no_main]

use std::sync::LazyLock;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use portcullis::gateway::Gateway;
use portcullis::gateway::decide::{Decision, RequestHead};
use portcullis::reason::Reason;
use portcullis::route::path::RequestPath;
use portcullis_fuzz::naive::{decoded, is_harmless, readings, segments, spelt};
use portcullis_fuzz::world::{BASE, Files, NOW, connection, gateway};

const ENDPOINTS: [&[u8]; 6] = [
    b"/token",
    b"/token/revoke",
    b"/token/introspect",
    b"/token/userinfo",
    b"/.well-known/jwks.json",
    b"/.well-known/oauth-authorization-server",
];

const NAMES: [&str; 8] = [
    "semicolon",
    "empty_segments",
    "encoded_slash",
    "encoded_percent",
    "trailing_dot",
    "trailing_space",
    "encoded_backslash",
    "non_utf8",
];

/// The allowances of the hosts, as sets of bits.
fn combinations() -> impl Iterator<Item = u8> {
    let single = (0..8).map(|bit| 1 << bit);
    let others = (0..8).map(|bit| !(1 << bit));
    [0, 3, 5, 6, 7, u8::MAX].into_iter().chain(single).chain(others)
}

static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| {
    let mut text = format!("listeners: [{{ address: '127.0.0.1:0' }}]\n{BASE}upstreams:\n");
    let mut routes = String::from("routes:\n");
    for allowed in combinations() {
        let names = NAMES.iter().enumerate().filter(|(bit, _)| allowed >> bit & 1 == 1);
        let names = names.map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        text += &format!(
            "  u{allowed}: {{ servers: ['127.0.0.1:1'], paths: {{ allow: [{names}] }} }}\n"
        );
        for (name, path, auth) in [
            ("home", "/", "optional"),
            ("public", "/public/**", "public"),
            ("admin", "/admin/**", "required"),
            ("open", "/admin/{x}/open", "public"),
            ("a", "/a", "optional"),
            ("b", "/a/b/**", "public"),
            ("one", "/{x}", "public"),
            ("two", "/{x}/two", "public"),
        ] {
            routes += &format!(
                "  - {{ id: {name}-{allowed}, host: h{allowed}.example, path: '{path}', upstream: u{allowed}, auth: {auth} }}\n"
            );
        }
    }
    gateway(&Files::new().with((text + &routes).as_bytes()))
});

fuzz_target!(|target: &[u8]| {
    for allowed in combinations() {
        judge(target, allowed);
    }
});

/// What was decided, by route.
enum Outcome {
    /// Forwarded, or refused for want of a token only: the route, and the target for the upstream if it is known.
    Routed(String, Option<Vec<u8>>),
    Served,
    BadRequest,
    Nothing,
}

fn decide(target: &[u8], allowed: u8) -> Outcome {
    let mut headers = HeaderMap::new();
    let host = HeaderValue::from_str(&format!("h{allowed}.example")).expect("a host");
    headers.insert(HOST, host);
    let connection = connection();
    let head = RequestHead {
        method: &Method::GET,
        target,
        authority: None,
        headers: &headers,
        connection: &connection,
        request_id: "id",
    };
    match GATEWAY.decide(&head, NOW) {
        Decision::Serve(_) => Outcome::Served,
        Decision::Forward(permit) => {
            Outcome::Routed(permit.route_id().to_string(), Some(permit.target().to_owned()))
        }
        Decision::Refuse(denial) if denial.reason() == Reason::NoToken => {
            Outcome::Routed(denial.route_id().expect("a route").to_string(), None)
        }
        Decision::Refuse(denial) if denial.answer().status == StatusCode::BAD_REQUEST => {
            Outcome::BadRequest
        }
        Decision::Refuse(denial) => {
            assert_eq!(denial.answer().status, StatusCode::NOT_FOUND);
            Outcome::Nothing
        }
    }
}

fn judge(target: &[u8], allowed: u8) {
    let is_origin_form = target.first() == Some(&b'/');
    let mut halves = target.splitn(2, |byte| *byte == b'?');
    let (path, query) = (halves.next().unwrap_or_default(), halves.next());
    let outcome = decide(target, allowed);
    if is_origin_form && is_harmless(path) && query.is_none() && path.len() < 8000 {
        assert!(!matches!(outcome, Outcome::BadRequest), "a harmless path is refused");
    }
    let (route, forwarded) = match outcome {
        Outcome::Routed(route, forwarded) => (route, forwarded),
        Outcome::Served => {
            let own = |own: &[u8]| if is_origin_form { path == own } else { path.ends_with(own) };
            assert!(ENDPOINTS.iter().any(|e| own(e)), "something else is an endpoint");
            return;
        }
        Outcome::BadRequest | Outcome::Nothing => return,
    };
    // Absolute form names its own host; what follows is about origin form, and about what became of the other.
    let sent = match (&forwarded, is_origin_form) {
        (Some(sent), _) => sent.clone(),
        (None, true) => RequestPath::parse(path).expect("it was routed").spelling().into(),
        (None, false) => return,
    };
    let mut halves = sent.splitn(2, |byte| *byte == b'?');
    let (sent_path, sent_query) = (halves.next().unwrap_or_default(), halves.next());
    if is_origin_form {
        assert_eq!(sent_path, spelt(path).as_bytes(), "it is spelt in another way");
        assert_eq!(decoded(sent_path, false), decoded(path, false), "it means something else");
        if forwarded.is_some() {
            assert_eq!(sent_query, query, "the query was touched");
        }
    }

    let again = RequestPath::parse(sent_path).expect("what is forwarded can be read");
    assert_eq!(again.spelling().as_bytes(), sent_path, "reading is not idempotent");
    let suffix = route.rsplit('-').next().expect("a number");
    let host: u8 = suffix.parse().expect("a number");
    match decide(&sent, host) {
        Outcome::Routed(second, target) => {
            assert_eq!(second, route, "read again it is another route");
            assert_eq!(target, forwarded.clone().filter(|_| target.is_some()), "it moves again");
        }
        _ => panic!("what is forwarded would be refused"),
    }

    let plain = decoded(sent_path, false);
    let slashes = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|w| w == part);
    let text = String::from_utf8_lossy(&plain);
    let ends = |end: fn(char) -> bool| text.split('/').any(|segment| segment.ends_with(end));
    let twice = |w: &[u8]| matches!(w, [b'%', h, l] if h.is_ascii_hexdigit() && l.is_ascii_hexdigit());
    for (bit, found) in [
        plain.contains(&b';'),
        slashes(&plain, b"//"),
        slashes(sent_path, b"%2F"),
        decoded(sent_path, true).windows(3).any(twice),
        ends(|c| c == '.'),
        ends(char::is_whitespace),
        plain.contains(&b'\\'),
        std::str::from_utf8(&plain).is_err(),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(host >> bit & 1 == 1 || !found, "{} passed", NAMES[bit]);
    }

    let Some(readings) = readings(sent_path) else { return };
    for reading in readings {
        let text = String::from_utf8_lossy(&reading);
        let expected = own_route(&reading).map(|name| format!("{name}-{host}"));
        assert_eq!(expected.as_ref(), Some(&route), "an upstream could read {text}");
        let folded = reading.to_ascii_lowercase();
        let folded = folded.strip_suffix(b"/").unwrap_or(&folded);
        assert!(!ENDPOINTS.contains(&folded), "an upstream could read the endpoint {text}");
        // Without regard to case, and without a format, it asks for no more.
        for other in [Some(folded), without_format(folded), without_format(&reading)] {
            let other = other.and_then(own_route).map_or(0, demands);
            let name = route.split('-').next().expect("a name");
            assert!(other <= demands(name), "another spelling of {text} asks for more");
        }
    }
}

/// How much a route asks for.
fn demands(route: &str) -> u8 {
    match route {
        "admin" => 2,
        "home" | "a" => 1,
        _ => 0,
    }
}

/// `/admin` for `/admin.json`.
fn without_format(path: &[u8]) -> Option<&[u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let name = path.iter().rposition(|byte| *byte == b'/')? + 1;
    let dot = path.iter().rposition(|byte| *byte == b'.')?;
    let hidden = name + path[name..].iter().take_while(|byte| **byte == b'.').count();
    (dot > hidden).then(|| &path[..dot])
}

/// The routes above, matched by hand.
fn own_route(path: &[u8]) -> Option<&'static str> {
    let segments = segments(path);
    match segments.as_slice() {
        [] => Some("home"),
        [b"public", ..] => Some("public"),
        [b"admin", x, b"open"] if !x.is_empty() => Some("open"),
        [b"admin", ..] => Some("admin"),
        [b"a"] => Some("a"),
        [b"a", b"b", ..] => Some("b"),
        [x] if !x.is_empty() => Some("one"),
        [x, b"two"] if !x.is_empty() => Some("two"),
        _ => None,
    }
}
