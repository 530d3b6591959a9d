//! The methods of a route (RFC 9110 section 9.1): any token. CONNECT and TRACE are the exceptions, which no route can name
//! and which "all methods" does not cover: one asks for a tunnel, the other for a copy of the request, credentials included.

use std::fmt;

use http::Method;

/// The methods that most applications know, in the order in which they are listed. They stand for "all methods" where a list
/// is needed, which then cannot be complete.
const COMMON: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Never routed, in any case of letters: some applications fold the case of a method, although it matters.
const NEVER: [Method; 2] = [Method::CONNECT, Method::TRACE];

/// A set of methods. GET covers HEAD, as RFC 9110 section 9.3.2 makes them one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodSet(Members);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Members {
    /// Every method that can be routed.
    All,
    /// These, each once, the common ones first.
    Named(Vec<Method>),
}

impl Default for MethodSet {
    /// The empty set.
    fn default() -> Self {
        Self(Members::Named(Vec::new()))
    }
}

impl MethodSet {
    /// Every method that can be routed: every token but CONNECT and TRACE.
    pub const ALL: Self = Self(Members::All);

    /// The set of these names. Case matters (RFC 9110 section 9.1).
    ///
    /// # Errors
    /// [`MethodError`] with the first name that cannot be routed.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, MethodError> {
        let mut methods = Vec::new();
        for name in names {
            let method =
                Method::from_bytes(name.as_bytes()).map_err(|_| MethodError::Token(name.into()))?;
            if is_never(&method) {
                return Err(MethodError::Never(name.into()));
            }
            if method == Method::GET {
                methods.push(Method::HEAD);
            }
            methods.push(method);
        }
        Ok(Self::named(methods))
    }

    fn named(mut methods: Vec<Method>) -> Self {
        let place = |method: &Method| COMMON.iter().position(|own| own == method);
        methods.sort_by(|a, b| {
            let unknown = COMMON.len();
            let (first, second) = (place(a).unwrap_or(unknown), place(b).unwrap_or(unknown));
            first.cmp(&second).then_with(|| a.as_str().cmp(b.as_str()))
        });
        methods.dedup();
        Self(Members::Named(methods))
    }

    /// The names that a typo is compared with.
    pub fn common_names() -> impl Iterator<Item = &'static str> {
        COMMON.iter().map(Method::as_str)
    }

    /// Whether the set covers this method.
    #[must_use]
    pub fn contains(&self, method: &Method) -> bool {
        match &self.0 {
            Members::All => !is_never(method),
            Members::Named(methods) => methods.contains(method),
        }
    }

    /// What either set covers.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Members::All, _) | (_, Members::All) => Self::ALL,
            (Members::Named(own), Members::Named(other)) => {
                Self::named(own.iter().chain(other).cloned().collect())
            }
        }
    }

    /// Whether some method is covered by both.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Members::All, _) => !other.is_empty(),
            (_, Members::All) => !self.is_empty(),
            (Members::Named(own), Members::Named(other)) => {
                own.iter().any(|method| other.contains(method))
            }
        }
    }

    /// Whether it covers no method.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Members::Named(methods) if methods.is_empty())
    }

    /// The value of the `Allow` field (RFC 9110 section 10.2.1). For all methods, which cannot be listed, the common ones.
    #[must_use]
    pub fn allow(&self) -> String {
        let methods = match &self.0 {
            Members::All => COMMON.as_slice(),
            Members::Named(methods) => methods,
        };
        methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Whether nobody may have it, however it is spelt.
fn is_never(method: &Method) -> bool {
    NEVER.iter().any(|never| method.as_str().eq_ignore_ascii_case(never.as_str()))
}

impl fmt::Display for MethodSet {
    /// For the operator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Members::All => f.write_str("all methods"),
            Members::Named(_) => f.write_str(&self.allow()),
        }
    }
}

/// The name of a method that cannot be routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// It is not a token (RFC 9110 section 5.6.2).
    #[error("`{0}` is not a method: it has a character that no method has")]
    Token(String),
    /// CONNECT or TRACE.
    #[error("`{0}` is not a method that can be routed")]
    Never(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str) -> Method {
        Method::from_bytes(name.as_bytes()).unwrap()
    }

    fn set(names: &[&str]) -> MethodSet {
        MethodSet::from_names(names.iter().copied()).unwrap()
    }

    #[test]
    fn c9_get_covers_head_and_case_matters() {
        let reading = set(&["GET"]);
        assert!(reading.contains(&Method::GET) && reading.contains(&Method::HEAD));
        assert!(!reading.contains(&Method::POST));
        assert!(!reading.contains(&method("get")));
        assert_eq!(reading.allow(), "GET, HEAD");
        assert!(!set(&["HEAD"]).contains(&Method::GET));
        assert!(set(&["get"]).contains(&method("get")));
        assert!(!set(&["get"]).contains(&method("head")));
    }

    // Part 4, item 8.
    #[test]
    fn all_is_every_token_but_connect_and_trace() {
        for name in [
            "GET",
            "PROPFIND",
            "REPORT",
            "MKCALENDAR",
            "LOCK",
            "SEARCH",
            "QUERY",
            "PURGE",
            "get",
            "M-SEARCH",
            "VERSION-CONTROL",
            "X",
            "!#$%&'*+-.^_`|~",
        ] {
            assert!(MethodSet::ALL.contains(&method(name)), "{name}");
            assert!(set(&[name]).contains(&method(name)), "{name}");
            assert!(!set(&["POST"]).contains(&method(name)), "{name}");
        }
        for name in ["CONNECT", "TRACE", "trace", "Connect"] {
            assert!(!MethodSet::ALL.contains(&method(name)), "{name}");
            assert_eq!(MethodSet::from_names([name]), Err(MethodError::Never(name.into())));
        }
        for name in ["", "GET ", "a,b", "GE\tT", "É"] {
            assert_eq!(MethodSet::from_names([name]), Err(MethodError::Token(name.into())));
        }
    }

    // Part 4, item 8.
    #[test]
    fn sets_of_any_tokens_meet_and_join() {
        let (reading, dav) = (set(&["GET"]), set(&["REPORT", "PROPFIND", "REPORT", "PUT"]));
        let empty = MethodSet::default();
        assert!(!reading.intersects(&dav) && dav.intersects(&set(&["PROPFIND"])));
        assert!(reading.intersects(&set(&["HEAD"])) && !reading.intersects(&set(&["get"])));
        assert!(MethodSet::ALL.intersects(&dav) && dav.intersects(&MethodSet::ALL));
        assert!(!MethodSet::ALL.intersects(&empty) && !empty.intersects(&MethodSet::ALL));
        assert_eq!(reading.union(&dav).allow(), "GET, HEAD, PUT, PROPFIND, REPORT");
        assert_eq!(reading.union(&dav), dav.union(&reading));
        assert_eq!(reading.union(&MethodSet::ALL), MethodSet::ALL);
        assert_eq!(MethodSet::ALL.to_string(), "all methods");
        assert_eq!(MethodSet::ALL.allow(), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        assert!(empty.is_empty() && !MethodSet::ALL.is_empty());
    }
}
