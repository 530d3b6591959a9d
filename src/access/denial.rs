//! A refused request: why, for the operator; and what the client hears (RFC 6750 section 3, RFC 9110 section 15).
//!
//! This is one of the two places where a reason becomes a status. The client of a bad token learns `invalid_token` and no
//! more, whatever was wrong with it.

use std::sync::Arc;

use http::header::{ALLOW, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::answer::Answer;
use crate::oauth::scope::Scope;
use crate::reason::Reason;
use crate::route::method::MethodSet;
use crate::token::{VerifiedToken, VerifyError};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialKind {
    /// The target could be read in two ways.
    BadPath,
    /// The host, or another part of the head, is malformed.
    BadRequest,
    /// Nothing is routed there. A near-miss of an own endpoint says the same.
    NoRoute,
    /// The path is routed for these methods only.
    Method(MethodSet),
    /// Credentials over plain HTTP where nobody vouches for the wire.
    Plaintext,
    /// It came over plain HTTP and is sent to this https URL.
    Redirect(String),
    /// The route needs a certificate of the client, with a name that it names, and there is none that counts.
    Certificate,
    /// The route needs a bearer token and there is none.
    NoToken,
    /// More than one `Authorization` field, or one that is no credential by its grammar.
    MalformedCredential,
    /// The token does not verify.
    Unverified(VerifyError),
    /// The token verifies and does not hold any more, for this reason.
    Token(Reason),
    /// What was revoked is not known now.
    NoState,
    /// The token holds, but not for this route; the scopes that would have sufficed.
    Scope(Scope),
    /// The body is to be longer than the route takes.
    TooLarge,
    /// As many requests are with the application, or from the client's address, as may be at once.
    Overloaded,
}

impl From<VerifyError> for DenialKind {
    fn from(error: VerifyError) -> Self {
        Self::Unverified(error)
    }
}

/// A refusal with what is known about the request.
#[derive(Debug, Clone)]
pub struct Denial {
    refusal: DenialKind,
    route: Option<Arc<str>>,
    token: Option<Arc<VerifiedToken>>,
    cached: bool,
}

impl Denial {
    /// A refusal before any route was found.
    #[must_use]
    pub const fn new(refusal: DenialKind) -> Self {
        Self { refusal, route: None, token: None, cached: false }
    }

    /// The same, on this route.
    #[must_use]
    pub fn on(self, route: &Arc<str>) -> Self {
        Self { route: Some(Arc::clone(route)), ..self }
    }

    /// The same, of the holder of this token, whose verification was remembered or not.
    #[must_use]
    pub fn of(self, token: &Arc<VerifiedToken>, cached: bool) -> Self {
        Self { token: Some(Arc::clone(token)), cached, ..self }
    }

    /// What is wrong.
    #[must_use]
    pub const fn refusal(&self) -> &DenialKind {
        &self.refusal
    }

    /// The route's id, once one was found.
    #[must_use]
    pub const fn route_id(&self) -> Option<&Arc<str>> {
        self.route.as_ref()
    }

    /// The verified token, when it was one and still was refused.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        self.token.as_deref()
    }

    /// Whether the token's verification came from the cache.
    #[must_use]
    pub const fn cached(&self) -> bool {
        self.cached
    }

    /// The reason for logs, metrics and `explain`.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match &self.refusal {
            DenialKind::BadPath => Reason::BadPath,
            DenialKind::BadRequest => Reason::BadRequest,
            DenialKind::NoRoute => Reason::NoRoute,
            DenialKind::Method(_) => Reason::MethodNotAllowed,
            DenialKind::Plaintext => Reason::PlaintextRefused,
            DenialKind::Redirect(_) => Reason::Redirected,
            DenialKind::Certificate => Reason::ClientCertificate,
            DenialKind::NoToken => Reason::NoToken,
            DenialKind::MalformedCredential => Reason::MalformedToken,
            DenialKind::Unverified(error) => error.reason(),
            DenialKind::Token(reason) => *reason,
            DenialKind::NoState => Reason::StateUnavailable,
            DenialKind::Scope(_) => Reason::MissingScope,
            DenialKind::TooLarge => Reason::ContentTooLarge,
            DenialKind::Overloaded => Reason::Overloaded,
        }
    }

    /// What exactly is wrong with the token, where the reason does not say it all: a fixed text, and never anything of the token.
    #[must_use]
    pub const fn detail(&self) -> Option<&'static str> {
        match &self.refusal {
            DenialKind::Unverified(error) => error.detail(),
            DenialKind::MalformedCredential => Some(
                "more than one `Authorization` field, or one that is no bearer credential of at most 8 KiB",
            ),
            DenialKind::BadPath
            | DenialKind::BadRequest
            | DenialKind::NoRoute
            | DenialKind::Method(_)
            | DenialKind::Plaintext
            | DenialKind::Redirect(_)
            | DenialKind::Certificate
            | DenialKind::NoToken
            | DenialKind::Token(_)
            | DenialKind::NoState
            | DenialKind::Scope(_)
            | DenialKind::TooLarge
            | DenialKind::Overloaded => None,
        }
    }

    /// What the client hears. The body repeats the code; it names neither route, upstream nor user.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match &self.refusal {
            DenialKind::BadPath | DenialKind::BadRequest => {
                plain(StatusCode::BAD_REQUEST, "bad_request")
            }
            DenialKind::NoRoute => plain(StatusCode::NOT_FOUND, "not_found"),
            DenialKind::Method(methods) => {
                let allow = HeaderValue::from_str(&methods.allow());
                plain(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
                    .with(ALLOW, allow.unwrap_or(HeaderValue::from_static("")))
            }
            DenialKind::Plaintext => plain(StatusCode::FORBIDDEN, "https_required"),
            // 308, not 301: nobody may turn the method into another (RFC 9110 section 15.4.9).
            DenialKind::Redirect(url) => match HeaderValue::from_str(url) {
                Ok(url) => {
                    plain(StatusCode::PERMANENT_REDIRECT, "https_required").with(LOCATION, url)
                }
                Err(_) => plain(StatusCode::FORBIDDEN, "https_required"),
            },
            // No token would help, so none is asked for.
            DenialKind::Certificate => plain(StatusCode::FORBIDDEN, "client_certificate_required"),
            // RFC 6750 section 3.1: no error code when no credential was offered.
            DenialKind::NoToken => {
                challenge(StatusCode::UNAUTHORIZED, "unauthorized", REALM.to_owned())
            }
            DenialKind::MalformedCredential => {
                coded(StatusCode::BAD_REQUEST, "invalid_request", "")
            }
            DenialKind::NoState => plain(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
                .with(RETRY_AFTER, HeaderValue::from_static("5")),
            // Nothing is said about the token.
            DenialKind::Unverified(VerifyError::KeysUnavailable) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
                    .with(RETRY_AFTER, HeaderValue::from_static(KEYS_RETRY_SECONDS))
            }
            DenialKind::Unverified(_) | DenialKind::Token(_) => {
                coded(StatusCode::UNAUTHORIZED, "invalid_token", "")
            }
            DenialKind::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "content_too_large"),
            DenialKind::Overloaded => plain(StatusCode::SERVICE_UNAVAILABLE, "overloaded")
                .with(RETRY_AFTER, HeaderValue::from_static("1")),
            DenialKind::Scope(wanted) if wanted.is_empty() => {
                coded(StatusCode::FORBIDDEN, "insufficient_scope", "")
            }
            DenialKind::Scope(wanted) => {
                let scope = format!(", scope=\"{wanted}\"");
                coded(StatusCode::FORBIDDEN, "insufficient_scope", &scope)
            }
        }
    }
}

/// How soon it is worth coming back for keys that are being fetched, in seconds.
const KEYS_RETRY_SECONDS: &str = "5";

const REALM: &str = "Bearer realm=\"portcullis\"";

fn plain(status: StatusCode, code: &str) -> Answer {
    Answer::json(status, &serde_json::json!({ "error": code }))
}

fn coded(status: StatusCode, code: &str, more: &str) -> Answer {
    challenge(status, code, format!("{REALM}, error=\"{code}\"{more}"))
}

fn challenge(status: StatusCode, code: &str, challenge: String) -> Answer {
    // A scope holds neither quotes nor backslashes (RFC 6749 section 3.3), so the text is a legal value as it is.
    let value = HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static(REALM));
    plain(status, code).with(WWW_AUTHENTICATE, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(refusal: DenialKind) -> (u16, String) {
        let answer = Denial::new(refusal).answer();
        let challenge =
            answer.headers.get(WWW_AUTHENTICATE).map(|v| v.to_str().unwrap().to_owned());
        (answer.status.as_u16(), challenge.unwrap_or_default())
    }

    #[test]
    fn c1_no_credential_gets_a_challenge_without_an_error() {
        assert_eq!(heard(DenialKind::NoToken), (401, "Bearer realm=\"portcullis\"".to_owned()));
    }

    #[test]
    fn c2_b23_every_bad_token_gets_the_same_answer() {
        let reasons =
            [Reason::Expired, Reason::BadSignature, Reason::Revoked, Reason::UserDisabled];
        for reason in reasons {
            let expected = "Bearer realm=\"portcullis\", error=\"invalid_token\"";
            assert_eq!(heard(DenialKind::Token(reason)), (401, expected.to_owned()));
            assert_eq!(Denial::new(DenialKind::Token(reason)).reason(), reason);
        }
    }

    #[test]
    fn a_token_that_cannot_be_judged_is_neither_good_nor_bad() {
        let denial = Denial::new(VerifyError::KeysUnavailable.into());
        assert_eq!(denial.reason(), Reason::KeysUnavailable);
        let answer = denial.answer();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.headers[RETRY_AFTER], "5");
        assert_eq!(answer.headers.get(WWW_AUTHENTICATE), None);
    }

    #[test]
    fn c3_too_little_scope_names_what_is_needed() {
        let expected = "Bearer realm=\"portcullis\", error=\"insufficient_scope\", scope=\"admin orders:write\"";
        let wanted = Scope::parse("orders:write admin").unwrap();
        assert_eq!(heard(DenialKind::Scope(wanted)), (403, expected.to_owned()));
        let only_users = "Bearer realm=\"portcullis\", error=\"insufficient_scope\"";
        assert_eq!(heard(DenialKind::Scope(Scope::default())), (403, only_users.to_owned()));
    }

    #[test]
    fn c4_a_malformed_credential_is_400_invalid_request() {
        let expected = "Bearer realm=\"portcullis\", error=\"invalid_request\"";
        assert_eq!(heard(DenialKind::MalformedCredential), (400, expected.to_owned()));
    }

    #[test]
    fn a_missing_certificate_asks_for_no_token() {
        assert_eq!(heard(DenialKind::Certificate), (403, String::new()));
    }

    #[test]
    fn a_wrong_method_hears_the_allowed_ones() {
        let methods = MethodSet::from_names(["GET", "POST"]).unwrap();
        let answer = Denial::new(DenialKind::Method(methods)).answer();
        assert_eq!(answer.status, 405);
        assert_eq!(answer.headers[ALLOW], "GET, HEAD, POST");
    }
}
