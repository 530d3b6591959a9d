//! The host of a request and the host patterns of routes (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
//!
//! There is one spelling: lower case, no trailing dot. It is what routes match and what the upstream is sent.

use std::fmt;
use std::net::Ipv6Addr;

/// The longest name that DNS allows, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// The authority of a request in its one spelling, with its port when the request named one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    text: String,
    name_bytes: usize,
}

impl Host {
    /// Reads a `Host` field, an HTTP/2 `:authority`, or the authority of an absolute-form target.
    ///
    /// # Errors
    /// [`HostError`] for user information, an empty or impossible name, an empty or impossible port, or any other byte.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let (name, port) = split_port(text)?;
        let name = if name.starts_with('[') { address(name)? } else { registered_name(name)? };
        let name_bytes = name.len();
        let text = match port {
            Some(port) => format!("{name}:{port}"),
            None => name,
        };
        Ok(Self { text, name_bytes })
    }

    /// The name without the port: what routes match.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.split_at_checked(self.name_bytes).map_or("", |(name, _)| name)
    }

    /// The name with its port: what the upstream is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits `name[:port]`, where an IPv6 address stands in brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let name_end = match text.find(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, rest) = text.split_at_checked(name_end).ok_or(HostError)?;
    let Some(digits) = rest.strip_prefix(':') else {
        return if rest.is_empty() { Ok((name, None)) } else { Err(HostError) };
    };
    if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HostError);
    }
    Ok((name, Some(digits.parse().map_err(|_| HostError)?)))
}

fn address(bracketed: &str) -> Result<String, HostError> {
    let inner = bracketed.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or(HostError)?;
    let address: Ipv6Addr = inner.parse().map_err(|_| HostError)?;
    Ok(format!("[{address}]"))
}

fn registered_name(name: &str) -> Result<String, HostError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(allowed);
    if name.len() > MAX_NAME_BYTES || !name.split('.').all(label) {
        return Err(HostError);
    }
    Ok(name.to_ascii_lowercase())
}

/// The text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a host is a name of letters, digits, `-`, `_` and dots or an address, and a port if any")]
pub struct HostError;

/// Which hosts a route is for, from the most to the least specific.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name only.
    Exact(String),
    /// Every name below this one, at any depth, and not the name itself. Kept with its leading dot.
    Wildcard(String),
    /// Every host.
    Any,
}

impl HostPattern {
    /// Reads `shop.example.com`, `*.example.com`, or `*`.
    ///
    /// # Errors
    /// [`HostError`] for a port, a wildcard anywhere else, or what is no name at all.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let host = Host::parse(name)?;
        if host.as_str() != host.name() || (wildcard && name.starts_with('[')) {
            return Err(HostError);
        }
        Ok(if wildcard { Self::Wildcard(format!(".{host}")) } else { Self::Exact(host.text) })
    }

    /// Whether the name of a host is one of these.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(own) => own == name,
            Self::Wildcard(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            Self::Any => true,
        }
    }

    /// Whether every host of `other` is one of these.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Exact(own), Self::Exact(other)) => own == other,
            (Self::Wildcard(_), Self::Exact(name)) => self.matches(name),
            (Self::Wildcard(own), Self::Wildcard(other)) => other.ends_with(own.as_str()),
            (Self::Exact(_) | Self::Wildcard(_), _) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h6_a_host_has_one_spelling() {
        for (text, name, whole) in [
            ("Shop.Example.COM", "shop.example.com", "shop.example.com"),
            ("shop.example.com.", "shop.example.com", "shop.example.com"),
            ("shop:8443", "shop", "shop:8443"),
            ("shop.:0080", "shop", "shop:80"),
            ("127.0.0.1:80", "127.0.0.1", "127.0.0.1:80"),
            ("[::1]:80", "[::1]", "[::1]:80"),
            ("[0:0::1]", "[::1]", "[::1]"),
            ("my_host", "my_host", "my_host"),
        ] {
            let host = Host::parse(text).unwrap();
            assert_eq!((host.name(), host.as_str()), (name, whole), "{text}");
        }
    }

    #[test]
    fn h6_what_is_no_host_is_refused() {
        for bad in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "user@host",
            "host:",
            "host:x",
            "host:65536",
            "host:+80",
            "a,b",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "a/b",
            "a\0b",
            "zoë",
            "host:80:80",
            "a..",
            "%61",
            "[::1%25lo]",
        ] {
            assert_eq!(Host::parse(bad), Err(HostError), "{bad:?}");
        }
    }

    #[test]
    fn wildcards_cover_what_is_below_and_never_the_name_itself() {
        let pattern = HostPattern::parse("*.Example.com").unwrap();
        assert!(pattern.matches("a.example.com"));
        assert!(pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com"));
        assert!(!pattern.matches("badexample.com"));
        for bad in ["a.*.com", "*a.com", "*.", "", "host:80", "*.[::1]"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn containment_follows_the_sets() {
        let p = |text| HostPattern::parse(text).unwrap();
        assert!(p("*").contains(&p("*.a.com")));
        assert!(p("*.a.com").contains(&p("x.a.com")));
        assert!(p("*.a.com").contains(&p("*.b.a.com")));
        assert!(!p("*.b.a.com").contains(&p("*.a.com")));
        assert!(!p("x.a.com").contains(&p("*.a.com")));
        assert!(!p("*.a.com").contains(&p("*")));
    }
}
