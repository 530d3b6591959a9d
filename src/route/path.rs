//! The path of a request: one reading, or 400 (RFC 3986 section 3.3, RFC 9112 section 3.2).
//!
//! A [`RequestPath`] holds two views of one thing. The *decoded* view is matched against routes. The *spelling* is what the
//! upstream is sent: the same path with every escape that is not needed undone and the rest in upper case. Whatever an
//! upstream could read in a second way is refused, here or, where an upstream's owner can allow it by name, by
//! [`RequestPath::readings`], which lists all ways, so that `gateway` can insist that all of them mean the same route.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::route::allowance::{Allowance, PathAllowances};
use crate::route::reading::{self, ENCODED_SLASH};

/// The longest path, in bytes as received.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// A path that everybody reads alike, or one whose readings can be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath {
    spelling: String,
    decoded: String,
    /// The decoded bytes, where they are not UTF-8.
    bytes: Option<Vec<u8>>,
    needs: PathAllowances,
}

impl RequestPath {
    /// Reads the path of a request target, without its query.
    ///
    /// # Errors
    /// [`PathError`], always answered with 400.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        if raw.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute);
        }
        if raw.len() > MAX_PATH_BYTES {
            return Err(PathError::Length);
        }
        let (spelling, bytes) = decode(raw)?;
        reading::check_dots(&bytes)?;
        let needs = reading::needs(&bytes);
        let (decoded, bytes) = match String::from_utf8_lossy(&bytes) {
            Cow::Borrowed(text) => (text.to_owned(), None),
            Cow::Owned(text) => (text, Some(bytes)),
        };
        let is_control = |c: char| c.is_control() && c != char::from(ENCODED_SLASH);
        if decoded.chars().any(is_control) {
            return Err(PathError::Character);
        }
        Ok(Self { spelling, decoded, bytes, needs })
    }

    /// The bytes for the upstream; begins with `/`.
    #[must_use]
    pub fn spelling(&self) -> &str {
        &self.spelling
    }

    /// The decoded path as received, for matching. In place of an escaped slash it has U+0001, and U+FFFD in place of what is
    /// not UTF-8: the first is in no literal of a route, and the second is one of several readings.
    #[must_use]
    pub fn decoded(&self) -> &str {
        &self.decoded
    }

    /// What must be allowed for it to pass, before it is read any further.
    #[must_use]
    pub const fn needs(&self) -> PathAllowances {
        self.needs
    }

    /// Whether an upstream could read it in more ways than one.
    #[must_use]
    pub const fn is_ambiguous(&self) -> bool {
        !self.needs.is_empty()
    }

    /// Every way in which an upstream with these allowances could read the path, the received one included: parameters
    /// dropped, slashes merged, escapes undone once more, ends of segments cut, in every order.
    ///
    /// # Errors
    /// [`PathError::NotAllowed`] when some reading needs an allowance that is not there, and any other [`PathError`] when
    /// some reading holds what is refused everywhere, such as a dot segment.
    pub fn readings(&self, allow: PathAllowances) -> Result<BTreeSet<String>, PathError> {
        reading::all(self.bytes.as_deref().unwrap_or(self.decoded.as_bytes()), allow)
    }
}

/// Undoes the escapes, into the spelling and the decoded view.
fn decode(raw: &[u8]) -> Result<(String, Vec<u8>), PathError> {
    let mut spelling = String::with_capacity(raw.len());
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match *byte {
            b'%' => {
                let [high, low, after @ ..] = tail else { return Err(PathError::Escape) };
                let escaped = escaped(*high, *low).ok_or(PathError::Escape)?;
                rest = after;
                match escaped {
                    b'/' => decoded.push(ENCODED_SLASH),
                    byte if byte.is_ascii_control() => return Err(PathError::Character),
                    byte => decoded.push(byte),
                }
                spell(escaped, is_unreserved(escaped), &mut spelling);
            }
            byte if is_path_byte(byte) => {
                spell(byte, true, &mut spelling);
                decoded.push(byte);
            }
            // Browsers send these unescaped although RFC 3986 does not list them; the upstream gets the escape.
            b'[' | b']' | b'^' | b'|' => {
                spell(*byte, false, &mut spelling);
                decoded.push(*byte);
            }
            _ => return Err(PathError::Character),
        }
    }
    // Who drops parameters before the escapes are undone keeps the one and not the other; the decoded view cannot say which.
    if spelling.contains(';') && spelling.contains("%3B") {
        return Err(PathError::Ambiguous);
    }
    Ok((spelling, decoded))
}

fn spell(byte: u8, plain: bool, spelling: &mut String) {
    if plain {
        spelling.push(char::from(byte));
    } else {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        spelling.push('%');
        spelling.push(digit(byte >> 4).to_ascii_uppercase());
        spelling.push(digit(byte & 15).to_ascii_uppercase());
    }
}

/// The byte that is escaped with these two hexadecimal digits.
pub(super) fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// `unreserved` (RFC 3986 section 2.3): an escape of one of these means nothing.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// `pchar` without escapes (RFC 3986 section 3.3), and the separator.
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte)
}

/// Why a path is refused. The client learns only that it was a bad request; the operator, from `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The target does not begin with `/`.
    #[error("the target is not an absolute path")]
    NotAbsolute,
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    Length,
    /// `%` without two hex digits.
    #[error("the path has a broken escape")]
    Escape,
    /// A control character, a raw backslash, a fragment, a byte outside ASCII, or another that no path holds.
    #[error("the path has a character that is not allowed")]
    Character,
    /// `.` or `..` as a segment, or nothing but dots and spaces, in any spelling and any reading.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A spelling that the upstream's owner has not allowed.
    #[error("the path has {}", .0.what())]
    NotAllowed(Allowance),
    /// `;` beside its escape.
    #[error("the path has `;` beside its escape `%3B`")]
    Ambiguous,
    /// More readings than are followed.
    #[error("the path can be read in too many ways")]
    Readings,
}

#[cfg(test)]
mod tests;
