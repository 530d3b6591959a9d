//! Which files a configuration was read from and what they held, so that a change of any of them can be seen.
//!
//! What counts is the content: links that are swapped and files that an editor replaces need no care then, and a file that is
//! written again unchanged is no change. Names that are resolved and variables of the environment are not looked at.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::exposure::Exposure;
use super::sources::{SourceFile, Sources};
use crate::clock::Timestamp;
use crate::random::Random;

/// A digest of what was read, with the permissions and who else could change it; `None` for what could not be read.
type Seen = Option<([u8; 32], Option<u32>, Option<Exposure>)>;

/// Every file that was read, with what it held then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Seen>);

impl Files {
    /// The same files as they are now.
    #[must_use]
    pub fn read_again(&self, sources: &dyn Sources) -> Self {
        let now = |path: &PathBuf| (path.clone(), seen(&sources.read(path)));
        Self(self.0.keys().map(now).collect())
    }
}

fn seen(read: &io::Result<SourceFile>) -> Seen {
    let digest = |file: &SourceFile| Sha256::digest(&file.bytes).into();
    read.as_ref().ok().map(|file| (digest(file), file.mode, file.exposure.clone()))
}

/// Sources that note which files are read.
#[derive(Debug)]
pub(super) struct Recording<'a> {
    sources: &'a dyn Sources,
    files: Mutex<Files>,
}

impl<'a> Recording<'a> {
    pub(super) fn new(sources: &'a dyn Sources) -> Self {
        Self { sources, files: Mutex::default() }
    }

    pub(super) fn into_files(self) -> Files {
        self.files.into_inner()
    }
}

impl Sources for Recording<'_> {
    fn read(&self, path: &Path) -> io::Result<SourceFile> {
        let read = self.sources.read(path);
        self.files.lock().0.insert(path.to_owned(), seen(&read));
        read
    }

    fn modified(&self, path: &Path) -> Option<Timestamp> {
        self.sources.modified(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.sources.env(name)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.sources.resolve(host, port)
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        self.sources.is_local(ip)
    }

    fn authorities(&self) -> Vec<Vec<u8>> {
        self.sources.authorities()
    }

    fn now(&self) -> Timestamp {
        self.sources.now()
    }

    fn random(&self) -> &dyn Random {
        self.sources.random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SystemSources;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_change_of_content_or_permissions_is_seen_through_links_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, text) in [("plain", "one"), ("v1", "one"), ("v2", "two"), ("v3", "one")] {
            fs::write(path(name), text).unwrap();
        }
        symlink("v1", path("link")).unwrap();
        let recording = Recording::new(&SystemSources);
        for name in ["plain", "link", "missing"] {
            drop(recording.read(&path(name)));
        }
        let files = recording.into_files();
        let changed = || files.read_again(&SystemSources) != files;
        assert!(!changed());

        let swap = |to: &str| {
            symlink(to, path("new")).unwrap();
            fs::rename(path("new"), path("link")).unwrap();
        };
        swap("v2");
        assert!(changed());
        swap("v3");
        assert!(!changed(), "the content is as it was");

        fs::write(path("plain~"), "two").unwrap();
        fs::rename(path("plain~"), path("plain")).unwrap();
        assert!(changed());
        fs::write(path("plain"), "one").unwrap();
        assert!(!changed());
        let mode = fs::metadata(path("plain")).unwrap().permissions().mode();
        fs::set_permissions(path("plain"), Permissions::from_mode(mode ^ 0o040)).unwrap();
        assert!(changed());
        fs::set_permissions(path("plain"), Permissions::from_mode(mode)).unwrap();

        fs::write(path("missing"), "").unwrap();
        assert!(changed(), "a file that was missing is there");
        fs::remove_file(path("missing")).unwrap();
        assert!(!changed());
        fs::remove_file(path("plain")).unwrap();
        assert!(changed());
    }
}
