//! TLS at the edge, and the two protocols inside it, with a client that people use.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use reqwest::{Certificate, Client, ClientBuilder, tls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::harness::certs::Leaf;
use super::harness::gateway::PASSWORD;
use super::harness::upstream::find;
use super::harness::{Edge, HOST, STREAMED, edge, within};

/// A client that trusts the edge, and finds it.
pub(crate) fn client(edge: &Edge) -> ClientBuilder {
    // Another test may have been first; the provider is the same.
    rustls::crypto::ring::default_provider().install_default().ok();
    let root = Certificate::from_der(edge.root()).unwrap();
    Client::builder().no_proxy().tls_certs_only([root]).resolve(HOST, edge.address)
}

/// The URL of a path of the edge.
pub(crate) fn url(edge: &Edge, path: &str) -> String {
    format!("https://{HOST}:{}{path}", edge.address.port())
}

const LOGIN: [(&str, &str); 4] = [
    ("grant_type", "password"),
    ("username", "alice"),
    ("password", PASSWORD),
    ("scope", "notes:read"),
];

#[tokio::test]
async fn both_protocols_log_in_and_reach_the_application_with_either_version_of_tls() {
    let edge = edge().tls().start().await;
    for (builder, version) in [
        (client(&edge), Version::HTTP_2),
        (client(&edge).http1_only(), Version::HTTP_11),
        (client(&edge).tls_version_max(tls::Version::TLS_1_2), Version::HTTP_2),
        (client(&edge).tls_version_max(tls::Version::TLS_1_2).http1_only(), Version::HTTP_11),
    ] {
        let client = builder.build().unwrap();
        let login = client.post(url(&edge, "/token")).form(&LOGIN).send().await.unwrap();
        assert_eq!((login.status(), login.version()), (StatusCode::OK, version));
        assert_eq!(login.headers()["cache-control"], "no-store");
        let login: Value = login.json().await.unwrap();
        let token = login["access_token"].as_str().unwrap();

        let asked = client.get(url(&edge, "/notes/7?a=b")).header("X-User", "mallory");
        let answer = asked.bearer_auth(token).send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        let seen = edge.upstream.last();
        assert_eq!(seen.line(), "GET /notes/7?a=b HTTP/1.1");
        assert_eq!(seen.values("x-user"), ["alice"]);
        assert_eq!(seen.values("x-forwarded-proto"), ["https"]);

        let refused = client.get(url(&edge, "/notes/7")).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
}

/// Takes any certificate, and says which it was.
#[derive(Debug)]
struct Anything(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The certificate that a client sees who asks for this host, or address, which is not sent.
async fn shown(edge: &Edge, asked: &str) -> CertificateDer<'static> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Anything(provider.signature_verification_algorithms));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let stream = within(TcpStream::connect(edge.address)).await.unwrap();
    let name = ServerName::try_from(asked.to_owned()).unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let connected = within(connected).await.unwrap();
    connected.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_host_that_it_asks_for() {
    let folder = TempDir::new().unwrap();
    let shop = Leaf::for_hosts(&["shop.example.org", "*.shop.example.org"]);
    let wild = Leaf::for_hosts(&["*.example.org"]);
    shop.write(folder.path(), "shop");
    wild.write(folder.path(), "wild");
    let also = ["shop", "wild"].map(|name| {
        let path = folder.path().join(name);
        let path = path.display();
        format!("{{ certificate: {path}.pem, private_key: {path}.key }}")
    });
    let tls = format!("certificate: edge.pem, private_key: edge.key, also: [{}]", also.join(", "));
    let listener = format!("{{ address: '127.0.0.1:0', tls: {{ {tls} }} }}");
    let edge = edge().listener(&listener).start().await;
    for (asked, expected) in [
        ("shop.example.org", &shop.der),
        ("SHOP.example.org", &shop.der),
        ("a.shop.example.org", &shop.der),
        ("a.b.shop.example.org", edge.root()),
        ("other.example.org", &wild.der),
        ("example.org", edge.root()),
        (HOST, edge.root()),
        ("unheard-of.example.net", edge.root()),
        ("127.0.0.1", edge.root()),
    ] {
        assert_eq!(&shown(&edge, asked).await, expected, "{asked}");
    }
    // The name chooses a certificate, and nothing else.
    edge.wire_tls().await.ask(edge.get("/public").bytes()).await.is(200);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_after_a_reload_and_open_connections_go_on() {
    let edge = edge().tls().start().await;
    let old = edge.root().clone();
    let mut open = edge.wire_tls().await;
    let mut h2 = edge.h2().await;
    open.ask(edge.get("/public").bytes()).await.is(200);
    let renewed = Leaf::for_hosts(&[HOST]);
    renewed.write(edge.directory(), "edge");
    assert_eq!(shown(&edge, HOST).await, old, "nobody said so yet");
    edge.reload();
    assert_eq!(shown(&edge, HOST).await, renewed.der);
    open.ask(edge.get("/public").bytes()).await.is(200);
    let request = Request::get(format!("https://{HOST}/public")).body(()).unwrap();
    h2.ask(request, b"", None).await.unwrap().is(200);
}

/// A ClientHello for this version of TLS at most, with a cipher suite that the version and our certificate allow.
fn hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..], // supported_groups: secp256r1
        &[0, 11, 0, 2, 1, 0],            // ec_point_formats: uncompressed
        &[0, 13, 0, 4, 0, 2, 4, 3],      // signature_algorithms: ecdsa_secp256r1_sha256
        &[0, 23, 0, 0],                  // extended_master_secret
    ]
    .concat();
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 2, suite[0], suite[1], 1, 0, 0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[tokio::test]
async fn nothing_older_than_tls_1_2_is_spoken() {
    let edge = edge().tls().start().await;
    // ECDHE_ECDSA with AES_128_GCM_SHA256, and with AES_128_CBC_SHA for the old ones.
    for (version, suite, expected) in [
        ([3, 3], [0xc0, 0x2b], &[22_u8, 3, 3][..]),
        ([3, 2], [0xc0, 0x09], &[21, 3, 3, 0, 2, 2, 70]),
        ([3, 1], [0xc0, 0x09], &[21, 3, 3, 0, 2, 2, 70]),
        ([3, 0], [0xc0, 0x09], &[21, 3, 3, 0, 2, 2, 70]),
        // The newest version with no suite that is safe.
        ([3, 3], [0xc0, 0x09], &[21, 3, 3, 0, 2, 2, 40]),
    ] {
        let mut wire = edge.wire().await;
        wire.send(hello(version, suite)).await;
        assert_eq!(wire.read_bytes(expected.len()).await, expected, "{version:?} {suite:x?}");
    }
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_nothing_and_harms_nobody() {
    let edge = edge().tls().start().await;
    let mut plain = edge.wire().await;
    plain.send(edge.get("/public").bytes()).await;
    let heard = plain.read_to_end().await;
    assert!(!heard.contains("HTTP/1.1 200"), "{heard}");
    assert!(edge.upstream.seen().is_empty());
    edge.wire_tls().await.ask(edge.get("/public").bytes()).await.is(200);
}

#[tokio::test]
async fn an_empty_last_data_frame_does_not_poison_the_next_request() {
    for upstream in ["", STREAMED] {
        empty_last_frames(&edge().tls().upstream_with(upstream).start().await, upstream).await;
    }
}

async fn empty_last_frames(edge: &Edge, upstream: &str) {
    let mut h2 = edge.h2().await;
    for frames in [&[&b"hello"[..], b""][..], &[b""], &[b"", b"a", b"", b""], &[b"hello"]] {
        let before = edge.upstream.seen().len();
        let post = Request::post(format!("https://{HOST}/public/form")).body(()).unwrap();
        h2.ask_in_frames(post, frames).await.unwrap().is(200);
        let next = Request::get(format!("https://{HOST}/public/next")).body(()).unwrap();
        h2.ask(next, b"", None).await.unwrap().is(200);

        let seen = edge.upstream.saw(before + 2).await;
        let (form, next) = (&seen[before], &seen[before + 1]);
        assert_eq!((form.line(), form.complete), ("POST /public/form HTTP/1.1", true));
        // A body that was gathered and is empty is none.
        let none = upstream.is_empty() && frames.concat().is_empty();
        let framing = (form.values("transfer-encoding"), form.values("content-length"));
        let expected = if none { (vec![], vec!["0"]) } else { (vec!["chunked"], vec![]) };
        assert_eq!(framing, expected, "{frames:?}");
        let ends = form.body.windows(5).filter(|bytes| bytes == b"0\r\n\r\n").count();
        assert_eq!(
            ends,
            usize::from(!none),
            "{frames:?}: {:?}",
            String::from_utf8_lossy(&form.body)
        );
        assert_eq!(next.line(), "GET /public/next HTTP/1.1", "{frames:?}");
        assert_eq!(next.body, b"");
    }
    let connections: Vec<_> = edge.upstream.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.iter().all(|number| *number == 0), "not one connection: {connections:?}");
}

#[tokio::test]
async fn g5_over_http2_the_identity_is_ours_in_head_and_trailers() {
    let edge = edge().tls().start().await;
    let token = edge.wire_tls().await.ask(login(&edge)).await.json()["access_token"].clone();
    let token = token.as_str().unwrap();
    let mut h2 = edge.h2().await;
    for trailers in [None, Some("x-user"), Some("x_user"), Some("authorization")] {
        let before = edge.upstream.seen().len();
        let request = Request::post(format!("https://{HOST}/notes/7"))
            .header("authorization", format!("Bearer {token}"))
            .header("x-user", "mallory")
            .header("x_user", "mallory")
            .body(())
            .unwrap();
        let trailers = trailers.map(|name| {
            let mut fields = HeaderMap::new();
            fields.insert(name, HeaderValue::from_static("mallory"));
            fields
        });
        let honest = trailers.is_none();
        let answer = h2.ask(request, b"hello", trailers).await;
        if honest {
            answer.unwrap().is(200);
        }
        for seen in &edge.upstream.seen()[before..] {
            assert_eq!(seen.values("x-user"), ["alice"]);
            let everything = [seen.head.as_bytes(), &seen.body].concat();
            assert_eq!(find(&everything, b"mallory"), None, "{seen:?}");
        }
    }
}

fn login(edge: &Edge) -> Vec<u8> {
    let password = PASSWORD.replace(' ', "+");
    edge.token(&format!("grant_type=password&username=alice&password={password}")).bytes()
}
