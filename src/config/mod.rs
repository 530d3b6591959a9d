//! The YAML file as a checked value: what `run`, `check`, `explain` and every reload start from.
//!
//! [`load`] reads the file twice (positions, values), mirrors it in plain structs, and compiles those into domain types. It
//! never stops at the first mistake: whatever is wrong is in the list, with its line. Nothing here judges a request; the
//! file's own `tests` are only read, and are run by whoever has a gateway.

mod compile;
mod exposure;
mod files;
mod model;
mod raw;
mod sources;
mod yaml;

use std::path::Path;

pub use exposure::Exposure;
pub use files::Files;
pub use model::{
    ClientAuthorities, Config, ConnectionLimits, Endpoints, Expectation, KeyFolder, Listener,
    Login, Persona, PolicyTest, ProcessSettings, StateConfig, Tls, TlsIdentity, Tokens,
};
pub use sources::{SourceFile, Sources, SystemSources};
pub use yaml::problem::Problem;

use files::Recording;
use raw::RawConfig;
use yaml::document::Document;
use yaml::path::YamlPath;

/// What a mistyped name was probably meant to be, or which names there are.
#[must_use]
pub fn hint<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    yaml::problem::suggestion(name, names)
}

/// A file that was examined.
pub struct Loaded {
    /// The configuration; only where there is no problem.
    pub config: Option<Config>,
    /// Everything that is wrong, by file and line.
    pub problems: Vec<Problem>,
    /// What is allowed and probably not meant, by file and line.
    pub warnings: Vec<Problem>,
    /// What was read, whatever came of it.
    pub files: Files,
}

/// Reads and checks a configuration with everything that it names: keys, certificates, users, upstream addresses.
pub fn load(path: &Path, sources: &dyn Sources) -> Loaded {
    let recording = Recording::new(sources);
    let sources = &recording;
    let (config, mut problems, mut warnings) = match sources.read(path) {
        Ok(file) => {
            let (mut document, raw) = Document::read::<RawConfig>(path, &file.bytes);
            refuse_exposed(&mut document, &file);
            match raw {
                Some(raw) => compile::compile(&raw, document, path, sources),
                None => {
                    let (problems, warnings) = document.into_findings();
                    (None, problems, warnings)
                }
            }
        }
        Err(error) => (None, vec![Problem::of_file(path, &error)], Vec::new()),
    };
    for list in [&mut problems, &mut warnings] {
        list.sort();
        list.dedup();
    }
    let files = recording.into_files();
    let config = config.filter(|_| problems.is_empty());
    let config = config.map(|config| Config { files: files.clone(), ..config });
    Loaded { config, problems, warnings, files }
}

/// Reads the folder of keys that a configuration names, for `keys rotate`: the configuration as a whole is not valid before
/// there is a key.
///
/// # Errors
/// Everything that is wrong with the file's form, with `tokens.access` and with the folder.
pub fn key_folder(path: &Path, sources: &dyn Sources) -> Result<KeyFolder, Vec<Problem>> {
    let file = sources.read(path).map_err(|error| vec![Problem::of_file(path, &error)])?;
    let (mut document, raw) = Document::read::<RawConfig>(path, &file.bytes);
    refuse_exposed(&mut document, &file);
    let tokens = raw.as_ref().and_then(|raw| raw.tokens.as_ref());
    let (folder, mut problems) = compile::list_keys(tokens, document, path, sources);
    problems.sort();
    folder.filter(|_| problems.is_empty()).ok_or(problems)
}

/// The configuration is no secret, but decides everything.
fn refuse_exposed(document: &mut Document, file: &SourceFile) {
    for (message, hint) in file.faults("this file", false) {
        document.error_with(&YamlPath::default(), message, Some(hint));
    }
}

#[cfg(test)]
mod tests;
