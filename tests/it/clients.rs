//! Programs that people have already: what they send is what must work.

use http::{Request, Response, StatusCode};
use oauth2::basic::BasicClient;
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, RequestTokenError, ResourceOwnerPassword,
    ResourceOwnerUsername, Scope, TokenResponse as _, TokenUrl,
};
use reqwest::Client;

use super::harness::gateway::{PASSWORD, VAULT_SECRET};
use super::harness::{Edge, edge};

fn client() -> Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

fn url(edge: &Edge, path: &str) -> String {
    format!("http://{}{path}", edge.address)
}

async fn send(client: Client, request: HttpRequest) -> Result<Response<Vec<u8>>, reqwest::Error> {
    let request: Request<Vec<u8>> = request;
    let answer = client.execute(request.try_into()?).await?;
    let (status, fields) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(answer.bytes().await?.to_vec());
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    Ok(response)
}

#[tokio::test]
async fn the_oauth2_crate_logs_in_with_every_way_to_name_the_client() {
    let edge = edge().start().await;
    let http = client();
    let call = |request| send(http.clone(), request);
    let (alice, password) = (
        ResourceOwnerUsername::new("alice".to_owned()),
        ResourceOwnerPassword::new(PASSWORD.to_owned()),
    );
    for (id, secret, how) in [
        ("web", None, AuthType::RequestBody),
        ("web", None, AuthType::BasicAuth),
        ("vault", Some(VAULT_SECRET), AuthType::RequestBody),
        ("vault", Some(VAULT_SECRET), AuthType::BasicAuth),
    ] {
        let mut oauth = BasicClient::new(ClientId::new(id.to_owned()))
            .set_token_uri(TokenUrl::new(url(&edge, "/token")).unwrap())
            .set_auth_type(how.clone());
        if let Some(secret) = secret {
            oauth = oauth.set_client_secret(ClientSecret::new(secret.to_owned()));
        }
        let asked = oauth.exchange_password(&alice, &password);
        let asked = asked.add_scope(Scope::new("notes:read".to_owned()));
        let token =
            asked.request_async(&call).await.unwrap_or_else(|e| panic!("{id} {how:?}: {e:?}"));
        assert_eq!(token.expires_in().unwrap().as_secs(), 900);
        let access = token.access_token().secret();
        let answer = http.get(url(&edge, "/notes/1")).bearer_auth(access).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(edge.upstream.last().values("x-user"), ["alice"]);
    }
}

#[tokio::test]
async fn the_oauth2_crate_gets_a_token_for_a_program() {
    let edge = edge().start().await;
    let http = client();
    let call = |request| send(http.clone(), request);
    for how in [AuthType::RequestBody, AuthType::BasicAuth] {
        let oauth = BasicClient::new(ClientId::new("nightly".to_owned()))
            .set_client_secret(ClientSecret::new(VAULT_SECRET.to_owned()))
            .set_token_uri(TokenUrl::new(url(&edge, "/token")).unwrap())
            .set_auth_type(how);
        let asked = oauth.exchange_client_credentials();
        let asked = asked.add_scope(Scope::new("notes:read".to_owned()));
        let token = asked.request_async(&call).await.unwrap();
        assert!(token.refresh_token().is_none());
        let access = token.access_token().secret();
        let answer = http.get(url(&edge, "/notes/1")).bearer_auth(access).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(edge.upstream.last().values("x-user"), ["client:nightly"]);
    }
}

#[tokio::test]
async fn the_oauth2_crate_understands_every_refusal() {
    let edge = edge().start().await;
    let http = client();
    let call = |request| send(http.clone(), request);
    for (id, secret, password, scope, wanted) in [
        ("web", None, "wrong", "notes:read", "invalid_grant"),
        ("web", None, PASSWORD, "no-such-scope", "invalid_scope"),
        ("vault", Some("wrong"), PASSWORD, "notes:read", "invalid_client"),
    ] {
        let mut oauth = BasicClient::new(ClientId::new(id.to_owned()))
            .set_token_uri(TokenUrl::new(url(&edge, "/token")).unwrap());
        if let Some(secret) = secret {
            oauth = oauth.set_client_secret(ClientSecret::new(secret.to_owned()));
        }
        let (user, password) = (
            ResourceOwnerUsername::new("alice".to_owned()),
            ResourceOwnerPassword::new(password.to_owned()),
        );
        let asked = oauth.exchange_password(&user, &password);
        let refused = asked.add_scope(Scope::new(scope.to_owned())).request_async(&call).await;
        match refused {
            Err(RequestTokenError::ServerResponse(error)) => {
                assert_eq!(error.error().to_string(), wanted);
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_login_form_of_swagger_logs_in() {
    let edge = edge().start().await;
    let form = "grant_type=password&username=alice&password=correct%20horse%20battery%20staple";
    for (basic, more) in [
        (Some("Basic Og=="), "&scope="),
        (Some("Basic Og=="), ""),
        (None, "&scope=&client_id=&client_secret="),
        (None, "&scope=notes%3Aread"),
    ] {
        let mut asked = edge
            .ask("POST", "/token")
            .field("Accept: application/json, text/plain, */*")
            .field("X-Requested-With: XMLHttpRequest")
            .field("Content-Type: application/x-www-form-urlencoded");
        if let Some(basic) = basic {
            asked = asked.field(&format!("Authorization: {basic}"));
        }
        let answer = asked.body(format!("{form}{more}").as_bytes()).await;
        let answer = answer.is(200).json();
        assert!(answer["token_type"].as_str().unwrap().eq_ignore_ascii_case("bearer"));
        let token = answer["access_token"].as_str().unwrap();
        edge.get("/notes/1").bearer(token).await.is(200);
    }
}

#[tokio::test]
async fn a_form_of_reqwest_logs_in_and_streams_through() {
    let edge = edge().start().await;
    let http = client();
    let form = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
    let answer = http.post(url(&edge, "/token")).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: serde_json::Value = answer.json().await.unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let post = http.post(url(&edge, "/notes")).bearer_auth(token).body("x".repeat(100_000));
    let answer = post.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(edge.upstream.last().body.len(), 100_000);

    let mut wrong = form;
    wrong[2].1 = "wrong";
    let answer = http.post(url(&edge, "/token")).form(&wrong).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["error"], "invalid_grant");
}
