//! Every way in which an upstream could read a path, from the allowances that its owner gave it.
//!
//! A reading is a decoded path in which [`ENCODED_SLASH`] stands for a slash that is still escaped. Each step is what some
//! server is known to do; they are followed in every order until nothing new comes out.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::route::allowance::{Allowance, PathAllowances};
use crate::route::path::{PathError, escaped};

/// Stands for an escaped slash. It is unmistakable: no path holds a control character.
pub(super) const ENCODED_SLASH: u8 = 1;

/// The most readings that are followed. What an honest client sends has a few.
const MOST_READINGS: usize = 128;

/// All readings of decoded bytes, these included. What is not UTF-8 in one is replaced by U+FFFD.
///
/// # Errors
/// [`PathError`]: a reading needs what is not allowed, or holds what is refused everywhere, or there are too many.
pub(super) fn all(decoded: &[u8], allow: PathAllowances) -> Result<BTreeSet<String>, PathError> {
    let mut seen = BTreeSet::from([decoded.to_vec()]);
    let mut unread = vec![(decoded.to_vec(), allow)];
    while let Some((reading, allow)) = unread.pop() {
        check_dots(&reading)?;
        let needs = needs(&reading);
        if let Some(allowance) = needs.missing_in(allow) {
            return Err(PathError::NotAllowed(allowance));
        }
        for allowance in needs.iter() {
            // Who decodes twice, or guesses a charset, is not known to stop there: whatever comes out is read in every way.
            let allow = match allowance {
                Allowance::EncodedPercent | Allowance::NonUtf8 => PathAllowances::ALL,
                _ => allow,
            };
            for next in steps(&reading, allowance)? {
                if seen.insert(next.clone()) {
                    unread.push((next, allow));
                }
            }
        }
        if seen.len() > MOST_READINGS {
            return Err(PathError::Readings);
        }
    }
    Ok(seen.iter().map(|reading| String::from_utf8_lossy(reading).into_owned()).collect())
}

/// Which spellings a reading holds that could be read further.
pub(super) fn needs(reading: &[u8]) -> PathAllowances {
    let text = String::from_utf8_lossy(reading);
    let has = |allowance: &Allowance| match allowance {
        Allowance::Semicolon => reading.contains(&b';'),
        Allowance::EmptySegments => reading.windows(2).any(|pair| pair == b"//"),
        Allowance::EncodedSlash => reading.contains(&ENCODED_SLASH),
        Allowance::EncodedPercent => (0..reading.len()).any(|at| escape_at(reading, at).is_some()),
        Allowance::TrailingDot => text.split('/').any(|segment| segment.ends_with('.')),
        Allowance::TrailingSpace => {
            text.split('/').any(|segment| segment.ends_with(char::is_whitespace))
        }
        Allowance::EncodedBackslash => reading.contains(&b'\\'),
        Allowance::NonUtf8 => matches!(text, Cow::Owned(_)),
    };
    Allowance::ALL.into_iter().filter(has).collect()
}

/// Refuses dot segments, and what Windows shortens to one.
pub(super) fn check_dots(reading: &[u8]) -> Result<(), PathError> {
    let is_dots = |segment: &[u8]| {
        segment.contains(&b'.') && segment.iter().all(|byte| matches!(byte, b'.' | b' '))
    };
    match reading.split(|byte| *byte == b'/').any(is_dots) {
        true => Err(PathError::DotSegment),
        false => Ok(()),
    }
}

/// What comes out when a reading is read once more, in one respect.
fn steps(reading: &[u8], allowance: Allowance) -> Result<Vec<Vec<u8>>, PathError> {
    let replaced = |from: u8, to: u8| {
        let byte = |byte: &u8| if *byte == from { to } else { *byte };
        vec![reading.iter().map(byte).collect()]
    };
    Ok(match allowance {
        Allowance::Semicolon => vec![without_parameters(reading)],
        Allowance::EmptySegments => {
            let mut merged = reading.to_vec();
            merged.dedup_by(|next, last| *next == b'/' && *last == b'/');
            vec![merged]
        }
        Allowance::EncodedSlash => replaced(ENCODED_SLASH, b'/'),
        Allowance::EncodedBackslash => replaced(b'\\', b'/'),
        Allowance::EncodedPercent => vec![decoded_again(reading)?],
        Allowance::TrailingDot => trimmed(reading, |segment| segment.trim_end_matches('.')),
        Allowance::TrailingSpace => {
            let mut both = trimmed(reading, str::trim);
            both.extend(trimmed(reading, str::trim_end));
            both
        }
        Allowance::NonUtf8 => in_other_charsets(reading)?,
    })
}

/// `/a;x=1/b;y` as `/a/b`: what a servlet container routes on.
fn without_parameters(reading: &[u8]) -> Vec<u8> {
    let plain = |segment: &'_ [u8]| {
        let end = segment.iter().position(|byte| *byte == b';').unwrap_or(segment.len());
        segment.get(..end).unwrap_or_default().to_vec()
    };
    reading.split(|byte| *byte == b'/').map(plain).collect::<Vec<_>>().join(&b'/')
}

/// Every segment shortened, and only the last one that is not empty: both are done.
fn trimmed(reading: &[u8], trim: impl Fn(&str) -> &str) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(reading);
    let all = text.split('/').map(&trim).collect::<Vec<_>>().join("/");
    let mut segments: Vec<&str> = text.split('/').collect();
    if let Some(last) = segments.iter_mut().rev().find(|segment| !segment.is_empty()) {
        *last = trim(last);
    }
    vec![all.into_bytes(), segments.join("/").into_bytes()]
}

/// The byte that is escaped at this place.
fn escape_at(reading: &[u8], at: usize) -> Option<u8> {
    match reading.get(at..)? {
        [b'%', high, low, ..] => escaped(*high, *low),
        _ => None,
    }
}

fn decoded_again(reading: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut decoded = Vec::with_capacity(reading.len());
    let mut at = 0;
    while let Some(plain) = reading.get(at) {
        let escaped = escape_at(reading, at);
        at += if escaped.is_some() { 3 } else { 1 };
        match escaped {
            Some(b'/') => decoded.push(ENCODED_SLASH),
            Some(byte) if byte.is_ascii_control() => return Err(PathError::Character),
            Some(byte) => decoded.push(byte),
            None => decoded.push(*plain),
        }
    }
    Ok(decoded)
}

/// What 0x80 to 0x9F are in windows-1252; where it has nothing, ISO 8859-1 holds.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Where ISO 8859-15 differs from ISO 8859-1.
const ISO_8859_15: [(u8, char); 8] = [
    (0xa4, '€'),
    (0xa6, 'Š'),
    (0xa8, 'š'),
    (0xb4, 'Ž'),
    (0xb8, 'ž'),
    (0xbc, 'Œ'),
    (0xbd, 'œ'),
    (0xbe, 'Ÿ'),
];

/// Bytes that are not UTF-8: in the charsets of western Europe, without the bytes that do not fit, and as a decoder reads them
/// that takes UTF-8 in more bytes than needed (RFC 3629 section 10).
fn in_other_charsets(reading: &[u8]) -> Result<Vec<Vec<u8>>, PathError> {
    let as_text = |character: &dyn Fn(u8) -> char| {
        reading.iter().map(|byte| character(*byte)).collect::<String>().into_bytes()
    };
    let windows = |byte: u8| match byte.checked_sub(0x80) {
        Some(place) => WINDOWS_1252.get(usize::from(place)).copied().unwrap_or(char::from(byte)),
        None => char::from(byte),
    };
    let ninth = |byte: u8| {
        let differs = ISO_8859_15.iter().find(|(own, _)| *own == byte);
        differs.map_or(char::from(byte), |(_, character)| *character)
    };
    let kept: Vec<u8> = reading.utf8_chunks().flat_map(|chunk| chunk.valid().bytes()).collect();
    let mut readings = vec![as_text(&char::from), as_text(&windows), as_text(&ninth), kept];
    let lenient = lenient(reading)?;
    if lenient != reading {
        readings.push(lenient);
    }
    Ok(readings)
}

/// ASCII that is written in two or more bytes, undone.
fn lenient(reading: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut plain = Vec::with_capacity(reading.len());
    let mut rest = reading;
    while let [lead, tail @ ..] = rest {
        let length = match lead {
            0xc0 | 0xc1 => 1,
            0xe0 => 2,
            0xf0 => 3,
            0xf8 => 4,
            0xfc => 5,
            _ => 0,
        };
        let above = tail.get(..length).unwrap_or_default();
        let is_long = length > 0 && above.len() == length && above.iter().all(|b| *b >= 0x80);
        let value =
            above.iter().fold(u32::from(lead & 1), |value, b| value << 6 | u32::from(b & 0x3f));
        match u8::try_from(value).ok().filter(|byte| is_long && byte.is_ascii()) {
            Some(byte) if byte.is_ascii_control() => return Err(PathError::Character),
            Some(byte) => {
                plain.push(byte);
                rest = tail.get(length..).unwrap_or_default();
            }
            None => {
                plain.push(*lead);
                rest = tail;
            }
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests;
