//! A directory with everything that the built binary needs, and the binary started in it.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The binary of this build.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// The password of alice and bob, and its hash.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y8ULCxuZF+euIxXMn1kDjA$qrWgsYVTcWJIrQJB5fTPl8R6NlYcpm3u5ko/xlzqy3E";

/// A directory with a configuration, its users and its key.
pub(crate) struct Site(TempDir);

impl Site {
    /// The usual configuration before an application that listens here.
    pub(crate) fn new(application: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.write("signing.pem", stdout(&site.run(&["keys", "generate"], "")));
        site.write("users.yaml", Self::users());
        site.write("portcullis.yaml", Self::yaml(application));
        site
    }

    /// The configuration that [`Site::new`] writes, to be changed.
    pub(crate) fn yaml(application: &str) -> String {
        format!(
            "listeners: [{{ address: '127.0.0.1:0' }}]
admin: {{ address: '127.0.0.1:0' }}
scopes: {{ 'orders:read': Read orders, 'orders:write': Write orders }}
tokens:
  issuer: https://edge.example.com
  audience: app
  keys: [{{ id: k1, algorithm: EdDSA, file: signing.pem, use: sign }}]
users: {{ file: users.yaml }}
clients: [{{ id: web, default: true, grants: [password], scopes: ['orders:read', 'orders:write'] }}]
upstreams: {{ app: {{ servers: ['{application}'] }} }}
routes:
  - {{ id: orders-read, path: /orders/**, methods: [GET], upstream: app, scopes: ['orders:read'] }}
  - {{ id: orders-write, path: /orders/**, methods: [POST], upstream: app, scopes: ['orders:write'] }}
tests:
  - {{ request: GET /orders/7, user: bob, expect: allow }}
  - {{ request: POST /orders/7, user: bob, expect: 403 }}
"
        )
    }

    /// The users that [`Site::new`] writes, to be changed.
    pub(crate) fn users() -> String {
        format!(
            "users:
  - {{ name: alice, password: '{HASH}', scopes: ['orders:read', 'orders:write'] }}
  - {{ name: bob, password: '{HASH}', scopes: ['orders:read'] }}
"
        )
    }

    /// The place of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    /// The binary, about to start in this directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.0.path());
        command.env_remove("NOTIFY_SOCKET").env_remove("PORTCULLIS_LOG");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that ends by itself.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        // Not every command reads what it is given.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        child.wait_with_output().unwrap()
    }
}

/// The standard output of a command that must succeed.
#[track_caller]
pub(crate) fn stdout(output: &Output) -> Vec<u8> {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    output.stdout.clone()
}

/// Asserts the code that a command ended with, and returns its standard output and standard error.
#[track_caller]
pub(crate) fn ended(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout:\n{out}\nstderr:\n{err}");
    (out, err)
}
