//! How a client says which one it is: in a way that we know, or not at all. Nothing else becomes the default client.
// Part 4, item 22.

use super::harness::gateway::{Ask, VAULT_SECRET};
use super::harness::{Response, edge};

const ALICE: &str = "grant_type=password&username=alice&password=correct+horse+battery+staple";
/// RFC 7523 section 2.2.
const KIND: &str =
    "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
/// Of a client that is not registered here.
const PROOF: &str = "client_assertion=eyJhbGciOiJub25lIn0.eyJzdWIiOiJ3ZWIifQ.x";

#[track_caller]
fn is_invalid_client(answer: &Response, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    assert_eq!(answer.json()["error"], "invalid_client", "{what}");
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    assert!(!answer.text().contains("access_token"), "{what}");
}

#[tokio::test]
async fn an_assertion_is_never_passed_over() {
    let edge = edge().stateful().start().await;
    let mut forms = vec![KIND.to_owned(), PROOF.to_owned(), format!("{KIND}&{PROOF}")];
    forms.push(format!("{KIND}&client_assertion="));
    forms.push(format!("client_assertion_type=&{PROOF}"));
    forms.push("client_assertion_type=unheard-of&client_assertion=x".to_owned());
    for sign in &forms {
        for more in [
            "",
            "&client_id=",
            "&client_id=web",
            "&client_id=web&client_secret=",
            "&client_id=nobody",
        ] {
            let answer = edge.token(&format!("{ALICE}&{sign}{more}")).await;
            is_invalid_client(&answer, &format!("{sign}{more}"));
        }
        let with_basic =
            |id: &str, secret: &str| edge.token(&format!("{ALICE}&{sign}")).basic(id, secret);
        is_invalid_client(&with_basic("", "").await, sign);
        is_invalid_client(&with_basic("web", "").await, sign);
        is_invalid_client(&with_basic("vault", VAULT_SECRET).await, sign);
        // The siblings ask in the same way.
        let form = format!("token=x&{sign}");
        is_invalid_client(&edge.post("/token/revoke", &form).await, sign);
        let ask = edge.post("/token/introspect", &form).basic("auditor", VAULT_SECRET);
        is_invalid_client(&ask.await, sign);
    }
    edge.post("/token/introspect", "token=x").basic("auditor", VAULT_SECRET).await.is(200);
}

#[tokio::test]
async fn another_scheme_or_a_broken_field_is_nobody() {
    let edge = edge().stateful().start().await;
    let fields = [
        "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.x",
        "Authorization: Digest username=\"web\"",
        "Authorization: Negotiate",
        "Authorization: DPoP x",
        "Authorization: ",
        "Authorization: Basic",
        "Authorization: Basic !!!",
        "Authorization: Basic d2Vi",
        "Authorization: Basic OnNlY3JldA==",
        "Authorization: Basic Og==\r\nAuthorization: Basic Og==",
        "Authorization: Basic d2ViOg==\r\nAuthorization: Bearer x",
        "OAuth-Client-Attestation: x",
        "OAuth-Client-Attestation-PoP: x",
    ];
    for field in fields {
        for target in ["/token", "/token/revoke"] {
            let ask = |form: &str| -> Ask<'_> { edge.post(target, form).field(field) };
            is_invalid_client(&ask(&format!("{ALICE}&token=x")).await, field);
            is_invalid_client(&ask(&format!("{ALICE}&token=x&client_id=web")).await, field);
        }
    }
}

#[tokio::test]
async fn half_a_credential_in_the_form_or_one_in_the_url_is_nobody() {
    let edge = edge().start().await;
    is_invalid_client(&edge.token(&format!("{ALICE}&client_secret=x")).await, "a secret alone");
    is_invalid_client(&edge.token(&format!("{ALICE}&client_id=&client_secret=x")).await, "no id");
    for query in
        ["client_id=web", "client_secret=x", "client_assertion=x", "client_assertion_type=x"]
    {
        let answer = edge.post(&format!("/token?{query}"), ALICE).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &"invalid_request".into()));
    }
}

#[tokio::test]
async fn who_names_no_client_in_any_way_is_the_default_one() {
    let edge = edge().tls().start().await;
    let web = |more: &str| edge.token(&format!("{ALICE}{more}"));
    for ask in [
        web(""),
        web("&client_id="),
        web("&client_id=&client_secret="),
        // A parameter without a value counts as left out (RFC 6749 section 3.2).
        web("&client_assertion=&client_assertion_type="),
        web("&client_id=web"),
        // What is no client's proof: a grant's, or anybody's.
        web("&assertion=x"),
        web("&unknown=x").field("DPoP: x"),
        web("").basic("", ""),
        web("").field("authorization: basic Og=="),
        web("").basic("web", ""),
        web("&client_id=web").basic("web", ""),
    ] {
        edge.wire_tls().await.ask(ask.bytes()).await.is(200);
    }
}
