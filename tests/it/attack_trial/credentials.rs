//! Credentials that are not what they seem, in places where they count and where they do not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Class, Row};
use crate::harness::frames::{Field, request};
use crate::harness::gateway::PASSWORD;
use crate::harness::tokens::{Mint, tampered};
use crate::harness::{Edge, HOST, edge};

pub(super) async fn rows() -> Vec<Row> {
    vec![tokens().await, tokens_h2().await, places().await]
}

/// Tokens that no route may believe.
fn forged(edge: &Edge) -> Vec<String> {
    let (now, mint) = (edge.now(), &edge.mint);
    let honest = mint.with(now, json!({}));
    let [head, claims, signature] = honest.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let mut all = vec![
        tampered(&honest),
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
        format!("{head}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{honest}."),
        format!("{honest}.{signature}"),
        format!("{honest}="),
        format!("{honest}A"),
        honest[..honest.len() - 1].to_owned(),
        honest[..honest.len() / 2].to_owned(),
        honest.replace('.', ".."),
        honest.to_uppercase(),
        honest.to_lowercase(),
    ];
    all.extend(mint.swapped(now));
    let changes = [
        json!({ "alg": "none" }),
        json!({ "alg": "None" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": null }),
        json!({ "typ": "JWT" }),
        json!({ "typ": null }),
        json!({ "typ": "rt+jwt" }),
        json!({ "kid": null }),
        json!({ "kid": "" }),
        json!({ "kid": "k2" }),
        json!({ "kid": "K1" }),
        json!({ "kid": "../../../dev/null" }),
        json!({ "kid": "k1' OR '1'='1" }),
        json!({ "kid": ["k1"] }),
        json!({ "exp": now - 31, "iat": now - 60 }),
        json!({ "exp": null }),
        json!({ "exp": "9999999999" }),
        json!({ "exp": -1 }),
        json!({ "exp": [now + 60] }),
        json!({ "exp": true }),
        json!({ "nbf": now + 31 }),
        json!({ "nbf": "0" }),
        json!({ "nbf": {} }),
        json!({ "iat": now + 31 }),
        json!({ "iat": "0" }),
        json!({ "iss": format!("https://{HOST}/") }),
        json!({ "iss": "https://idp.example.com" }),
        json!({ "iss": null }),
        json!({ "iss": [format!("https://{HOST}")] }),
        json!({ "aud": "another" }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "aud": 7 }),
        json!({ "sub": "mallory" }),
        json!({ "sub": "carol" }),
        json!({ "sub": "ALICE" }),
        json!({ "sub": "alice\r\nX-User: mallory" }),
        json!({ "sub": "" }),
        json!({ "sub": null }),
        json!({ "sub": ["alice"] }),
        json!({ "client_id": "gone" }),
        json!({ "scope": "" }),
        json!({ "scope": "Admin" }),
        json!({ "scope": "adminx" }),
        json!({ "scope": "admin," }),
        json!({ "scope": "notes:read" }),
        json!({ "cv": "0" }),
    ];
    all.extend(changes.map(|change| mint.with(now, change)));
    let claims = Mint::claims(now);
    // Another key, and what a header may say of where to find it.
    let other = portcullis::keys::generate(
        portcullis::keys::Algorithm::EdDsa,
        &portcullis::random::OsRandom,
    );
    let other = Mint::new(other.unwrap().expose());
    for (name, value) in [
        ("x-none", json!("")),
        ("jwk", json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([0; 32]) })),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/x.pem")),
        ("x5c", json!(["AAAA"])),
        ("b64", json!(false)),
    ] {
        let mut header = Mint::header();
        header[name] = value;
        all.push(other.sign(&header, &claims));
    }
    let mut header = Mint::header();
    header["crit"] = json!(["x-unknown"]);
    header["x-unknown"] = json!(1);
    all.push(mint.sign(&header, &claims));
    let text = claims.to_string();
    let twice = text.replacen('{', "{\"sub\":\"mallory\",\"scope\":\"\",", 1);
    all.push(mint.sign_text(&Mint::header().to_string(), &twice));
    all.push(mint.sign_text(&Mint::header().to_string(), &text[..text.len() - 1]));
    all.push(mint.sign_text(&Mint::header().to_string(), &format!("[{text}]")));
    all.push(mint.sign_text("{}", &text));
    all.push(mint.sign(&Mint::header(), &Value::Null));
    all
}

async fn tokens() -> Row {
    let mut class = Class::new("tokens, HTTP/1.1", edge()).await;
    let get = |target: &str, token: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    for token in forged(&class.edge) {
        class.attack(get("/admin", &token)).await;
    }
    let now = class.edge.now();
    for change in [
        json!({}),
        json!({ "exp": now - 29 }),
        json!({ "nbf": now + 29 }),
        json!({ "aud": ["another", "app"] }),
        json!({ "scope": "admin" }),
        json!({ "typ": "application/at+jwt" }),
    ] {
        let token = class.edge.mint.with(now, change);
        class.twin(get("/admin", &token)).await;
    }
    class.row().await
}

async fn tokens_h2() -> Row {
    let mut class = Class::new("tokens, HTTP/2", edge().tls()).await;
    for token in forged(&class.edge) {
        let value = format!("Bearer {token}");
        let fields = [&request("GET", "/admin")[..], &[(b"authorization", value.as_bytes())]];
        class.attack_h2(&fields.concat(), None).await;
    }
    let honest = format!("Bearer {}", class.token);
    let field: Field<'_> = (b"authorization", honest.as_bytes());
    let get = request("GET", "/admin");
    class.attack_h2(&[&get[..], &[field, field]].concat(), None).await;
    class.attack_h2(&[&get[..], &[field, (b"authorization", b"Basic YTpi")]].concat(), None).await;
    class.twin_h2(&[&get[..], &[field]].concat(), None).await;
    class.row().await
}

async fn places() -> Row {
    let mut class = Class::new("credentials elsewhere or twice, HTTP/1.1", edge()).await;
    let token = class.token.clone();
    let password = URL_SAFE_NO_PAD.encode(format!("alice:{PASSWORD}"));
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n")
    };
    for target in [
        format!("/admin?access_token={token}"),
        format!("/admin?token={token}"),
        format!("/admin?Authorization=Bearer%20{token}"),
        format!("/admin/{token}"),
    ] {
        class.attack(get(&target, "Accept: */*")).await;
    }
    for fields in [
        format!("Cookie: access_token={token}"),
        format!("Cookie: Authorization=Bearer {token}"),
        format!("X-Authorization: Bearer {token}"),
        format!("Authorization_: Bearer {token}"),
        format!("Proxy-Authorization: Bearer {token}"),
        format!("X-Forwarded-Authorization: Bearer {token}"),
        format!("Sec-WebSocket-Protocol: bearer, {token}"),
        format!("Authorization: {token}"),
        format!("Authorization: Basic {token}"),
        format!("Authorization: Basic {password}"),
        format!("Authorization: Digest {token}"),
        format!("Authorization: Bearer\t{token}"),
        format!("Authorization: Bearer={token}"),
        format!("Authorization: Bearer \"{token}\""),
        format!("Authorization: Bearer {token},"),
        format!("Authorization: Bearer {token}, Bearer {token}"),
        format!("Authorization: Bearer {token} {token}"),
        format!("Authorization: Bearer {token}\0"),
        format!("Authorization: Bearer\r\n {token}"),
        format!("Authorization : Bearer {token}"),
        format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}"),
        format!("Authorization: Bearer {token}\r\nauthorization: Bearer abc"),
        format!("Authorization: Bearer abc\r\nAUTHORIZATION: Bearer {token}"),
        format!("Authorization: Basic YTpi\r\nAuthorization: Bearer {token}"),
        "X-User: alice".to_owned(),
        "X-Forwarded-User: alice".to_owned(),
        "X-Original-URL: /public".to_owned(),
        "X-Rewrite-URL: /public".to_owned(),
        "X-Forwarded-For: 127.0.0.1".to_owned(),
        "User-Agent: kube-probe/1.27".to_owned(),
        "Origin: https://edge.example.com\r\nAccess-Control-Request-Method: GET".to_owned(),
    ] {
        class.attack(get("/admin", &fields)).await;
    }
    let form = format!("access_token={token}");
    let fields = format!(
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}",
        form.len()
    );
    class.attack(format!("POST /admin HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n{form}")).await;
    let trailing = format!("5\r\nhello\r\n0\r\nAuthorization: Bearer {token}\r\n\r\n");
    let head =
        format!("POST /admin HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    class.attack(format!("{head}{trailing}")).await;
    // Its neighbour's token is not its own.
    let neighbour = get("/admin/smuggled", "Accept: */*");
    class.attack(get("/public", &format!("Authorization: Bearer {token}")) + &neighbour).await;
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer  "] {
        class.twin(get("/admin", &format!("Authorization: {scheme} {token}"))).await;
    }
    class.row().await
}
