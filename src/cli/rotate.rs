//! `portcullis keys rotate`: a new key in the folder that the configuration names, published before it signs.
//!
//! The folder is valid after every step, and each step is on disk before the next: a new key file that nobody lists yet, the
//! new list beside the old one, the new list in its place, old files gone one by one. Two rotations at once are refused by a
//! lock on the folder.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt,
};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cli::output::{errln, outln};
use crate::cli::{INVALID, print_problems};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, KeyFolder, Problem, SystemSources};
use crate::endpoints::discovery::MAX_AGE;
use crate::keys::{self, Algorithm, KeyUse, Rotation, RotationTerms, fresh_key_id, generate};
use crate::random::OsRandom;
use crate::secret::Secret;

/// How long a new key is published before it signs. Longer than anybody may keep the key set.
pub(super) const PUBLISH_AHEAD: &str = "10m";

/// The new list, before it takes the old one's place.
const DRAFT: &str = "keys.yaml.new";

pub(super) fn rotate(
    file: &Path,
    algorithm: Option<Algorithm>,
    publish_ahead: Duration,
) -> anyhow::Result<ExitCode> {
    let named = match config::key_folder(file, &SystemSources) {
        Ok(folder) => folder,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let lock = lock(&named.path)?;
    // Once more: what was read before the lock may be another rotation's past.
    let folder = match config::key_folder(file, &SystemSources) {
        Ok(folder) => folder,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let now = SystemClock.now();
    let id = fresh_key_id(now, &OsRandom)?;
    let terms = RotationTerms { now, publish_ahead, outlives: folder.outlives };
    let rotation = keys::rotate(&folder.keys, &id, algorithm, &terms)?;
    let owner = Owner::of(&folder)?;
    for step in steps(&rotation)? {
        let what = || format!("{}: {}", folder.path.display(), step.describe());
        step.perform(&folder.path, &owner).with_context(what)?;
    }
    drop(lock);
    tell(&folder, &rotation, publish_ahead);
    Ok(ExitCode::SUCCESS)
}

fn refuse(problems: &[Problem]) -> ExitCode {
    print_problems(problems, &[]);
    ExitCode::from(INVALID)
}

/// Locks the folder itself, which leaves nothing behind; a folder that is not there yet is made.
fn lock(folder: &Path) -> anyhow::Result<File> {
    if !folder.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(folder)
            .with_context(|| folder.display().to_string())?;
    }
    let file = File::open(folder).with_context(|| folder.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{}: another rotation is at work here", folder.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", folder.display()))
        }
    }
}

/// Who may read new files: whoever may read the key that signs now, else whoever may look into the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    mode: u32,
    group: u32,
}

impl Owner {
    fn of(folder: &KeyFolder) -> io::Result<Self> {
        let signing = folder.keys.iter().filter(|key| key.key_use == KeyUse::Sign);
        let model = match signing.max_by_key(|key| key.from) {
            Some(key) => folder.path.join(&key.file),
            None => folder.path.clone(),
        };
        let model = fs::metadata(model)?;
        Ok(Self { mode: 0o600 | (model.mode() & 0o040), group: model.gid() })
    }
}

/// One change of the folder.
#[derive(Debug)]
enum Step {
    Write { name: String, content: Secret },
    Rename { from: &'static str, to: String },
    Remove { name: String },
}

fn steps(rotation: &Rotation) -> anyhow::Result<Vec<Step>> {
    let key = rotation.keys.last().context("a rotation adds a key")?;
    let list = Secret::from(keys::manifest(&rotation.keys).as_str());
    let mut steps = vec![
        Step::Write { name: key.file.clone(), content: generate(key.algorithm, &OsRandom)? },
        Step::Write { name: DRAFT.to_owned(), content: list },
        Step::Rename { from: DRAFT, to: "keys.yaml".to_owned() },
    ];
    steps.extend(rotation.retired.iter().map(|name| Step::Remove { name: name.clone() }));
    Ok(steps)
}

impl Step {
    fn describe(&self) -> &str {
        match self {
            Self::Write { name, .. } | Self::Rename { to: name, .. } | Self::Remove { name } => {
                name
            }
        }
    }

    /// Makes the change, and waits until it is on disk.
    fn perform(&self, folder: &Path, owner: &Owner) -> io::Result<()> {
        match self {
            Self::Write { name, content } => {
                if name == DRAFT {
                    // A rotation that was cut short may have left one.
                    remove(&folder.join(name))?;
                }
                let path = folder.join(name);
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                // Only what differs: not everybody may give files away.
                if file.metadata()?.gid() != owner.group {
                    std::os::unix::fs::fchown(&file, None, Some(owner.group))?;
                }
                file.set_permissions(Permissions::from_mode(owner.mode))?;
                file.write_all(content.expose())?;
                file.sync_all()?;
            }
            Self::Rename { from, to } => fs::rename(folder.join(from), folder.join(to))?,
            Self::Remove { name } => remove(&folder.join(name))?,
        }
        File::open(folder)?.sync_all()
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn tell(folder: &KeyFolder, rotation: &Rotation, publish_ahead: Duration) {
    let mut newest = rotation.keys.iter().rev();
    let Some(key) = newest.next() else { return };
    outln!("new key {} ({}): {}", key.id, key.algorithm, folder.path.join(&key.file).display());
    for name in &rotation.retired {
        outln!("removed {}", folder.path.join(name).display());
    }
    let reload = "systemctl reload portcullis, or SIGHUP to the process";
    match key.from {
        None => outln!("it signs from the next start or reload on: {reload}"),
        Some(from) => {
            outln!("reload now, wherever this folder is read: {reload}");
            outln!("the key is published then, and signs from {from}");
            let before = newest.find(|key| key.key_use == KeyUse::Sign);
            if let Some((before, until)) = before.and_then(|key| Some((key, key.until?))) {
                outln!("the key before it, {}, verifies until {until}", before.id);
            }
            if publish_ahead < MAX_AGE {
                errln!(
                    "warning: key sets are kept for {} seconds; who keeps one will not know the key when it begins to sign",
                    MAX_AGE.as_secs()
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::clock::Timestamp;

    const CONFIG: &str = "
listeners: [{ address: '127.0.0.1:0' }]
tokens:
  issuer: http://localhost
  audience: app
  key_folder: keys
users: { file: users.yaml }
clients: []
routes: []
";

    fn site() -> TempDir {
        let site = tempfile::tempdir().unwrap();
        for (name, text) in [("portcullis.yaml", CONFIG), ("users.yaml", "users: []\n")] {
            fs::write(site.path().join(name), text).unwrap();
            fs::set_permissions(site.path().join(name), Permissions::from_mode(0o600)).unwrap();
        }
        site
    }

    fn folder(site: &TempDir) -> KeyFolder {
        config::key_folder(&site.path().join("portcullis.yaml"), &SystemSources).unwrap()
    }

    /// The ids that a start or a reload would find, and what is wrong.
    fn found(site: &TempDir) -> Result<Vec<String>, String> {
        let loaded = config::load(&site.path().join("portcullis.yaml"), &SystemSources);
        let problems: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
        let config = loaded.config.ok_or(problems.join("\n"))?;
        let mut ids: Vec<_> = config.tokens.keys.iter().map(|key| key.id().to_string()).collect();
        ids.sort();
        Ok(ids)
    }

    /// A rotation, planned as if it were `now`, and not yet performed.
    fn plan(site: &TempDir, id: &str, now: Timestamp) -> (Vec<Step>, Owner) {
        let folder = folder(site);
        let publish_ahead = Duration::from_secs(600);
        let terms = RotationTerms { now, publish_ahead, outlives: folder.outlives };
        let rotation = keys::rotate(&folder.keys, id, None, &terms).unwrap();
        (steps(&rotation).unwrap(), Owner::of(&folder).unwrap())
    }

    /// A folder with three keys, of which the oldest is over and will be removed.
    fn rotated_twice() -> (TempDir, Timestamp) {
        let site = site();
        drop(lock(&site.path().join("keys")).unwrap());
        let day = Duration::from_secs(24 * 3600);
        let now = SystemClock.now();
        for (id, ago) in [("a", 6), ("b", 4), ("c", 2)] {
            let (steps, owner) = plan(&site, id, now.minus(day * ago));
            for step in steps {
                step.perform(&site.path().join("keys"), &owner).unwrap();
            }
        }
        (site, now)
    }

    #[test]
    fn j7_a_folder_is_valid_wherever_a_rotation_is_cut_short() {
        let (site, now) = rotated_twice();
        assert_eq!(found(&site).unwrap(), ["b", "c"]);
        let count = plan(&site, "d", now).0.len();
        assert_eq!(count, 4, "write, write, rename, remove");
        for done in 0..=count {
            for torn in [false, true] {
                let (site, now) = rotated_twice();
                let path = site.path().join("keys");
                let (steps, owner) = plan(&site, "d", now);
                for step in &steps[..done] {
                    step.perform(&path, &owner).unwrap();
                }
                if let (true, Some(Step::Write { name, content })) = (torn, steps.get(done)) {
                    fs::write(path.join(name), &content.expose()[..20]).unwrap();
                }
                let expected: &[&str] = if done < 3 { &["b", "c"] } else { &["c", "d"] };
                assert_eq!(found(&site).unwrap(), expected, "after {done} steps, torn {torn}");
                // And whoever tries again gets through.
                if done < 3 {
                    let (steps, owner) = plan(&site, "e", now);
                    for step in steps {
                        step.perform(&path, &owner).unwrap();
                    }
                    assert_eq!(found(&site).unwrap(), ["c", "e"]);
                    assert!(!path.join("b.pem").exists());
                }
            }
        }
    }

    #[test]
    fn an_empty_folder_is_refused_by_all_but_a_rotation() {
        let site = site();
        let refused = found(&site).unwrap_err();
        assert!(refused.contains("`portcullis keys rotate` makes the first one"), "{refused}");
        assert_eq!(folder(&site).keys, []);
    }

    #[test]
    fn two_rotations_at_once_are_refused() {
        let site = site();
        let path = site.path().join("keys");
        let held = lock(&path).unwrap();
        let refused = lock(&path).unwrap_err().to_string();
        assert!(refused.contains("another rotation"), "{refused}");
        drop(held);
        assert!(lock(&path).is_ok());
        assert_eq!(fs::read_dir(path).unwrap().count(), 0, "the lock leaves nothing behind");
    }

    #[test]
    fn new_files_are_open_to_the_same_group_and_to_nobody_else() {
        for (mode, expected) in [(0o600, 0o600), (0o640, 0o640)] {
            let (site, now) = rotated_twice();
            let path = site.path().join("keys");
            fs::set_permissions(path.join("c.pem"), Permissions::from_mode(mode)).unwrap();
            let (steps, owner) = plan(&site, "d", now);
            for step in steps {
                step.perform(&path, &owner).unwrap();
            }
            for name in ["d.pem", "keys.yaml"] {
                let found = fs::metadata(path.join(name)).unwrap();
                assert_eq!(found.mode() & 0o7777, expected, "{name}");
            }
        }
    }

    #[test]
    fn b24_a_key_is_never_written_over_another() {
        let (site, now) = rotated_twice();
        let path = site.path().join("keys");
        let (steps, owner) = plan(&site, "d", now);
        fs::write(path.join("d.pem"), "another").unwrap();
        assert!(steps[0].perform(&path, &owner).is_err());
        assert_eq!(fs::read(path.join("d.pem")).unwrap(), b"another");
    }

    #[test]
    fn f3_a_new_key_is_published_for_longer_than_key_sets_are_kept() {
        assert!(humantime::parse_duration(PUBLISH_AHEAD).unwrap() > MAX_AGE);
    }
}
