//! What is shipped beside the binary is true: the example configurations are valid and pass their own tests, the README names
//! every key, reason and metric, and the unit file starts what there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::access::proxy_fields::NAMES;
use portcullis::clock::SystemClock;
use portcullis::config::{self, SystemSources};
use portcullis::gateway::{Gateway, Shared, dry_run};
use portcullis::keys::{Algorithm, generate};
use portcullis::observe::metrics::{Gauges, Metrics};
use portcullis::random::OsRandom;
use portcullis::reason::Reason;
use portcullis::secret::Secret;
use portcullis::users::PasswordHash;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A copy of `conf` with the signing key that its operator would make.
fn conf_with_a_key() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(root().join("conf")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            private(&copy.path().join(path.file_name().unwrap()), &fs::read(&path).unwrap());
        }
    }
    fs::create_dir(copy.path().join("keys")).unwrap();
    let key = generate(Algorithm::EdDsa, &OsRandom).unwrap();
    private(&copy.path().join("keys/signing.pem"), key.expose());
    copy
}

/// Writes what only its owner may read; a key that others can read is refused.
fn private(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn every_configuration_is_valid_without_a_warning_and_passes_its_own_tests() {
    let copy = conf_with_a_key();
    let (mut files, mut tests) = (0, 0);
    for entry in fs::read_dir(copy.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() || path.ends_with("users.yaml") {
            continue;
        }
        let loaded = config::load(&path, &SystemSources);
        let said: Vec<_> =
            loaded.problems.iter().chain(&loaded.warnings).map(ToString::to_string).collect();
        assert!(said.is_empty(), "{}", said.join("\n"));
        let config = loaded.config.unwrap();
        let shared =
            Shared::start(Arc::new(SystemClock), Arc::new(OsRandom), 1, Box::new(std::io::sink()))
                .unwrap();
        let expectations = config.tests.clone();
        let gateway = Gateway::build(config, Arc::new(shared), 0);
        let failures = dry_run::run(&gateway, &expectations);
        assert!(failures.is_empty(), "{}: {failures:?}", path.display());
        files += 1;
        tests += expectations.len();
    }
    assert!(files == 2 && tests >= 12, "{files} files with {tests} tests");
}

#[test]
fn the_example_passwords_are_those_that_the_file_says() {
    let text = shipped("conf/users.yaml");
    let passwords = text.lines().filter_map(|line| line.trim().strip_prefix("# The password is: "));
    let hashes = text.lines().filter_map(|line| line.trim().strip_prefix("password: "));
    let pairs: Vec<_> = passwords.zip(hashes).collect();
    assert_eq!(pairs.len(), 2);
    for (password, hash) in pairs {
        let hash = PasswordHash::parse(hash.trim_matches('"')).unwrap();
        assert_eq!(hash.matches(&Secret::from(password), &mut Vec::new()), Ok(true), "{password}");
        assert_eq!(hash.matches(&Secret::from("another"), &mut Vec::new()), Ok(false));
    }
}

#[test]
fn no_private_key_is_shipped() {
    for entry in fs::read_dir(root().join("conf")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert!(
                !fs::read_to_string(&path).unwrap().contains("PRIVATE KEY"),
                "{}",
                path.display()
            );
        }
    }
    assert!(shipped(".gitignore").lines().any(|line| line == "/conf/keys/"));
}

#[test]
fn the_full_example_and_the_readme_name_every_key() {
    let (readme, example) =
        (shipped("README.md"), shipped("conf/portcullis.yaml") + &shipped("conf/users.yaml"));
    let raw = ["mod.rs", "headers.rs", "limits.rs", "listeners.rs", "tls.rs"];
    let raw = raw.map(|name| shipped(&format!("src/config/raw/{name}"))).concat();
    let fields = raw.lines().filter(|line| line.starts_with("        ")).filter_map(|line| {
        let name = line.trim().strip_prefix("r#").unwrap_or(line.trim()).split_once(": ")?.0;
        name.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            .then_some(name)
    });
    let fields: Vec<_> = fields.collect();
    assert!(fields.len() > 40, "{fields:?}");
    for name in fields {
        assert!(example.contains(&format!("{name}:")), "conf/portcullis.yaml lacks `{name}`");
        let named = [
            format!("`{name}`"),
            format!(".{name}`"),
            format!("`{name}."),
            format!("### {name}\n"),
            format!("`{{ {name}:"),
        ];
        assert!(named.iter().any(|form| readme.contains(form)), "README.md lacks `{name}`");
    }
}

#[test]
fn the_readme_explains_every_reason_in_its_words() {
    let readme = shipped("README.md");
    let (_, reasons) = readme.split_once("\n## Reasons\n").unwrap();
    for reason in Reason::ALL {
        let row = reasons.lines().find(|line| line.starts_with(&format!("| `{}` |", reason.id())));
        let row = row.unwrap_or_else(|| panic!("README.md lacks `{reason}`"));
        assert!(row.ends_with(&format!("| {} |", reason.explanation())), "{row}");
    }
}

// Part 4, item 2.
#[test]
fn the_readme_lists_exactly_the_fields_that_only_a_proxy_may_set() {
    let readme = shipped("README.md");
    let (_, section) = readme.split_once("\n### Fields that only a proxy may set\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let names = rows.flat_map(|(_, names)| names.split('`').skip(1).step_by(2));
    let mut listed: Vec<&str> = names.collect();
    let mut ours: Vec<&str> = NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    listed.sort_unstable();
    ours.sort_unstable();
    assert_eq!(listed, ours);
}

#[test]
fn the_readme_lists_exactly_the_metrics_that_there_are() {
    let exposed = Metrics::new().unwrap().render(Gauges::default());
    let ours = exposed.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut ours: Vec<&str> = ours
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("portcullis_"))
        .collect();
    let readme = shipped("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut listed: Vec<&str> = rows.filter(|name| name.starts_with("portcullis_")).collect();
    ours.sort_unstable();
    listed.sort_unstable();
    // Families whose labels are open show nothing before their first event, so the README may know more.
    let unlisted: Vec<_> = ours.iter().filter(|name| !listed.contains(name)).collect();
    assert!(unlisted.is_empty(), "README.md lacks {unlisted:?}");
    let source = shipped("src/observe/series.rs");
    for name in listed {
        let text = format!("\"{}\"", name.trim_start_matches("portcullis_"));
        assert!(ours.contains(&name) || source.contains(&text), "there is no {name}");
    }
}

#[test]
fn the_unit_checks_before_it_starts_and_before_it_reloads() {
    let unit = shipped("systemd/portcullis.service");
    let values = |key: &str| -> Vec<String> {
        let lines = unit.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(own, _)| *own == key).map(|(_, value)| value.to_owned()).collect()
    };
    let check = "/usr/bin/portcullis check /etc/portcullis/portcullis.yaml";
    assert_eq!(values("Type"), ["notify"]);
    assert_eq!(values("NotifyAccess"), ["main"]);
    assert_eq!(values("ExecStartPre"), [check]);
    assert_eq!(values("ExecStart"), ["/usr/bin/portcullis run -c /etc/portcullis/portcullis.yaml"]);
    assert_eq!(values("ExecReload"), [check, "/bin/kill -HUP $MAINPID"]);
    assert_eq!(values("FileDescriptorStoreMax"), ["64"]);
    assert_eq!(values("CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE"]);
    assert_eq!(values("AmbientCapabilities"), ["CAP_NET_BIND_SERVICE"]);
    // Part 4, item 30: bounds, and a start that is tried again until what it waits for is there.
    assert_eq!(values("MemoryMax"), ["75%"]);
    assert_eq!(values("TasksMax"), ["1024"]);
    assert_eq!(values("StartLimitIntervalSec"), ["0"]);
    assert_eq!(
        (values("Restart"), values("RestartSec")),
        (vec!["on-failure".into()], vec!["2s".into()])
    );
    let (head, _) = unit.split_once("\n[Service]\n").unwrap();
    assert!(head.contains("\nStartLimitIntervalSec=0\n"), "systemd reads it in [Unit] only");
    let user = &values("User")[0];
    assert!(
        shipped("systemd/portcullis.sysusers.conf")
            .lines()
            .any(|line| line.starts_with(&format!("u {user} ")))
    );
}

#[test]
fn the_changelog_knows_this_version() {
    assert!(shipped("CHANGELOG.md").contains(env!("CARGO_PKG_VERSION")));
    assert!(shipped("LICENSE").contains("Apache License"));
}
