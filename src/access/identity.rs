//! The identity headers: which fields tell the upstream who is calling, and every name that could be mistaken for one.
//!
//! CGI, WSGI and PHP turn every byte of a field name that is not a letter or digit into `_`, so `X_User`, `x.user` and
//! `X-USER` are one name to an application. Names are therefore compared *folded*, and a client's field under a name with
//! any other byte than letters, digits and hyphens does not pass, unless the upstream lets it pass by name.

use http::HeaderName;

use crate::access::proxy_fields::family;

/// What an identity header carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// `sub`: who.
    Subject,
    /// `scope`: the scopes that the token holds here, separated by spaces.
    Scope,
    /// `client_id`: the client that logged in.
    ClientId,
    /// `jti`: the id of the token.
    TokenId,
}

impl Claim {
    /// Reads the name in the configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(own, _)| *own == name).map(|(_, claim)| *claim)
    }

    /// The names in the configuration.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("subject", Self::Subject),
        ("scope", Self::Scope),
        ("client_id", Self::ClientId),
        ("token_id", Self::TokenId),
    ];
}

/// Which fields the upstream may trust, and which never pass.
#[derive(Debug, Clone)]
pub struct Identity {
    headers: Vec<(HeaderName, Claim)>,
    stripped: Vec<Vec<u8>>,
    forward_authorization: bool,
}

/// The name that legacy applications trust. It is stripped whether or not it is one of ours.
pub const DEFAULT_HEADER: &str = "x-user";

impl Identity {
    /// Sets these headers, and strips them and the others in every spelling. The last argument says whether the upstreams see
    /// bearer tokens, where their routes say nothing else.
    #[must_use]
    pub fn new(
        headers: Vec<(HeaderName, Claim)>,
        strip: &[HeaderName],
        forward_authorization: bool,
    ) -> Self {
        let ours = headers.iter().map(|(name, _)| name.as_str());
        let names = ours.chain(strip.iter().map(HeaderName::as_str)).chain([DEFAULT_HEADER]);
        let mut stripped: Vec<_> = names.map(folded).collect();
        stripped.sort();
        stripped.dedup();
        Self { headers, stripped, forward_authorization }
    }

    /// The headers and what they carry.
    #[must_use]
    pub fn headers(&self) -> &[(HeaderName, Claim)] {
        &self.headers
    }

    /// Whether the upstreams see bearer tokens, where their routes say nothing else.
    #[must_use]
    pub const fn forward_authorization(&self) -> bool {
        self.forward_authorization
    }

    /// Whether a field that a client (or an upstream, in a response) sent under this name must go.
    #[must_use]
    pub fn is_ours(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.stripped.iter().any(|own| folds_to(name, own))
    }

    /// Whether a request field of this name must not reach an upstream that lets these pass by name: one of ours; one that only
    /// a proxy may set; and one whose name has a byte that applications read as another. `Authorization` is not judged here.
    #[must_use]
    pub fn strips(&self, name: &HeaderName, passed: &[HeaderName]) -> bool {
        let doubtful = || !is_plain(name.as_str()) || family(name.as_str()).is_some();
        self.is_ours(name) || (doubtful() && !passed.contains(name))
    }
}

/// Whether a name is of letters, digits and hyphens, so that every application reads it alike (it is nginx's rule, too).
#[must_use]
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl Default for Identity {
    fn default() -> Self {
        Self::new(vec![(HeaderName::from_static(DEFAULT_HEADER), Claim::Subject)], &[], false)
    }
}

/// The name as an application behind CGI would see it, with `-` for whatever is no letter or digit.
#[must_use]
pub fn folded(name: &str) -> Vec<u8> {
    name.bytes().map(fold).collect()
}

fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

fn folds_to(name: &[u8], folded: &[u8]) -> bool {
    name.len() == folded.len() && name.iter().zip(folded).all(|(byte, own)| fold(*byte) == *own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> HeaderName {
        HeaderName::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn g2_every_spelling_of_an_identity_header_is_ours() {
        let identity = Identity::new(
            vec![(name("X-Login.Name"), Claim::Subject)],
            &[name("X-Remote-User")],
            false,
        );
        for spelling in [
            "X-User",
            "x-user",
            "X-USER",
            "X_User",
            "x.user",
            "X!User",
            "x~user",
            "X-Login-Name",
            "x_login_name",
            "X-Remote_User",
            "x.remote.user",
        ] {
            assert!(
                identity.is_ours(&name(spelling)) && identity.strips(&name(spelling), &[]),
                "{spelling}"
            );
        }
        for other in ["X-Users", "XUser", "X-User-Agent", "User", "X--User", "Accept"] {
            assert!(!identity.strips(&name(other), &[]), "{other}");
        }
        let all = ["X-User", "X_User", "x.login-name"].map(name);
        for spelling in &all {
            assert!(identity.strips(spelling, &all), "{spelling} is ours, whatever is let through");
        }
    }

    #[test]
    fn g9_what_would_mislead_the_application_never_passes() {
        let identity = Identity::default();
        for spelling in [
            "X-Forwarded-For",
            "X_Forwarded_User",
            "x-forwarded-prefix",
            "Forwarded",
            "X-Real-IP",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X-Request-ID",
            "Proxy",
            "Proxy-Authorization",
            "Script-Name",
        ] {
            assert!(identity.strips(&name(spelling), &[]), "{spelling}");
        }
        assert!(!identity.strips(&name("Authorization"), &[]), "that is the route's to say");
    }

    // Part 4, item 2.
    #[test]
    fn a_name_that_applications_read_as_another_passes_only_by_name() {
        let identity = Identity::default();
        let passed = ["X_Trace", "X-Original-Host"].map(name);
        for odd in ["X_Trace", "x.trace", "SCRIPT_NAME", "Content_Length", "a~b", "REMOTE_USER"] {
            assert!(identity.strips(&name(odd), &[]), "{odd}");
        }
        for (spelling, passes) in [
            ("X_Trace", true),
            ("x_TRACE", true),
            ("x.trace", false),
            ("X-Trace", true),
            ("X-Original-Host", true),
            ("X_Original_Host", false),
            ("X-Original-URL", false),
        ] {
            assert_eq!(!identity.strips(&name(spelling), &passed), passes, "{spelling}");
        }
    }

    proptest! {
        #[test]
        fn folding_is_what_decides(spelling in "[xX][-_.~!]([uU])([sS])([eE])([rR])") {
            prop_assert!(Identity::default().is_ours(&name(&spelling)));
        }
    }
}
