//! The world around a gateway, in memory: files, keys, users, and a clock that stands still.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis::access::connection::{Connection, Transport};
use portcullis::clock::{ManualClock, Timestamp};
use portcullis::config::{self, Config, SourceFile, Sources};
use portcullis::gateway::{Gateway, Shared};
use portcullis::keys::{Algorithm, KeyRing, KeyUse, generate, load};
use portcullis::oauth::client::ClientId;
use portcullis::oauth::scope::Scope;
use portcullis::oauth::subject::Subject;
use portcullis::random::OsRandom;
use portcullis::token::{Content, Issuer};
use portcullis::users::PasswordHash;

/// When everything happens.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// The host of every request that names no other.
pub const HOST: &str = "edge.example.com";

const FILE: &str = "portcullis.yaml";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y8ULCxuZF+euIxXMn1kDjA$qrWgsYVTcWJIrQJB5fTPl8R6NlYcpm3u5ko/xlzqy3E";

/// The part of a configuration that the targets do not vary. alice may do everything, bob only read.
pub const BASE: &str = "
scopes: { admin: Everything, read: Read }
tokens:
  issuer: https://edge.example.com
  audience: app
  keys:
    - { id: ed, algorithm: EdDSA, file: ed.pem, use: sign }
    - { id: es, algorithm: ES256, file: es.pem, use: verify }
    - { id: hs, algorithm: HS256, file: hs.key, use: verify }
users: { file: users.yaml }
clients: [{ id: web, default: true, grants: [password], scopes: [admin, read] }]
";

/// Files in memory, every one readable by its owner only.
#[derive(Debug, Clone)]
pub struct Files(HashMap<PathBuf, Vec<u8>>);

/// The keys of [`BASE`], by id.
pub const KEYS: [(&str, Algorithm, &str); 3] = [
    ("ed", Algorithm::EdDsa, "ed.pem"),
    ("es", Algorithm::Es256, "es.pem"),
    ("hs", Algorithm::Hs256, "hs.key"),
];

impl Files {
    /// Fresh keys and the usual users.
    #[must_use]
    pub fn new() -> Self {
        let users = format!(
            "users:
  - {{ name: alice, password: '{HASH}', scopes: [admin, read] }}
  - {{ name: bob, password: '{HASH}', scopes: [read] }}
  - {{ name: carol, password: '{HASH}', scopes: [read], disabled: true }}
"
        );
        let mut files = HashMap::from([(PathBuf::from("users.yaml"), users.into_bytes())]);
        for (_, algorithm, file) in KEYS {
            let key = generate(algorithm, &OsRandom).expect("a key");
            files.insert(PathBuf::from(file), key.expose().to_vec());
        }
        Self(files)
    }

    /// The same with this configuration.
    #[must_use]
    pub fn with(&self, configuration: &[u8]) -> Self {
        let mut files = self.clone();
        files.0.insert(PathBuf::from(FILE), configuration.to_vec());
        files
    }

    /// What a file holds.
    #[must_use]
    pub fn bytes(&self, name: &str) -> &[u8] {
        &self.0[Path::new(name)]
    }

    /// Examines the configuration.
    #[must_use]
    pub fn examine(&self) -> config::Loaded {
        config::load(Path::new(FILE), self)
    }

    /// The configuration, which must be valid.
    #[must_use]
    pub fn config(&self) -> Config {
        let loaded = self.examine();
        let problems: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
        loaded.config.unwrap_or_else(|| panic!("{problems:#?}"))
    }

    /// The configuration's file.
    #[must_use]
    pub fn file(&self) -> &'static Path {
        Path::new(FILE)
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

impl Sources for Files {
    fn read(&self, path: &Path) -> io::Result<SourceFile> {
        let bytes = self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(SourceFile { bytes, mode: Some(0o600), exposure: None })
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn now(&self) -> Timestamp {
        NOW
    }
}

/// What outlives a snapshot, with a log that nobody reads.
#[must_use]
pub fn shared() -> Arc<Shared> {
    let clock = Arc::new(ManualClock::new(NOW));
    Arc::new(Shared::start(clock, Arc::new(OsRandom), 1, Box::new(io::sink())).expect("threads"))
}

/// A client's connection over TLS.
#[must_use]
pub fn connection() -> Connection {
    let peer = SocketAddr::from(([203, 0, 113, 9], 1));
    Connection { peer, transport: Transport::Tls, certificate: None }
}

/// A gateway of this configuration.
#[must_use]
pub fn gateway(files: &Files) -> Gateway {
    Gateway::build(files.config(), shared(), 0)
}

/// An access token, as `POST /token` would give it out at a point of time.
#[must_use]
pub fn token(files: &Files, key: &str, subject: &str, scope: &str, at: Timestamp) -> String {
    let (id, algorithm, file) =
        KEYS.into_iter().find(|(id, ..)| *id == key).expect("a key of ours");
    let key = load(id, algorithm, files.bytes(file), KeyUse::Sign, None).expect("a signing key");
    let ring = Arc::new(KeyRing::new(vec![key]).expect("a ring"));
    let issuer = Issuer::new("https://edge.example.com", "app", Duration::from_secs(900), ring);
    let version = PasswordHash::parse(HASH).expect("a hash").version();
    let content = Content {
        subject: &Subject::parse(subject).expect("a subject"),
        client_id: &ClientId::parse("web").expect("a client"),
        scope: &Scope::parse(scope).expect("a scope"),
        family: None,
        credential: Some(&version),
        began: None,
    };
    issuer.issue(&content, at, &OsRandom).expect("a token").token
}
