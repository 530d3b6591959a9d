//! Whether a request's head can be read in one way only (RFC 9112).
//!
//! Pingora's parser is lenient where the standard lets it be: bare LF, `Content-Length` next to `Transfer-Encoding`, no `Host`.
//! What it accepts could be read otherwise by whoever stands in front of or behind us, so the bytes themselves are read again
//! here and everything doubtful is refused. What the target means is `route::target`'s business.

use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::answer::Answer;
use crate::route::target::MAX_TARGET_BYTES;

/// The longest head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The most fields a head may have.
const MAX_FIELDS: usize = 100;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    /// It breaks the grammar, or two readers could frame it differently.
    #[error("the head is malformed or ambiguous")]
    Malformed,
    /// It has too many bytes or fields.
    #[error("the head is too large")]
    TooLarge,
    /// Its target is too long.
    #[error("the target is too long")]
    TargetTooLong,
    /// It expects something other than `100-continue`.
    #[error("the expectation is unknown")]
    Expectation,
}

impl HeadError {
    /// What the client hears.
    pub(super) fn answer(self) -> Answer {
        let (status, code) = match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::TooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request_header_fields_too_large")
            }
            Self::TargetTooLong => (StatusCode::URI_TOO_LONG, "uri_too_long"),
            Self::Expectation => (StatusCode::EXPECTATION_FAILED, "expectation_failed"),
        };
        Answer::json(status, &serde_json::json!({ "error": code }))
    }
}

/// Reads the bytes of an HTTP/1 head and returns its target exactly as received.
///
/// # Errors
/// [`HeadError`].
pub(super) fn read(head: &[u8]) -> Result<&[u8], HeadError> {
    if head.len() > MAX_HEAD_BYTES {
        return Err(HeadError::TooLarge);
    }
    // RFC 9112 section 2.2: one empty line before the request line is ignored.
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let head = head.strip_suffix(b"\r\n\r\n").ok_or(HeadError::Malformed)?;
    let mut lines = Lines(Some(head));
    let (target, version) = request_line(lines.next().ok_or(HeadError::Malformed)??)?;
    let mut framing = Framing::default();
    for (count, line) in lines.enumerate() {
        if count >= MAX_FIELDS {
            return Err(HeadError::TooLarge);
        }
        framing.field(line?)?;
    }
    framing.check(version)?;
    if target.len() > MAX_TARGET_BYTES {
        return Err(HeadError::TargetTooLong);
    }
    Ok(target)
}

/// Checks the fields of an HTTP/2 head, whose grammar the decoder has checked.
///
/// # Errors
/// [`HeadError`].
pub(super) fn check_h2(target: &[u8], headers: &HeaderMap) -> Result<(), HeadError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > MAX_FIELDS || bytes.saturating_add(target.len()) > MAX_HEAD_BYTES {
        return Err(HeadError::TooLarge);
    }
    if target.len() > MAX_TARGET_BYTES {
        return Err(HeadError::TargetTooLong);
    }
    let all = |name: HeaderName| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let mut lengths = all(CONTENT_LENGTH);
    let lengths =
        lengths.next().is_some_and(|length| !is_length(length)) || lengths.next().is_some();
    // RFC 9113 section 8.2.1; the decoder leaves the ends of values to us.
    let padded = |value: &HeaderValue| value.as_bytes().trim_ascii() != value.as_bytes();
    if lengths || headers.values().any(padded) {
        return Err(HeadError::Malformed);
    }
    if all(EXPECT).all(is_continue) { Ok(()) } else { Err(HeadError::Expectation) }
}

/// The lines of a head, each of which ends in CRLF and holds neither CR, LF nor NUL.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], HeadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.take()?;
        let line = match rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            None => rest,
            Some(end) => {
                let (line, after) = rest.split_at(end);
                match after.strip_prefix(b"\r\n") {
                    Some(after) => self.0 = Some(after),
                    None => return Some(Err(HeadError::Malformed)),
                }
                line
            }
        };
        Some(Ok(line))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn request_line(line: &[u8]) -> Result<(&[u8], Version), HeadError> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::Malformed);
    };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(HeadError::Malformed),
    };
    if is_token(method) && !target.is_empty() {
        Ok((target, version))
    } else {
        Err(HeadError::Malformed)
    }
}

/// The fields on which the message's boundaries hang.
#[derive(Default)]
struct Framing {
    hosts: usize,
    lengths: usize,
    codings: usize,
    unknown_expectation: bool,
}

impl Framing {
    fn field(&mut self, line: &[u8]) -> Result<(), HeadError> {
        // A folded line begins with white space, which is no token either.
        let colon = line.iter().position(|byte| *byte == b':').ok_or(HeadError::Malformed)?;
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        if !is_token(name) || value.iter().any(control) {
            return Err(HeadError::Malformed);
        }
        let value = value.trim_ascii();
        let is = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
        let mut well_formed = true;
        if is("host") {
            self.hosts += 1;
        } else if is("content-length") {
            self.lengths += 1;
            well_formed = is_length(value);
        } else if is("transfer-encoding") {
            self.codings += 1;
            well_formed = value.eq_ignore_ascii_case(b"chunked");
        } else if is("expect") {
            self.unknown_expectation |= !is_continue(value);
        }
        if well_formed { Ok(()) } else { Err(HeadError::Malformed) }
    }

    const fn check(&self, version: Version) -> Result<(), HeadError> {
        let hosts = match version {
            Version::Http11 => self.hosts == 1,
            Version::Http10 => self.hosts <= 1,
        };
        let chunked = self.codings > 0;
        let http10 = matches!(version, Version::Http10);
        if !hosts || self.lengths + self.codings > 1 || (chunked && http10) {
            return Err(HeadError::Malformed);
        }
        if self.unknown_expectation { Err(HeadError::Expectation) } else { Ok(()) }
    }
}

fn is_length(value: &[u8]) -> bool {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits && std::str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok())
}

fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &[u8]) -> bool {
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(of_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(fields: &str) -> Result<(), HeadError> {
        read(format!("POST /a HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").as_bytes()).map(|_| ())
    }

    fn refused(heads: &[&str]) {
        for head in heads {
            assert_eq!(read(head.as_bytes()), Err(HeadError::Malformed), "{head:?}");
        }
    }

    #[test]
    fn an_ordinary_head_yields_its_target_as_received() {
        for (head, target) in [
            ("GET /a?b HTTP/1.1\r\nHost: a.example\r\n\r\n", "/a?b"),
            ("\r\nGET //%2e#f HTTP/1.1\r\nHost:a.example\t\r\nX-Empty:\r\n\r\n", "//%2e#f"),
            ("GET http://a.example/ HTTP/1.1\r\nhOST: a.example\r\n\r\n", "http://a.example/"),
            ("GET / HTTP/1.0\r\n\r\n", "/"),
        ] {
            assert_eq!(read(head.as_bytes()), Ok(target.as_bytes()), "{head:?}");
        }
    }

    #[test]
    fn h6_one_host_is_needed() {
        refused(&[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        ]);
        assert!(read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    }

    #[test]
    fn i1_a_length_and_a_coding_together_are_refused() {
        let (length, coding) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
        for both in [format!("{length}{coding}"), format!("{coding}{length}")] {
            assert_eq!(posted(&both), Err(HeadError::Malformed));
        }
        assert_eq!((posted(length), posted(coding), posted("")), (Ok(()), Ok(()), Ok(())));
    }

    #[test]
    fn i2_a_length_is_one_decimal_number() {
        for value in [
            "",
            "+5",
            "-5",
            "5, 5",
            "5,6",
            "0x5",
            "5 5",
            "5.0",
            "٥",
            "18446744073709551616",
            "5\u{c}",
        ] {
            let head = posted(&format!("Content-Length: {value}\r\n"));
            assert_eq!(head, Err(HeadError::Malformed), "{value}");
        }
        let twice = "Content-Length: 5\r\ncontent-length: 5\r\n";
        assert_eq!(posted(twice), Err(HeadError::Malformed));
        for value in ["0", "5", " 42 ", "18446744073709551615"] {
            assert_eq!(posted(&format!("Content-Length: {value}\r\n")), Ok(()), "{value}");
        }
    }

    #[test]
    fn i3_the_only_coding_is_chunked_and_it_is_named_once() {
        for value in [
            "",
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "chunked;q=1",
            "xchunked",
            "\"chunked\"",
            "identity",
            "chunked,",
        ] {
            let head = posted(&format!("Transfer-Encoding: {value}\r\n"));
            assert_eq!(head, Err(HeadError::Malformed), "{value}");
        }
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(posted(twice), Err(HeadError::Malformed));
        assert_eq!(posted("transfer-encoding: Chunked\r\n"), Ok(()));
    }

    #[test]
    fn i4_http_1_0_knows_no_codings() {
        refused(&["POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"]);
        assert!(read(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\n").is_ok());
    }

    #[test]
    fn i6_fields_keep_to_the_grammar() {
        for field in [
            "X-A: b\r\n folded\r\n",
            "X-A: b\r\n\tfolded\r\n",
            " X-A: b\r\n",
            "X-A : b\r\n",
            "X-A\t: b\r\n",
            "X A: b\r\n",
            "no colon\r\n",
            ": b\r\n",
            "X(A): b\r\n",
            "X-A: b\0\r\n",
            "X-A: b\u{1}c\r\n",
            "X-A: b\u{7f}c\r\n",
        ] {
            assert_eq!(posted(field), Err(HeadError::Malformed), "{field:?}");
        }
        for field in ["X-A: b\tc\r\n", "X_A.~!:b:c\r\n", "X-A: \u{e9}\r\n", "X-A: \r\n"] {
            assert_eq!(posted(field), Ok(()), "{field:?}");
        }
    }

    #[test]
    fn i7_every_line_ends_in_crlf_and_in_nothing_else() {
        refused(&[
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\rX-B: c\r\n\r\n",
            "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
            "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ]);
    }

    #[test]
    fn the_request_line_has_three_parts_and_two_single_spaces() {
        for line in [
            "GET / a HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET /",
            "G(T / HTTP/1.1",
            " GET / HTTP/1.1",
            "GET / HTTP/1.2",
            "GET / http/1.1",
            "GET / HTTP/2.0",
        ] {
            refused(&[&format!("{line}\r\nHost: a\r\n\r\n")]);
        }
    }

    #[test]
    fn i14_only_100_continue_can_be_expected() {
        for value in ["", "100-continued", "200-ok", "100-continue, x", "100-continue\r\nExpect: y"]
        {
            let head = posted(&format!("Expect: {value}\r\n"));
            assert_eq!(head, Err(HeadError::Expectation), "{value}");
        }
        assert_eq!(posted("Expect: 100-Continue\r\n"), Ok(()));
    }

    #[test]
    fn sizes_are_bounded() {
        let fields = |count: usize| "X-A: b\r\n".repeat(count);
        assert_eq!((posted(&fields(99)), posted(&fields(100))), (Ok(()), Err(HeadError::TooLarge)));
        let long = |count: usize| posted(&format!("X-A: {}\r\n", "b".repeat(count)));
        assert_eq!((long(32_000), long(33_000)), (Ok(()), Err(HeadError::TooLarge)));
        let far = |count: usize| {
            let target = "/".repeat(count);
            read(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).map(<[u8]>::len)
        };
        assert_eq!((far(8192), far(8193)), (Ok(8192), Err(HeadError::TargetTooLong)));
    }

    #[test]
    fn http_2_heads_obey_the_same_bounds() {
        let with = |fields: &[(&'static str, &str)]| {
            let of =
                |(n, v): &(&'static str, &str)| (HeaderName::from_static(n), v.parse().unwrap());
            check_h2(b"/", &fields.iter().map(of).collect())
        };
        assert_eq!(with(&[("content-length", "5"), ("expect", "100-continue")]), Ok(()));
        assert_eq!(with(&[("content-length", "+5")]), Err(HeadError::Malformed));
        assert_eq!(
            with(&[("content-length", "5"), ("content-length", "5")]),
            Err(HeadError::Malformed)
        );
        for padded in [" y", "y ", "\ty", "y\t", " "] {
            assert_eq!(with(&[("x", padded)]), Err(HeadError::Malformed));
        }
        assert_eq!(with(&[("x", ""), ("x", "y z")]), Ok(()));
        assert_eq!(with(&[("expect", "x")]), Err(HeadError::Expectation));
        assert_eq!(with(&[("x", "y"); 101]), Err(HeadError::TooLarge));
        assert_eq!(check_h2(&[b'/'; 8193], &HeaderMap::new()), Err(HeadError::TargetTooLong));
    }
}
