//! The keys that sign and verify tokens: where each one's bytes are, what it is for, and until when.

use super::Compiler;
use super::values::{Names, items};
use crate::clock::Timestamp;
use crate::config::place::Place;
use crate::config::problem::{quoted, suggestion};
use crate::config::raw::{List, RawKey, RawSecret};
use crate::keys::{self, Algorithm, Key, KeyRing, KeyUse};

/// Reads the keys. What the ring would refuse is said here, with its lines.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &Place,
    raw: Option<&List<RawKey>>,
) -> Option<KeyRing> {
    let raw = compiler.document.require(raw, place)?;
    let mut ids = Names::default();
    let mut signing = None;
    let mut loaded = Vec::new();
    for (place, raw) in items(Some(raw), place) {
        let id = compiler.document.require(raw.id.as_deref(), &place.key("id"));
        if let Some(id) = id {
            ids.claim(&mut compiler.document, &place.key("id"), id);
        }
        if raw.r#use.as_deref() == Some("sign") {
            let line = compiler.document.line(&place);
            match signing {
                Some(first) => {
                    let message = format!("a second signing key; the first is on line {first}");
                    let hint = Some("exactly one key has `use: sign`".to_owned());
                    compiler.document.error_with(&place.key("use"), message, hint);
                }
                None => signing = Some(line),
            }
        }
        loaded.extend(key(compiler, &place, raw));
    }
    // A key that was refused may have been the one that signs.
    let known = raw.iter().all(|key| key.as_ref().is_some_and(|key| key.r#use.is_some()));
    if signing.is_none() && known {
        let hint = Some("exactly one key has `use: sign`".to_owned());
        compiler.document.error_with(place, "there is no key to sign with", hint);
        return None;
    }
    KeyRing::new(loaded).ok()
}

fn key(compiler: &mut Compiler<'_>, place: &Place, raw: &RawKey) -> Option<Key> {
    let algorithm = algorithm(compiler, &place.key("algorithm"), raw.algorithm.as_deref());
    let key_use = key_use(compiler, &place.key("use"), raw.r#use.as_deref());
    let until = until(compiler, &place.key("until"), raw.until.as_deref());
    let bytes = key_bytes(compiler, place, raw);
    let (id, bytes) = (raw.id.as_deref()?, bytes?);
    match keys::load(id, algorithm?, &bytes, key_use?, until.ok()?) {
        Ok(key) => Some(key),
        Err(error) => {
            compiler.document.error(place, error.to_string());
            None
        }
    }
}

fn algorithm(compiler: &mut Compiler<'_>, place: &Place, raw: Option<&str>) -> Option<Algorithm> {
    let text = compiler.document.require(raw, place)?;
    let algorithm = Algorithm::parse(text);
    if algorithm.is_none() {
        let hint = suggestion(text, Algorithm::ALL.iter().map(|algorithm| algorithm.name()));
        compiler.document.error_with(place, format!("no algorithm {}", quoted(text)), hint);
    }
    algorithm
}

fn key_use(compiler: &mut Compiler<'_>, place: &Place, raw: Option<&str>) -> Option<KeyUse> {
    match compiler.document.require(raw, place)? {
        "sign" => Some(KeyUse::Sign),
        "verify" => Some(KeyUse::Verify),
        other => {
            let hint = Some("`sign` or `verify`".to_owned());
            compiler.document.error_with(place, format!("no use {}", quoted(other)), hint);
            None
        }
    }
}

/// `Err` when a time is given and is none.
fn until(
    compiler: &mut Compiler<'_>,
    place: &Place,
    raw: Option<&str>,
) -> Result<Option<Timestamp>, ()> {
    let Some(text) = raw else { return Ok(None) };
    let time = humantime::parse_rfc3339(text).ok();
    let time = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let Some(since) = time else {
        let hint = Some("such as `2026-12-01T00:00:00Z`".to_owned());
        compiler.document.error_with(place, format!("{} is no time", quoted(text)), hint);
        return Err(());
    };
    let until = Timestamp::from_secs(since.as_secs());
    if until <= compiler.now {
        let hint = Some("remove the key");
        compiler.document.warn(place, "this is past: the key verifies nothing", hint);
    }
    Ok(Some(until))
}

fn key_bytes(compiler: &mut Compiler<'_>, place: &Place, raw: &RawKey) -> Option<Vec<u8>> {
    match (&raw.file, &raw.secret) {
        (Some(file), None) => compiler.read_private(&place.key("file"), file),
        (None, Some(secret)) => compiler.secret(&place.key("secret"), secret),
        (None, None) => {
            compiler.document.require(None::<()>, &place.key("file"));
            None
        }
        (Some(_), Some(_)) => {
            compiler.document.error(&place.key("secret"), "either `file` or `secret`, not both");
            None
        }
    }
}

impl Compiler<'_> {
    /// The bytes of a secret: one newline at the end is the editor's, not the secret's.
    pub(super) fn secret(&mut self, place: &Place, raw: &RawSecret) -> Option<Vec<u8>> {
        match (&raw.file, &raw.env) {
            (Some(file), None) => {
                let mut bytes = self.read_private(&place.key("file"), file)?;
                if bytes.last() == Some(&b'\n') {
                    bytes.pop();
                    if bytes.last() == Some(&b'\r') {
                        bytes.pop();
                    }
                }
                Some(bytes)
            }
            (None, Some(name)) => {
                let value = self.sources.env(name).filter(|value| !value.is_empty());
                if value.is_none() {
                    let message = format!("the environment has no {}", quoted(name));
                    self.document.error(&place.key("env"), message);
                }
                value.map(|value| value.strip_suffix('\n').unwrap_or(&value).as_bytes().to_vec())
            }
            _ => {
                let refused = ["file", "env"].map(|key| self.document.is_pruned(&place.key(key)));
                if refused == [false, false] {
                    let message = "a secret is `{ file: … }` or `{ env: … }`";
                    self.document.error(place, message);
                }
                None
            }
        }
    }
}
