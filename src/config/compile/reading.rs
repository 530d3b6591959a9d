//! Reading what the configuration names: every file with its permissions, its owner and the folders above it.

use std::io;
use std::path::PathBuf;

use super::Compiler;
use crate::config::sources::SourceFile;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;

impl Compiler<'_> {
    /// The path of a file that the configuration names.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Reads a file that nobody but its owner and group may read or change: keys, passwords, other secrets.
    pub(super) fn read_private(&mut self, place: &YamlPath, name: &str) -> Option<Vec<u8>> {
        self.read(place, name, |_| true)
    }

    /// Reads a file that is no secret, and that nobody but its owner and group may change: it says whom to trust, or
    /// what clients are shown. One that holds a private key as well is a secret all the same.
    pub(super) fn read_unshared(&mut self, place: &YamlPath, name: &str) -> Option<Vec<u8>> {
        self.read(place, name, |bytes| bytes.windows(12).any(|at| at == b"PRIVATE KEY-"))
    }

    fn read(
        &mut self,
        place: &YamlPath,
        name: &str,
        is_secret: impl Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        match self.sources.read(&self.path(name)) {
            Ok(file) => {
                self.refuse_exposed(place, name, &file, is_secret(&file.bytes));
                Some(file.bytes)
            }
            Err(error) => {
                let reason = match error.kind() {
                    io::ErrorKind::NotFound => "there is no such file".to_owned(),
                    _ => error.to_string(),
                };
                self.document.error(place, format!("{} cannot be read: {reason}", quoted(name)));
                None
            }
        }
    }

    fn refuse_exposed(&mut self, place: &YamlPath, name: &str, file: &SourceFile, secret: bool) {
        for (message, hint) in file.faults(&quoted(name), secret) {
            self.document.error_with(place, message, Some(hint));
        }
    }
}
