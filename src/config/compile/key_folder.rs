//! A folder of keys: PEM files, and the manifest that lists them. `portcullis keys rotate` writes it; the mistakes in it
//! carry its own lines.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Compiler;
use super::keys::{self, Terms};
use super::values::items;
use crate::config::model::KeyFolder;
use crate::config::raw::{RawKey, RawKeyFolder};
use crate::config::yaml::document::Document;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;
use crate::keys::{Algorithm, KeyRing, KeyUse, ListedKey};

/// The file that lists the keys of a folder.
const MANIFEST: &str = "keys.yaml";

/// The keys that a folder has, and how they are listed.
struct Listing {
    ring: Option<KeyRing>,
    keys: Vec<ListedKey>,
}

/// Reads the keys of a folder, which must have one that signs.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    folder: &str,
    outlives: Duration,
) -> Option<KeyRing> {
    match read(compiler, place, folder, outlives) {
        Some(listing) => listing.ring,
        None => {
            let message = format!("{} has no {MANIFEST}, so there is no key yet", quoted(folder));
            let hint = Some("`portcullis keys rotate` makes the first one".to_owned());
            compiler.document.error_with(place, message, hint);
            None
        }
    }
}

/// Reads the folder for a rotation. No manifest, or an empty one, is a folder without keys.
pub(super) fn list(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    folder: &str,
    outlives: Duration,
) -> KeyFolder {
    let keys = read(compiler, place, folder, outlives).map_or_else(Vec::new, |own| own.keys);
    let path = compiler.path(folder);
    KeyFolder { manifest: path.join(MANIFEST), path, keys, outlives }
}

/// `None` when there is no manifest.
fn read(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    folder: &str,
    outlives: Duration,
) -> Option<Listing> {
    let path = compiler.path(folder).join(MANIFEST);
    let name = Path::new(folder).join(MANIFEST).to_string_lossy().into_owned();
    match compiler.sources.read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        _ => {}
    }
    let nothing = Some(Listing { ring: None, keys: Vec::new() });
    let Some(bytes) = compiler.read_private(place, &name) else { return nothing };
    let (document, raw) = Document::read::<RawKeyFolder>(&path, &bytes);
    let directory = compiler.path(folder);
    let mut inside = Compiler { document, sources: compiler.sources, directory, now: compiler.now };
    let listing = raw.map(|raw| listing(&mut inside, &raw, outlives));
    compiler.document.absorb(inside.document);
    listing.or(nothing)
}

fn listing(inside: &mut Compiler<'_>, raw: &RawKeyFolder, outlives: Duration) -> Listing {
    let root = YamlPath::default().key("keys");
    let terms = Terms { outlives, swept: true };
    let ring = keys::compile(inside, &root, raw.keys.as_ref(), terms);
    let mut listed = Vec::new();
    for (place, raw) in items(raw.keys.as_ref(), &root) {
        if raw.secret.is_some() {
            let message = format!("a key of a folder is a file in it, listed in {MANIFEST}");
            inside.document.error(&place.key("secret"), message);
        }
        if let Some(file) = raw.file.as_deref().filter(|file| !is_plain(file)) {
            let message = format!("{} is no name of a file in this folder", quoted(file));
            inside.document.error(&place.key("file"), message);
        }
        listed.extend(listed_key(raw));
    }
    Listing { ring, keys: listed }
}

/// Rotations remove the files of old keys, so no entry may lead out of the folder.
fn is_plain(file: &str) -> bool {
    PathBuf::from(file).file_name().is_some_and(|name| name == file) && file != MANIFEST
}

/// What was read and found sound above. `None` for what was not: then there is an error as well.
fn listed_key(raw: &RawKey) -> Option<ListedKey> {
    let key_use = match raw.r#use.as_deref()? {
        "sign" => KeyUse::Sign,
        _ => KeyUse::Verify,
    };
    Some(ListedKey {
        id: raw.id.clone()?,
        algorithm: Algorithm::parse(raw.algorithm.as_deref()?)?,
        file: raw.file.clone()?,
        key_use,
        from: raw.from.as_deref().and_then(keys::parse_time),
        until: raw.until.as_deref().and_then(keys::parse_time),
    })
}
