//! Files that somebody else could change: `check` refuses each, says which and by whom, and takes the same file when it is ours.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::binary::{BINARY, Site, ended};
use super::harness::certs::{Authority, Leaf};
use super::harness::process::Running;

const CLEAN: &str = "portcullis.yaml: 0 errors, 0 warnings, 2 of 2 tests passed\n";

/// A site whose listener has TLS and asks for certificates, with every file in a folder of its own.
fn site() -> Site {
    let site = Site::new("127.0.0.1:9");
    for folder in ["secrets", "tls"] {
        fs::create_dir(site.path(folder)).unwrap();
        fs::set_permissions(site.path(folder), Permissions::from_mode(0o755)).unwrap();
    }
    for file in ["signing.pem", "users.yaml"] {
        fs::rename(site.path(file), site.path(&format!("secrets/{file}"))).unwrap();
    }
    Leaf::for_hosts(&["edge.example.com"]).write(&site.path("tls"), "edge");
    site.write("tls/ca.pem", Authority::new("clients").pem());
    let tls = "{ certificate: tls/edge.pem, private_key: tls/edge.key, client_ca: tls/ca.pem }";
    let yaml = Site::yaml("127.0.0.1:9")
        .replacen("'127.0.0.1:0' }]", &format!("'127.0.0.1:0', tls: {tls} }}]"), 1)
        .replace("file: signing.pem", "file: secrets/signing.pem")
        .replace("file: users.yaml", "file: secrets/users.yaml")
        .replacen("scopes: ['orders:read'] }", "scopes: ['orders:read'] }\n  - { id: partner, path: /partner, upstream: app, auth: public, client_certificate: ['cn:a'] }", 1);
    site.write("portcullis.yaml", yaml);
    site
}

#[track_caller]
fn accepted(site: &Site, what: &str) {
    let (out, err) = ended(&site.run(&["check", "portcullis.yaml"], ""), 0);
    assert_eq!((out.as_str(), err.as_str()), (CLEAN, ""), "{what}");
}

/// `check` refuses the site, and says this.
#[track_caller]
fn refused(site: &Site, said: &str) {
    let (_, err) = ended(&site.run(&["check", "portcullis.yaml"], ""), 2);
    assert!(err.contains(said), "not `{said}`:\n{err}");
}

const SECRET: [&str; 3] = ["secrets/signing.pem", "secrets/users.yaml", "tls/edge.key"];
const READABLE: [&str; 3] = ["tls/edge.pem", "tls/ca.pem", "portcullis.yaml"];

// Part 4, item 30.
#[test]
fn certificates_and_authorities_may_be_read_by_all_and_written_by_nobody_else() {
    let site = site();
    accepted(&site, "all at 0600");
    let chmod = |file: &str, mode: u32| {
        fs::set_permissions(site.path(file), Permissions::from_mode(mode)).unwrap();
    };
    for file in READABLE {
        for mode in [0o444, 0o644, 0o660] {
            chmod(file, mode);
            accepted(&site, file);
        }
        chmod(file, 0o646);
        let name =
            if file == "portcullis.yaml" { "this file".to_owned() } else { format!("`{file}`") };
        refused(&site, &format!("every user can change {name} (mode 0646) (chmod o-w on it)"));
        chmod(file, 0o600);
    }
    for file in SECRET {
        chmod(file, 0o440);
        accepted(&site, file);
        // As Docker and Kubernetes mount secrets, read-only.
        chmod(file, 0o444);
        refused(
            &site,
            &format!(
                "`{file}` is open to every user (mode 0444) (chmod o= on it; a secret of Kubernetes takes \
                 `defaultMode: 0440`, one of Docker `mode: 0440`)"
            ),
        );
        chmod(file, 0o600);
    }
}

// Part 4, item 30.
#[test]
fn a_certificate_with_its_key_in_the_same_file_is_a_secret() {
    let site = site();
    let both = ["tls/edge.pem", "tls/edge.key"].map(|file| fs::read(site.path(file)).unwrap());
    site.write("tls/edge.pem", both.concat());
    accepted(&site, "both in one file of 0600");
    fs::set_permissions(site.path("tls/edge.pem"), Permissions::from_mode(0o644)).unwrap();
    refused(&site, "`tls/edge.pem` is open to every user (mode 0644)");
}

// Part 4, item 30.
#[test]
fn a_folder_in_which_every_user_may_rename_files_is_refused_and_one_with_the_sticky_bit_is_not() {
    let site = site();
    let chmod = |folder: &str, mode: u32| {
        fs::set_permissions(site.path(folder), Permissions::from_mode(mode)).unwrap();
    };
    for (folder, files) in [("secrets", &SECRET[..2]), ("tls", &["tls/edge.pem", "tls/ca.pem"])] {
        chmod(folder, 0o777);
        for file in files {
            refused(&site, &format!("others can replace `{file}`: every user can write in `"));
        }
        for mode in [0o1777, 0o775, 0o755] {
            chmod(folder, mode);
            accepted(&site, folder);
        }
    }
    // As Kubernetes lays out a secret: the folder of the links is sound, that of the files is not.
    fs::rename(site.path("secrets"), site.path("data")).unwrap();
    fs::create_dir(site.path("secrets")).unwrap();
    for file in ["signing.pem", "users.yaml"] {
        symlink(format!("../data/{file}"), site.path(&format!("secrets/{file}"))).unwrap();
    }
    accepted(&site, "links");
    chmod("data", 0o777);
    refused(&site, "others can replace `secrets/signing.pem`: every user can write in `");
    chmod("data", 0o755);
    chmod(".", 0o777);
    refused(&site, "others can replace this file: every user can write in `");
}

// Part 4, item 30.
#[test]
fn a_file_of_another_user_is_refused() {
    let site = site();
    if fs::metadata(site.path("portcullis.yaml")).unwrap().uid() != 0 {
        // Only root can give a file away; `config::exposure` has a test for everybody.
        return;
    }
    for file in SECRET.iter().chain(&READABLE) {
        chown(site.path(file), Some(4711), None).unwrap();
        let name =
            if *file == "portcullis.yaml" { "this file".to_owned() } else { format!("`{file}`") };
        refused(&site, &format!("others can replace {name}: `"));
        refused(&site, "belongs to user 4711");
        chown(site.path(file), Some(0), None).unwrap();
        accepted(&site, file);
    }
}

/// Who owns what the kernel shows of a process: whoever it runs as or, of one that is not dumpable, root (proc(5)).
fn owner_in_proc(edge: &Running, file: &str) -> u32 {
    fs::metadata(format!("/proc/{}/{file}", edge.pid())).unwrap().uid()
}

// Part 4, item 30.
#[tokio::test]
async fn another_process_of_the_same_user_cannot_read_the_memory_of_this_one() {
    let site = Site::new("127.0.0.1:9");
    let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
    if fs::metadata(site.path("portcullis.yaml")).unwrap().uid() == 0 {
        // Of a process that runs as root this cannot be seen, so it runs as somebody else, from where that one may go.
        fs::copy(BINARY, site.path("portcullis")).unwrap();
        for name in [".", "portcullis", "portcullis.yaml", "users.yaml", "signing.pem"] {
            chown(site.path(name), Some(4711), None).unwrap();
        }
        command = Command::new(site.path("portcullis"));
        command.args(["run", "-c", "portcullis.yaml"]).current_dir(site.path(".")).uid(4711);
        command.env_remove("NOTIFY_SOCKET").env_remove("PORTCULLIS_LOG");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let edge = Running::started(command.into()).await;
    for file in ["mem", "environ", "maps"] {
        assert_eq!(owner_in_proc(&edge, file), 0, "{file}");
    }
    // It still sees itself: these are read from the same place.
    let metrics = edge.metrics().await;
    for name in ["process_open_fds ", "process_resident_memory_bytes ", "process_max_fds "] {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert!(value.parse::<f64>().unwrap() > 0.0, "{name}{value}");
    }
}
