//! Certificates of clients: what ends a handshake, and what a route that needs one lets through.

use std::time::Duration;

use http::{StatusCode, Version};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use reqwest::{Client, ClientBuilder, Identity, tls};
use tempfile::TempDir;

use super::harness::certs::{Authority, Leaf, write};
use super::harness::{Edge, edge};
use super::tls::{client, url};

const ROUTES: &str = "
  - { id: free, path: /free/**, upstream: app, auth: public }
  - { id: batch, path: /batch/**, upstream: app, auth: public, client_certificate: ['dns:batch.example.com', 'cn:nightly'] }
  - { id: notes, path: /notes/**, upstream: app, scopes: ['notes:read'], client_certificate: ['cn:nightly'] }
";

/// An edge that asks for certificates of this authority, whose file is in the folder.
async fn asking(authority: &Authority, folder: &TempDir) -> Edge {
    write(folder.path(), "ca.pem", authority.pem());
    let ca = folder.path().join("ca.pem");
    let tls =
        format!("certificate: edge.pem, private_key: edge.key, client_ca: '{}'", ca.display());
    edge()
        .routes(ROUTES)
        .listener(&format!("{{ address: '127.0.0.1:0', tls: {{ {tls} }} }}"))
        .start()
        .await
}

fn showing(builder: ClientBuilder, leaf: &Leaf) -> Client {
    builder.identity(Identity::from_pem(leaf.pem().as_bytes()).unwrap()).build().unwrap()
}

async fn status(client: &Client, edge: &Edge, path: &str) -> u16 {
    client.get(url(edge, path)).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_route_lets_the_names_through_that_it_lists_and_others_go_elsewhere() {
    let (authority, folder) = (Authority::new("ours"), TempDir::new().unwrap());
    let edge = asking(&authority, &folder).await;
    let nightly = authority.issue("nightly", |_| {});
    let host = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let batch = authority.issue("x", |it| it.subject_alt_names = vec![host("Batch.example.com")]);
    let other = authority.issue("Nightly", |it| it.subject_alt_names = vec![host("nightly")]);
    let wild = authority.issue("x", |it| it.subject_alt_names = vec![host("*.example.com")]);
    for (leaf, expected) in [
        (Some(&nightly), 200),
        (Some(&batch), 200),
        (Some(&other), 403),
        (Some(&wild), 403),
        (None, 403),
    ] {
        for (builder, version) in [
            (client(&edge), Version::HTTP_2),
            (client(&edge).http1_only(), Version::HTTP_11),
            (client(&edge).tls_version_max(tls::Version::TLS_1_2), Version::HTTP_2),
            (client(&edge).tls_version_max(tls::Version::TLS_1_2).http1_only(), Version::HTTP_11),
        ] {
            let client = match leaf {
                Some(leaf) => showing(builder, leaf),
                None => builder.build().unwrap(),
            };
            let before = edge.upstream.seen().len();
            let answer = client.get(url(&edge, "/batch/1")).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (expected, version));
            let reached = edge.upstream.seen().len() - before;
            assert_eq!(reached, usize::from(expected == 200));
            if expected == 403 {
                assert_eq!(answer.headers().get("www-authenticate"), None);
                let body = answer.text().await.unwrap();
                assert_eq!(body, r#"{"error":"client_certificate_required"}"#);
            } else {
                let seen = edge.upstream.last();
                assert!(seen.values("x-user").is_empty(), "a certificate is nobody's identity");
            }
            assert_eq!(status(&client, &edge, "/free/1").await, 200);
        }
    }
}

#[tokio::test]
async fn a_certificate_is_no_token_and_a_token_no_certificate() {
    let (authority, folder) = (Authority::new("ours"), TempDir::new().unwrap());
    let edge = asking(&authority, &folder).await;
    let token = edge.mint.with(edge.now(), serde_json::json!({}));
    let with = showing(client(&edge), &authority.issue("nightly", |_| {}));
    let without = client(&edge).build().unwrap();
    for (client, bearer, expected) in [
        (&with, true, StatusCode::OK),
        (&with, false, StatusCode::UNAUTHORIZED),
        (&without, true, StatusCode::FORBIDDEN),
        (&without, false, StatusCode::FORBIDDEN),
    ] {
        let asked = client.get(url(&edge, "/notes/1"));
        let asked = if bearer { asked.bearer_auth(&token) } else { asked };
        assert_eq!(asked.send().await.unwrap().status(), expected);
    }
    assert_eq!(edge.upstream.last().values("x-user"), ["alice"]);
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_ends_the_handshake() {
    let (authority, folder) = (Authority::new("ours"), TempDir::new().unwrap());
    let edge = asking(&authority, &folder).await;
    // The same name does not make an authority the same.
    let impostor = Authority::new("ours");
    let ends = |year, month, day| {
        move |it: &mut CertificateParams| it.not_after = date_time_ymd(year, month, day)
    };
    for (what, leaf) in [
        ("foreign", Authority::new("theirs").issue("nightly", |_| {})),
        ("impostor's", impostor.issue("nightly", |_| {})),
        ("expired", authority.issue("nightly", ends(2027, 1, 15))),
        ("later", authority.issue("nightly", |it| it.not_before = date_time_ymd(2027, 1, 16))),
        (
            "a server's",
            authority.issue("nightly", |it| {
                it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        ("its own", Leaf::for_hosts(&["batch.example.com"])),
    ] {
        for builder in [client(&edge), client(&edge).tls_version_max(tls::Version::TLS_1_2)] {
            let asked = showing(builder, &leaf).get(url(&edge, "/free/1")).send().await;
            assert!(asked.is_err(), "{what}: {asked:?}");
        }
    }
    assert!(edge.upstream.seen().is_empty());
    let honest = showing(client(&edge), &authority.issue("nightly", ends(2027, 1, 16)));
    assert_eq!(status(&honest, &edge, "/batch/1").await, 200);
}

#[tokio::test]
async fn a_certificate_ends_on_a_connection_that_goes_on() {
    let (authority, folder) = (Authority::new("ours"), TempDir::new().unwrap());
    let edge = asking(&authority, &folder).await;
    let leaf = authority.issue("nightly", |it| it.not_after = date_time_ymd(2027, 1, 16));
    let open = [client(&edge), client(&edge).http1_only()].map(|it| showing(it, &leaf));
    for open in &open {
        assert_eq!(status(open, &edge, "/batch/1").await, 200);
    }
    edge.advance(Duration::from_secs(1_800_057_600 - edge.now()));
    for (open, version) in open.iter().zip([Version::HTTP_2, Version::HTTP_11]) {
        let last = open.get(url(&edge, "/batch/1")).send().await.unwrap();
        assert_eq!((last.status(), last.version()), (StatusCode::OK, version), "its last second");
    }
    edge.advance(Duration::from_secs(1));
    for open in &open {
        assert_eq!(status(open, &edge, "/batch/1").await, 403);
        assert_eq!(status(open, &edge, "/free/1").await, 200);
    }
    let new = showing(client(&edge), &leaf);
    assert!(new.get(url(&edge, "/free/1")).send().await.is_err());
}

#[tokio::test]
async fn a_reload_takes_the_word_of_other_authorities() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = TempDir::new().unwrap();
    let edge = asking(&old, &folder).await;
    let leaves = [old.issue("nightly", |_| {}), new.issue("nightly", |_| {})];
    let fresh = |leaf: &Leaf| showing(client(&edge), leaf).get(url(&edge, "/batch/1")).send();
    assert_eq!(fresh(&leaves[0]).await.unwrap().status(), 200);
    assert!(fresh(&leaves[1]).await.is_err());
    write(folder.path(), "ca.pem", new.pem());
    edge.reload();
    assert!(fresh(&leaves[0]).await.is_err());
    assert_eq!(fresh(&leaves[1]).await.unwrap().status(), 200);
}
