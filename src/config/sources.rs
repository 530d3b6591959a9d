//! What a configuration needs of the outside world: files, the environment, name resolution, time and chance. Tests give their own.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::Path;

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
}

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

    /// The certificate authorities that the system believes, each in DER. None when it has none, or they cannot be read.
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
        Ok(SourceFile { bytes, mode })
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
