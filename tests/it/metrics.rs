//! What the operator sees: metrics, health and the access log agree with each other, and hold nothing they must not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::reason::Reason;
use serde_json::{Value, json};

use super::harness::captured::Captured;
use super::harness::gateway::{EdgeBuilder, PASSWORD, VAULT_SECRET};
use super::harness::tokens::tampered;
use super::harness::{Behaviour, Edge, HOST, Response, Wire, edge};

/// With a length beside it, it can be read in two ways.
const CHUNKED: &str = "Transfer-Encoding: chunked";
const ADMIN: &str = "admin: { address: '127.0.0.1:0' }\ntrusted_proxies: [127.0.0.2]";

/// An edge with an operator's listener, and its access log.
async fn observed(builder: EdgeBuilder) -> (Edge, Captured) {
    let log = Captured::default();
    (builder.with(ADMIN).log_to(&log).start().await, log)
}

/// Asks the operator's listener.
pub(crate) async fn admin(edge: &Edge, method: &str, path: &str) -> Response {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: admin\r\n\r\n");
    Wire::connect(edge.admin.unwrap()).await.ask(request).await
}

/// The metrics' text.
pub(crate) async fn metrics(edge: &Edge) -> String {
    admin(edge, "GET", "/metrics").await.is(200).text()
}

/// The value of a series, which must be there.
pub(crate) fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{metrics}")).parse().unwrap()
}

/// How many decisions had this reason, on whichever route.
pub(crate) fn decisions(metrics: &str, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    let own =
        |line: &&str| line.starts_with("portcullis_decisions_total{") && line.contains(&label);
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    metrics.lines().filter(own).map(count).sum()
}

/// An edge on which every kind of request has been made, its log, and the secrets that were in them.
pub(crate) async fn busy() -> (Edge, Captured, Vec<String>) {
    let (edge, log) = observed(edge()).await;
    let alice = edge.login("alice", "admin notes:read").await;
    let wrong = "hunter2-wrong-password";
    let form = format!("grant_type=password&username=alice&password={wrong}");
    edge.token(&form).await.is(400);
    edge.token(&form.replace("alice", wrong)).await.is(400);
    edge.token(&form).basic("vault", VAULT_SECRET).await.is(400);
    edge.token(&form).basic("vault", "not-the-secret").await.is(401);
    let kind = "Content-Type: application/x-www-form-urlencoded";
    edge.ask("POST", &format!("/token?{form}")).field(kind).body(b"").await.is(400);
    edge.get("/notes/7?key=query-secret").bearer(&alice).await.is(200);
    edge.get("/notes/8").bearer(&alice).await.is(200);
    edge.get("/notes/9").await.is(401);
    edge.get(&format!("/notes/9?access_token={alice}")).await.is(401);
    edge.get("/notes/9").bearer(&tampered(&alice)).await.is(401);
    edge.get("/notes/9").field("Authorization: Basic aHVudGVyOnNlY3JldA==").await.is(401);
    edge.get("/nowhere").bearer(&alice).await.is(404);
    edge.get("/public/logo").field("Cookie: session=cookie-secret").await.is(200);
    let signature = alice.rsplit('.').next().unwrap().to_owned();
    let secrets = [PASSWORD, &PASSWORD.replace(' ', "+"), wrong, VAULT_SECRET, "not-the-secret"];
    let mut secrets: Vec<String> = secrets.iter().map(|&secret| secret.to_owned()).collect();
    secrets.extend([alice.clone(), signature, "eyJ".to_owned(), "aHVudGVyOnNlY3JldA".to_owned()]);
    secrets.extend([STANDARD.encode(format!("vault:{VAULT_SECRET}")), "Bearer".to_owned()]);
    secrets.extend(["query-secret".to_owned(), "cookie-secret".to_owned(), "argon2".to_owned()]);
    (edge, log, secrets)
}

#[tokio::test]
async fn metrics_count_decisions_logins_and_the_cache() {
    let (edge, log, _) = busy().await;
    log.lines(14).await;
    let metrics = metrics(&edge).await;
    for (series, wanted) in [
        ("portcullis_decisions_total{reason=\"allowed\",route=\"notes\"}", 2.0),
        ("portcullis_decisions_total{reason=\"allowed\",route=\"public\"}", 1.0),
        ("portcullis_decisions_total{reason=\"no_token\",route=\"notes\"}", 3.0),
        ("portcullis_decisions_total{reason=\"bad_signature\",route=\"notes\"}", 1.0),
        ("portcullis_decisions_total{reason=\"no_route\",route=\"\"}", 1.0),
        ("portcullis_requests_total{code=\"2xx\",route=\"notes\"}", 2.0),
        ("portcullis_requests_total{code=\"4xx\",route=\"notes\"}", 4.0),
        ("portcullis_tokens_issued_total{grant=\"password\"}", 1.0),
        ("portcullis_login_failures_total{reason=\"invalid_grant\"}", 3.0),
        ("portcullis_login_failures_total{reason=\"invalid_client\"}", 1.0),
        ("portcullis_login_failures_total{reason=\"in_query\"}", 1.0),
        ("portcullis_token_cache_hits_total", 1.0),
        ("portcullis_token_cache_misses_total", 1.0),
        ("portcullis_token_cache_entries", 1.0),
        ("portcullis_requests_in_flight", 0.0),
        ("portcullis_access_log_dropped_total", 0.0),
    ] {
        assert!(
            (value(&metrics, series) - wanted).abs() < 0.1,
            "{series}: not {wanted}\n{metrics}"
        );
    }
}

#[tokio::test]
async fn j6_no_label_is_chosen_by_a_client() {
    let (edge, log, secrets) = busy().await;
    edge.ask("BREW", "/notes/7").field("User-Agent: agent-7").await;
    edge.get("/public").only(&["Host: chosen.example"]).await;
    log.lines(16).await;
    // The address of a listener is configured, and may be anybody's.
    let metrics = metrics(&edge).await.replace("listener=\"127.0.0.1:0\"", "");
    let chosen = [
        "alice",
        "/notes",
        "nowhere",
        HOST,
        "chosen.example",
        "127.0.0.1",
        "BREW",
        "vault",
        "agent-7",
    ];
    for text in chosen.into_iter().chain(secrets.iter().map(String::as_str)) {
        assert!(!metrics.contains(text), "{text}\n{metrics}");
    }
}

#[tokio::test]
async fn health_and_readiness_answer_on_the_operators_listener_only() {
    let (edge, _) = observed(edge()).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(admin(&edge, "GET", path).await.is(200).text(), "ok\n");
        admin(&edge, "HEAD", path).await.is(200);
        assert_eq!(admin(&edge, "POST", path).await.is(405).values("allow"), ["GET, HEAD"]);
    }
    for path in ["/", "/token", "/notes", "/metrics/", "/.well-known/jwks.json"] {
        admin(&edge, "GET", path).await.is(404);
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        edge.get(path).await.is(404);
    }
    assert!(edge.upstream.seen().is_empty());
}

/// Makes one request, and says which reason the log gives and how often the metrics count it.
async fn reason(
    edge: &Edge,
    log: &Captured,
    ask: super::harness::gateway::Ask<'_>,
) -> (Value, Response) {
    let before = log.text().lines().count();
    let answer = ask.await;
    let line = log.lines(before + 1).await.pop().unwrap();
    assert_eq!(line["status"], answer.status, "{line}");
    let id = line["reason"].as_str().unwrap_or_else(|| panic!("no reason: {line}"));
    let counted = decisions(&metrics(edge).await, id);
    assert!((counted - 1.0).abs() < 0.1, "{line}: counted {counted}");
    (line, answer)
}

#[tokio::test]
async fn every_reason_is_the_same_in_the_log_and_the_metrics() {
    let (main, log) = observed(edge()).await;
    let bob = main.login("bob", "notes:read").await;
    log.lines(1).await;
    let now = main.now();
    let minted = |changes| main.mint.with(now, changes);
    let notes = |token: &str| main.get("/notes/1").bearer(token);
    let honest = minted(json!({}));
    let mut found = BTreeMap::new();
    for (wanted, ask, status) in [
        (Reason::NoToken, main.get("/notes/1"), 401),
        (Reason::MalformedToken, notes("a.b"), 401),
        (Reason::BadSignature, notes(&tampered(&honest)), 401),
        (Reason::Expired, notes(&minted(json!({ "iat": now - 900, "exp": now - 300 }))), 401),
        (Reason::NotYetValid, notes(&minted(json!({ "nbf": now + 300 }))), 401),
        (Reason::WrongIssuer, notes(&minted(json!({ "iss": "https://other.example" }))), 401),
        (Reason::WrongAudience, notes(&minted(json!({ "aud": "other" }))), 401),
        (Reason::WrongType, notes(&minted(json!({ "typ": "JWT" }))), 401),
        (Reason::UnknownKey, notes(&minted(json!({ "kid": "k2" }))), 401),
        (Reason::Revoked, notes(&minted(json!({ "client_id": "gone" }))), 401),
        (Reason::UserDisabled, notes(&minted(json!({ "sub": "carol" }))), 401),
        (Reason::MissingScope, main.get("/admin").bearer(&bob), 403),
        (Reason::MethodNotAllowed, main.ask("DELETE", "/read-only/1").bearer(&bob), 405),
        (Reason::NoRoute, main.get("/nowhere"), 404),
        (Reason::BadPath, main.get("/notes/%2e%2e/admin"), 400),
        (Reason::BadRequest, main.ask("POST", "/notes/1").field(CHUNKED).body(b"0\r\n\r\n"), 400),
    ] {
        let (line, answer) = reason(&main, &log, ask).await;
        assert_eq!((line["reason"].as_str().unwrap(), answer.status), (wanted.id(), status));
        assert_eq!(line["decision"], "refuse", "{line}");
        found.insert(wanted, ());
    }
    main.upstream.stop().await;
    let (line, _) = reason(&main, &log, notes(&honest)).await;
    assert_eq!((&line["reason"], &line["status"]), (&json!("upstream_unreachable"), &json!(502)));
    assert_eq!((&line["decision"], &line["route"]), (&json!("error"), &json!("notes")));

    let silent = edge().upstream(Behaviour::IsSilent).upstream_with(", timeouts: { read: 50ms }");
    let (silent, log) = observed(silent).await;
    let (line, _) = reason(&silent, &log, silent.get("/public")).await;
    assert_eq!((&line["reason"], &line["status"]), (&json!("upstream_timeout"), &json!(504)));

    let plain = edge().listener("{ address: '127.0.0.1:0', behind_tls: true }");
    let (plain, log) = observed(plain).await;
    let (line, _) = reason(&plain, &log, plain.token("grant_type=password")).await;
    assert_eq!((&line["reason"], &line["status"]), (&json!("plaintext_refused"), &json!(403)));

    let sends = edge().listener("{ address: '127.0.0.1:0', redirect_to_https: true }");
    let (sends, log) = observed(sends.tokens_with("hosts: [edge.example.com]")).await;
    let (line, _) = reason(&sends, &log, sends.get("/notes/1")).await;
    assert_eq!((&line["reason"], &line["decision"]), (&json!("redirected"), &json!("refuse")));

    let small =
        "\n  - { id: small, path: /a, upstream: app, auth: public, limits: { body: 1B } }\n";
    let (small, log) = observed(edge().routes(small)).await;
    let (line, _) = reason(&small, &log, small.ask("POST", "/a").body(b"ab")).await;
    assert_eq!((&line["reason"], &line["route"]), (&json!("content_too_large"), &json!("small")));
    // Cut on its way, it is refused all the same.
    let cut = small.ask("POST", "/a").only(&["Host: a", CHUNKED]);
    let mut wire = small.wire().await;
    let answer = wire.ask([&cut.bytes()[..], b"2\r\nab\r\n"].concat()).await;
    let line = log.lines(2).await.pop().unwrap();
    assert_eq!((answer.status, &line["reason"]), (413, &json!("content_too_large")));
    assert_eq!((&line["decision"], &line["status"]), (&json!("refuse"), &json!(413)));

    found.extend(
        [
            Reason::UpstreamUnreachable,
            Reason::UpstreamTimeout,
            Reason::PlaintextRefused,
            Reason::Redirected,
            Reason::ContentTooLarge,
        ]
        .map(|r| (r, ())),
    );
    // Those of `/token` and its siblings are seen in `reasons`. The others need a trusted issuer (see `issuers`), a store that is
    // gone for minutes, certificates (see `client_certificates`), tunnels (see `silences`), clients that leave (see `client_gone`),
    // too many requests at once (see `in_flight`), and a bug of ours.
    let elsewhere = [
        Reason::WrongAlgorithm,
        Reason::RetiredKey,
        Reason::KeysUnavailable,
        Reason::ClientCertificate,
        Reason::TunnelTimeout,
        Reason::ClientGone,
        Reason::Overloaded,
    ];
    let missing: Vec<_> = Reason::ALL
        .into_iter()
        .filter(|own| !found.contains_key(own) && !Reason::OF_LOGINS.contains(own))
        .filter(|own| !elsewhere.contains(own))
        .collect();
    assert_eq!(missing, []);
}

#[tokio::test]
async fn the_access_log_says_who_did_what_and_how_it_ended() {
    let (edge, log) = observed(edge()).await;
    let alice = edge.login("alice", "notes:read").await;
    edge.get("/notes/7?key=1").bearer(&alice).await.is(200);
    let lines = log.lines(2).await;
    for line in &lines {
        for text in ["time", "request_id", "client", "decision", "method", "path"] {
            assert!(line[text].as_str().is_some_and(|text| !text.is_empty()), "{text}: {line}");
        }
        assert!(line["total_ms"].as_f64().unwrap() >= 0.0 && line["bytes"].as_u64().unwrap() > 0);
    }
    let (login, read) = (&lines[0], &lines[1]);
    for (line, wanted) in [
        (login, json!({ "decision": "serve", "method": "POST", "path": "/token", "status": 200 })),
        (login, json!({ "subject": "alice", "client_id": "web", "client": "127.0.0.1" })),
        (
            read,
            json!({ "decision": "forward", "method": "GET", "path": "/notes/7", "status": 200 }),
        ),
        (read, json!({ "subject": "alice", "client_id": "web", "route": "notes", "reason": null })),
    ] {
        for (name, wanted) in wanted.as_object().unwrap() {
            assert_eq!(&line[name], wanted, "{line}");
        }
    }
    assert_eq!(login["token_id"], read["token_id"]);
    assert!(read["token_id"].is_string() && read["upstream_ms"].is_number(), "{read}");
    assert_eq!(edge.upstream.last().values("x-request-id"), [read["request_id"].as_str().unwrap()]);
}

/// Our own log, at every level and of the real process, is looked at in `secrets_in_logs`.
#[tokio::test]
async fn a31_no_secret_is_in_the_access_log_or_the_metrics() {
    let (edge, log, secrets) = busy().await;
    log.lines(14).await;
    let (written, metrics) = (log.text(), metrics(&edge).await);
    assert!(written.contains("\"/notes/7\"") && written.contains("alice"), "{written}");
    for secret in &secrets {
        assert!(!written.contains(secret), "{secret} in\n{written}");
        assert!(!metrics.contains(secret), "{secret} in\n{metrics}");
    }
}
