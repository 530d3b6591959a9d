//! The error codes of the token endpoint (RFC 6749 section 5.2).

/// What a client may learn about a refused token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// The client is unknown or did not prove who it is.
    InvalidClient,
    /// The user's name or password is wrong, or the user may not log in.
    InvalidGrant,
    /// The client may not use this grant.
    UnauthorizedClient,
    /// There is no such grant here.
    UnsupportedGrantType,
    /// Nothing of the requested scope can be granted, or it is malformed.
    InvalidScope,
    /// The kind of token cannot be revoked (RFC 7009 section 2.2.1).
    UnsupportedTokenType,
    /// Too many logins are waiting (the code is of RFC 6749 section 4.1.2.1).
    TemporarilyUnavailable,
    /// We failed (likewise).
    ServerError,
}

impl ErrorCode {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}
