//! What a configuration needs of the outside world: files, the environment, name resolution, time and chance. Tests give their own.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::Path;

use rustix::process::geteuid;

use super::exposure::Exposure;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::random::{OsRandom, Random};

/// The largest file that is read at all, in bytes; what is named by mistake must not fill the memory.
const MAX_SOURCE_BYTES: u64 = 4 * 1024 * 1024;

/// A file's content. No `Debug`: it may be a key.
pub struct SourceFile {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Its Unix permission bits, where there are any.
    pub mode: Option<u32>,
    /// Who else could put another content in its place.
    pub exposure: Option<Exposure>,
}

impl SourceFile {
    /// What is wrong with its permissions, and what to do about it. `name` is how the messages call it; `secret` says that
    /// others may not even read it.
    pub(super) fn faults(&self, name: &str, secret: bool) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mode = self.mode.unwrap_or(0) & 0o7777;
        if secret && mode & 0o007 != 0 {
            let message = format!("{name} is open to every user (mode {mode:04o})");
            let mut hint = "chmod o= on it".to_owned();
            // What Docker and Kubernetes mount cannot be changed where it is read.
            if mode & 0o007 == 0o004 {
                hint.push_str(MOUNTED);
            }
            faults.push((message, hint));
        } else if mode & 0o002 != 0 {
            let message = format!("every user can change {name} (mode {mode:04o})");
            faults.push((message, "chmod o-w on it".to_owned()));
        }
        if let Some(exposure) = &self.exposure {
            let message = format!("others can replace {name}: {exposure}");
            faults.push((message, exposure.hint().to_owned()));
        }
        faults
    }
}

/// What to do where a file is a secret that was mounted.
const MOUNTED: &str =
    "; a secret of Kubernetes takes `defaultMode: 0440`, one of Docker `mode: 0440`";

/// Where everything comes from that is not in the configuration itself.
pub trait Sources: fmt::Debug + Send + Sync {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there, is no regular file, is larger than four MiB, or cannot be read.
    fn read(&self, path: &Path) -> io::Result<SourceFile>;

    /// When a file was last changed, if that is known. Only metrics hang on it.
    fn modified(&self, _path: &Path) -> Option<Timestamp> {
        None
    }

    /// An environment variable; `None` when it is not set, or not UTF-8.
    fn env(&self, name: &str) -> Option<String>;

    /// The addresses of a host.
    ///
    /// # Errors
    /// When the name cannot be resolved now.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// Whether an address is one of this machine's own: a socket can be bound to it, which sends nothing.
    fn is_local(&self, ip: IpAddr) -> bool {
        UdpSocket::bind((ip, 0)).is_ok()
    }

    /// The certificate authorities that the system trusts, each in DER. None when it has none, or they cannot be read.
    fn authorities(&self) -> Vec<Vec<u8>> {
        let found = rustls_native_certs::load_native_certs();
        found.certs.iter().map(|der| der.to_vec()).collect()
    }

    /// The time, for warnings about what has expired.
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// Randomness, for the hash that nobody's password matches.
    fn random(&self) -> &dyn Random {
        &OsRandom
    }
}

/// The machine itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSources;

impl Sources for SystemSources {
    fn read(&self, path: &Path) -> io::Result<SourceFile> {
        // Before the file is opened: opening a pipe would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("this is no regular file"));
        }
        let file = fs::File::open(path)?;
        let mode = mode(&file.metadata()?);
        let mut bytes = Vec::new();
        file.take(MAX_SOURCE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_SOURCE_BYTES {
            return Err(io::Error::other("the file is larger than 4 MiB"));
        }
        let exposure = Exposure::find(path, geteuid().as_raw())?;
        Ok(SourceFile { bytes, mode, exposure })
    }

    fn modified(&self, path: &Path) -> Option<Timestamp> {
        let modified = fs::metadata(path).ok()?.modified().ok()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_secs(since.as_secs()))
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(metadata.permissions().mode())
}

#[cfg(not(unix))]
fn mode(_: &fs::Metadata) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(SystemSources.read(directory.path()).is_err());
        assert!(SystemSources.read(Path::new("/dev/zero")).is_err());
        let path = directory.path().join("a");
        fs::write(&path, b"x\n").unwrap();
        let file = SystemSources.read(&path).unwrap();
        assert_eq!(file.bytes, b"x\n");
        assert!(file.mode.is_some());
        assert!(SystemSources.modified(&path).is_some());
        assert_eq!(SystemSources.modified(&directory.path().join("b")), None);
    }
}
