//! The path of a request: one reading, or 400 (RFC 3986 section 3.3, RFC 9112 section 3.2).
//!
//! A [`RequestPath`] holds two views of one thing. The *decoded* view is matched against routes. The *spelling* is what the
//! upstream is sent: the same path with every escape that is not needed undone and the rest in upper case. Whatever an
//! upstream could read in a second way is refused here, or, where an upstream's owner allows it by name, turned into every
//! [reading](RequestPath::readings), so that `gateway` can insist that all of them mean the same route.

use std::collections::BTreeSet;

use crate::route::upstream::PathAllowances;

/// The longest path, in bytes as received.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// A path that everybody reads alike, or one whose readings can be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath {
    spelling: String,
    decoded: String,
    ambiguity: PathAllowances,
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
        let (spelling, decoded) = decode(raw)?;
        let decoded = String::from_utf8(decoded).map_err(|_| PathError::Encoding)?;
        if decoded.chars().any(char::is_control) {
            return Err(PathError::Character);
        }
        check_segments(&decoded)?;
        let ambiguity = PathAllowances {
            semicolon: decoded.contains(';'),
            empty_segments: decoded.contains("//"),
            encoded_slash: decoded.contains(ENCODED_SLASH),
        };
        Ok(Self { spelling, decoded, ambiguity })
    }

    /// The bytes for the upstream; begins with `/`.
    #[must_use]
    pub fn spelling(&self) -> &str {
        &self.spelling
    }

    /// The decoded path as received, for matching. An escaped slash stays `%2F` in it.
    #[must_use]
    pub fn decoded(&self) -> &str {
        &self.decoded
    }

    /// Whether an upstream could read it in more ways than one.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguity != PathAllowances::default()
    }

    /// Every way in which an upstream with these allowances could read the path, the received one included: parameters
    /// dropped, slashes merged, `%2F` decoded, in every order.
    ///
    /// # Errors
    /// [`PathError::Ambiguous`] when some reading needs an allowance that is not there, and any other [`PathError`] when
    /// some reading holds what is refused everywhere, such as a dot segment.
    pub fn readings(&self, allow: PathAllowances) -> Result<BTreeSet<String>, PathError> {
        let mut readings = BTreeSet::from([self.decoded.clone()]);
        let mut unread = vec![self.decoded.clone()];
        while let Some(reading) = unread.pop() {
            check_segments(&reading)?;
            let steps = [
                (reading.contains(';'), allow.semicolon, drop_parameters(&reading)),
                (reading.contains("//"), allow.empty_segments, merge_slashes(&reading)),
                (
                    reading.contains(ENCODED_SLASH),
                    allow.encoded_slash,
                    reading.replace(ENCODED_SLASH, "/"),
                ),
            ];
            for (needed, allowed, next) in steps {
                if needed && !allowed {
                    return Err(PathError::Ambiguous);
                }
                if needed && readings.insert(next.clone()) {
                    unread.push(next);
                }
            }
        }
        Ok(readings)
    }
}

/// The one escape that stays in the decoded view. It is unmistakable there: `%25` before two hex digits is refused.
const ENCODED_SLASH: &str = "%2F";

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
                let escaped = hex(*high).zip(hex(*low)).ok_or(PathError::Escape)?;
                let escaped = escaped.0 << 4 | escaped.1;
                rest = after;
                match escaped {
                    b'/' => decoded.extend_from_slice(ENCODED_SLASH.as_bytes()),
                    b'\\' => return Err(PathError::Character),
                    _ => decoded.push(escaped),
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
    // Asked of what will be forwarded: the digits may have been escaped themselves.
    if is_escaped_twice(spelling.as_bytes()) {
        return Err(PathError::DoubleEscape);
    }
    // Who drops parameters before the escapes are undone keeps the one and not the other; the decoded view cannot say which.
    if spelling.contains(';') && spelling.contains("%3B") {
        return Err(PathError::Ambiguous);
    }
    Ok((spelling, decoded))
}

fn is_escaped_twice(spelling: &[u8]) -> bool {
    spelling.windows(5).any(|window| match window {
        [b'%', b'2', b'5', high, low] => hex(*high).is_some() && hex(*low).is_some(),
        _ => false,
    })
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

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `unreserved` (RFC 3986 section 2.3): an escape of one of these means nothing.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// `pchar` without escapes (RFC 3986 section 3.3), and the separator.
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte)
}

/// Refuses dot segments, and segments that Windows or a strict `trim` would shorten.
fn check_segments(path: &str) -> Result<(), PathError> {
    for segment in path.split('/') {
        if segment == "." || segment == ".." {
            return Err(PathError::DotSegment);
        }
        if segment.ends_with(['.', ' ']) {
            return Err(PathError::SegmentEnd);
        }
    }
    Ok(())
}

/// `/a;x=1/b;y` as `/a/b`: what a servlet container routes on.
fn drop_parameters(path: &str) -> String {
    let plain = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    path.split('/').map(plain).collect::<Vec<_>>().join("/")
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

/// Why a path is refused. The client learns only that it was a bad request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The target does not begin with `/`.
    #[error("the target is no absolute path")]
    NotAbsolute,
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    Length,
    /// `%` without two hex digits.
    #[error("the path has a broken escape")]
    Escape,
    /// An escaped `%` before two hex digits: whoever decodes twice reads another path.
    #[error("the path is escaped twice")]
    DoubleEscape,
    /// A control character, a backslash, a fragment, a byte outside ASCII, or another that no path holds.
    #[error("the path has a character that is not allowed")]
    Character,
    /// The escapes do not make UTF-8.
    #[error("the path is not UTF-8")]
    Encoding,
    /// `.` or `..` as a segment, in any spelling.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A segment that ends in a dot or a space.
    #[error("a segment of the path ends in a dot or a space")]
    SegmentEnd,
    /// `;`, `//` or `%2F`, and the upstream's owner has not allowed it; or `;` beside its escape, which nobody can allow.
    #[error("the path can be read in two ways")]
    Ambiguous,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVERYTHING: PathAllowances =
        PathAllowances { semicolon: true, empty_segments: true, encoded_slash: true };

    #[test]
    fn h1_needless_escapes_are_undone_and_the_rest_is_spelt_in_one_way() {
        for (raw, spelling, decoded) in [
            ("/", "/", "/"),
            ("/%61dmin", "/admin", "/admin"),
            ("/a%2db", "/a-b", "/a-b"),
            ("/a%20b", "/a%20b", "/a b"),
            ("/a%3fx", "/a%3Fx", "/a?x"),
            ("/a%23x", "/a%23x", "/a#x"),
            ("/%c3%a9", "/%C3%A9", "/é"),
            ("/100%25", "/100%25", "/100%"),
            ("/a[1]|", "/a%5B1%5D%7C", "/a[1]|"),
            ("/admin/", "/admin/", "/admin/"),
            ("/a%21!", "/a%21!", "/a!!"),
        ] {
            let path = RequestPath::parse(raw.as_bytes()).unwrap();
            assert_eq!((path.spelling(), path.decoded()), (spelling, decoded), "{raw}");
        }
    }

    #[test]
    fn h2_what_two_parties_could_read_in_two_ways_is_refused() {
        for (raw, error) in [
            (&b"admin"[..], PathError::NotAbsolute),
            (b"", PathError::NotAbsolute),
            (b"*", PathError::NotAbsolute),
            (b"?x", PathError::NotAbsolute),
            (b"/..", PathError::DotSegment),
            (b"/public/../admin", PathError::DotSegment),
            (b"/public/%2e%2e/admin", PathError::DotSegment),
            (b"/public/.%2E/admin", PathError::DotSegment),
            (b"/./admin", PathError::DotSegment),
            (b"/admin/.", PathError::DotSegment),
            (b"/public/%252e%252e/admin", PathError::DoubleEscape),
            (b"/a%255cb", PathError::DoubleEscape),
            (b"/public/%25%32e%25%32e/admin", PathError::DoubleEscape),
            (b"/public/%252%65", PathError::DoubleEscape),
            (b"/%25%30%30", PathError::DoubleEscape),
            (b"/a%25%32Fb", PathError::DoubleEscape),
            (b"/admin.", PathError::SegmentEnd),
            (b"/admin%20", PathError::SegmentEnd),
            (b"/a%2e%2e%2e/b", PathError::SegmentEnd),
            (b"/admin%00", PathError::Character),
            (b"/admin%0a", PathError::Character),
            (b"/a%7f", PathError::Character),
            (b"/a%c2%85", PathError::Character),
            (b"/admin%5cx", PathError::Character),
            (b"/admin\\x", PathError::Character),
            (b"/admin#x", PathError::Character),
            (b"/a b", PathError::Character),
            (b"/a\"b", PathError::Character),
            (b"/a<b>", PathError::Character),
            (b"/\xc3\xa9", PathError::Character),
            (b"/public/%c0%ae%c0%ae/admin", PathError::Encoding),
            (b"/%ff", PathError::Encoding),
            (b"/%zz", PathError::Escape),
            (b"/%", PathError::Escape),
            (b"/%4", PathError::Escape),
            (b"/a;x/b%3Bc", PathError::Ambiguous),
            (b"/a%3bx;y", PathError::Ambiguous),
        ] {
            let text = String::from_utf8_lossy(raw);
            assert_eq!(RequestPath::parse(raw), Err(error), "{text}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        assert_eq!(RequestPath::parse(long.as_bytes()), Err(PathError::Length));
    }

    #[test]
    fn h2_ambiguous_paths_are_refused_unless_allowed_by_name() {
        for raw in [
            "//admin",
            "/admin//x",
            "/admin;x=1",
            "/admin;x;y/z;",
            "/admin%3Bx",
            "/admin%3Bx%3By",
            "/admin%2Fx",
            "/admin%2f",
        ] {
            let path = RequestPath::parse(raw.as_bytes()).unwrap();
            assert!(path.is_ambiguous(), "{raw}");
            assert_eq!(
                path.readings(PathAllowances::default()),
                Err(PathError::Ambiguous),
                "{raw}"
            );
            assert!(path.readings(EVERYTHING).is_ok(), "{raw}");
        }
        assert!(!RequestPath::parse(b"/a/b/").unwrap().is_ambiguous());
    }

    #[test]
    fn h2_dot_segments_are_refused_in_every_reading() {
        for raw in [
            "/public/..;/admin",
            "/..;x=1/admin",
            "/public/..%2fadmin",
            "/a;%2F../b",
            "/a.;x",
            "/x%2F.",
        ] {
            let refused =
                RequestPath::parse(raw.as_bytes()).and_then(|path| path.readings(EVERYTHING));
            assert!(refused.is_err(), "{raw}");
        }
    }

    #[test]
    fn every_reading_is_listed() {
        let path = RequestPath::parse(b"/a;x%2Fb//c").unwrap();
        let readings = path.readings(EVERYTHING).unwrap();
        let expected = [
            "/a;x%2Fb//c",
            "/a//c",
            "/a/c",
            "/a;x/b//c",
            "/a/b//c",
            "/a/b/c",
            "/a;x/b/c",
            "/a;x%2Fb/c",
        ];
        assert_eq!(readings, expected.into_iter().map(str::to_owned).collect());
    }

    proptest! {
        #[test]
        fn reading_the_spelling_changes_nothing(raw in "/[ -~]{0,24}") {
            if let Ok(path) = RequestPath::parse(raw.as_bytes()) {
                prop_assert_eq!(RequestPath::parse(path.spelling().as_bytes()), Ok(path.clone()));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(raw in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(path) = RequestPath::parse(&raw) {
                prop_assert!(path.spelling().starts_with('/'));
                prop_assert!(path.spelling().bytes().all(|b| matches!(b, 0x21..=0x7e)));
                let readings = path.readings(EVERYTHING).unwrap_or_default();
                prop_assert!(readings.iter().all(|r| !r.split('/').any(|s| s == ".." || s == ".")));
            }
        }
    }
}
