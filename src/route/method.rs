//! The methods that can be routed (RFC 9110 section 9.3, RFC 5789). CONNECT and TRACE are not among them, nor is any
//! other token: what no route can name is 405 everywhere.

use std::fmt;

use http::Method;

/// The methods by position in the set.
const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A set of methods. GET covers HEAD, as RFC 9110 section 9.3.2 makes them one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MethodSet(u8);

impl MethodSet {
    /// Every method that can be routed.
    pub const ALL: Self = Self(0b111_1111);

    /// The set of these names, in upper case as methods are (RFC 9110 section 9.1).
    ///
    /// # Errors
    /// [`MethodError`] with the first name that cannot be routed.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, MethodError> {
        let mut set = Self::default();
        for name in names {
            set.0 |= bit(name).ok_or_else(|| MethodError(name.to_owned()))?;
        }
        if set.0 & 1 == 1 {
            set.0 |= 2;
        }
        Ok(set)
    }

    /// The names that [`MethodSet::from_names`] accepts.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// Whether the set covers this method.
    #[must_use]
    pub fn contains(self, method: &Method) -> bool {
        bit(method.as_str()).is_some_and(|bit| self.0 & bit != 0)
    }

    /// What either set covers.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether some method is covered by both.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it covers no method.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(name: &str) -> Option<u8> {
    NAMES.iter().position(|own| *own == name).map(|position| 1 << position)
}

impl fmt::Display for MethodSet {
    /// As the `Allow` field lists them (RFC 9110 section 10.2.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMES.iter().enumerate().filter(|(i, _)| self.0 >> i & 1 == 1);
        for (count, (_, name)) in names.enumerate() {
            if count > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// The name of a method that cannot be routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a method that can be routed")]
pub struct MethodError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_get_covers_head_and_case_matters() {
        let set = MethodSet::from_names(["GET"]).unwrap();
        assert!(set.contains(&Method::GET) && set.contains(&Method::HEAD));
        assert!(!set.contains(&Method::POST));
        assert!(!set.contains(&Method::from_bytes(b"get").unwrap()));
        assert_eq!(set.to_string(), "GET, HEAD");
        assert!(!MethodSet::from_names(["HEAD"]).unwrap().contains(&Method::GET));
    }

    #[test]
    fn c9_trace_connect_and_unknown_methods_are_in_no_set() {
        for name in ["TRACE", "CONNECT", "PROPFIND", "get", ""] {
            assert!(MethodSet::from_names([name]).is_err(), "{name}");
        }
        for method in [Method::TRACE, Method::CONNECT, Method::from_bytes(b"FOO").unwrap()] {
            assert!(!MethodSet::ALL.contains(&method));
        }
    }
}
