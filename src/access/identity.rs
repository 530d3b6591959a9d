//! The identity headers: which fields tell the upstream who is calling, and every name that could be mistaken for one.
//!
//! CGI, WSGI and PHP turn every byte of a field name that is not a letter or digit into `_`, so `X_User`, `x.user` and
//! `X-USER` are one name to an application. Names are therefore compared *folded*.

use http::HeaderName;

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

/// Which fields the upstream may believe, and which never pass.
#[derive(Debug, Clone)]
pub struct Identity {
    headers: Vec<(HeaderName, Claim)>,
    stripped: Vec<Vec<u8>>,
    forward_authorization: bool,
}

/// The name that legacy applications believe. It is stripped whether or not it is one of ours.
pub const DEFAULT_HEADER: &str = "x-user";

/// Families of fields that are only ever set by us, by their folded beginnings.
const OUR_FAMILIES: [&[u8]; 1] = [b"x-forwarded-"];

/// Fields, folded, that would tell an application another client, path or method than the one that was authorised.
const MISLEADING: [&[u8]; 13] = [
    b"forwarded",
    b"x-forwarded",
    b"x-real-ip",
    b"x-client-ip",
    b"x-request-id",
    b"x-original-url",
    b"x-original-uri",
    b"x-rewrite-url",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"proxy",
    b"proxy-authorization",
];

impl Identity {
    /// Sets these headers, strips them and the others in every spelling, and keeps the bearer token unless told otherwise.
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

    /// Whether a field that a client (or an upstream, in a response) sent under this name must go.
    #[must_use]
    pub fn is_ours(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.stripped.iter().any(|own| folds_to(name, own))
    }

    /// Whether a request field must not reach the upstream.
    #[must_use]
    pub fn strips(&self, name: &HeaderName) -> bool {
        let bytes = name.as_str().as_bytes();
        self.is_ours(name)
            || MISLEADING.iter().any(|own| folds_to(bytes, own))
            || OUR_FAMILIES
                .iter()
                .any(|own| bytes.get(..own.len()).is_some_and(|head| folds_to(head, own)))
            || (!self.forward_authorization && folds_to(bytes, b"authorization"))
    }
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
                identity.is_ours(&name(spelling)) && identity.strips(&name(spelling)),
                "{spelling}"
            );
        }
        for other in ["X-Users", "XUser", "X-User-Agent", "User", "X--User", "Accept"] {
            assert!(!identity.strips(&name(other)), "{other}");
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
            "Authorization",
        ] {
            assert!(identity.strips(&name(spelling)), "{spelling}");
        }
        let handing_on = Identity::new(vec![], &[], true);
        assert!(!handing_on.strips(&name("Authorization")));
        assert!(handing_on.strips(&name("X-User")), "stripped whether or not it is set");
    }

    proptest! {
        #[test]
        fn folding_is_what_decides(spelling in "[xX][-_.~!]([uU])([sS])([eE])([rR])") {
            prop_assert!(Identity::default().is_ours(&name(&spelling)));
        }
    }
}
