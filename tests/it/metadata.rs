//! RFC 8414 over sockets: what clients that configure themselves are told, and that it is true.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::harness::gateway::VAULT_SECRET;
use super::harness::{HOST, edge};

const PATH: &str = "/.well-known/oauth-authorization-server";

#[tokio::test]
async fn f1_f2_the_metadata_says_what_there_is_and_no_more() {
    let edge = edge().start().await;
    let answer = edge.get(PATH).await;
    let metadata = answer.is(200).json();
    assert_eq!(
        metadata,
        json!({
            "issuer": format!("https://{HOST}"),
            "token_endpoint": format!("https://{HOST}/token"),
            "token_endpoint_auth_methods_supported":
                ["none", "client_secret_basic", "client_secret_post"],
            "introspection_endpoint": format!("https://{HOST}/token/introspect"),
            "introspection_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post"],
            "userinfo_endpoint": format!("https://{HOST}/token/userinfo"),
            "jwks_uri": format!("https://{HOST}/.well-known/jwks.json"),
            "grant_types_supported": ["password", "client_credentials"],
            "response_types_supported": [],
            "scopes_supported": ["admin", "notes:read", "notes:write"],
        })
    );
    // Whoever follows it gets there, and meets the same issuer.
    let path = |name: &str| {
        let url = metadata[name].as_str().unwrap();
        url.strip_prefix(&format!("https://{HOST}")).unwrap().to_owned()
    };
    edge.get(&path("jwks_uri")).await.is(200);
    let token = edge
        .ask("POST", &path("token_endpoint"))
        .field("Content-Type: application/x-www-form-urlencoded")
        .basic("nightly", VAULT_SECRET)
        .body(b"grant_type=client_credentials")
        .await;
    let token = token.is(200).json()["access_token"].as_str().unwrap().to_owned();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], metadata["issuer"]);
}

#[tokio::test]
async fn f2_only_where_state_is_kept_is_there_anything_to_refresh_or_revoke() {
    let edge = edge().stateful().start().await;
    let metadata = edge.get(PATH).await.is(200).json();
    let grants = json!(["password", "refresh_token", "client_credentials"]);
    assert_eq!(metadata["grant_types_supported"], grants);
    assert_eq!(metadata["revocation_endpoint"], format!("https://{HOST}/token/revoke"));
    let pair = edge.tokens("alice").await;
    edge.refresh(&pair).await.is(200);
    edge.post("/token/revoke", &format!("token={}", pair.access)).await.is(200);
}

#[tokio::test]
async fn f1_f4_everybody_may_read_it_and_keep_it_for_minutes() {
    // On a listener that takes no credentials, too.
    let edge = edge().listener("{ address: '0.0.0.0:0' }").start().await;
    edge.token("grant_type=client_credentials").await.is(403);
    let answer = edge.get(PATH).await;
    assert_eq!(answer.is(200).values("content-type"), ["application/json"]);
    assert_eq!(answer.values("cache-control"), ["public, max-age=300"]);
    let head = edge.ask("HEAD", PATH).await;
    assert_eq!((head.is(200).body.len(), head.values("etag")), (0, answer.values("etag")));
    let known = format!("If-None-Match: {}", answer.values("etag")[0]);
    assert!(edge.get(PATH).field(&known).await.is(304).body.is_empty());
    assert_eq!(edge.ask("POST", PATH).body(b"").await.is(405).values("allow"), ["GET, HEAD"]);
    assert!(edge.upstream.seen().is_empty());
}

#[tokio::test]
async fn f1_an_issuer_with_a_path_has_its_metadata_behind_the_well_known_one() {
    let issuer = format!("https://{HOST}/tenant");
    let edge = edge().issuer(&issuer).start().await;
    let metadata = edge.get(&format!("{PATH}/tenant")).await.is(200).json();
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["token_endpoint"], format!("https://{HOST}/token"));
    // Under the plain path a client would expect another issuer (section 3.3).
    edge.get(PATH).await.is(404);
    for near in ["/tenant/", "/Tenant", "//tenant", "/%74enant"] {
        edge.get(&format!("{PATH}{near}")).await.is(404);
    }
    assert!(edge.upstream.seen().is_empty());
}

#[tokio::test]
async fn what_is_off_or_elsewhere_is_not_here() {
    let edge = edge();
    let moved = edge.tokens_with("endpoints: { metadata: /about, jwks: off }").start().await;
    let metadata = moved.get("/about").await.is(200).json();
    assert_eq!(metadata["jwks_uri"], Value::Null);
    moved.get(PATH).await.is(404);
    let off = super::harness::edge().tokens_with("endpoints: { metadata: off }").start().await;
    off.get(PATH).await.is(404);
}
