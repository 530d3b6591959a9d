//! `portcullis demo`: an example application that knows nothing of OAuth, the proxy in front of it, a user, and curl lines.
//!
//! Everything listens on loopback and lives in a temporary directory that is removed at the end.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cli::output::{errln, outln};
use crate::clock::SystemClock;
use crate::config::{self, SystemSources};
use crate::gateway::Shared;
use crate::gateway::live::Live;
use crate::keys::{Algorithm, generate};
use crate::observe;
use crate::proxy::{Inherited, LOG_FILTER, Server};
use crate::random::{OsRandom, identifier};
use crate::secret::Secret;
use crate::state::Roster;
use crate::users::PasswordHash;

/// Where the demo listens when the port is free.
const PREFERRED: &str = "127.0.0.1:8080";
const PASSWORD: &str = "wonderland";

pub(super) fn demo() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let application = TcpListener::bind("127.0.0.1:0").await?;
        let preferred_is_free = TcpListener::bind(PREFERRED).await.is_ok();
        let address = if preferred_is_free { PREFERRED } else { "127.0.0.1:0" };
        let scratch = Scratch::new()?;
        let file = write_files(&scratch.0, address, application.local_addr()?)?;
        tokio::spawn(run_application(application));

        observe::init_logging(&LOG_FILTER).context("the log")?;
        let loaded = config::load(&file, &SystemSources);
        let problems =
            || loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let config = loaded.config.with_context(problems)?;
        let listeners = config.listeners.clone();
        let mut shared = Shared::start(
            Arc::new(SystemClock),
            Arc::new(OsRandom),
            1,
            Box::new(std::io::stdout()),
        )?;
        if let Some(state) = &config.state {
            let roster = Roster::new(&file, config.clients.iter().map(|client| &client.id));
            shared = shared.with_state(state, config.login.limits, roster)?;
        }
        let shared = Arc::new(shared);
        let live = Live::start(&file, Box::new(SystemSources), config, Arc::clone(&shared));
        let live = live.map_err(|rejected| anyhow::anyhow!("{rejected}"))?;
        let server =
            Server::bind(Arc::new(live), shared, &listeners, None, &mut Inherited::none())?;
        let bound = server.addresses().first().copied().context("no listener")?;
        outln!("{}", lines(bound));
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.send_replace(true);
            }
        });
        server.run(stopping).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// What to try, as it can be pasted into a shell.
fn lines(address: SocketAddr) -> String {
    let base = format!("http://{address}");
    format!(
        r#"portcullis stands at {base} before an application that trusts X-User. Try, in another shell:

# log in as alice, who may read orders
TOKEN=$(curl -s {base}/token -d grant_type=password -d username=alice -d password={PASSWORD} | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

# allowed: the application shows the X-User it was sent, never the forged one
curl -i {base}/orders/7 -H "Authorization: Bearer $TOKEN" -H 'X-User: mallory'

# 403: the answer names the scope that alice lacks
curl -i -X DELETE {base}/orders/7 -H "Authorization: Bearer $TOKEN"

# 401: no token
curl -i {base}/orders/7

# who am I
curl -s {base}/token/userinfo -H "Authorization: Bearer $TOKEN"

# a login goes on with its refresh token, which is good for one use
REFRESH=$(curl -s {base}/token -d grant_type=password -d username=alice -d password={PASSWORD} | sed 's/.*"refresh_token":"\([^"]*\)".*/\1/')
curl -s {base}/token -d grant_type=refresh_token -d refresh_token=$REFRESH

# a revoked token is refused at once
curl -s {base}/token/revoke -d token=$TOKEN
curl -i {base}/orders/7 -H "Authorization: Bearer $TOKEN"

Ctrl-C ends it. One line of JSON follows for every request."#
    )
}

fn write_files(
    directory: &Path,
    address: &str,
    application: SocketAddr,
) -> anyhow::Result<PathBuf> {
    let hash = PasswordHash::create(&Secret::from(PASSWORD), &OsRandom)?;
    write(&directory.join("signing.pem"), generate(Algorithm::EdDsa, &OsRandom)?.expose())?;
    let users =
        format!("users:\n  - {{ name: alice, password: \"{hash}\", scopes: [orders:read] }}\n");
    write(&directory.join("users.yaml"), users.as_bytes())?;
    let config = format!(
        r"listeners:
  - address: {address}
scopes:
  orders:read: Read orders
  orders:write: Create, change and delete orders
tokens:
  issuer: http://127.0.0.1
  audience: demo
  keys:
    - {{ id: demo, algorithm: EdDSA, file: signing.pem, use: sign }}
state: {{ sqlite: state.db }}
users: {{ file: users.yaml }}
clients:
  - {{ id: demo, default: true, grants: [password, refresh_token], scopes: [orders:read, orders:write] }}
upstreams:
  application: {{ servers: ['{application}'] }}
routes:
  - {{ id: orders-read, path: /orders/**, methods: [GET], upstream: application, scopes: [orders:read] }}
  - {{ id: orders-write, path: /orders/**, methods: [POST, PUT, DELETE], upstream: application, scopes: [orders:write] }}
  - {{ id: home, path: /, methods: [GET], upstream: application, auth: public }}
tests:
  - {{ request: GET /orders/7, user: alice, expect: allow }}
  - {{ request: DELETE /orders/7, user: alice, expect: 403 }}
  - {{ request: GET /orders/7, expect: 401 }}
"
    );
    let file = directory.join("portcullis.yaml");
    write(&file, config.as_bytes())?;
    Ok(file)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}

/// A directory of our own, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let directory =
            std::env::temp_dir().join(format!("portcullis-demo-{}", identifier(&OsRandom)?));
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            errln!("{}: {error}", self.0.display());
        }
    }
}

/// The largest request head that the example application reads.
const MAX_HEAD: usize = 64 * 1024;

async fn run_application(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Err(error) = answer(stream).await {
                tracing::debug!(%error, "the example application lost a connection");
            }
        });
    }
}

/// Answers one request with the head that it was sent, and closes.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let seen = String::from_utf8_lossy(&head);
    let seen = seen.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n", "\n  ");
    let body = format!("The application was sent:\n\n  {seen}\n");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
