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

/// Runs the server until standard input ends, and removes its files unless told to keep them.
const KEEPER: &str = r#"
directory=$1; stop=$2; shift 2
"$@" &
read -r word
kill -s CONT $!; kill -s "$stop" $!; wait $!
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
        let mut server = Self::stopped();
        let mut initdb = server.command(server.programs.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
        let made = initdb.arg("-D").arg(server.data()).output().unwrap();
        assert!(made.status.success(), "initdb: {made:?}");
        server.restart().await;
        server
    }

    /// A standby of this server, which follows it.
    pub(crate) async fn standby(&self) -> Self {
        let mut standby = Self::stopped();
        let mut copy = standby.command(beside(&standby.programs, "pg_basebackup"));
        copy.args(["-U", "postgres", "-R", "-c", "fast", "-h"]).arg(self.directory.path());
        let made = copy.arg("-D").arg(standby.data()).output().unwrap();
        assert!(made.status.success(), "pg_basebackup: {made:?}");
        standby.restart().await;
        standby
    }

    /// A place for a cluster.
    fn stopped() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().metadata().unwrap().uid() == 0;
        let owner = root.then(unprivileged);
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        Self {
            keeper: None,
            paused: false,
            databases: AtomicU32::new(0),
            programs: programs(),
            owner,
            directory,
        }
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
        let mut server = self.command(self.programs.join("postgres"));
        server.arg("-D").arg(self.data()).arg("-k").arg(self.directory.path());
        server.args(["-c", "listen_addresses=", "-c", "fsync=on", "-c", "port=5432"]);
        // A standby says "ready to accept read-only connections".
        let ready = "database system is ready to accept";
        // The shutdown that PostgreSQL itself bounds; what was committed is recovered at the next start.
        let how = Kept { directory: self.directory.path(), ready, stop: "QUIT" };
        self.keeper = Some(Keeper::starts(self, &server, &how).await);
    }

    /// The directory of its socket.
    pub(super) fn place(&self) -> &Path {
        self.directory.path()
    }

    /// Whom it runs as, if not as us.
    pub(super) const fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }

    /// A program, about to run as the server's user.
    pub(super) fn command(&self, program: impl Into<OsString>) -> Command {
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

/// How a program is kept.
pub(super) struct Kept<'a> {
    /// Its own, which goes with it.
    pub(super) directory: &'a Path,
    /// What it says once it is ready.
    pub(super) ready: &'a str,
    /// The signal that ends it.
    pub(super) stop: &'a str,
}

/// The shell beside a server.
pub(super) struct Keeper(Child);

impl Keeper {
    /// Starts a program as the user of this server, and waits until it says that it is ready.
    pub(super) async fn starts(server: &Postgres, program: &Command, how: &Kept<'_>) -> Self {
        let mut command = server.command("/bin/sh");
        command.args(["-c", KEEPER, "sh"]).arg(how.directory).arg(how.stop);
        command.arg(program.get_program()).args(program.get_args());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = child.stderr.take().unwrap();
        let keeper = Self(child);

        let (read, mut reading) = unbounded_channel();
        // A thread, since it must go on reading while a test of one thread waits for the server's end.
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                read.send(line).ok();
            }
        });
        let mut before = String::new();
        loop {
            let line = within(reading.recv()).await;
            assert!(line.is_some(), "the keeper ended:\n{before}");
            let line = line.unwrap();
            if line.contains(how.ready) {
                return keeper;
            }
            before = before + &line + "\n";
            assert!(!line.contains("FATAL"), "it does not start:\n{before}");
        }
    }

    pub(super) fn ends(mut self, word: &str) {
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

/// Another program of PostgreSQL. Where the server's own lead elsewhere, it is in Debian's place.
fn beside(programs: &Path, name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut places = vec![programs.to_owned()];
    places.extend(versions.map(|version| version.unwrap().path().join("bin")));
    let found = places.into_iter().map(|place| place.join(name)).find(|path| path.is_file());
    assert!(found.is_some(), "no {name} here: install postgresql");
    found.unwrap()
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
