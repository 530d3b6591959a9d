//! What becomes of a folder's keys when a new one is added: who signs from when, who verifies until when, and who is gone.
//!
//! All of it is computed here, without I/O; the command line writes it down, and the configuration reads it back.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Algorithm, KeyUse};
use crate::clock::Timestamp;
use crate::random::{self, Random, RandomError};

/// How much longer than its last token a key verifies: the clocks of those who reload late may differ.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a key that verifies nothing any more is still listed.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// One key as the manifest of a folder lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The `kid`.
    pub id: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The name of its file in the folder.
    pub file: String,
    /// What it is for.
    pub key_use: KeyUse,
    /// From when it signs.
    pub from: Option<Timestamp>,
    /// Until when it verifies.
    pub until: Option<Timestamp>,
}

/// When a rotation happens, and on what terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationTerms {
    /// The time.
    pub now: Timestamp,
    /// How long the new key is published before it signs.
    pub publish_ahead: Duration,
    /// How long a token is accepted after it was signed: its lifetime and the leeway.
    pub outlives: Duration,
}

/// What a rotation comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Every key that is listed from now on; the new one is the last.
    pub keys: Vec<ListedKey>,
    /// The files of those that are listed no longer.
    pub retired: Vec<String>,
}

/// An id that no other key had: the day, and 40 random bits.
///
/// # Errors
/// [`RandomError`] when there is no randomness.
pub fn fresh_key_id(now: Timestamp, random: &dyn Random) -> Result<String, RandomError> {
    let time = now.to_string();
    let mut id = time.split('T').next().unwrap_or_default().to_owned() + "-";
    for byte in random::bytes::<5>(random)? {
        // Writing to a text cannot fail.
        write!(id, "{byte:02x}").ok();
    }
    Ok(id)
}

/// Adds a key with this id. Its algorithm is that of the key that signs now, unless another is asked for.
///
/// The first key of a folder signs at once. A later one signs from `now + publish_ahead`, and the one before it verifies for
/// as long as its last token can be valid.
///
/// # Errors
/// [`Pending`] when a key is waiting for its time already.
pub fn rotate(
    keys: &[ListedKey],
    id: &str,
    algorithm: Option<Algorithm>,
    terms: &RotationTerms,
) -> Result<Rotation, Pending> {
    let latest = keys.iter().filter(|key| key.key_use == KeyUse::Sign).max_by_key(|key| key.from);
    if let Some(key) = latest
        && let Some(from) = key.from.filter(|from| *from > terms.now)
    {
        return Err(Pending { id: key.id.clone(), from });
    }
    let from = latest.map(|key| {
        let wanted = terms.now.plus(terms.publish_ahead);
        key.from.map_or(wanted, |last| wanted.max(last.plus(Duration::from_secs(1))))
    });
    let algorithm = algorithm.or_else(|| latest.map(|key| key.algorithm));
    let algorithm = algorithm.unwrap_or(Algorithm::EdDsa);
    let is_past =
        |key: &&ListedKey| key.until.is_some_and(|until| until.plus(REMEMBERED) <= terms.now);
    let mut listed: Vec<_> = keys.iter().filter(|key| !is_past(key)).cloned().collect();
    let is_listed = |file: &str| listed.iter().any(|key| key.file == file);
    let retired = keys.iter().filter(is_past).map(|key| key.file.clone());
    let retired = retired.filter(|file| !is_listed(file)).collect();
    for key in &mut listed {
        if latest.is_some_and(|latest| latest.id == key.id) {
            key.until = from.map(|from| from.plus(terms.outlives).plus(MARGIN));
        }
    }
    let extension = if algorithm.is_symmetric() { "key" } else { "pem" };
    listed.push(ListedKey {
        id: id.to_owned(),
        algorithm,
        file: format!("{id}.{extension}"),
        key_use: KeyUse::Sign,
        from,
        until: None,
    });
    Ok(Rotation { keys: listed, retired })
}

/// A key is waiting for its time: another rotation would only make a mess of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key `{id}` is published and signs from {from}; rotate again after that")]
pub struct Pending {
    /// Its id.
    pub id: String,
    /// Its time.
    pub from: Timestamp,
}

/// The manifest as a YAML file.
#[must_use]
pub fn manifest(keys: &[ListedKey]) -> String {
    let mut text =
        "# The keys of this folder, written by `portcullis keys rotate`.\nkeys:\n".to_owned();
    for ListedKey { id, algorithm, file, key_use, from, until } in keys {
        // JSON's texts are YAML's too, whatever is in them.
        let (id, file) = (serde_json::json!(id), serde_json::json!(file));
        let key_use = match key_use {
            KeyUse::Sign => "sign",
            KeyUse::Verify => "verify",
        };
        text += &format!("  - {{ id: {id}, algorithm: {algorithm}, file: {file}, use: {key_use}");
        for (name, time) in [("from", from), ("until", until)] {
            if let Some(time) = time {
                text += &format!(", {name}: \"{time}\"");
            }
        }
        text += " }\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const TERMS: RotationTerms = RotationTerms {
        now: NOW,
        publish_ahead: Duration::from_secs(600),
        outlives: Duration::from_secs(930),
    };

    fn at(terms: RotationTerms, days: u64) -> RotationTerms {
        RotationTerms { now: terms.now.plus(Duration::from_secs(days * 24 * 3600)), ..terms }
    }

    #[test]
    fn the_first_key_signs_at_once_and_the_next_ones_are_published_ahead() {
        let first = rotate(&[], "a", None, &TERMS).unwrap();
        let [a] = &first.keys[..] else { panic!("{first:?}") };
        assert_eq!((a.algorithm, a.from, a.until), (Algorithm::EdDsa, None, None));

        let second = rotate(&first.keys, "b", Some(Algorithm::Es256), &TERMS).unwrap();
        let [a, b] = &second.keys[..] else { panic!("{second:?}") };
        let from = NOW.plus(TERMS.publish_ahead);
        assert_eq!((b.algorithm, b.from, b.until), (Algorithm::Es256, Some(from), None));
        assert!(a.until.unwrap() > from.plus(TERMS.outlives));
        assert!(second.retired.is_empty());
        // While it waits, and at its time.
        let refused = rotate(&second.keys, "c", None, &TERMS).unwrap_err();
        assert_eq!(refused, Pending { id: "b".to_owned(), from });
        let now = RotationTerms { now: from, publish_ahead: Duration::ZERO, ..TERMS };
        let third = rotate(&second.keys, "c", None, &now).unwrap();
        let [_, b, c] = &third.keys[..] else { panic!("{third:?}") };
        assert_eq!(
            (c.algorithm, c.from),
            (Algorithm::Es256, Some(from.plus(Duration::from_secs(1))))
        );
        assert!(b.until.unwrap() > c.from.unwrap());
    }

    #[test]
    fn a_key_is_forgotten_a_day_after_its_end_and_takes_its_file_along() {
        let first = rotate(&[], "a", None, &TERMS).unwrap();
        let second = rotate(&first.keys, "b", None, &TERMS).unwrap();
        let third = rotate(&second.keys, "c", None, &at(TERMS, 1)).unwrap();
        assert_eq!((third.keys.len(), third.retired.len()), (3, 0));
        let fourth = rotate(&third.keys, "d", None, &at(TERMS, 2)).unwrap();
        let ids: Vec<_> = fourth.keys.iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids, ["b", "c", "d"]);
        assert_eq!(fourth.retired, ["a.pem"]);
        // A file that another key still needs stays.
        let mut shared = third.keys;
        shared[1].file = "a.pem".to_owned();
        assert!(rotate(&shared, "d", None, &at(TERMS, 2)).unwrap().retired.is_empty());
    }

    #[test]
    fn ids_tell_the_day_and_never_meet() {
        let one = fresh_key_id(NOW, &OsRandom).unwrap();
        assert!(one.starts_with("2027-01-15-") && one.len() == 21, "{one}");
        assert_ne!(one, fresh_key_id(NOW, &OsRandom).unwrap());
    }
}
