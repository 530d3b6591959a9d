//! Who else could change a file: its owner, the owners of the folders and links on the way to it, and everybody where a folder
//! lets everybody rename what is in it.
//!
//! Whoever can write in a folder can put another file in the place of one that only root may write, so the permissions of the
//! file alone say little. Every folder from the root down is looked at, and where a link leads, every folder of its target.
//! OpenSSH looks at keys in the same way (`StrictModes`).

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::yaml::problem::quoted;

/// How many links are followed, as Linux does (`path_resolution(7)`).
const MAX_LINKS: usize = 40;
/// Whom the kernel names as the owner where the real one has no number in our user namespace (`user_namespaces(7)`).
const OVERFLOW_USER: u32 = 65_534;

/// Somebody besides root and the user whom we run as could put another content in the place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    /// The file, or a folder or link on the way to it, belongs to another user.
    Owner {
        /// What belongs to another user.
        path: PathBuf,
        /// The number of that user.
        user: u32,
    },
    /// Every user may rename files in a folder on the way to it: it may be written by others and has no sticky bit.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Exposure {
    /// The first such thing on the way to a file, where `us` is the user whom we run as.
    ///
    /// # Errors
    /// When something on the way cannot be looked at.
    pub(super) fn find(path: &Path, us: u32) -> io::Result<Option<Self>> {
        let mut reached = PathBuf::from("/");
        let mut ahead = steps(&std::path::absolute(path)?);
        let mut links = 0;
        if let Some(found) = Self::judge(&reached, &fs::symlink_metadata(&reached)?, us) {
            return Ok(Some(found));
        }
        while let Some(step) = ahead.pop() {
            if step == ".." {
                reached.pop();
                continue;
            }
            let next = reached.join(step);
            let metadata = fs::symlink_metadata(&next)?;
            if let Some(found) = Self::judge(&next, &metadata, us) {
                return Ok(Some(found));
            }
            if !metadata.is_symlink() {
                reached = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::other("too many links lead to it"));
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                reached = PathBuf::from("/");
            }
            ahead.extend(steps(&target));
        }
        Ok(None)
    }

    fn judge(path: &Path, metadata: &Metadata, us: u32) -> Option<Self> {
        let (user, mode, path) = (metadata.uid(), metadata.mode(), path.to_owned());
        if user != 0 && user != us && !is_external(user) {
            return Some(Self::Owner { path, user });
        }
        let open = metadata.is_dir() && mode & 0o002 != 0 && mode & 0o1000 == 0;
        open.then_some(Self::Folder { path, mode })
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Owner { .. } => "root, or the user whom the service runs as, must own it",
            Self::Folder { .. } => "chmod o-w on the folder",
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { path, user } => {
                write!(f, "{} belongs to user {user}", quoted(&path.to_string_lossy()))
            }
            Self::Folder { path, mode } => {
                let path = quoted(&path.to_string_lossy());
                write!(f, "every user can write in {path} (mode {:04o})", mode & 0o7777)
            }
        }
    }
}

/// The names on a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// Whether a user is one of outside our user namespace, who cannot be told from others there: a sandbox that knows one
/// user shows even `/` as owned by such a one. Where this number is a user of ours, it is a user as any other.
fn is_external(user: u32) -> bool {
    let maps = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (first, count) = (numbers.next().unwrap_or(0), numbers.nth(1).unwrap_or(u64::MAX));
        (first..first.saturating_add(count)).contains(&u64::from(user))
    };
    user == OVERFLOW_USER
        && fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.lines().any(maps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::geteuid;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    fn us() -> u32 {
        geteuid().as_raw()
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    // Part 4, item 30.
    #[test]
    fn a_folder_that_others_may_write_is_found_above_a_file_and_through_links() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir(root.join("links")).unwrap();
        fs::write(root.join("a/b/c/file"), "").unwrap();
        symlink("../a/b/c/file", root.join("links/relative")).unwrap();
        symlink(root.join("a/b/c"), root.join("links/absolute")).unwrap();
        let ways =
            ["a/b/c/file", "links/relative", "links/absolute/file", "links/../a/./b/c/../c/file"];
        let find = |way: &str| Exposure::find(&root.join(way), us()).unwrap();
        for way in ways {
            assert_eq!(find(way), None, "{way}");
        }
        for (folder, ways) in [("a/b", &ways[..]), ("a", &ways[..]), ("links", &ways[1..])] {
            let path = root.join(folder);
            // With the sticky bit only the owner of a file may rename it: `/tmp` is such a folder.
            for (mode, exposed) in [(0o777, true), (0o1777, false), (0o775, false), (0o702, true)] {
                chmod(&path, mode);
                for way in ways {
                    let found = find(way).map(|found| found.to_string());
                    let mode = mode & 0o7777;
                    let said =
                        format!("every user can write in `{}` (mode {mode:04o})", path.display());
                    // A long path is shown shortened.
                    let said = said.chars().take(40).collect::<String>();
                    let found = found.map(|text| text.chars().take(40).collect::<String>());
                    assert_eq!(found, exposed.then_some(said), "{way} below {folder}, {mode:o}");
                }
            }
            chmod(&path, 0o755);
        }
    }

    // Part 4, item 30.
    #[test]
    fn what_belongs_to_another_user_is_found() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("folder/file"), "").unwrap();
        symlink("folder/file", root.join("link")).unwrap();
        let (file, link) = (root.join("folder/file"), root.join("link"));
        assert_eq!(Exposure::find(&link, us()).unwrap(), None);
        if us() != 0 {
            // We cannot give anything away, but another user would see ours so.
            let path = root.ancestors().find(|path| fs::metadata(path).unwrap().uid() == us());
            assert!(path.is_some());
            let found = Exposure::find(&file, us() + 1).unwrap();
            assert!(matches!(found, Some(Exposure::Owner { user, .. }) if user == us()));
            return;
        }
        for path in [&file, &root.join("folder"), &link] {
            for user in [4711, OVERFLOW_USER] {
                std::os::unix::fs::lchown(path, Some(user), None).unwrap();
                let found = Exposure::find(&link, 0).unwrap();
                let owner = Exposure::Owner { path: path.clone(), user };
                assert_eq!(found, (!is_external(user)).then_some(owner), "{}", path.display());
                assert_eq!(Exposure::find(&link, user).unwrap(), None, "to that user it is fine");
            }
            std::os::unix::fs::lchown(path, Some(0), None).unwrap();
        }
        chown(&file, Some(4711), None).unwrap();
        let found = Exposure::find(&file, 0).unwrap().unwrap();
        assert!(found.to_string().ends_with("belongs to user 4711"), "{found}");
    }

    #[test]
    fn links_that_lead_round_are_not_followed_for_ever() {
        let temporary = tempfile::tempdir().unwrap();
        symlink("round", temporary.path().join("round")).unwrap();
        assert!(Exposure::find(&temporary.path().join("round"), us()).is_err());
    }
}
