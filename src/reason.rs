//! Why a request was refused: one id per reason, the same in the access log, the metric label and `explain`.
//!
//! What the *client* learns is decided elsewhere (`access::denial`, `endpoints::token`); these ids are for the operator.

use std::fmt;

/// The closed list of reasons. The ids are part of the product's interface: dashboards and alerts are built on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is its id, explained in `Reason::explanation`")]
pub enum Reason {
    NoToken,
    MalformedToken,
    BadSignature,
    Expired,
    NotYetValid,
    WrongIssuer,
    WrongAudience,
    WrongType,
    UnknownKey,
    KeysUnavailable,
    Revoked,
    UserDisabled,
    MissingScope,
    MethodNotAllowed,
    NoRoute,
    BadPath,
    BadRequest,
    ContentTooLarge,
    StateUnavailable,
    Throttled,
    PlaintextRefused,
    Redirected,
    ClientCertificate,
    UpstreamUnreachable,
    UpstreamTimeout,
    InternalError,
}

impl Reason {
    /// Every reason, for the metrics to start at zero and for the documentation test.
    pub const ALL: [Self; 26] = [
        Self::NoToken,
        Self::MalformedToken,
        Self::BadSignature,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongIssuer,
        Self::WrongAudience,
        Self::WrongType,
        Self::UnknownKey,
        Self::KeysUnavailable,
        Self::Revoked,
        Self::UserDisabled,
        Self::MissingScope,
        Self::MethodNotAllowed,
        Self::NoRoute,
        Self::BadPath,
        Self::BadRequest,
        Self::ContentTooLarge,
        Self::StateUnavailable,
        Self::Throttled,
        Self::PlaintextRefused,
        Self::Redirected,
        Self::ClientCertificate,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::InternalError,
    ];

    /// The id in logs, metrics and `explain`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::MalformedToken => "malformed_token",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::WrongType => "wrong_type",
            Self::UnknownKey => "unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Revoked => "revoked",
            Self::UserDisabled => "user_disabled",
            Self::MissingScope => "missing_scope",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NoRoute => "no_route",
            Self::BadPath => "bad_path",
            Self::BadRequest => "bad_request",
            Self::ContentTooLarge => "content_too_large",
            Self::StateUnavailable => "state_unavailable",
            Self::Throttled => "throttled",
            Self::PlaintextRefused => "plaintext_refused",
            Self::Redirected => "redirected",
            Self::ClientCertificate => "client_certificate",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::InternalError => "internal_error",
        }
    }

    /// One sentence for the operator, printed by `explain` and listed in the README.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::NoToken => "the route needs a bearer token and the request has none",
            Self::MalformedToken => "the token is not one JWT in its only allowed spelling",
            Self::BadSignature => "the signature does not verify with the key the token names",
            Self::Expired => "the token's `exp` is past",
            Self::NotYetValid => "the token's `nbf` or `iat` is in the future",
            Self::WrongIssuer => "the token's `iss` is not one that the route believes",
            Self::WrongAudience => "the token's `aud` does not contain what is configured",
            Self::WrongType => {
                "the token is no access token (`typ` is not at+jwt) or names another algorithm"
            }
            Self::UnknownKey => {
                "the token names no key, or one that is not configured or is retired"
            }
            Self::KeysUnavailable => {
                "the keys of the token's outside issuer never came, or came too long ago"
            }
            Self::Revoked => {
                "the token was revoked, its user has another password, or its client is gone"
            }
            Self::UserDisabled => "the token's user is disabled or no longer exists",
            Self::MissingScope => "the token lacks a scope that the route requires",
            Self::MethodNotAllowed => "the path is routed, but not for this method",
            Self::NoRoute => "no route covers this host and path",
            Self::BadPath => "the path could be read in two ways",
            Self::BadRequest => "the request itself is malformed or ambiguous",
            Self::ContentTooLarge => "the body is longer than the route takes",
            Self::StateUnavailable => {
                "what was revoked is not known: the state store was not reached for too long"
            }
            Self::Throttled => "too many logins are waiting",
            Self::PlaintextRefused => "credentials are not taken over plain HTTP on this listener",
            Self::Redirected => "the listener sends everybody to https",
            Self::ClientCertificate => {
                "the route needs a client certificate with a name that it lists, and none came"
            }
            Self::UpstreamUnreachable => "the upstream refused the connection or broke it",
            Self::UpstreamTimeout => "the upstream did not answer in time",
            Self::InternalError => "portcullis itself failed; the request was not forwarded",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
