//! Paths as upstreams might read them: each step is the plainest code that some server runs, and every order of the steps
//! counts.

use std::collections::BTreeSet;

/// How many readings are followed; a path with more is not judged.
const MOST_READINGS: usize = 20_000;

/// Every path that some upstream could take these bytes for: escapes undone never, once or twice, `%2F` kept or undone,
/// parameters dropped, slashes merged, backslashes turned, dots resolved, cut at NUL, ends of segments cut, bytes that are not
/// UTF-8 dropped or taken for ISO 8859-1. `None` when there are too many.
#[must_use]
pub fn readings(path: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let mut seen = BTreeSet::from([(2_u8, path.to_vec())]);
    let mut unread = vec![(2_u8, path.to_vec())];
    while let Some((decodings, path)) = unread.pop() {
        let mut next = vec![
            (decodings, without_parameters(&path)),
            (decodings, merged(&path)),
            (decodings, resolved(&path)),
            (decodings, path.iter().map(|b| if *b == b'\\' { b'/' } else { *b }).collect()),
            (decodings, path.split(|b| *b == 0).next().unwrap_or_default().to_vec()),
            (decodings, cut(&path, b'.')),
            (decodings, cut(&path, b' ')),
        ];
        if std::str::from_utf8(&path).is_err() {
            next.push((decodings, path.utf8_chunks().flat_map(|c| c.valid().bytes()).collect()));
            next.push((decodings, path.iter().map(|b| char::from(*b)).collect::<String>().into()));
        }
        if decodings > 0 {
            next.push((decodings - 1, decoded(&path, true)));
            next.push((decodings - 1, decoded(&path, false)));
        }
        for reading in next {
            if seen.insert(reading.clone()) {
                unread.push(reading);
            }
        }
        if seen.len() > MOST_READINGS {
            return None;
        }
    }
    Some(seen.into_iter().map(|(_, path)| path).collect())
}

/// Undoes the escapes that are whole and leaves the others, as lenient servers do.
#[must_use]
pub fn decoded(path: &[u8], slashes: bool) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        let escaped = path[at] == b'%' && at + 2 < path.len();
        let escaped = escaped.then(|| escape(path[at + 1], path[at + 2])).flatten();
        match escaped {
            Some(b'/') if !slashes => plain.extend_from_slice(b"%2F"),
            Some(byte) => plain.push(byte),
            None => plain.push(path[at]),
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    plain
}

fn escape(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut inside = false;
    for byte in path {
        match byte {
            b';' => inside = true,
            b'/' => inside = false,
            _ => {}
        }
        if !inside {
            plain.push(*byte);
        }
    }
    plain
}

/// Every segment without these bytes at its end.
fn cut(path: &[u8], end: u8) -> Vec<u8> {
    let cut = |segment: &[u8]| {
        let kept = segment.iter().rposition(|byte| *byte != end).map_or(0, |last| last + 1);
        segment[..kept].to_vec()
    };
    path.split(|byte| *byte == b'/').map(cut).collect::<Vec<_>>().join(&b'/')
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut plain = path.to_vec();
    plain.dedup_by(|next, last| *next == b'/' && *last == b'/');
    plain
}

/// RFC 3986 section 5.2.4, with a stack.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    for (position, segment) in segments.iter().enumerate() {
        let last = position + 1 == segments.len();
        match *segment {
            b"." | b".." => {
                if *segment == b".." && kept.len() > 1 {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            other => kept.push(other),
        }
    }
    kept.join(&b'/')
}

/// The spelling that must reach an upstream: unreserved characters plain, every other escape in upper case, and the four
/// characters that browsers leave plain escaped.
#[must_use]
pub fn spelt(path: &[u8]) -> String {
    let mut spelling = String::new();
    let mut at = 0;
    while at < path.len() {
        let escaped = path[at] == b'%' && at + 2 < path.len();
        let escaped = escaped.then(|| escape(path[at + 1], path[at + 2])).flatten();
        match (escaped, path[at]) {
            (Some(byte), _) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                spelling.push(char::from(byte));
            }
            (Some(byte), _) => spelling.push_str(&format!("%{byte:02X}")),
            (None, byte @ (b'[' | b']' | b'^' | b'|')) => {
                spelling.push_str(&format!("%{byte:02X}"));
            }
            (None, byte) => spelling.push(char::from(byte)),
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    spelling
}

/// A path that nobody could misread: small letters, digits and hyphens between single slashes.
#[must_use]
pub fn is_harmless(path: &[u8]) -> bool {
    let plain = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_~/".contains(byte)
    };
    path.first() == Some(&b'/')
        && path.iter().all(plain)
        && !path.windows(2).any(|two| two == b"//")
}

/// The segments that routes are matched with: without the first slash and, if any, the last.
#[must_use]
pub fn segments(path: &[u8]) -> Vec<&[u8]> {
    let inner = path.strip_prefix(b"/").unwrap_or(path);
    if inner.is_empty() {
        return Vec::new();
    }
    inner.strip_suffix(b"/").unwrap_or(inner).split(|byte| *byte == b'/').collect()
}
