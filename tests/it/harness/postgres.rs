//! A PostgreSQL of the test's own, in a temporary directory and on a unix socket there; nothing of the machine's is touched.
//!
//! As root it runs as another user, since PostgreSQL refuses root. Whatever ends the test, `kill -9` too, ends the server and
//! removes its files: a shell beside it waits for the end of a pipe that only the test holds.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::unbounded_channel;

use super::process::signal;
use super::within;

/// How PostgreSQL names its socket when the port is the usual one.
pub(crate) const SOCKET: &str = ".s.PGSQL.5432";

/// Runs the server until standard input ends, and removes its files unless told to keep them. SIGQUIT is the shutdown that
/// PostgreSQL itself bounds; what was committed is recovered at the next start.
const KEEPER: &str = r#"
directory=$1; shift
"$@" &
read -r word
kill -s CONT $!; kill -s QUIT $!; wait $!
[ "$word" = keep ] || rm -rf "$directory"
"#;

/// A running server. It is stopped when dropped.
pub(crate) struct Postgres {
    /// Stopped before its directory is removed.
    keeper: Option<Keeper>,
    paused: bool,
    databases: AtomicU32,
    programs: PathBuf,
    /// Whom it runs as, if not as us.
    owner: Option<(u32, u32)>,
    directory: TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().metadata().unwrap().uid() == 0;
        let owner = root.then(unprivileged);
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        let mut server = Self {
            keeper: None,
            paused: false,
            databases: AtomicU32::new(0),
            programs: programs(),
            owner,
            directory,
        };
        let mut initdb = server.command(server.programs.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
        let made = initdb.arg("-D").arg(server.data()).output().unwrap();
        assert!(made.status.success(), "initdb: {made:?}");
        server.restart().await;
        server
    }

    /// One server for all tests of this run; each takes a database of its own.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// The URL of the database that every server has.
    pub(crate) fn url(&self) -> String {
        url(self.directory.path(), "postgres")
    }

    /// Makes an empty database and returns its URL.
    pub(crate) async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = within(PgConnection::connect(&self.url())).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        within(sqlx::query(AssertSqlSafe(create)).execute(&mut connection)).await.unwrap();
        within(connection.close()).await.unwrap();
        url(self.directory.path(), &name)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// Stops all of it where it stands: connections stay open and nobody answers.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
        // The first one first, so that it starts no others meanwhile.
        signal("STOP", &[self.pid()]);
        signal("STOP", &children(self.pid()));
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
        signal("CONT", &children(self.pid()));
        signal("CONT", &[self.pid()]);
    }

    /// Stops it at once, without losing what was committed.
    pub(crate) fn stop(&mut self) {
        if self.paused {
            self.resume();
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.ends("keep\n");
        }
    }

    /// Starts it again on the same files, and waits until it takes connections.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        let mut command = self.command("/bin/sh");
        command.args(["-c", KEEPER, "sh"]).arg(self.directory.path());
        command.arg(self.programs.join("postgres")).arg("-D").arg(self.data());
        command.arg("-k").arg(self.directory.path());
        command.args(["-c", "listen_addresses=", "-c", "fsync=on", "-c", "port=5432"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = child.stderr.take().unwrap();
        self.keeper = Some(Keeper(child));

        let (read, mut reading) = unbounded_channel();
        // A thread, since it must go on reading while a test of one thread waits for the server's end.
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                read.send(line).ok();
            }
        });
        let mut before = String::new();
        loop {
            let line = within(reading.recv()).await.expect("the keeper ended");
            if line.contains("database system is ready to accept connections") {
                return;
            }
            before = before + &line + "\n";
            assert!(!line.contains("FATAL"), "PostgreSQL does not start:\n{before}");
        }
    }

    /// A program, about to run as the server's user.
    fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(self.directory.path()).env("LC_ALL", "C").env_remove("PGDATA");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn pid(&self) -> u32 {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The shell beside the server.
struct Keeper(Child);

impl Keeper {
    fn ends(mut self, word: &str) {
        self.0.stdin.take().unwrap().write_all(word.as_bytes()).ok();
        self.0.wait().unwrap();
    }
}

/// The URL of a database behind a socket in this directory.
pub(crate) fn url(directory: &Path, database: &str) -> String {
    format!("postgres://postgres@localhost/{database}?host={}", directory.display())
}

/// The directory of `initdb` and `postgres`. Debian keeps them off the path.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    places.extend(versions.map(|version| version.unwrap().path().join("bin")));
    let complete = |place: &PathBuf| ["initdb", "postgres"].iter().all(|p| place.join(p).is_file());
    places.into_iter().find(complete).expect("no initdb and postgres here: install postgresql")
}

/// Somebody without rights.
fn unprivileged() -> (u32, u32) {
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let account = accounts.lines().find_map(|line| line.strip_prefix(&format!("{name}:x:")))?;
        let mut ids = account.split(':');
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).expect("no user `postgres` or `nobody` to drop to")
}

/// The processes that this one started and that have not ended.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything: the state and the parent.
        let of: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (of == parent).then_some(pid)
    });
    processes.collect()
}
