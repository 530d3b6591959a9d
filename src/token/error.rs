//! Why a token is refused, and under which id that is counted. What the client learns is decided in `access::denial`.

use crate::reason::Reason;

/// Why a token is refused. For the operator; a client only learns `invalid_token`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is not a token in its only allowed form; the text is fixed and never taken from the token.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// `typ` is absent or something else.
    #[error("the token is no access token: its `typ` is not at+jwt")]
    WrongType,
    /// `alg` is not the one that the named key is pinned to.
    #[error("the token names an algorithm that its key is not configured for")]
    WrongAlgorithm,
    /// It names no key, or none of ours.
    #[error("the token names no key that is configured")]
    UnknownKey,
    /// It names a key whose `until` is past.
    #[error("the token names a key that is retired")]
    RetiredKey,
    /// It is of a trusted issuer whose keys never came, or came too long ago.
    #[error("the keys of the token's issuer are not known")]
    KeysUnavailable,
    /// The signature is not the key's.
    #[error("the signature does not verify")]
    BadSignature,
    /// `iss` is not exactly ours, or one that the route does not trust.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// `aud` does not contain ours.
    #[error("the token is for another audience")]
    WrongAudience,
    /// `exp` and the leeway are past.
    #[error("the token is expired")]
    Expired,
    /// `nbf` or `iat` is further ahead than the leeway.
    #[error("the token is not valid yet")]
    NotYetValid,
}

impl VerifyError {
    /// The id under which logs and metrics count it.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::MalformedToken,
            Self::WrongType => Reason::WrongType,
            Self::WrongAlgorithm => Reason::WrongAlgorithm,
            Self::UnknownKey => Reason::UnknownKey,
            Self::RetiredKey => Reason::RetiredKey,
            Self::KeysUnavailable => Reason::KeysUnavailable,
            Self::BadSignature => Reason::BadSignature,
            Self::WrongIssuer => Reason::WrongIssuer,
            Self::WrongAudience => Reason::WrongAudience,
            Self::Expired => Reason::Expired,
            Self::NotYetValid => Reason::NotYetValid,
        }
    }

    /// What exactly is wrong, where the reason does not say it all: a fixed text, and never anything of the token.
    #[must_use]
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Self::Malformed(what) => Some(what),
            Self::WrongType
            | Self::WrongAlgorithm
            | Self::UnknownKey
            | Self::RetiredKey
            | Self::KeysUnavailable
            | Self::BadSignature
            | Self::WrongIssuer
            | Self::WrongAudience
            | Self::Expired
            | Self::NotYetValid => None,
        }
    }
}
