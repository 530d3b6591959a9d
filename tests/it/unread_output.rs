//! Whoever reads what we print may stop, go, or be a full disk. None of that is a reason to hang, to abort, or to panic.
//! Part 4, item 20.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Write as _, pipe};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Output, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::process::Command;

use super::binary::{PASSWORD, Site, ended, stdout};
use super::harness::process::{get, password_form, post, signal};
use super::harness::{Wire, within};

const NOWHERE: &str = "127.0.0.1:9";

/// What standard error is.
enum Reader {
    /// A pipe that is full, and whose reader never reads.
    Stopped { writer: PipeWriter, _reader: PipeReader },
    /// A pipe without a reader.
    Gone(PipeWriter),
    /// A disk without space.
    Full(File),
}

impl Reader {
    fn stopped() -> Self {
        let (reader, writer) = pipe().unwrap();
        // Opened anew, so that only this description of it does not block.
        let again = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let filler = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(again);
        let mut filler = filler.unwrap();
        for bytes in [&[b'.'; 4096][..], b"."] {
            while filler.write(bytes).is_ok() {}
        }
        Self::Stopped { writer, _reader: reader }
    }

    fn gone() -> Self {
        Self::Gone(pipe().unwrap().1)
    }

    fn full() -> Self {
        Self::Full(OpenOptions::new().write(true).open("/dev/full").unwrap())
    }

    fn end(&self) -> Stdio {
        match self {
            Self::Stopped { writer, .. } | Self::Gone(writer) => writer.try_clone().unwrap().into(),
            Self::Full(file) => file.try_clone().unwrap().into(),
        }
    }
}

/// O_NONBLOCK, on every Linux that Rust's standard library knows by this number.
const O_NONBLOCK: i32 = 0o4000;

#[tokio::test]
async fn whoever_reads_the_log_may_stop_go_or_be_full() {
    for (name, reader) in
        [("stopped", Reader::stopped()), ("gone", Reader::gone()), ("full", Reader::full())]
    {
        // Its addresses are known without its log.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let edge = socket.local_addr().unwrap();
        let site = Site::new(NOWHERE);
        let yaml = Site::yaml(NOWHERE).replacen("127.0.0.1:0", &edge.to_string(), 1);
        site.write("portcullis.yaml", yaml);
        let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
        command.env("LISTEN_FDS", "1").env("PORTCULLIS_LOG", "debug");
        command.stdin(Stdio::null()).stdout(reader.end()).stderr(reader.end());
        let mapping = FdMapping { parent_fd: OwnedFd::from(socket), child_fd: 3 };
        command.fd_mappings(vec![mapping]).unwrap();
        let mut child = Command::from(command).kill_on_drop(true).spawn().unwrap();

        let login = Wire::connect(edge).await.ask(post("/token", &password_form("alice"))).await;
        login.is(200);
        let token = login.json()["access_token"].as_str().unwrap().to_owned();
        for _ in 0..200 {
            // Each is a line that warns of the application.
            let response = Wire::connect(edge).await.ask(get("/orders/7", &token)).await;
            assert_eq!(response.status, 502, "{name}");
        }
        signal("HUP", &[child.id().unwrap()]);
        Wire::connect(edge).await.ask(get("/orders/7", "none")).await.is(401);
        signal("TERM", &[child.id().unwrap()]);
        let status = within(child.wait()).await.unwrap();
        assert!(status.success(), "{name}: {status}");
    }
}

/// Runs a command whose standard output, or whose two outputs, go there.
fn run(site: &Site, arguments: &[&str], input: &str, out: Stdio, err: Option<Stdio>) -> Output {
    let mut command = site.command(arguments);
    command.stdout(out);
    if let Some(err) = err {
        command.stderr(err);
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

/// Every command that prints, what it reads, and how it ends when somebody reads it.
fn commands(site: &Site) -> Vec<(Vec<&'static str>, String, i32)> {
    let yaml = Site::yaml(NOWHERE);
    let database = yaml.replacen("users: { file: users.yaml }", "users: { database: true }", 1);
    let database = database.replacen("tests:", "state: { sqlite: state.db }\ntests:", 1);
    let database = database.replace("user: bob", "scopes: ['orders:read']");
    site.write("database.yaml", database);
    site.write("invalid.yaml", yaml.replacen("audience: app", "audience: ''", 1));
    site.write("failing.yaml", yaml.replacen("expect: 403", "expect: allow", 1));
    let in_database = ["-c", "database.yaml"];
    stdout(&site.run(&[&["users", "add", "carol"][..], &in_database].concat(), PASSWORD));
    // Signed by nobody: it is only looked at.
    let token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.AAAA";
    let list = "dave:$2y$05$abcdefghijklmnopqrstuuJb6wHkR2kPj1pMCbqOE4dXQeFhq4ZEu\n";
    site.write("list", list);
    vec![
        (vec!["check", "portcullis.yaml"], String::new(), 0),
        (vec!["check", "portcullis.yaml", "--format", "json"], String::new(), 0),
        (vec!["check", "failing.yaml"], String::new(), 1),
        (vec!["check", "invalid.yaml", "--format", "json"], String::new(), 2),
        (
            vec!["explain", "-c", "portcullis.yaml", "GET", "/orders/7", "--user", "bob"],
            String::new(),
            0,
        ),
        (vec!["explain", "-c", "portcullis.yaml", "GET", "/orders/7"], String::new(), 1),
        (vec!["hash-password"], PASSWORD.to_owned(), 0),
        (vec!["clients", "new"], String::new(), 0),
        (vec!["keys", "generate"], String::new(), 0),
        (vec!["token", "inspect"], token.to_owned(), 0),
        (vec!["users", "list", "-c", "database.yaml"], String::new(), 0),
        (vec!["users", "list", "-c", "database.yaml", "--format", "json"], String::new(), 0),
        (vec!["users", "disable", "carol", "-c", "database.yaml"], String::new(), 0),
        (
            vec!["users", "import", "--format", "htpasswd", "list", "-c", "database.yaml"],
            String::new(),
            0,
        ),
        (vec!["bans", "list", "-c", "database.yaml"], String::new(), 0),
        (vec!["revoke", "-c", "database.yaml", "--user", "carol"], String::new(), 0),
    ]
}

#[test]
fn a_command_whose_reader_has_gone_ends_as_if_he_had_not() {
    let site = Site::new(NOWHERE);
    for (arguments, input, code) in commands(&site) {
        let gone = || Reader::gone().end();
        let output = run(&site, &arguments, &input, gone(), None);
        let (_, err) = ended(&output, code);
        assert!(!err.contains("panicked") && !err.contains("Broken pipe"), "{arguments:?}: {err}");
        let output = run(&site, &arguments, &input, gone(), Some(gone()));
        assert_eq!(output.status.code(), Some(code), "{arguments:?} with both");
    }
}

#[test]
fn a_command_whose_output_does_not_fit_on_the_disk_fails_and_says_so() {
    let site = Site::new(NOWHERE);
    for (arguments, input, _) in commands(&site) {
        // Without a single ban there is nothing to print.
        if arguments.first() == Some(&"bans") {
            continue;
        }
        let output = run(&site, &arguments, &input, Reader::full().end(), None);
        let (_, err) = ended(&output, 1);
        assert!(err.contains("No space left on device"), "{arguments:?}: {err}");
        let full = || Reader::full().end();
        let output = run(&site, &arguments, &input, full(), Some(full()));
        assert_eq!(output.status.code(), Some(1), "{arguments:?} with both");
    }
}
