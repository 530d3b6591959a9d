//! Whatever is asked of the log, it shows no credential, no cookie and no query. Part 4, item 21.

use std::path::Path;

use super::binary::{PASSWORD, Site};
use super::harness::process::{Running, password_form, post};
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Wire};

#[tokio::test]
async fn nothing_secret_is_logged_at_any_level() {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=planted-set-cookie\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::start(Behaviour::Says(ANSWER)).await;
    let site = Site::new(&upstream.address.to_string());
    let yaml = Site::yaml(&upstream.address.to_string());
    let yaml = yaml.replacen("grants: [password]", "grants: [password, refresh_token]", 1);
    let more = "identity: { forward_authorization: true }\nstate: { sqlite: state.db }\n";
    site.write("portcullis.yaml", yaml + more);
    for filter in ["trace", "debug", "pingora_proxy=trace,pingora_core=trace,h2=trace,hyper=trace"]
    {
        let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
        // Our own lines name the addresses that the test must know.
        command.env("PORTCULLIS_LOG", format!("{filter},portcullis=trace"));
        let edge = Running::started(command.into()).await;
        let login =
            Wire::connect(edge.edge).await.ask(post("/token", &password_form("alice"))).await;
        let [token, refresh] = ["access_token", "refresh_token"]
            .map(|name| login.json()[name].as_str().unwrap().to_owned());
        let spend = format!("grant_type=refresh_token&refresh_token={refresh}");
        let spent = Wire::connect(edge.edge).await.ask(post("/token", &spend)).await;
        let next = spent.is(200).json()["refresh_token"].as_str().unwrap().to_owned();
        let secret = "grant_type=password&client_id=web&client_secret=planted-client-secret";
        Wire::connect(edge.edge).await.ask(post("/token", secret)).await.is(401);
        let request = format!(
            "GET /orders/7?planted-query=1 HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\n\
             Cookie: sid=planted-cookie\r\nProxy-Authorization: Basic planted-proxy\r\n\r\n"
        );
        let response = Wire::connect(edge.edge).await.ask(request).await;
        assert_eq!(response.values("set-cookie"), ["sid=planted-set-cookie"]);
        // Refused, and broken off.
        for request in [
            "GET /orders/7?planted-query HTTP/1.1\r\nHost: edge\r\nAuthorization: Basic planted-basic\r\n\r\n".to_owned(),
            "GET /orders/\\?planted-query HTTP/1.1\r\nHost: edge\r\nCookie: planted-cookie\r\n\r\n".to_owned(),
            post("/token", &password_form("alice").replace("battery", "planted-password")),
        ] {
            Wire::connect(edge.edge).await.ask(request).await;
        }
        let log = edge.last_words().await.join("\n");
        let signature = token.rsplit('.').next().unwrap();
        let forms = [PASSWORD.to_owned(), PASSWORD.replace(' ', "+")];
        let secrets = ["planted", signature, &refresh, &next];
        for secret in secrets.into_iter().chain(forms.iter().map(String::as_str)) {
            let shown = log.lines().find(|line| line.contains(secret));
            assert!(shown.is_none(), "{filter}: {shown:?}");
        }
        assert!(log.contains("draining"), "the log is there:\n{log}");
    }
}

/// A derived `Debug` prints every field. These types hold heads, bodies and answers.
const SPEAKING: [&str; 6] =
    ["Bytes", "BytesMut", "HeaderMap", "HeaderValue", "RequestHeader", "ResponseHeader"];

#[test]
fn no_type_that_holds_fields_or_bodies_derives_debug() {
    let mut unread = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = Vec::new();
    while let Some(path) = unread.pop() {
        if path.is_dir() {
            unread.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            let told = telling(&text).into_iter().map(|name| format!("{}: {name}", path.display()));
            found.extend(told);
        }
    }
    // Public documents, made from the configuration; nothing of a request is in them.
    found.retain(|told| !told.ends_with("gateway/mod.rs: Gateway"));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_search_finds_what_it_is_for() {
    let telling_one = "#[derive(Clone, Debug)]\npub(super) struct A<'a> {\n    /// Bytes.\n    b: &'a HeaderMap,\n}\n";
    assert_eq!(telling(telling_one), ["A"]);
    assert_eq!(telling("#[derive(Debug)]\nenum E {\n    One(Bytes, u8),\n}\n"), ["E"]);
    assert_eq!(telling("#[derive(Debug)]\nstruct T(Vec<(HeaderName, HeaderValue)>);\n"), ["T"]);
    let honest = "#[derive(Debug)]\nstruct N {\n    // HeaderMap\n    name: HeaderName,\n}\nfn f(b: Bytes) {}\n";
    assert!(telling(honest).is_empty());
    assert!(telling("#[derive(Clone)]\nstruct C {\n    body: Bytes,\n}\n").is_empty());
}

/// The types of a source that derive `Debug` over one of [`SPEAKING`].
fn telling(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//")).peekable();
    while let Some(line) = lines.next() {
        if !(line.starts_with("#[derive(") && line.contains("Debug")) {
            continue;
        }
        let Some(head) = lines.find(|line| !line.starts_with("#[")) else { break };
        let mut words = head.split(|c: char| !c.is_alphanumeric() && c != '_');
        if !words.any(|word| word == "struct" || word == "enum") {
            continue;
        }
        let name = words.find(|word| !word.is_empty()).unwrap_or_default().to_owned();
        let (mut opened, mut closed) = (0, 0);
        let mut body = String::new();
        let mut next = Some(head);
        while let Some(line) = next {
            body.push_str(line);
            body.push(' ');
            opened += line.matches('{').count();
            closed += line.matches('}').count();
            if opened == closed {
                break;
            }
            next = lines.next();
        }
        let mut words = body.split(|c: char| !c.is_alphanumeric());
        if words.any(|word| SPEAKING.contains(&word)) {
            found.push(name);
        }
    }
    found
}
