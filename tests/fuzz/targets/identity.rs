//! Field names: whatever an application behind CGI could take for a stripped name is gone after the permit's edits, and so is
//! every name with another byte than letters, digits and hyphens, except for what the edits set themselves and what the upstream
//! lets pass by name. Input: field names, one a line; the first two are also configured as names to strip, the third to pass.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use portcullis::access::identity::Identity;
use portcullis::gateway::Gateway;
use portcullis::gateway::decide::{Decision, RequestHead};
use portcullis_fuzz::names::{folded, goes};
use portcullis_fuzz::world::{BASE, Files, HOST as OURS, NOW, connection, gateway, token};

/// What a client sends in each field, and nobody else does.
const FORGED: &str = "mallory";
/// Names that pass with the configuration below, exactly so.
const PASSED: [&str; 2] = ["x-original-host", "odd_name"];
/// Names, folded, that must go as well with the configuration below.
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
upstreams: {{ app: {{ servers: ['127.0.0.1:1'], headers: {{ pass: [X-Original-Host, Odd_Name] }} }} }}
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

/// The first three names as the operator's, the others as the client's.
fn configured(names: &[HeaderName]) {
    let (own, sent) = names.split_at(names.len().min(2));
    let passed = &sent[..sent.len().min(1)];
    let identity = Identity::new(Vec::new(), own, false);
    for name in sent {
        let seen = folded(name.as_str());
        let is_own = seen == "x_user" || own.iter().any(|own| folded(own.as_str()) == seen);
        assert_eq!(identity.is_ours(name), is_own, "{name}");
        let goes = is_own || (goes(name.as_str()) && !passed.contains(name));
        assert_eq!(identity.strips(name, passed), goes, "{name}");
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
            None => assert!(!is_stripped(name), "{name} passed"),
        }
    }
    assert!(ours.is_empty(), "not set: {ours:?}");
    for name in names.iter().filter(|name| !is_stripped(name)) {
        assert!(after.contains_key(name), "{name} is nobody's and went");
    }
    for name in names {
        assert_eq!(permit.edits().removes(name), is_stripped(name), "{name}");
    }
}

fn is_stripped(name: &HeaderName) -> bool {
    let own = CONFIGURED.contains(&&*folded(name.as_str())) || folded(name.as_str()) == "x_user";
    let bearer = *name == AUTHORIZATION;
    own || bearer || (goes(name.as_str()) && !PASSED.contains(&name.as_str()))
}
