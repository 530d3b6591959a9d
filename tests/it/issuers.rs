//! Trusted issuers over sockets: whose tokens pass where, and what their key server can and cannot do to us.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, crypto};
use portcullis::keys::Algorithm;
use portcullis::oauth::subject::Subject;
use portcullis::state::Revocation;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use super::harness::captured::Captured;
use super::harness::gateway::EdgeBuilder;
use super::harness::idp::{IDP, Idp, MOVED, Serves, SigningKey, claims, set, unsigned};
use super::harness::tokens::tampered;
use super::harness::{Edge, edge, within};
use super::metrics::{admin, metrics, value};

const INVALID: &str = "Bearer realm=\"portcullis\", error=\"invalid_token\"";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// An edge that believes the issuer on some of its routes, with its log.
struct Trusting {
    edge: Edge,
    log: Captured,
    asked: AtomicUsize,
}

fn builder(accept: &str) -> EdgeBuilder {
    let routes = "
  - { id: ours, path: /ours/**, upstream: app, scopes: ['notes:read'] }
  - { id: theirs, path: /theirs/**, upstream: app, scopes: ['notes:read'], issuers: ['IDP'] }
  - { id: write, path: /write/**, upstream: app, scopes: ['notes:write'], issuers: ['IDP'] }
  - { id: both, path: /both/**, upstream: app, issuers: [self, 'IDP'] }
  - { id: home, path: /, upstream: app, auth: optional, issuers: [self, 'IDP'] }
";
    let more = "admin: { address: '127.0.0.1:0' }
identity: { headers: { X-User: subject, X-Scopes: scope, X-Client: client_id } }";
    edge().routes(&routes.replace("IDP", IDP)).accept(accept).with(more)
}

async fn start(accept: &str) -> Trusting {
    let log = Captured::default();
    let edge = builder(accept).log_to(&log).start().await;
    Trusting { edge, log, asked: AtomicUsize::new(0) }
}

/// The same, once the issuer's keys have come.
async fn ready(idp: &Idp, jwks: &str, more: &str) -> Trusting {
    let believing = start(&idp.accepted(jwks, more)).await;
    believing.is_ready(200).await;
    believing
}

impl Trusting {
    /// Asks until the operator's listener says so.
    async fn is_ready(&self, status: u16) -> String {
        within(async {
            loop {
                let answer = admin(&self.edge, "GET", "/readyz").await;
                if answer.status == status {
                    return answer.text();
                }
            }
        })
        .await
    }

    /// Asks until a request with this token gets this status.
    async fn becomes(&self, target: &str, token: &str, status: u16) {
        within(async { while self.edge.get(target).bearer(token).await.status != status {} }).await;
    }

    /// Asks until so many fetches have come to this end.
    async fn fetched(&self, outcome: &str, count: usize) {
        within(async { while self.fetches(outcome).await < count {} }).await;
    }

    async fn failures(&self) -> usize {
        self.fetches("failure").await
    }

    async fn fetches(&self, outcome: &str) -> usize {
        let series = format!(
            "portcullis_issuer_key_fetches_total{{issuer=\"{IDP}\",outcome=\"{outcome}\"}} "
        );
        let text = metrics(&self.edge).await;
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// Asks below the target with this token, and looks up the reason in the log.
    async fn refused(&self, target: &str, token: &str, status: u16, reason: &str) {
        // A path of its own, since the lines of earlier requests may still be on their way.
        let path = format!("{target}-{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let answer = self.edge.get(&path).bearer(token).await;
        let mut count = 1;
        let line = loop {
            let lines = self.log.lines(count).await;
            count = lines.len() + 1;
            if let Some(line) = lines.into_iter().find(|line| line["path"] == *path) {
                break line;
            }
        };
        let found = (answer.status, line["reason"].as_str().unwrap_or("allowed"));
        assert_eq!(found, (status, reason), "{line}");
    }

    fn claims(&self, changes: Value) -> Value {
        let mut all = claims(self.edge.now());
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    }
}

#[tokio::test]
async fn a_token_of_an_outside_issuer_passes_where_a_route_names_it() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let idp = Idp::start(algorithm).await;
        let on = ready(&idp, "", "").await;
        let token =
            idp.key().sign(&on.claims(json!({ "azp": "web", "scope": "notes:read admin" })));
        // The second time out of the cache.
        for _ in 0..2 {
            on.edge.get("/theirs/1").bearer(&token).await.is(200);
            let seen = on.edge.upstream.last();
            assert_eq!(seen.values("x-user"), ["idp:alice"]);
            assert_eq!(seen.values("x-scopes"), ["notes:read"], "no more than it may confer");
            assert_eq!(seen.values("x-client"), ["idp:web"]);
            assert!(seen.values("authorization").is_empty());
        }
        on.edge.get("/both/1").bearer(&token).await.is(200);
        on.edge.get("/").bearer(&token).await.is(200);
        assert_eq!(on.edge.upstream.last().values("x-user"), ["idp:alice"]);
        let listed = idp.key().sign(&on.claims(json!({ "scope": null, "scp": ["notes:read"] })));
        on.refused("/theirs/1", &listed, 403, "missing_scope").await;
        let mut listed = on.claims(json!({ "scp": ["notes:read"] }));
        listed.as_object_mut().unwrap().remove("scope");
        on.edge.get("/theirs/1").bearer(&idp.key().sign(&listed)).await.is(200);
        assert_eq!(idp.count(), 1, "one fetch serves all of them");
    }
}

#[tokio::test]
async fn c12_a_route_believes_nobody_whom_it_does_not_name() {
    let idp = Idp::start(Algorithm::EdDsa).await;
    let on = ready(&idp, "", "").await;
    let theirs = idp.key().sign(&on.claims(json!({})));
    let ours = on.edge.login("alice", "notes:read").await;
    for _ in 0..2 {
        on.edge.get("/ours/1").bearer(&theirs).await.is_challenged(401, INVALID);
        on.refused("/ours/1", &theirs, 401, "wrong_issuer").await;
        on.refused("/theirs/1", &ours, 401, "wrong_issuer").await;
        // Verified and remembered meanwhile: that changes nothing on the others.
        on.edge.get("/theirs/1").bearer(&theirs).await.is(200);
        on.edge.get("/ours/1").bearer(&ours).await.is(200);
        for token in [&theirs, &ours] {
            on.edge.get("/both/1").bearer(token).await.is(200);
        }
    }
    let stranger = on.claims(json!({ "iss": "https://other.example.com" }));
    on.refused("/theirs/1", &idp.key().sign(&stranger), 401, "wrong_issuer").await;
}

#[tokio::test]
async fn what_its_policy_does_not_allow_is_refused() {
    let idp = Idp::start(Algorithm::Rs256).await;
    let on = ready(&idp, "", "").await;
    let key = idp.key();
    let head = |typ: &str| json!({ "alg": "RS256", "typ": typ, "kid": "idp-1" });
    let now = on.edge.now();
    let honest = on.claims(json!({}));
    on.edge.get("/theirs/1").bearer(&key.sign_with(&head("at+jwt"), &honest)).await.is(200);
    for (token, reason) in [
        (key.sign(&on.claims(json!({ "aud": "web" }))), "wrong_audience"),
        (key.sign(&on.claims(json!({ "exp": now - 31 }))), "expired"),
        (key.sign(&on.claims(json!({ "nbf": now + 31 }))), "not_yet_valid"),
        (key.sign(&on.claims(json!({ "sub": "a,b" }))), "malformed_token"),
        (key.sign_with(&head("JWT"), &honest), "wrong_type"),
        (tampered(&key.sign(&honest)), "bad_signature"),
        (SigningKey::new("idp-1", Algorithm::Rs256).sign(&honest), "bad_signature"),
        (SigningKey::new("idp-1", Algorithm::EdDsa).sign(&honest), "wrong_algorithm"),
        (on.edge.mint.with(now, json!({ "iss": IDP, "kid": "idp-1" })), "wrong_algorithm"),
        (on.edge.mint.with(now, json!({ "iss": IDP })), "unknown_key"),
    ] {
        on.refused("/theirs/1", &token, 401, reason).await;
    }
    // B4: the public key as a shared secret.
    let modulus = URL_SAFE_NO_PAD.decode(key.jwk["n"].as_str().unwrap()).unwrap();
    let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": "idp-1" });
    for secret in [modulus, key.jwk.to_string().into_bytes()] {
        let message = unsigned(&header, &honest);
        let secret = EncodingKey::from_secret(&secret);
        let hmac = crypto::sign(message.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256);
        on.refused("/theirs/1", &format!("{message}.{}", hmac.unwrap()), 401, "wrong_algorithm")
            .await;
    }
    // More than it may confer is nothing, and a machine is no user.
    let greedy = key.sign(&on.claims(json!({ "scope": "notes:write" })));
    on.refused("/write/1", &greedy, 403, "missing_scope").await;
    let machine = key.sign(&on.claims(json!({ "client_id": "alice" })));
    on.refused("/both/1", &machine, 403, "missing_scope").await;
    on.edge.get("/theirs/1").bearer(&machine).await.is(200);

    let wide = ready(&idp, "", ", types: [at+jwt, JWT], claims: { subject: email }").await;
    let token = wide.claims(json!({ "email": "al@example.com" }));
    wide.edge.get("/theirs/1").bearer(&key.sign_with(&head("JWT"), &token)).await.is(200);
    assert_eq!(wide.edge.upstream.last().values("x-user"), ["idp:al@example.com"]);
}

// Part 4, item 28: seventy clients in a claim that nobody reads were reported as an unknown key.
#[tokio::test]
async fn what_is_wrong_with_its_token_is_said_exactly_and_what_nobody_reads_is_no_fault() {
    let idp = Idp::start(Algorithm::EdDsa).await;
    let on = ready(&idp, "", "").await;
    let clients = |count: usize| -> Value {
        (0..count).map(|n| (format!("client-{n}"), json!({ "roles": ["user"] }))).collect()
    };
    let keycloak = idp.key().sign(&on.claims(json!({ "resource_access": clients(70) })));
    on.edge.get("/theirs/1").bearer(&keycloak).await.is(200);
    let deep = json!({ "x": [[[[[[[[[]]]]]]]]] });
    let of = |changes: Value| idp.key().sign(&on.claims(changes));
    let signed = |claims: &str| idp.key().sign_text(claims);
    let twice = format!("{{\"iss\":\"{IDP}\",\"x\":1,\"x\":1}}");
    for (number, (token, detail)) in [
        (of(deep), "its payload is nested more than 8 deep"),
        (signed(&twice), "its payload has a member twice in one object"),
        (signed("[]"), "its payload is no plain JSON object"),
        (of(json!({ "jti": 7 })), "its `jti` is no id"),
        (of(json!({ "exp": "soon" })), "its `exp` is no point of time"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/theirs/wrong-{number}");
        on.edge.get(&path).bearer(&token).await.is_challenged(401, INVALID);
        let line = line_of(&on.log, &path).await;
        assert_eq!((&line["reason"], &line["detail"]), (&json!("malformed_token"), &json!(detail)));
    }
    // An edge that believes nobody else says as much.
    let log = Captured::default();
    let alone = edge().log_to(&log).start().await;
    for (token, reason) in [(&keycloak, "wrong_issuer"), (&signed("[]"), "malformed_token")] {
        let path = format!("/notes/{reason}");
        alone.get(&path).bearer(token).await.is(401);
        assert_eq!(line_of(&log, &path).await["reason"], reason);
    }
}

/// The line of the access log about this path, of which there is one.
async fn line_of(log: &Captured, path: &str) -> Value {
    for lines in 1.. {
        let found = log.lines(lines).await.into_iter().find(|line| line["path"] == path);
        if let Some(line) = found {
            return line;
        }
    }
    unreachable!("there are always more lines to wait for")
}

#[tokio::test]
async fn while_its_keys_never_came_its_tokens_get_503_and_nobody_is_ready() {
    let idp = Idp::start(Algorithm::EdDsa).await;
    idp.serve(Serves::Status(500));
    let on = start(&idp.accepted("", "")).await;
    let theirs = idp.key().sign(&on.claims(json!({})));
    let ours = on.edge.login("alice", "notes:read").await;
    assert_eq!(on.is_ready(503).await, format!("no keys yet of {IDP}\n"));
    on.refused("/theirs/1", &theirs, 503, "keys_unavailable").await;
    let answer = on.edge.get("/both/1").bearer(&theirs).await;
    assert_eq!(answer.is(503).values("retry-after"), ["5"]);
    assert!(answer.values("www-authenticate").is_empty());
    // Whoever does not need them is not harmed.
    on.edge.get("/both/1").bearer(&ours).await.is(200);
    on.edge.get("/theirs/1").await.is(401);
    on.refused("/ours/1", &theirs, 401, "wrong_issuer").await;
    on.fetched("failure", 1).await;

    idp.serve(set(&[idp.key()]));
    on.becomes("/theirs/1", &theirs, 200).await;
    assert_eq!(on.is_ready(200).await, "ok\n");
    let age = format!("portcullis_issuer_keys_age_seconds{{issuer=\"{IDP}\"}}");
    assert!(value(&metrics(&on.edge).await, &age) < 20.0);

    // Who said that they are not required, is ready without them.
    idp.serve(Serves::Status(500));
    let without = start(&idp.accepted("", ", required: false")).await;
    assert_eq!(without.is_ready(200).await, "ok\n");
    without.refused("/theirs/1", &theirs, 503, "keys_unavailable").await;
}

#[tokio::test]
async fn a_server_that_misbehaves_gives_no_keys_and_does_no_harm() {
    let other = Idp::start(Algorithm::EdDsa).await;
    let document = |text: &str| Serves::Document(text.to_owned());
    let mut cases = JoinSet::new();
    for misbehaviour in [
        Serves::Nothing,
        Serves::Endless,
        Serves::Redirect(other.url()),
        Serves::Redirect("/certs".to_owned()),
        Serves::Status(204),
        Serves::Status(404),
        document("<!doctype html>"),
        document("{\"keys\":[]}"),
        document(&json!({ "keys": [{ "kty": "oct", "kid": "idp-1", "k": "AAAA" }] }).to_string()),
    ] {
        cases.spawn(async move {
            let idp = Idp::start(Algorithm::EdDsa).await;
            idp.serve(misbehaviour.clone());
            let on = start(&idp.accepted(", timeout: 500ms", "")).await;
            let token = idp.key().sign(&on.claims(json!({})));
            on.fetched("failure", 1).await;
            on.refused("/theirs/1", &token, 503, "keys_unavailable").await;
            let failures = on.failures().await;
            let asked = idp.count();
            // A loop of redirects is four requests to one failure.
            assert!(asked <= 4 * (failures + 1), "{misbehaviour:?}: asked {asked} times");
            // It recovers by itself.
            idp.serve(set(&[idp.key()]));
            on.becomes("/theirs/1", &token, 200).await;
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
    assert_eq!(other.count(), 0, "no redirect led there");
}

#[tokio::test]
async fn keys_of_a_file_are_there_from_the_start() {
    let idp = Idp::start(Algorithm::Es256).await;
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(json!({ "keys": [idp.key().jwk] }).to_string().as_bytes()).unwrap();
    let jwks = format!("file: '{}'", file.path().display());
    let on = start(&idp.accepted("", "").replace(&format!("url: '{}'", idp.url()), &jwks)).await;
    on.edge.get("/theirs/1").bearer(&idp.key().sign(&on.claims(json!({})))).await.is(200);
    assert_eq!(on.is_ready(200).await, "ok\n");
    assert_eq!(idp.count(), 0);
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed() {
    let idp = Idp::start(Algorithm::EdDsa).await;
    for to in [MOVED.to_owned(), format!("http://{}{MOVED}", idp.address)] {
        idp.serve(Serves::Redirect(to));
        let on = ready(&idp, "", "").await;
        on.edge.get("/theirs/1").bearer(&idp.key().sign(&on.claims(json!({})))).await.is(200);
    }
    assert_eq!(idp.asked(4).await, ["/certs", MOVED, "/certs", MOVED]);
}

#[tokio::test]
async fn only_the_certificate_authorities_that_are_named_are_believed() {
    let idp = Idp::start_tls(Algorithm::EdDsa).await;
    let ca = format!(", ca: '{}'", idp.ca.as_ref().unwrap().path().display());
    let on = ready(&idp, &ca, "").await;
    on.edge.get("/theirs/1").bearer(&idp.key().sign(&on.claims(json!({})))).await.is(200);
    let other = Idp::start_tls(Algorithm::EdDsa).await;
    for ca in [String::new(), format!(", ca: '{}'", other.ca.as_ref().unwrap().path().display())] {
        let off = start(&idp.accepted(&ca, "")).await;
        off.fetched("failure", 1).await;
        assert_eq!(off.is_ready(503).await, format!("no keys yet of {IDP}\n"));
    }
    assert_eq!(idp.count(), 1, "nothing was asked over a connection that proved nothing");
}

#[tokio::test]
async fn an_unknown_key_id_brings_one_fetch_and_then_none_for_a_while() {
    let idp = Idp::start(Algorithm::EdDsa).await;
    let on = ready(&idp, "", "").await;
    let next = SigningKey::new("idp-2", Algorithm::EdDsa);
    let (old, new) = (idp.key().sign(&on.claims(json!({}))), next.sign(&on.claims(json!({}))));
    // Where the issuer is not believed, nobody can make us ask.
    on.refused("/ours/1", &new, 401, "wrong_issuer").await;
    idp.serve(set(&[idp.key(), &next]));
    on.refused("/theirs/1", &new, 401, "unknown_key").await;
    idp.asked(2).await;
    on.becomes("/theirs/1", &new, 200).await;
    on.edge.get("/theirs/1").bearer(&old).await.is(200);

    for number in 0..20 {
        let stranger = SigningKey::new(&format!("idp-x{number}"), Algorithm::EdDsa);
        let token = stranger.sign(&on.claims(json!({})));
        on.refused("/theirs/1", &token, 401, "unknown_key").await;
    }
    assert_eq!(idp.count(), 2);
}

#[tokio::test]
async fn a_key_that_its_issuer_withdrew_verifies_nothing_any_more() {
    let idp = Idp::start(Algorithm::EdDsa).await;
    let on = ready(&idp, ", refresh: 1s", "").await;
    let next = SigningKey::new("idp-2", Algorithm::EdDsa);
    let (old, new) = (idp.key().sign(&on.claims(json!({}))), next.sign(&on.claims(json!({}))));
    on.edge.get("/theirs/1").bearer(&old).await.is(200);
    idp.serve(set(&[&next]));
    // It was verified and remembered, which does not help it.
    on.becomes("/theirs/1", &old, 401).await;
    on.refused("/theirs/1", &old, 401, "unknown_key").await;
    on.edge.get("/theirs/1").bearer(&new).await.is(200);
    // An issuer that says it has no key at all has none.
    idp.serve(Serves::Document("{\"keys\":[]}".to_owned()));
    on.becomes("/theirs/1", &new, 503).await;
}

#[tokio::test]
async fn keys_outlast_an_outage_but_not_for_ever() {
    let idp = Idp::start(Algorithm::EdDsa).await;
    let on = ready(&idp, ", refresh: 1s", "").await;
    idp.serve(Serves::Status(500));
    on.fetched("failure", 1).await;
    let token = idp.key().sign(&on.claims(json!({})));
    on.edge.get("/theirs/1").bearer(&token).await.is(200);

    on.edge.advance(DAY);
    let later = idp.key().sign(&on.claims(json!({})));
    on.refused("/theirs/1", &later, 503, "keys_unavailable").await;
    // Also for a token that was verified before.
    let ahead = idp.key().sign(&on.claims(json!({ "exp": on.edge.now() + 3 * 86_400 })));
    idp.serve(set(&[idp.key()]));
    on.becomes("/theirs/1", &later, 200).await;
    on.edge.get("/theirs/1").bearer(&ahead).await.is(200);
    let failed = on.failures().await;
    idp.serve(Serves::Status(500));
    on.fetched("failure", failed + 1).await;
    on.edge.advance(DAY);
    on.refused("/theirs/1", &ahead, 503, "keys_unavailable").await;
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_an_issuer_that_stays_as_it_is() {
    let idp = Idp::start(Algorithm::EdDsa).await;
    let on = ready(&idp, "", "").await;
    let token = idp.key().sign(&on.claims(json!({})));
    idp.serve(Serves::Status(500));
    on.edge.disable_bob();
    on.edge.get("/theirs/1").bearer(&token).await.is(200);
    on.is_ready(200).await;
    assert_eq!(idp.count(), 1);
}

#[tokio::test]
async fn d14_its_tokens_are_revoked_by_it_or_here_by_their_subject() {
    let idp = Idp::start(Algorithm::Es256).await;
    let log = Captured::default();
    let edge = builder(&idp.accepted("", "")).stateful().log_to(&log).start().await;
    let on = Trusting { edge, log, asked: AtomicUsize::new(0) };
    on.is_ready(200).await;
    let sign = |name: &str| {
        idp.key().sign(&on.claims(json!({ "sub": name, "azp": "web", "scope": "notes:read" })))
    };
    let (alice, bob) = (sign("alice"), sign("bob"));
    let answer = on.edge.post("/token/revoke", &format!("token={alice}")).await;
    answer.is_refused(400, "unsupported_token_type");
    on.edge.get("/theirs/1").bearer(&alice).await.is(200);

    let subject = Subject::parse("idp:alice").unwrap();
    on.edge.store().revoke(Revocation::Subject { subject }).await.unwrap();
    on.edge.get("/theirs/1").bearer(&alice).await.is_challenged(401, INVALID);
    on.edge.get("/theirs/1").bearer(&bob).await.is(200);
}
