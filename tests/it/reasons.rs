//! One vocabulary of reasons: what an endpoint of our own refuses is logged, counted and explained as what it is.
// Part 4, item 28.

use portcullis::reason::Reason;
use serde_json::{Value, json};

use super::harness::captured::Captured;
use super::harness::gateway::{Ask, EdgeBuilder, PASSWORD, VAULT_SECRET};
use super::harness::{Edge, Pair, Response, edge};
use super::metrics::{decisions, metrics, value};

const ADMIN: &str = "admin: { address: '127.0.0.1:0' }";
const RIGHT: &str = "correct+horse+battery+staple";

struct Watched {
    edge: Edge,
    log: Captured,
}

async fn watched(builder: EdgeBuilder) -> Watched {
    let log = Captured::default();
    let edge = builder.log_to(&log).start().await;
    Watched { edge, log }
}

impl Watched {
    /// Sends a request, and returns its answer and its line in the log.
    async fn line(&self, ask: Ask<'_>) -> (Response, Value) {
        let before = self.log.text().lines().count();
        let answer = ask.await;
        let line = self.log.lines(before + 1).await.pop().unwrap();
        assert_eq!(line["status"], answer.status, "{line}");
        (answer, line)
    }

    /// Sends a request that must be refused for this reason; `login` where that counts as a failed login, too.
    async fn is_refused(&self, ask: Ask<'_>, status: u16, reason: Reason, login: bool) -> Value {
        let failures = format!("portcullis_login_failures_total{{reason=\"{reason}\"}}");
        let count = |text: &str| {
            let failed = if login { value(text, &failures) } else { 0.0 };
            (decisions(text, reason.id()), decisions(text, "allowed"), failed)
        };
        let before = count(&metrics(&self.edge).await);
        let (answer, line) = self.line(ask).await;
        assert_eq!((answer.status, line["reason"].as_str()), (status, Some(reason.id())), "{line}");
        assert_eq!(line["decision"], "refuse", "{line}");
        let after = count(&metrics(&self.edge).await);
        let change = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        let wanted = (1.0, 0.0, if login { 1.0 } else { 0.0 });
        assert_eq!(format!("{change:?}"), format!("{wanted:?}"), "{line}");
        line
    }
}

fn password(user: &str, password: &str) -> String {
    format!("grant_type=password&username={user}&password={password}")
}

#[tokio::test]
async fn what_token_refuses_is_logged_and_counted_as_what_it_is() {
    let on = watched(edge().stateful().with(ADMIN)).await;
    let bob = on.edge.tokens("bob").await;
    let alice = password("alice", RIGHT);
    let ask = |form: &str| on.edge.token(form);
    let with = |more: &str| on.edge.token(&format!("{alice}&{more}"));
    let refresh = |more: &str| {
        on.edge.token(&format!("grant_type=refresh_token&refresh_token={}{more}", bob.refresh))
    };
    let machine = "grant_type=client_credentials";
    let long = "x".repeat(2000);
    let (web, vault) = (json!("web"), json!("vault"));
    let (none, user) = (Value::Null, json!("alice"));
    let (pass, renew) = (json!("password"), json!("refresh_token"));
    let as_text = on.edge.ask("POST", "/token").field("Content-Type: text/plain");
    let in_query = on.edge.post("/token?username=alice", "grant_type=password");
    let wrong = password("alice", "wrong");
    for (ask, status, reason, grant, client, subject) in [
        (on.edge.get("/token"), 405, Reason::MethodNotAllowed, &none, &none, &none),
        (as_text.body(b"x"), 400, Reason::MediaType, &none, &none, &none),
        (in_query, 400, Reason::InQuery, &none, &none, &none),
        (ask("a=%"), 400, Reason::MalformedForm, &none, &none, &none),
        (ask(&"x".repeat(70_000)), 413, Reason::ContentTooLarge, &none, &none, &none),
        (ask("x=1"), 400, Reason::NoGrantType, &none, &web, &none),
        (ask("grant_type=magic"), 400, Reason::UnsupportedGrantType, &none, &web, &none),
        (ask("grant_type=password"), 400, Reason::NoCredentials, &pass, &web, &none),
        (ask(&password("alice", &long)), 400, Reason::TooLong, &pass, &web, &user),
        (ask(&wrong), 400, Reason::InvalidGrant, &pass, &web, &user),
        (with("scope=nothing"), 400, Reason::InvalidScope, &pass, &web, &user),
        (with("client_id=nobody"), 401, Reason::InvalidClient, &pass, &none, &user),
        (with("client_id=vault"), 401, Reason::InvalidClient, &pass, &vault, &user),
        (ask(&alice).basic("vault", "no"), 401, Reason::InvalidClient, &pass, &vault, &user),
        (
            with("client_secret=x").basic("vault", VAULT_SECRET),
            400,
            Reason::TwoClientMethods,
            &pass,
            &vault,
            &user,
        ),
        (
            ask(machine).basic("remote", VAULT_SECRET),
            401,
            Reason::ClientNetwork,
            &json!("client_credentials"),
            &json!("remote"),
            &none,
        ),
        (ask(machine), 400, Reason::UnauthorizedClient, &json!("client_credentials"), &web, &none),
        (
            ask("grant_type=refresh_token&refresh_token=prt_x"),
            400,
            Reason::RefreshTokenInvalid,
            &renew,
            &web,
            &none,
        ),
        (
            refresh("&client_id=reader"),
            400,
            Reason::RefreshTokenOfAnotherClient,
            &renew,
            &json!("reader"),
            &none,
        ),
    ] {
        let line = on.is_refused(ask, status, reason, true).await;
        assert_eq!((&line["grant"], &line["client_id"]), (grant, client), "{line}");
        assert_eq!(&line["subject"], subject, "{line}");
    }
    // The honest twin.
    let (answer, line) = on.line(ask(&alice)).await;
    assert_eq!((answer.status, &line["decision"], &line["reason"]), (200, &json!("serve"), &none));
    assert_eq!((&line["grant"], &line["client_id"], &line["subject"]), (&pass, &web, &user));

    let next = Pair::of(&on.line(on.edge.refresh(&bob)).await.0);
    Pair::of(&on.line(on.edge.refresh(&next)).await.0);
    on.is_refused(refresh(""), 400, Reason::RefreshTokenReused, true).await;
    let bob = Pair::of(&on.line(ask(&password("bob", RIGHT))).await.0);
    on.edge.disable_bob();
    on.is_refused(on.edge.refresh(&bob), 400, Reason::UserChanged, true).await;
    for _ in 0..5 {
        on.is_refused(ask(&wrong), 400, Reason::InvalidGrant, true).await;
    }
    let line = on.is_refused(ask(&alice), 429, Reason::Banned, true).await;
    assert_eq!((&line["subject"], &line["client_id"]), (&user, &web));
}

#[tokio::test]
async fn a_name_that_nobody_has_is_never_logged_and_never_a_label() {
    for builder in [edge(), edge().stateful().users_in_database()] {
        let on = watched(builder.with(ADMIN)).await;
        // Passwords and secrets in the wrong field, in both places that a client can name itself in.
        let asks = [
            on.edge.token(&password("hunter2-password", "alice")),
            on.edge.token(&format!("{}&client_id=hunter2-secret", password("alice", "x"))),
            on.edge.token(&password("alice", "x")).basic("hunter2-basic", "vault"),
            on.edge.token("grant_type=hunter2-grant"),
            on.edge.post("/token/introspect", "token=hunter2-token").basic("auditor", VAULT_SECRET),
            on.edge.post("/token/revoke", "token=x&client_id=hunter2-client"),
        ];
        for ask in asks {
            on.line(ask).await;
        }
        let (_, line) = on.line(on.edge.token(&password("carol", RIGHT))).await;
        assert_eq!(line["subject"], "carol", "who is disabled is there: {line}");
        let written = on.log.text() + &metrics(&on.edge).await;
        assert!(!written.contains("hunter2") && !written.contains(PASSWORD), "{written}");
    }
}

#[tokio::test]
async fn revoke_introspect_userinfo_and_the_documents_refuse_in_the_same_words() {
    let on = watched(edge().stateful().with(ADMIN)).await;
    let alice = on.edge.tokens("alice").await;
    let token = format!("token={}", alice.access);
    for path in ["/token/revoke", "/token/introspect"] {
        let ask = |form: &str| on.edge.post(path, form).basic("auditor", VAULT_SECRET);
        on.is_refused(on.edge.get(path), 405, Reason::MethodNotAllowed, true).await;
        let line = on.is_refused(ask("x=1"), 400, Reason::NoCredentials, true).await;
        assert_eq!(line["client_id"], "auditor");
        let wrong = on.edge.post(path, &token).basic("auditor", "wrong");
        let line = on.is_refused(wrong, 401, Reason::InvalidClient, true).await;
        assert_eq!(line["client_id"], "auditor");
    }
    let other = on.edge.post("/token/revoke", &format!("{token}&client_id=reader"));
    on.is_refused(other, 400, Reason::TokenOfAnotherClient, true).await;
    let introspected = on.edge.post("/token/introspect", &token).basic("auditor", VAULT_SECRET);
    let (answer, line) = on.line(introspected).await;
    assert_eq!((answer.status, &line["decision"]), (200, &json!("serve")));

    let bad = on.edge.get("/token/userinfo").bearer("a.b");
    let line = on.is_refused(bad, 401, Reason::MalformedToken, false).await;
    assert_eq!(line["detail"], "it has not exactly three segments");
    on.is_refused(on.edge.get("/token/userinfo"), 401, Reason::NoToken, false).await;
    let over = on.edge.mint.with(on.edge.now(), json!({ "sub": "carol" }));
    let line = on
        .is_refused(on.edge.get("/token/userinfo").bearer(&over), 401, Reason::UserDisabled, false)
        .await;
    assert_eq!((&line["subject"], &line["client_id"]), (&json!("carol"), &json!("web")));
    for path in
        ["/token/userinfo", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server"]
    {
        on.is_refused(on.edge.ask("PUT", path), 405, Reason::MethodNotAllowed, false).await;
    }
    let (answer, line) = on.line(on.edge.get("/token/userinfo").bearer(&alice.access)).await;
    assert_eq!((answer.status, &line["decision"]), (200, &json!("serve")));
}

#[tokio::test]
async fn a_body_that_cannot_be_had_has_its_own_reason() {
    let on = watched(edge().with(ADMIN)).await;
    for (head, status, reason) in [
        ("Content-Length: 1073741824", 413, Reason::ContentTooLarge),
        ("Transfer-Encoding: chunked", 400, Reason::BadRequest),
    ] {
        let form = "Content-Type: application/x-www-form-urlencoded";
        let head = on.edge.ask("POST", "/token").field(form).field(head).bytes();
        let before = on.log.text().lines().count();
        let answer = on.edge.wire().await.ask([&head[..], b"zz\r\n"].concat()).await;
        let line = on.log.lines(before + 1).await.pop().unwrap();
        assert_eq!((answer.status, &line["reason"]), (status, &json!(reason.id())), "{line}");
        assert_eq!(line["decision"], "refuse");
    }
}
