//! The file of a SQLite store: made for its owner only, and known again.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Which file it is, whatever it is called: another file of the same name has another identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of the file in this place; `None` when there is none.
    pub(super) fn of(file: &Path) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// The URL of a file, whatever its name holds.
pub(super) fn url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(*byte));
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

/// Makes the file and its directory, for their owner only: it holds password hashes. Returns where it really is: in a URL
/// `..` is taken out by its text, which may lead elsewhere than the file system does.
pub(super) fn create(file: &Path) -> Result<PathBuf, std::io::Error> {
    if file.exists() {
        let mode = file.metadata()?.mode() & 0o7777;
        if mode & 0o007 != 0 {
            let file = file.display();
            let message = format!("{file} is open to every user (mode {mode:04o}); chmod o= on it");
            return Err(std::io::Error::other(message));
        }
        return file.canonicalize();
    }
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let created = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(file)?;
    // Made by root on the command line, it would be out of the service's reach.
    let (own, above) = (created.metadata()?, directory.metadata()?);
    if own.uid() != above.uid() {
        std::os::unix::fs::fchown(&created, Some(above.uid()), Some(above.gid()))?;
    }
    file.canonicalize()
}
