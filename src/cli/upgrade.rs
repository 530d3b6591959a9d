//! Handing over to another process of the program, as it is on the disk now: started beside us with our listening sockets, it
//! says when it is ready, and only then do we stop. What cannot start changes nothing.
//!
//! The two share a socket pair, which is the new one's standard input. It writes one byte there when it is ready; we write one
//! back when systemd knows that it is the main process now, before which systemd would not listen to it.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, io};

use anyhow::{Context as _, bail};
use command_fds::{CommandFdExt as _, FdMapping};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::proxy::OpenSockets;

/// Says where the successor finds its end of the pair.
const HANDOVER: &str = "PORTCULLIS_HANDOVER";
const ON_STDIN: &str = "stdin";
/// The first inherited descriptor, as `sd_listen_fds(3)` has it.
const FIRST_DESCRIPTOR: i32 = 3;
/// How long the successor has until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long either waits for what the other does at once.
const MOMENT: Duration = Duration::from_secs(5);

/// The program that we run, by the name that it was started under: another may stand there later.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    /// The file that it was.
    file: Option<Identity>,
}

/// A file, whatever its name.
type Identity = (u64, u64, i64, i64);

impl Program {
    /// Call it early: the name is relative to the directory that we are in.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let own = env::current_exe()?;
        let path = arguments.next().and_then(|name| named(Path::new(&name)));
        // A name proves nothing until it leads to what we are. A link must stay one: it may point elsewhere tomorrow.
        let path = path.filter(|path| identity(path) == identity(&own)).unwrap_or(own);
        Ok(Self { file: identity(&path), path, arguments: arguments.collect() })
    }

    /// Whether another file has taken the place of the program.
    pub(super) fn was_replaced(&self) -> bool {
        identity(&self.path).is_some_and(|now| Some(now) != self.file)
    }

    /// Starts it with these sockets.
    pub(super) fn start(&self, sockets: &OpenSockets) -> anyhow::Result<Successor> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let sockets = sockets.duplicate().context("the listening sockets")?;
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(Stdio::from(OwnedFd::from(theirs)));
        command.env(HANDOVER, ON_STDIN).env("LISTEN_FDS", sockets.len().to_string());
        command.env_remove("LISTEN_PID").env_remove("LISTEN_FDNAMES");
        let mappings = (FIRST_DESCRIPTOR..).zip(sockets);
        let mappings = mappings.map(|(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect())?;
        let child = tokio::process::Command::from(command).spawn();
        let child = child.with_context(|| self.path.display().to_string())?;
        Ok(Successor { child: Some(child), line: UnixStream::from_std(ours)? })
    }
}

/// The path of a command, as a shell would find it.
fn named(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return Some(env::current_dir().ok()?.join(name));
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|p| p.is_file())
}

fn identity(path: &Path) -> Option<Identity> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

/// The process that was started beside us. It is killed when dropped, unless we handed over.
#[derive(Debug)]
pub(super) struct Successor {
    child: Option<Child>,
    line: UnixStream,
}

impl Successor {
    /// Waits until it is ready, and returns its id.
    ///
    /// # Errors
    /// When it ended, hung up, or took too long.
    pub(super) async fn ready(&mut self) -> anyhow::Result<u32> {
        let mut byte = [0];
        let child = self.child.as_mut().context("it was let go")?;
        let id = child.id();
        tokio::select! {
            read = self.line.read_exact(&mut byte) => match (read, id) {
                (Ok(_), Some(id)) => Ok(id),
                // Its end of the line closes a moment before it has ended.
                _ => match timeout(MOMENT, child.wait()).await {
                    Ok(status) => bail!("it ended before it was ready: {}", status?),
                    Err(_) => bail!("it hung up before it was ready"),
                },
            },
            () = sleep(PATIENCE) => bail!("it was not ready within {PATIENCE:?}"),
        }
    }

    /// Tells it that it is the main process, and lets it go.
    pub(super) async fn take_over(mut self) {
        if let Err(error) = self.line.write_all(&[1]).await {
            tracing::warn!(%error, "the process that takes over was not told");
        }
        // Were it to end before us, whoever comes after us as its parent must learn how: it is not ours to wait for.
        std::mem::forget(self.child.take());
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && let Err(error) = child.start_kill()
        {
            tracing::warn!(%error, "the process that was to take over cannot be killed");
        }
    }
}

/// The process that waits for us to take over, as the one that was started sees it.
#[derive(Debug)]
pub(super) struct Predecessor(StdUnixStream);

impl Predecessor {
    /// The one that the environment tells of.
    pub(super) fn from_env() -> io::Result<Option<Self>> {
        if env::var_os(HANDOVER).is_none_or(|place| place != ON_STDIN) {
            return Ok(None);
        }
        let line = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Where it is something else, nobody waits.
        Ok(line.peer_addr().is_ok().then_some(Self(line)))
    }

    /// Notifies the previous process that this one is ready, and waits until it has told systemd. Without a reply this process serves as well.
    pub(super) async fn notify(self) {
        let line = async {
            self.0.set_nonblocking(true)?;
            let mut line = UnixStream::from_std(self.0)?;
            line.write_all(&[1]).await?;
            line.read_exact(&mut [0]).await
        };
        match timeout(MOMENT, line).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the process before us has gone"),
            Err(_) => tracing::warn!("the process before us does not answer"),
        }
    }
}
