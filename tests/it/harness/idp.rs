//! A trusted issuer: keys, tokens, and a server for its key set, in raw TCP on a free port so that it can misbehave.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, crypto};
use portcullis::clock::Timestamp;
use portcullis::keys::{Algorithm, KeyRing, KeyUse, generate, jwks, load};
use portcullis::random::OsRandom;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::upstream::find;
use super::within;

/// The `iss` of its tokens.
pub(crate) const IDP: &str = "https://idp.example.com/realms/main";

/// Where the key set always is.
pub(crate) const MOVED: &str = "/moved/certs";

/// How the server answers.
#[derive(Debug, Clone)]
pub(crate) enum Serves {
    /// This document.
    Document(String),
    /// This status, without a body.
    Status(u16),
    /// A redirect.
    Redirect(String),
    /// A document without an end.
    Endless,
    /// Nothing, ever.
    Nothing,
}

/// A running issuer; it ends with the test's runtime.
pub(crate) struct Idp {
    pub(crate) address: SocketAddr,
    serves: Arc<Mutex<Serves>>,
    asked: watch::Sender<Vec<String>>,
    key: SigningKey,
    /// The certificate to believe, where it speaks TLS.
    pub(crate) ca: Option<NamedTempFile>,
}

/// A key of the issuer's.
pub(crate) struct SigningKey {
    id: String,
    algorithm: Algorithm,
    encoding: EncodingKey,
    /// What is published of it, as an item of `keys`.
    pub(crate) jwk: Value,
}

impl SigningKey {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let file = generate(algorithm, &OsRandom).unwrap();
        let encoding = match algorithm {
            Algorithm::EdDsa => EncodingKey::from_ed_pem(file.expose()),
            Algorithm::Es256 => EncodingKey::from_ec_pem(file.expose()),
            _ => EncodingKey::from_rsa_pem(file.expose()),
        };
        let key = load(id, algorithm, file.expose(), KeyUse::Sign, None).unwrap();
        let jwk = jwks(&KeyRing::new(vec![key]).unwrap(), Timestamp::from_secs(0));
        let (id, jwk) = (id.to_owned(), jwk["keys"][0].clone());
        Self { id, algorithm, encoding: encoding.unwrap(), jwk }
    }

    /// Signs claims under this key's name.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm.name(), "typ": "at+jwt", "kid": self.id });
        self.sign_with(&header, claims)
    }

    /// Signs these two as they stand.
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_message(unsigned(header, claims))
    }

    /// Signs a payload that may be no claims at all.
    pub(crate) fn sign_text(&self, payload: &str) -> String {
        let header = json!({ "alg": self.algorithm.name(), "typ": "at+jwt", "kid": self.id });
        let [header, payload] =
            [header.to_string().as_str(), payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        self.sign_message(format!("{header}.{payload}"))
    }

    fn sign_message(&self, message: String) -> String {
        let algorithm = match self.algorithm {
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            _ => jsonwebtoken::Algorithm::RS256,
        };
        let signature = crypto::sign(message.as_bytes(), &self.encoding, algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// The first two segments.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// A document with these keys.
pub(crate) fn set(keys: &[&SigningKey]) -> Serves {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
    Serves::Document(json!({ "keys": keys }).to_string())
}

impl Idp {
    /// An issuer that serves its one key.
    pub(crate) async fn start(algorithm: Algorithm) -> Self {
        Self::listen(algorithm, None).await
    }

    /// The same over TLS, with a certificate of its own.
    pub(crate) async fn start_tls(algorithm: Algorithm) -> Self {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let mut ca = NamedTempFile::new().unwrap();
        ca.write_all(own.cert.pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        Self::listen(algorithm, Some((TlsAcceptor::from(Arc::new(config)), ca))).await
    }

    async fn listen(algorithm: Algorithm, tls: Option<(TlsAcceptor, NamedTempFile)>) -> Self {
        let (tls, ca) = tls.unzip();
        let key = SigningKey::new("idp-1", algorithm);
        let serves = Arc::new(Mutex::new(set(&[&key])));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = watch::Sender::new(Vec::new());
        let (answers, log) = (Arc::clone(&serves), asked.clone());
        let always = set(&[&key]);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, always, log) = (Arc::clone(&answers), always.clone(), log.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, answers, always, log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, answers, always, log).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, serves, asked, key, ca }
    }

    /// Where its keys are.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/certs", self.address)
    }

    /// Answers like this from now on, but for [`MOVED`].
    pub(crate) fn serve(&self, serves: Serves) {
        *self.serves.lock().unwrap() = serves;
    }

    /// The key that it starts with.
    pub(crate) const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Waits for so many requests, and returns the targets of all.
    pub(crate) async fn asked(&self, count: usize) -> Vec<String> {
        let mut changes = self.asked.subscribe();
        within(changes.wait_for(|asked| asked.len() >= count)).await.unwrap().clone()
    }

    /// How many requests there were so far.
    pub(crate) fn count(&self) -> usize {
        self.asked.borrow().len()
    }

    /// The item of `tokens.accept` for it, with further keys of `jwks` and of the item.
    pub(crate) fn accepted(&self, jwks: &str, more: &str) -> String {
        format!(
            "{{ issuer: '{IDP}', subject_prefix: 'idp:', scopes: ['notes:read'], audience: app, \
             algorithms: [{}], jwks: {{ url: '{}'{jwks} }}{more} }}",
            self.key.algorithm.name(),
            self.url()
        )
    }
}

/// An honest token's claims.
pub(crate) fn claims(now: u64) -> Value {
    json!({ "iss": IDP, "sub": "alice", "aud": "app", "exp": now + 60, "scope": "notes:read" })
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    serves: Arc<Mutex<Serves>>,
    moved: Serves,
    asked: watch::Sender<Vec<String>>,
) {
    let mut head = Vec::new();
    while find(&head, b"\r\n\r\n").is_none() {
        if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let now = if target == MOVED { moved } else { serves.lock().unwrap().clone() };
    asked.send_modify(|asked| asked.push(target.clone()));
    let body = |text: &str| {
        let length = text.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
    };
    let text = match now {
        Serves::Document(text) => body(&text),
        Serves::Status(status) => {
            format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Serves::Redirect(to) => format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        Serves::Endless => {
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"keys\":[";
            let mut open = stream.write_all(head.as_bytes()).await.is_ok();
            while open {
                open = stream.write_all(&[b' '; 4096]).await.is_ok();
            }
            return;
        }
        Serves::Nothing => {
            // Held open until the other side has enough.
            let mut rest = [0; 16];
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
            return;
        }
    };
    stream.write_all(text.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}
