//! A PgBouncer before a test's PostgreSQL, in a temporary directory and on a unix socket there.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use tempfile::TempDir;

use super::postgres::{Keeper, Kept, Postgres, url};

/// A running pooler. It is stopped when dropped.
pub(crate) struct Bouncer {
    keeper: Option<Keeper>,
    directory: TempDir,
}

impl Bouncer {
    /// Starts one that hands out up to so many sessions of this server by this mode.
    pub(crate) async fn start(server: &Postgres, mode: &str, sessions: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path();
        if let Some((user, group)) = server.owner() {
            chown(own, Some(user), Some(group)).unwrap();
        }
        let (place, back) = (own.display(), server.place().display());
        let settings = format!(
            "[databases]
* = host={back} port=5432
[pgbouncer]
listen_addr =
listen_port = 5432
unix_socket_dir = {place}
auth_type = trust
auth_file = {place}/users
pool_mode = {mode}
default_pool_size = {sessions}
ignore_startup_parameters = extra_float_digits
"
        );
        fs::write(own.join("settings"), settings).unwrap();
        fs::write(own.join("users"), "\"postgres\" \"\"\n").unwrap();
        let mut command = server.command(program());
        command.arg(own.join("settings"));
        let how = Kept { directory: own, ready: "process up", stop: "TERM" };
        let keeper = Keeper::starts(server, &command, &how).await;
        Self { keeper: Some(keeper), directory }
    }

    /// The URL of this database of the server by this way.
    pub(crate) fn url(&self, direct: &str) -> String {
        let name = direct.split(['/', '?']).nth(3).unwrap();
        url(self.directory.path(), name)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.ends("keep\n");
        }
    }
}

/// Debian keeps it where only root's path leads.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push(PathBuf::from("/usr/sbin"));
    let found = places.into_iter().map(|place| place.join("pgbouncer")).find(|p| p.is_file());
    found.expect("no pgbouncer here: install pgbouncer")
}
