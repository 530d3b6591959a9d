//! Real applications: programs of their own, as their authors ship them, each on a free port of this machine. Where one is
//! missing the test fails and says what to install.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;

use super::process::signal;
use super::within;

/// A running application. It is told to end when dropped.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    child: Child,
    /// Where it was installed, if that is to go with it.
    _files: Option<TempDir>,
}

impl Drop for Application {
    fn drop(&mut self) {
        // Not SIGKILL: gunicorn's workers are to end as well.
        if let (Some(pid), Ok(None)) = (self.child.id(), self.child.try_wait()) {
            signal("TERM", &[pid]);
        }
    }
}

impl Application {
    /// gunicorn with its defaults, and Flask in it.
    pub(crate) async fn gunicorn() -> Self {
        let program = python().await.join("bin/gunicorn");
        let arguments = ["--bind", "127.0.0.1:0", "flask_application:application"];
        Self::start(program.to_str().unwrap(), &arguments, &fixtures()).await.unwrap()
    }

    /// The server that Werkzeug brings along, and Flask in it.
    pub(crate) async fn werkzeug() -> Self {
        let program = python().await.join("bin/python");
        let arguments = ["flask_application.py"];
        Self::start(program.to_str().unwrap(), &arguments, &fixtures()).await.unwrap()
    }

    /// The server that PHP brings along.
    pub(crate) async fn php() -> Self {
        let mut said = String::new();
        for _ in 0..10 {
            // It does not say which port it took, so it is told one, which somebody else may take first.
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let arguments = ["-S", &free.to_string(), "application.php"];
            match Self::start("php", &arguments, &fixtures()).await {
                Ok(application) => return application,
                Err(error) => said = error,
            }
        }
        panic!("{said}\ninstall php-cli")
    }

    /// Express on Node.
    pub(crate) async fn express() -> Self {
        let files = TempDir::new().unwrap();
        for entry in std::fs::read_dir(fixtures().join("express")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, files.path().join(path.file_name().unwrap())).unwrap();
        }
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        run("npm", &install, files.path(), "nodejs and npm").await;
        let folder = files.path().to_owned();
        Self::start_in("node", &["application.mjs"], &folder, Some(files)).await.unwrap()
    }

    async fn start(program: &str, arguments: &[&str], folder: &Path) -> Result<Self, String> {
        Self::start_in(program, arguments, folder, None).await
    }

    /// Starts a program and waits until it says where it listens. An error is what it said before it ended.
    async fn start_in(
        program: &str,
        arguments: &[&str],
        folder: &Path,
        files: Option<TempDir>,
    ) -> Result<Self, String> {
        // Some say it on standard output, some on the other; a program that is missing is said, too.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 2>&1", program]).args(arguments);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        while let Some(line) = within(lines.next_line()).await.unwrap() {
            if let Some(address) = address(&line) {
                read_on(lines);
                return Ok(Self { address, child, _files: files });
            }
            said = said + &line + "\n";
        }
        Err(said)
    }
}

/// The address behind `http://` in a line.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// A program whose words nobody reads stands still once the pipe is full.
fn read_on(mut lines: tokio::io::Lines<BufReader<ChildStdout>>) {
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/applications")
}

/// A virtual environment with what `requirements.txt` names, kept below `target` until that changes.
async fn python() -> &'static Path {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    PYTHON
        .get_or_init(|| async {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-applications");
            let wanted = std::fs::read(fixtures().join("requirements.txt")).unwrap();
            let installed = folder.join("installed.txt");
            if std::fs::read(&installed).is_ok_and(|installed| installed == wanted) {
                return folder;
            }
            let place = folder.to_str().unwrap();
            let what = "python3 and python3-venv";
            run("python3", &["-m", "venv", "--clear", place], &fixtures(), what).await;
            let pip = folder.join("bin/pip");
            let install = ["install", "--quiet", "--requirement", "requirements.txt"];
            run(pip.to_str().unwrap(), &install, &fixtures(), what).await;
            std::fs::write(installed, wanted).unwrap();
            folder
        })
        .await
}

/// Runs a program to its end, which must be a good one.
async fn run(program: &str, arguments: &[&str], folder: &Path, packages: &str) {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(folder).kill_on_drop(true).output().await;
    let output = output.unwrap_or_else(|error| {
        panic!("{program} does not start ({error}): install {packages}");
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}\ninstall {packages}");
}
