//! Field names: whatever an application behind CGI could take for a stripped name is gone after the permit's edits, except for
//! what the edits set themselves. Input: field names, one a line; the first two are also configured as names to strip.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use portcullis::access::identity::Identity;
use portcullis::gateway::Gateway;
use portcullis::gateway::decide::{Decision, RequestHead};
use portcullis_fuzz::names::{always_goes, folded};
use portcullis_fuzz::world::{BASE, Files, HOST as OURS, NOW, connection, gateway, token};

/// What a client sends in each field, and nobody else does.
const FORGED: &str = "mallory";
/// Names that must go as well with the configuration below.
const CONFIGURED: [&str; 4] = ["x_login_name", "x_roles", "x_remote_user", "remote_groups"];

struct World {
    gateway: Gateway,
    bearer: HeaderValue,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let text = format!(
        "listeners: [{{ address: '127.0.0.1:0' }}]
identity: {{ headers: {{ X-Login.Name: subject, x_roles: scope }}, strip: [X-Remote-User, Remote_Groups] }}
{BASE}
upstreams: {{ app: {{ servers: ['127.0.0.1:1'] }} }}
routes:
  - {{ id: public, path: /public, upstream: app, auth: public }}
  - {{ id: private, path: /private, upstream: app }}
"
    );
    let files = Files::new();
    let bearer = format!("Bearer {}", token(&files, "ed", "alice", "read", NOW));
    let gateway = gateway(&files.with(text.as_bytes()));
    World { gateway, bearer: bearer.parse().expect("a token is visible ASCII") }
});

fuzz_target!(|text: &[u8]| {
    let names: Vec<HeaderName> = text
        .split(|byte| *byte == b'\n')
        .take(32)
        .filter_map(|line| HeaderName::from_bytes(line).ok())
        .collect();
    configured(&names);
    for (path, with_token) in [("/public", true), ("/private", true), ("/public", false)] {
        forwarded(&names, path, with_token);
    }
});

/// The first two names as the operator's, the others as the client's.
fn configured(names: &[HeaderName]) {
    let (own, sent) = names.split_at(names.len().min(2));
    let identity = Identity::new(Vec::new(), own, false);
    for name in sent {
        let seen = folded(name.as_str());
        let is_own = seen == "x_user" || own.iter().any(|own| folded(own.as_str()) == seen);
        assert_eq!(identity.is_ours(name), is_own, "{name}");
        let goes = is_own || always_goes(&seen);
        assert_eq!(identity.strips(name), goes, "{name}");
    }
}

fn forwarded(names: &[HeaderName], path: &str, with_token: bool) {
    let mut headers = HeaderMap::new();
    for name in names.iter().filter(|name| **name != HOST && **name != AUTHORIZATION) {
        headers.append(name.clone(), HeaderValue::from_static(FORGED));
    }
    headers.insert(HOST, HeaderValue::from_static(OURS));
    if with_token {
        headers.insert(AUTHORIZATION, WORLD.bearer.clone());
    }
    let connection = connection();
    let head = RequestHead {
        method: &Method::GET,
        target: path.as_bytes(),
        authority: None,
        headers: &headers,
        connection: &connection,
        request_id: "the-id",
    };
    let Decision::Forward(permit) = WORLD.gateway.decide(&head, NOW) else {
        panic!("an honest request is refused");
    };
    let mut after = headers.clone();
    permit.edits().apply(&mut after);

    let mut ours = BTreeMap::from([
        ("x_forwarded_for", "203.0.113.9"),
        ("x_forwarded_proto", "https"),
        ("x_forwarded_host", OURS),
        ("x_request_id", "the-id"),
    ]);
    if path == "/private" {
        ours.extend([("x_login_name", "alice"), ("x_roles", "read")]);
    }
    for (name, value) in &after {
        let seen = folded(name.as_str());
        match ours.remove(&*seen) {
            Some(own) => assert_eq!(value, own, "{name} was forged"),
            None => assert!(!is_stripped(&seen), "{name} passed"),
        }
    }
    assert!(ours.is_empty(), "not set: {ours:?}");
    for name in names.iter().filter(|name| !is_stripped(&folded(name.as_str()))) {
        assert!(after.contains_key(name), "{name} is nobody's and went");
    }
    for name in names {
        assert_eq!(permit.edits().removes(name), is_stripped(&folded(name.as_str())), "{name}");
    }
}

fn is_stripped(folded: &str) -> bool {
    always_goes(folded) || CONFIGURED.contains(&folded)
}
