//! The keys that sign and verify tokens: where each one's bytes are, what it is for, from when and until when.

use std::time::Duration;

use super::Compiler;
use super::signers::{self, Signer};
use super::values::{Names, items};
use crate::clock::Timestamp;
use crate::config::raw::{List, RawKey, RawSecret};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::{quoted, suggestion};
use crate::keys::{self, Algorithm, Key, KeyRing, KeyUse};

/// What else there is to know about a list of keys.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// How long a token is accepted after it was signed.
    pub(super) outlives: Duration,
    /// Whether the next rotation removes keys that are over, so that nobody has to be told.
    pub(super) swept: bool,
}

/// Reads the keys. What the ring would refuse is said here, with its lines.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&List<RawKey>>,
    terms: Terms,
) -> Option<KeyRing> {
    let raw = compiler.document.require(raw, place)?;
    let mut ids = Names::default();
    let mut signers = Vec::new();
    let mut loaded = Vec::new();
    for (place, raw) in items(Some(raw), place) {
        let id = compiler.document.require(raw.id.as_deref(), &place.key("id"));
        if let Some(id) = id {
            ids.claim(&mut compiler.document, &place.key("id"), id);
        }
        let from = time(compiler, &place.key("from"), raw.from.as_deref());
        let until = time(compiler, &place.key("until"), raw.until.as_deref());
        if !terms.swept && until.is_ok_and(|at| at.is_some_and(|until| until <= compiler.now)) {
            let message = "this is past: the key verifies nothing";
            compiler.document.warn(&place.key("until"), message, Some("remove the key"));
        }
        let signs = raw.r#use.as_deref() == Some("sign");
        if raw.from.is_some() && raw.r#use.is_some() && !signs {
            let message = "`from` belongs to a key with `use: sign`";
            let hint = Some("every key verifies from the start".to_owned());
            compiler.document.error_with(&place.key("from"), message, hint);
        }
        let key = key(compiler, &place, raw, until);
        if let (true, Ok(from), Ok(until)) = (signs, from, until) {
            loaded.extend(key.map(|key| key.signing_from(from)));
            signers.push(Signer { place, from, until });
        } else {
            loaded.extend(key);
        }
    }
    // A key that was refused may have been the one that signs.
    let known = raw.iter().all(|key| key.as_ref().is_some_and(|key| key.r#use.is_some()));
    let signing = raw.iter().flatten().any(|key| key.r#use.as_deref() == Some("sign"));
    if !signing && known {
        let hint = Some("a key with `use: sign` is needed".to_owned());
        compiler.document.error_with(place, "there is no key to sign with", hint);
        return None;
    }
    signers::check(compiler, signers, terms.outlives);
    KeyRing::new(loaded).ok()
}

fn key(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawKey,
    until: Result<Option<Timestamp>, ()>,
) -> Option<Key> {
    let algorithm = algorithm(compiler, &place.key("algorithm"), raw.algorithm.as_deref());
    let key_use = key_use(compiler, &place.key("use"), raw.r#use.as_deref());
    let bytes = key_bytes(compiler, place, raw);
    let made = raw.file.as_deref().and_then(|file| compiler.sources.modified(&compiler.path(file)));
    let (id, bytes) = (raw.id.as_deref()?, bytes?);
    match keys::load(id, algorithm?, &bytes, key_use?, until.ok()?) {
        Ok(key) => Some(key.made_at(made)),
        Err(error) => {
            compiler.document.error(place, error.to_string());
            None
        }
    }
}

fn algorithm(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
) -> Option<Algorithm> {
    let text = compiler.document.require(raw, place)?;
    let algorithm = Algorithm::parse(text);
    if algorithm.is_none() {
        let hint = suggestion(text, Algorithm::ALL.iter().map(|algorithm| algorithm.name()));
        compiler.document.error_with(place, format!("no algorithm {}", quoted(text)), hint);
    }
    algorithm
}

fn key_use(compiler: &mut Compiler<'_>, place: &YamlPath, raw: Option<&str>) -> Option<KeyUse> {
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

/// Reads an RFC 3339 time, to the second.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_secs(since.as_secs()))
}

/// `Err` when a time is given and is none.
fn time(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
) -> Result<Option<Timestamp>, ()> {
    let Some(text) = raw else { return Ok(None) };
    let time = parse_time(text);
    if time.is_none() {
        let hint = Some("such as `2026-12-01T00:00:00Z`".to_owned());
        compiler.document.error_with(place, format!("{} is no time", quoted(text)), hint);
    }
    time.map(Some).ok_or(())
}

fn key_bytes(compiler: &mut Compiler<'_>, place: &YamlPath, raw: &RawKey) -> Option<Vec<u8>> {
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
    pub(super) fn secret(&mut self, place: &YamlPath, raw: &RawSecret) -> Option<Vec<u8>> {
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
