//! Users in the database: the usual ones, and the command line that changes them while the edge runs.

use std::process::{Output, Stdio};

use portcullis::oauth::scope::Scope;
use portcullis::oauth::subject::Subject;
use portcullis::state::{State, UserChange};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::gateway::{Edge, HASH};
use super::within;
use crate::binary::BINARY;

/// Adds those whom the user file has: alice may do everything, bob may read, carol is disabled. Another edge may have done so.
pub(crate) async fn add(state: &State) {
    let (all, read) = ("admin notes:read notes:write", "notes:read");
    let mut newest = 0;
    for (name, scope) in [("alice", all), ("bob", read), ("carol", read)] {
        let add =
            UserChange::Add { password: HASH.to_owned(), scope: Scope::parse(scope).unwrap() };
        let subject = Subject::user(name).unwrap();
        let is_new = within(state.store().change_user(&subject, add)).await.unwrap();
        if is_new && name == "carol" {
            within(state.store().change_user(&subject, UserChange::Disable)).await.unwrap();
        }
        let row = within(state.store().user(name)).await.unwrap().unwrap();
        newest = row.version.max(newest);
    }
    within(state.mirror().reached(newest)).await;
}

/// A place for state that several edges share.
pub(crate) struct Kept {
    /// As `state_at` takes it.
    pub(crate) yaml: String,
    _files: TempDir,
}

impl Kept {
    /// In a SQLite file.
    pub(crate) async fn sqlite() -> Self {
        let files = TempDir::new().unwrap();
        let yaml = format!("{{ sqlite: '{}' }}", files.path().join("state.db").display());
        Self { yaml, _files: files }
    }

    /// In PostgreSQL.
    #[cfg(feature = "external-tests")]
    pub(crate) async fn postgres() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let url = super::postgres::Postgres::shared().await.database().await;
        let files = TempDir::new().unwrap();
        let file = files.path().join("url");
        std::fs::write(&file, url).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let yaml = format!("{{ postgres: {{ url: {{ file: '{}' }} }} }}", file.display());
        Self { yaml, _files: files }
    }
}

impl Edge {
    /// Runs `portcullis users` with the edge's configuration, as somebody would beside it.
    pub(crate) async fn users(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(BINARY);
        command.arg("users").args(arguments).args(["-c", "portcullis.yaml"]);
        command.current_dir(self.directory()).env_remove("PORTCULLIS_LOG").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Not every command reads what it is given.
        stdin.write_all(input.as_bytes()).await.ok();
        drop(stdin);
        within(child.wait_with_output()).await.unwrap()
    }
}
