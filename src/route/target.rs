//! The request target (RFC 9112 section 3.2) together with the host it is for.
//!
//! Origin form and absolute form are read; in the latter the authority replaces `Host`. Where both come, the reader of the head
//! has refused those that differ. Authority form, `*`, user information and a fragment are refused. The query is passed on
//! byte for byte and never looked at: browsers send raw what no URI holds, and older clients raw bytes in charsets of their
//! own. Only what would end the target, or the line, is refused in it.

use std::fmt;

use http::HeaderMap;
use http::header::HOST;

use crate::route::host::Host;
use crate::route::path::{PathError, RequestPath};

/// The longest target, in bytes.
pub const MAX_TARGET_BYTES: usize = 8 * 1024;

/// A target that everybody reads alike.
#[derive(Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The host it is for.
    pub host: Host,
    /// The path's bytes as received.
    pub raw_path: &'a [u8],
    /// The query as received, without its `?`.
    pub query: Option<&'a [u8]>,
}

/// Without the query.
impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}, {})", self.host, self.raw_path.escape_ascii())
    }
}

impl<'a> Target<'a> {
    /// Reads a target. `authority` is HTTP/2's `:authority`; with HTTP/1.1 there is one `Host` field instead.
    ///
    /// # Errors
    /// [`TargetError`], always answered with 400.
    pub fn parse(
        raw: &'a [u8],
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Self, TargetError> {
        if raw.len() > MAX_TARGET_BYTES {
            return Err(TargetError::Path(PathError::Length));
        }
        let (absolute, rest) = split_authority(raw)?;
        let host = host_of(absolute.or(authority), headers)?;
        let (raw_path, query) = match rest.iter().position(|byte| *byte == b'?') {
            Some(mark) => (rest.get(..mark), rest.get(mark + 1..)),
            None => (Some(rest), None),
        };
        let raw_path = raw_path.unwrap_or_default();
        // RFC 9112 section 3.2.1: an absolute-form target may leave its path out; it is then `/`.
        let raw_path = if absolute.is_some() && raw_path.is_empty() { b"/" } else { raw_path };
        let query = query.map(read_query).transpose()?;
        Ok(Self { host, raw_path, query })
    }

    /// The path, parsed.
    ///
    /// # Errors
    /// [`PathError`] as [`RequestPath::parse`].
    pub fn path(&self) -> Result<RequestPath, PathError> {
        RequestPath::parse(self.raw_path)
    }
}

/// Splits `http://authority/rest`; the authority is `None` in origin form.
fn split_authority(raw: &[u8]) -> Result<(Option<&str>, &[u8]), TargetError> {
    if raw.first() == Some(&b'/') {
        return Ok((None, raw));
    }
    let after = ["http://", "https://"].iter().find_map(|scheme| {
        let (head, rest) = raw.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    });
    let after = after.ok_or(TargetError::Path(PathError::NotAbsolute))?;
    let end =
        after.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(after.len());
    let (authority, rest) = after.split_at_checked(end).ok_or(TargetError::Host)?;
    Ok((Some(std::str::from_utf8(authority).map_err(|_| TargetError::Host)?), rest))
}

fn host_of(authority: Option<&str>, headers: &HeaderMap) -> Result<Host, TargetError> {
    let mut fields = headers.get_all(HOST).iter();
    let (first, second) = (fields.next(), fields.next());
    if second.is_some() {
        return Err(TargetError::Host);
    }
    let field = first.map(|value| value.to_str().map_err(|_| TargetError::Host)).transpose()?;
    let field = field.map(|text| Host::parse(text).map_err(|_| TargetError::Host)).transpose()?;
    match authority {
        Some(authority) => Host::parse(authority).map_err(|_| TargetError::Host),
        None => field.ok_or(TargetError::Host),
    }
}

fn read_query(raw: &[u8]) -> Result<&[u8], TargetError> {
    let refused = |byte: &u8| byte.is_ascii_control() || matches!(byte, b' ' | b'#');
    if raw.iter().any(refused) { Err(TargetError::Query) } else { Ok(raw) }
}

/// Why a target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No host, more than one, or none that can be.
    #[error("the request names no host, or more than one")]
    Host,
    /// The path.
    #[error(transparent)]
    Path(PathError),
    /// A control character, a raw space or a fragment behind the path.
    #[error("the query has a control character, a raw space or a `#`")]
    Query,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str, authority: Option<&str>, hosts: &[&str]) -> Result<String, TargetError> {
        let headers = hosts.iter().map(|host| (HOST, host.parse().unwrap())).collect();
        let target = Target::parse(raw.as_bytes(), authority, &headers)?;
        let path = String::from_utf8_lossy(target.raw_path).into_owned();
        let query = target.query.map(String::from_utf8_lossy);
        Ok(format!("{} {path} {query:?}", target.host))
    }

    #[test]
    fn h3_in_absolute_form_the_authority_replaces_host() {
        assert_eq!(read("/a?b", None, &["x"]).unwrap(), "x /a Some(\"b\")");
        assert_eq!(read("http://Other:81/a", None, &["x"]).unwrap(), "other:81 /a None");
        assert_eq!(read("HTTPS://other", None, &["x"]).unwrap(), "other / None");
        assert_eq!(read("http://other?q", None, &["x"]).unwrap(), "other / Some(\"q\")");
        assert_eq!(read("/a", Some("two.example"), &[]).unwrap(), "two.example /a None");
        assert_eq!(read("http://user@other/a", None, &["x"]), Err(TargetError::Host));
        assert_eq!(read("http:///a", None, &["x"]), Err(TargetError::Host));
    }

    #[test]
    fn h4_h5_other_forms_and_bytes_are_refused() {
        for bad in ["*", "other:443", "foo:/admin", "admin/x", "?x=1", "", "ftp://x/a"] {
            assert_eq!(
                read(bad, None, &["x"]),
                Err(TargetError::Path(PathError::NotAbsolute)),
                "{bad}"
            );
        }
        for bad in ["/a?b#c", "/a?b c", "/a?\0", "/a?\u{1}", "/a?\u{7f}", "/a?\r", "/a?\n", "/a?\t"]
        {
            assert_eq!(read(bad, None, &["x"]), Err(TargetError::Query), "{bad}");
        }
    }

    // Part 4, item 7.
    #[test]
    fn h7_the_query_is_not_looked_at() {
        let headers = [(HOST, "x".parse().unwrap())].into_iter().collect();
        let all: Vec<u8> = (0x21..=0xff).filter(|byte| *byte != b'#' && *byte != 0x7f).collect();
        for query in [&all[..], b"b=/../c;d//e?f%2F%zz%00", b"", b"caf\xe9", "caf\u{e9}".as_bytes()]
        {
            let raw = [b"/a?", query].concat();
            let target = Target::parse(&raw, None, &headers).unwrap();
            assert_eq!((target.raw_path, target.query), (&b"/a"[..], Some(query)));
        }
    }

    #[test]
    fn h6_there_is_exactly_one_host() {
        for hosts in [&[][..], &["a", "b"], &["a", "a"], &[""], &["a b"], &["user@a"]] {
            assert_eq!(read("/", None, hosts), Err(TargetError::Host), "{hosts:?}");
            if !hosts.is_empty() {
                assert_eq!(read("http://x/", None, hosts), Err(TargetError::Host), "{hosts:?}");
            }
        }
        assert!(read("/", None, &["EXAMPLE.com:443"]).is_ok());
    }
}
