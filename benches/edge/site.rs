//! The binary with a plain and a TLS listener before an application of the bench's own, and one user who can log in.

use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis::keys::{Algorithm, generate};
use portcullis::random::OsRandom;
use portcullis::secret::Secret;
use portcullis::users::PasswordHash;
use serde_json::Value;

use crate::dial::Target;
use crate::edge::{Edge, Wire, token_request, write};

pub(crate) const LOGIN: &str = "grant_type=password&username=alice&password=right";

/// All of it, ended when dropped.
pub(crate) struct Site {
    pub(crate) edge: Edge,
    directory: tempfile::TempDir,
}

/// What a login or a refresh gives.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Site {
    /// Both listeners have these limits (a mapping in YAML), or the defaults; tokens last for so long.
    pub(crate) async fn start(
        application: SocketAddr,
        limits: Option<&str>,
        lifetime: &str,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let limits = limits.map(|limits| format!(", limits: {limits}")).unwrap_or_default();
        let config = format!(
            "listeners:\n  \
             - {{ address: 127.0.0.1:0{limits} }}\n  \
             - {{ address: 127.0.0.1:0, tls: {{ certificate: edge.pem, private_key: edge.key }}{limits} }}\n\
             admin: {{ address: 127.0.0.1:0 }}\n\
             scopes: {{ read: Read, admin: Change }}\n\
             tokens:\n  issuer: http://127.0.0.1\n  audience: bench\n  access: {{ lifetime: {lifetime} }}\n  \
             keys: [{{ id: one, algorithm: EdDSA, file: key.pem, use: sign }}]\n\
             state: {{ sqlite: state.db }}\n\
             users: {{ file: users.yaml }}\n\
             clients:\n  - {{ id: web, default: true, grants: [password, refresh_token], scopes: [read] }}\n\
             login: {{ parallel_hashes: 1, per_user: off, per_address: off }}\n\
             upstreams: {{ app: {{ servers: ['{application}'] }} }}\n\
             routes:\n  \
             - {{ id: app, path: /app/**, upstream: app, scopes: [read] }}\n  \
             - {{ id: admin, path: /app/admin/**, upstream: app, scopes: [admin] }}\n\
             tests: [{{ request: GET /app/x, expect: 401 }}]\n"
        );
        let hash = PasswordHash::create(&Secret::from("right"), &OsRandom).unwrap();
        let users = format!("users: [{{ name: alice, password: \"{hash}\", scopes: [read] }}]\n");
        let identity = rcgen::generate_simple_self_signed(["edge".to_owned()]).unwrap();
        let key = generate(Algorithm::EdDsa, &OsRandom).unwrap();
        for (name, bytes) in [
            ("portcullis.yaml", config.as_bytes()),
            ("users.yaml", users.as_bytes()),
            ("key.pem", key.expose()),
            ("edge.pem", identity.cert.pem().as_bytes()),
            ("edge.key", identity.signing_key.serialize_pem().as_bytes()),
            ("edge.der", identity.cert.der()),
        ] {
            write(directory.path(), name, bytes);
        }
        Self { edge: Edge::start(directory.path()).await, directory }
    }

    /// The plain listener, and that with TLS.
    pub(crate) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.edge.address(), self.edge.addresses.get(1).copied().unwrap())
    }

    /// The file with the certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.path().join("edge.der")
    }

    pub(crate) fn target(&self) -> Target {
        let (plain, tls) = self.addresses();
        Target::new(plain, tls, &std::fs::read(self.certificate()).unwrap())
    }

    pub(crate) async fn login(&self) -> Tokens {
        let request = token_request(LOGIN, "");
        let (status, body) = Wire::connect(self.edge.address()).await.ask(&request).await;
        assert_eq!(status, 200, "{body}");
        tokens(&body)
    }
}

/// Reads the answer to a token request.
pub(crate) fn tokens(body: &str) -> Tokens {
    let said: Value = serde_json::from_str(body).unwrap();
    let token = |name: &str| said.get(name).and_then(Value::as_str).unwrap().to_owned();
    Tokens { access: token("access_token"), refresh: token("refresh_token") }
}
