//! The OAuth clients of Node, unmodified: `oauth4webapi` and `openid-client` tell a token's whole life.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output};

use command_fds::{CommandFdExt as _, FdMapping};

use super::binary::{PASSWORD, Site, stdout};
use super::harness::process::Running;

/// The secret of the client, and its SHA-256. The libraries must encode it before they send it.
const SECRET: &str = "s3cret+/%:machine";

#[tokio::test]
async fn oauth4webapi_and_openid_client_tell_the_whole_story() {
    // RFC 8414: clients compare the issuer with where they found it, so the port must be known before the start.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let issuer = format!("http://{address}");
    let site = Site::new("127.0.0.1:9");
    write(&site, &issuer, &address);
    let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
    command.env("LISTEN_FDS", "1");
    let mapping = FdMapping { parent_fd: OwnedFd::from(socket), child_fd: 3 };
    command.fd_mappings(vec![mapping]).unwrap();
    let _running = Running::started(command.into()).await;

    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/node");
    for entry in std::fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            site.write(path.file_name().unwrap().to_str().unwrap(), std::fs::read(&path).unwrap());
        }
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    stdout(&run(&site, "npm", &install).await);
    for script in ["oauth4webapi.mjs", "openid-client.mjs"] {
        let story = [script, &issuer, "machine", SECRET, "alice", PASSWORD, "orders:read", "app"];
        let said = String::from_utf8(stdout(&run(&site, "node", &story).await)).unwrap();
        for way in ["client_secret_basic", "client_secret_post"] {
            let steps = said.lines().filter(|line| line.starts_with(&format!("ok: {way}: ")));
            assert_eq!(steps.count(), 10, "{said}");
        }
    }
}

/// The configuration for this issuer at this address, with a client that may do everything the scripts do.
fn write(site: &Site, issuer: &str, address: &str) {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(SECRET.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let yaml = Site::yaml("127.0.0.1:9")
        .replace("https://edge.example.com", issuer)
        .replacen("127.0.0.1:0", address, 1)
        .replace("scopes: {", "state: { sqlite: portcullis.db }\nscopes: {")
        .replace(
            "clients: [",
            &format!(
                "clients: [{{ id: machine, secret_sha256: {digest}, grants: [password, refresh_token, client_credentials], scopes: ['orders:read'] }}, "
            ),
        );
    site.write("portcullis.yaml", yaml);
}

/// Runs a program in the site's directory while the edge goes on.
async fn run(site: &Site, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(site.path("."));
    tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap_or_else(
        |error| panic!("{program} does not start ({error}): install nodejs and npm"),
    )
}
