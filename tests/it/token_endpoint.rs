//! `POST /token` over sockets (RFC 6749 sections 3.2, 4.3 and 5; section A of the requirements). What its parts do by
//! themselves is tested beside them; here it is what a client hears.

use crate::harness::gateway::{PASSWORD, VAULT_SECRET};
use crate::harness::{Edge, HOST, Response, edge};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const ALICE: &str = "grant_type=password&username=alice&password=correct+horse+battery+staple";

#[track_caller]
fn is_refused(answer: &Response, status: u16, code: &str) {
    answer.is(status);
    assert_eq!(answer.json()["error"], code, "{}", answer.text());
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    assert_eq!(answer.values("content-type"), ["application/json"]);
    let description = answer.json()["error_description"].as_str().unwrap_or("").to_owned();
    assert!(description.bytes().all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)));
    assert!(!answer.text().contains("horse"), "{}", answer.text());
}

fn with_scope(scope: &str) -> String {
    format!("{ALICE}&scope={scope}")
}

#[tokio::test]
async fn a18_a_password_becomes_a_token_that_opens_a_route() {
    let edge = edge().start().await;
    let answer = edge.token(&with_scope("notes:read")).await;
    answer.is(200);
    let json = answer.json();
    assert_eq!(json["token_type"], "Bearer");
    assert_eq!(json["expires_in"], 900);
    assert_eq!(json["scope"], "notes:read");
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    assert_eq!(answer.values("content-type"), ["application/json"]);
    let token = json["access_token"].as_str().unwrap();
    edge.get("/notes").bearer(token).await.is(200);
    edge.get("/admin").bearer(token).await.is(403);
    assert_eq!(edge.upstream.seen().len(), 1, "the login itself never reaches an application");
}

#[tokio::test]
async fn a19_without_a_scope_the_answer_says_what_was_granted() {
    let edge = edge().start().await;
    let answer = edge.token(ALICE).await;
    assert_eq!(answer.is(200).json()["scope"], "admin notes:read notes:write");
    // RFC 6749 section 3.2: a parameter without a value counts as left out.
    let answer = edge.token(&with_scope("")).await;
    assert_eq!(answer.is(200).json()["scope"], "admin notes:read notes:write");
}

#[tokio::test]
async fn a1_only_post_gives_a_token() {
    let edge = edge().start().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let asked = edge.ask(method, "/token").field(FORM);
        let answer =
            if method == "HEAD" { asked.await } else { asked.body(ALICE.as_bytes()).await };
        assert_eq!(answer.is(405).values("allow"), ["POST"], "{method}");
        assert!(!answer.text().contains("access_token"));
    }
    edge.get(&format!("/token?{ALICE}")).await.is(405);
}

#[tokio::test]
async fn a2_a3_only_a_form_is_read() {
    let edge = edge().start().await;
    let types = [
        "application/json",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/x-www-form-urlencodedx",
        "",
    ];
    for kind in types {
        let asked = edge.ask("POST", "/token").field(&format!("Content-Type: {kind}"));
        is_refused(&asked.body(ALICE.as_bytes()).await, 400, "invalid_request");
    }
    let untyped = edge.ask("POST", "/token").body(ALICE.as_bytes()).await;
    is_refused(&untyped, 400, "invalid_request");
    for kind in
        ["Application/X-WWW-Form-URLEncoded", "application/x-www-form-urlencoded; charset=UTF-8"]
    {
        let asked = edge.ask("POST", "/token").field(&format!("Content-Type: {kind}"));
        asked.body(ALICE.as_bytes()).await.is(200);
    }
}

#[tokio::test]
async fn a4_the_query_is_no_place_for_credentials() {
    let edge = edge().start().await;
    let asked = edge.ask("POST", &format!("/token?{ALICE}")).field(FORM);
    is_refused(&asked.body(b"").await, 400, "invalid_request");
    let asked = edge.ask("POST", "/token?password=correct+horse+battery+staple").field(FORM);
    is_refused(&asked.body(b"grant_type=password&username=alice").await, 400, "invalid_request");
}

#[tokio::test]
async fn a5_to_a11_what_is_missing_doubled_or_unknown_has_its_code() {
    let edge = edge().start().await;
    let refused = [
        ("", "invalid_request"),
        ("username=alice&password=x", "invalid_request"),
        ("grant_type=&username=alice&password=x", "invalid_request"),
        ("grant_type=password", "invalid_request"),
        ("grant_type=password&username=alice", "invalid_request"),
        ("grant_type=password&password=x", "invalid_request"),
        ("grant_type=password&username=&password=x", "invalid_request"),
        ("grant_type=magic&username=alice&password=x", "unsupported_grant_type"),
        ("grant_type=PASSWORD&username=alice&password=x", "unsupported_grant_type"),
        ("grant_type=password+&username=alice&password=x", "unsupported_grant_type"),
    ];
    for (form, code) in refused {
        is_refused(&edge.token(form).await, 400, code);
    }
    for doubled in
        ["grant_type=password", "username=alice", "password=x", "scope=", "client_id=web"]
    {
        let form = format!("{ALICE}&scope=notes:read&client_id=web&{doubled}");
        is_refused(&edge.token(&form).await, 400, "invalid_request");
    }
    edge.token(&format!("{ALICE}&unknown=1&another=")).await.is(200);
}

#[tokio::test]
async fn a12_a13_whoever_cannot_log_in_hears_the_same() {
    let edge = edge().start().await;
    let forms = [
        "grant_type=password&username=alice&password=wrong",
        "grant_type=password&username=nobody&password=wrong",
        "grant_type=password&username=nobody&password=correct+horse+battery+staple",
        "grant_type=password&username=carol&password=correct+horse+battery+staple",
        "grant_type=password&username=Alice&password=correct+horse+battery+staple",
        "grant_type=password&username=+alice&password=correct+horse+battery+staple",
        "grant_type=password&username=client%3Aweb&password=x",
    ];
    let mut heard = Vec::new();
    for form in forms {
        let answer = edge.token(form).await;
        is_refused(&answer, 400, "invalid_grant");
        let mut names: Vec<_> = answer.fields.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        heard.push((answer.text(), names));
    }
    heard.dedup();
    assert_eq!(heard.len(), 1, "{heard:?}");
}

#[tokio::test]
async fn a15_a16_a17_never_more_than_user_and_client_may_have() {
    let edge = edge().start().await;
    for bad in ["unknown", "a%09b", "a%22b", "notes:read,admin", "notes:read++admin", "Admin"] {
        is_refused(&edge.token(&with_scope(bad)).await, 400, "invalid_scope");
    }
    let bob = "grant_type=password&username=bob&password=correct+horse+battery+staple";
    let answer = edge.token(&format!("{bob}&scope=admin+notes:read")).await;
    assert_eq!(answer.is(200).json()["scope"], "notes:read", "A15: item 32 of part 4");
    is_refused(&edge.token(&format!("{bob}&scope=admin")).await, 400, "invalid_scope");
    assert_eq!(edge.token(bob).await.is(200).json()["scope"], "notes:read");
    let answer = edge.token(&format!("{ALICE}&client_id=reader")).await;
    assert_eq!(answer.is(200).json()["scope"], "notes:read");
}

#[tokio::test]
async fn a22_an_unknown_client_never_becomes_the_default_one() {
    let edge = edge().start().await;
    is_refused(&edge.token(&format!("{ALICE}&client_id=nobody")).await, 401, "invalid_client");
    let answer = edge.token(ALICE).basic("nobody", "x").await;
    is_refused(&answer, 401, "invalid_client");
    assert!(answer.values("www-authenticate")[0].starts_with("Basic"));
    edge.token(&format!("{ALICE}&client_id=web")).await.is(200);
    // What Swagger UI sends when no client is filled in.
    edge.token(ALICE).basic("", "").await.is(200);
    edge.token(&format!("{ALICE}&client_id=&client_secret=")).await.is(200);
}

#[tokio::test]
async fn a23_a24_a_client_proves_itself_in_one_way() {
    let edge = edge().start().await;
    let vault = format!("{ALICE}&client_id=vault");
    let encoded = "s3cret%2B%2F%25%3Avault";
    edge.token(ALICE).basic("vault", VAULT_SECRET).await.is(200);
    edge.token(ALICE).basic("vault", encoded).await.is(200);
    edge.token(&format!("{vault}&client_secret={encoded}")).await.is(200);

    is_refused(&edge.token(&vault).await, 401, "invalid_client");
    is_refused(&edge.token(&format!("{vault}&client_secret=wrong")).await, 401, "invalid_client");
    is_refused(&edge.token(ALICE).basic("vault", "wrong").await, 401, "invalid_client");
    let both =
        edge.token(&format!("{vault}&client_secret={encoded}")).basic("vault", VAULT_SECRET).await;
    is_refused(&both, 400, "invalid_request");
    let other = edge.token(&format!("{ALICE}&client_id=web")).basic("vault", VAULT_SECRET).await;
    is_refused(&other, 400, "invalid_request");
    let same = edge.token(&vault).basic("vault", VAULT_SECRET).await;
    assert_eq!(same.is(200).json()["scope"], "notes:read", "A23: item 32 of part 4");
}

#[tokio::test]
async fn a25_a_malformed_client_credential_is_no_500() {
    let edge = edge().start().await;
    for credential in [
        "Basic",
        "Basic ===",
        "Basic dmF1bHQ=",
        "Basic /////w==",
        "Basic OnNlY3JldA==",
        "Basic a b",
        "Digest x",
    ] {
        let answer = edge.token(ALICE).field(&format!("Authorization: {credential}")).await;
        // A25: item 32 of part 4.
        is_refused(&answer, 401, "invalid_client");
        assert_eq!(
            answer.values("www-authenticate"),
            ["Basic realm=\"portcullis\""],
            "{credential}"
        );
    }
    let twice = edge.token(ALICE).basic("vault", VAULT_SECRET).basic("vault", VAULT_SECRET).await;
    is_refused(&twice, 401, "invalid_client");
}

#[tokio::test]
async fn a27_what_is_too_large_is_refused_before_it_is_read() {
    let edge = edge().start().await;
    let mut wire = edge.wire().await;
    let announced =
        edge.ask("POST", "/token").field(FORM).field("Content-Length: 1073741824").bytes();
    let answer = wire.ask(announced).await;
    assert_eq!(answer.status, 413);
    wire.is_closed().await;

    let huge = format!("{ALICE}&x={}", "a".repeat(70_000));
    edge.token(&huge).await.is(413);
    let long = format!("grant_type=password&username=alice&password={}", "a".repeat(10_000));
    assert_eq!(edge.token(&long).await.status, 400);
}

#[tokio::test]
async fn a28_every_spelling_of_a_form_is_one_and_bad_ones_are_400() {
    let edge = edge().start().await;
    let spelled: String = PASSWORD.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for password in [PASSWORD.replace(' ', "+"), PASSWORD.replace(' ', "%20"), spelled] {
        edge.token(&format!("grant_type=password&username=%61lice&password={password}"))
            .await
            .is(200);
    }
    for bad in ["%", "%zz", "%e", "%ff", "%00", "a%0"] {
        let answer =
            edge.token(&format!("grant_type=password&username=alice&password={bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a32_two_logins_in_one_second_differ() {
    let edge = edge().start().await;
    assert_ne!(edge.login("alice", "admin").await, edge.login("alice", "admin").await);
}

#[tokio::test]
async fn a35_chunked_and_byte_wise_bodies_work() {
    let edge = edge().start().await;
    let chunked = || edge.ask("POST", "/token").field(FORM).field("Transfer-Encoding: chunked");
    let mut bytes = chunked().bytes();
    for part in ALICE.as_bytes().chunks(7) {
        bytes.extend(format!("{:x}\r\n", part.len()).into_bytes());
        bytes.extend(part);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    edge.wire().await.ask(bytes).await.is(200);

    let mut wire = edge.wire().await;
    let whole = edge.token(ALICE).bytes();
    for byte in &whole[..whole.len() - 1] {
        wire.send([*byte]).await;
    }
    wire.ask([whole[whole.len() - 1]]).await.is(200);
}

#[tokio::test]
async fn a35_a_client_that_waits_for_100_gets_it() {
    let edge = edge().start().await;
    let asked = edge.ask("POST", "/token").field(FORM).field("Expect: 100-continue");
    let mut wire = edge.wire().await;
    let head = asked.field(&format!("Content-Length: {}", ALICE.len())).bytes();
    let interim = wire.ask(head).await;
    interim.is(100);
    wire.ask(ALICE).await.is(200);
}

#[tokio::test]
async fn a38_no_page_of_another_origin_may_read_the_answer() {
    let edge = edge().start().await;
    let answer = edge.token(ALICE).field("Origin: https://evil.example").await;
    assert!(answer.is(200).values("access-control-allow-origin").is_empty());
    assert!(answer.values("set-cookie").is_empty());
}

#[tokio::test]
async fn passwords_travel_in_the_clear_only_where_the_operator_vouches() {
    let behind = |edge: crate::harness::gateway::EdgeBuilder| {
        edge.listener("{ address: '127.0.0.1:0', behind_tls: true }")
            .with("trusted_proxies: ['127.0.0.1']")
    };
    let edge = behind(edge()).start().await;
    edge.token(ALICE).await.is(403);
    edge.token(ALICE).field("X-Forwarded-Proto: http").await.is(403);
    edge.token(ALICE).field("X-Forwarded-Proto: https").await.is(200);
}

#[tokio::test]
async fn over_tls_both_protocols_log_in() {
    let edge = edge().tls().start().await;
    edge.wire_tls().await.ask(edge.token(ALICE).bytes()).await.is(200);
    let request = http::Request::post(format!("https://{HOST}/token"));
    let request =
        request.header("content-type", "application/x-www-form-urlencoded").body(()).unwrap();
    let answer = edge.h2().await.ask(request, ALICE.as_bytes(), None).await.unwrap();
    let token = answer.is(200).json()["access_token"].as_str().unwrap().to_owned();
    edge.wire_tls().await.ask(edge.get("/notes").bearer(&token).bytes()).await.is(200);
}

#[tokio::test]
async fn f3_the_key_set_is_public_and_holds_public_members_only() {
    let edge: Edge = edge().start().await;
    let answer = edge.get("/.well-known/jwks.json").await;
    let json = answer.is(200).json();
    let key = &json["keys"][0];
    assert_eq!(
        (&key["kid"], &key["kty"], &key["alg"]),
        (&"k1".into(), &"OKP".into(), &"EdDSA".into())
    );
    assert!(key.get("d").is_none() && json["keys"].as_array().unwrap().len() == 1);
    assert!(edge.upstream.seen().is_empty());
}

#[tokio::test]
async fn a7_a8_a9_grants_and_parameters_are_exact() {
    let edge = edge().start().await;
    edge.token(&format!("{ALICE}&unknown=1&another=2")).await.is(200);
    let no_grant = "username=alice&password=correct+horse+battery+staple";
    is_refused(&edge.token(no_grant).await, 400, "invalid_request");
    for grant in
        ["PASSWORD", "password+", "Refresh_token", "client-credentials", "authorization_code"]
    {
        let form = ALICE.replace("grant_type=password", &format!("grant_type={grant}"));
        is_refused(&edge.token(&form).await, 400, "unsupported_grant_type");
    }
}

#[tokio::test]
async fn a20_a21_errors_are_never_stored_and_repeat_nothing_of_the_request() {
    let edge = edge().start().await;
    for (form, status, code) in [
        ("grant_type=horse%22%0d%0aX:1&username=a&password=b", 400, "unsupported_grant_type"),
        ("grant_type=password&username=horse&password=horse", 400, "invalid_grant"),
        (&with_scope("horse"), 400, "invalid_scope"),
        ("grant_type=password&client_id=horse&username=a&password=b", 401, "invalid_client"),
    ] {
        // `is_refused` looks for the horse, for `no-store` and at the characters of the description.
        is_refused(&edge.token(form).await, status, code);
    }
}

#[tokio::test]
async fn a26_a_client_secret_is_compared_whole() {
    let edge = edge().start().await;
    for wrong in ["", "s3cret", &format!("{VAULT_SECRET}x"), &VAULT_SECRET.to_uppercase()] {
        is_refused(&edge.token(ALICE).basic("vault", wrong).await, 401, "invalid_client");
    }
    edge.token(ALICE).basic("vault", VAULT_SECRET).await.is(200);
    // A public client has no secret: who sends one is mistaken about whom it talks to.
    is_refused(&edge.token(ALICE).basic("web", "x").await, 401, "invalid_client");
    edge.token(ALICE).basic("web", "").await.is(200);
}
