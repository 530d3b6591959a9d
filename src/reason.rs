//! Why a request was refused: one id per reason, the same in the access log, the metric labels and `explain`.
//!
//! Everything that is refused is in this one list, by whichever part of portcullis: the decision about a request, the
//! endpoints of our own, the wire. What the *client* learns is decided elsewhere (`access::denial`, `endpoints`); these ids are
//! for the operator.

use std::fmt;

/// One line for each reason: the variant, the id, and what it means.
macro_rules! reasons {
    ($($variant:ident $id:literal $explanation:literal)+) => {
        /// The closed list of reasons. The ids are part of the product's interface: dashboards and alerts are built on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $explanation] $variant,)+
        }

        impl Reason {
            /// Every reason, for the metrics to start at zero and for the documentation test.
            pub const ALL: [Self; [$($id),+].len()] = [$(Self::$variant),+];

            /// The id in logs, metrics and `explain`.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$variant => $id,)+
                }
            }

            /// One sentence for the operator, printed by `explain` and listed in the README.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => $explanation,)+
                }
            }
        }
    };
}

reasons! {
    NoToken "no_token" "the route needs a bearer token and the request has none"
    MalformedToken "malformed_token" "the token is not one JWT in its only allowed spelling, or a claim of it cannot be read"
    BadSignature "bad_signature" "the signature does not verify with the key the token names"
    Expired "expired" "the token's `exp` is past"
    NotYetValid "not_yet_valid" "the token's `nbf` or `iat` is in the future"
    WrongIssuer "wrong_issuer" "the token's `iss` is not one that the route trusts"
    WrongAudience "wrong_audience" "the token's `aud` does not contain what is configured"
    WrongType "wrong_type" "the token is no access token by its `typ`"
    WrongAlgorithm "wrong_algorithm" "the token's `alg` is not the one of the key that it names"
    UnknownKey "unknown_key" "the token names no key, or one that its issuer does not have"
    RetiredKey "retired_key" "the token names a key whose `until` is past"
    KeysUnavailable "keys_unavailable" "the keys of the token's trusted issuer never came, or came too long ago"
    Revoked "revoked" "the token was revoked, its user has another password, or its client is gone; or everything of the user was revoked while a login was under way"
    UserDisabled "user_disabled" "the token's user is disabled or no longer exists"
    MissingScope "missing_scope" "the token lacks a scope that the route requires"
    MethodNotAllowed "method_not_allowed" "the path is there, but not for this method"
    NoRoute "no_route" "no route covers this host and path"
    BadPath "bad_path" "the path could be read in two ways"
    BadRequest "bad_request" "the request itself is malformed or ambiguous"
    RequestTimeout "request_timeout" "the client did not send the body in time"
    ContentTooLarge "content_too_large" "the body is longer than the route or the endpoint takes"
    StateUnavailable "state_unavailable" "the state store does not answer: what is revoked is not known, or nothing can be kept"
    PlaintextRefused "plaintext_refused" "credentials are not taken over plain HTTP on this listener"
    Redirected "redirected" "the listener sends everybody to https"
    ClientCertificate "client_certificate" "the route needs a client certificate with a name that it lists, and none came"
    MediaType "media_type" "the endpoint takes one form, as application/x-www-form-urlencoded"
    InQuery "in_query" "what belongs into the body of the request stood in its URL"
    MalformedForm "malformed_form" "a parameter of the form is repeated or badly encoded"
    NoCredentials "no_credentials" "the form lacks the user name, the password or the token"
    TooLong "too_long" "the user name or the password is longer than any can be"
    InvalidClient "invalid_client" "the client is unknown or did not prove itself"
    ClientNetwork "client_network" "the client asks from outside its networks"
    ClientMethod "client_method" "the client authenticates in a way that is not done here, such as with an assertion"
    TwoClientMethods "two_client_methods" "the client authenticates in more than one way"
    UnauthorizedClient "unauthorized_client" "the client may not use this grant"
    NoGrantType "no_grant_type" "the form has no grant type"
    UnsupportedGrantType "unsupported_grant_type" "the form names a grant that is not offered"
    InvalidScope "invalid_scope" "nothing of the scope can be granted, or it is malformed or undeclared"
    InvalidGrant "invalid_grant" "the user is unknown or disabled, or the password is wrong"
    RefreshTokenInvalid "refresh_token_invalid" "the refresh token is unknown, revoked or over"
    RefreshTokenOfAnotherClient "refresh_token_of_another_client" "the refresh token was issued to another client"
    RefreshTokenReused "refresh_token_reused" "the refresh token was spent before, so its login is revoked now"
    UserChanged "user_changed" "the refresh token's user is gone or disabled, or has another password"
    TokenOfAnotherClient "token_of_another_client" "the token to revoke was issued to another client"
    TokenOfAnotherIssuer "token_of_another_issuer" "the token to revoke can be revoked by its trusted issuer only"
    Banned "banned" "too many attempts at this account, or from this address, have failed"
    Throttled "throttled" "too many logins are waiting"
    Overloaded "overloaded" "as many requests are with the application, or from this address, as may be at once"
    UpstreamUnreachable "upstream_unreachable" "the upstream refused the connection or broke it"
    UpstreamTimeout "upstream_timeout" "the upstream did not answer in time"
    TunnelTimeout "tunnel_timeout" "nothing came through the upgraded connection for too long"
    ClientGone "client_gone" "the client left before its answer had gone"
    InternalError "internal_error" "portcullis itself failed; the request was not forwarded"
}

impl Reason {
    /// What the endpoints refuse where a client proves itself (`/token` and its siblings): the reasons of
    /// `login_failures_total`.
    pub const OF_LOGINS: [Self; 29] = [
        Self::MethodNotAllowed,
        Self::BadRequest,
        Self::RequestTimeout,
        Self::InternalError,
        Self::MediaType,
        Self::InQuery,
        Self::MalformedForm,
        Self::ContentTooLarge,
        Self::NoCredentials,
        Self::TooLong,
        Self::InvalidClient,
        Self::ClientNetwork,
        Self::ClientMethod,
        Self::TwoClientMethods,
        Self::UnauthorizedClient,
        Self::NoGrantType,
        Self::UnsupportedGrantType,
        Self::InvalidScope,
        Self::InvalidGrant,
        Self::RefreshTokenInvalid,
        Self::RefreshTokenOfAnotherClient,
        Self::RefreshTokenReused,
        Self::UserChanged,
        Self::TokenOfAnotherClient,
        Self::TokenOfAnotherIssuer,
        Self::NotYetValid,
        Self::Banned,
        Self::Throttled,
        Self::StateUnavailable,
    ];

    /// The reason with this id.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.id() == id)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // Part 4, item 28.
    #[test]
    fn every_reason_has_an_id_and_a_sentence_of_its_own() {
        let ids: BTreeSet<_> = Reason::ALL.map(Reason::id).into();
        let sentences: BTreeSet<_> = Reason::ALL.map(Reason::explanation).into();
        assert_eq!((ids.len(), sentences.len()), (Reason::ALL.len(), Reason::ALL.len()));
        for reason in Reason::ALL {
            let plain = reason.id().bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(plain && !reason.explanation().contains('|'), "{reason}");
            assert_eq!(Reason::parse(reason.id()), Some(reason));
        }
        assert_eq!(Reason::parse("NO_TOKEN"), None);
    }
}
