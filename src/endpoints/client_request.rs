//! What every endpoint that a client authenticates at has in common: a POST with one form, and a client that proves itself
//! (RFC 6749 sections 2.3 and 3.2, RFC 7009 section 2.1, RFC 7662 section 2.1).

use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use crate::answer::Answer;
use crate::endpoints::EndpointRequest;
use crate::grants::{Client, ClientError, GrantServices, authenticate, named};
use crate::oauth::basic::Basic;
use crate::oauth::client::ClientId;
use crate::oauth::error::ErrorCode;
use crate::oauth::form::Form;
use crate::reason::Reason;
use crate::throttle::Wait;
use crate::users::HashError;

/// Fields with which a client proves itself in a way that is not done here (draft-ietf-oauth-attestation-based-client-auth).
const ATTESTATION: [&str; 2] = ["oauth-client-attestation", "oauth-client-attestation-pop"];

/// The largest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The form of a request.
///
/// # Errors
/// [`RequestFault`].
pub(super) fn form(request: &EndpointRequest) -> Result<Form, RequestFault> {
    if request.body.len() > MAX_BODY_BYTES {
        return Err(RequestFault::TooLarge);
    }
    if !is_form(&request.headers) {
        return Err(RequestFault::MediaType);
    }
    if request.query.as_deref().is_some_and(names_credentials) {
        return Err(RequestFault::InQuery);
    }
    Form::parse(&request.body).map_err(|_| RequestFault::Form)
}

/// The client that asks.
///
/// # Errors
/// [`RequestFault::Client`].
pub(super) async fn client<'a>(
    request: &EndpointRequest,
    form: &Form,
    services: &GrantServices<'a>,
) -> Result<&'a Client, RequestFault> {
    if ATTESTATION.iter().any(|name| request.headers.contains_key(*name)) {
        return Err(RequestFault::Client(ClientError::Unsupported));
    }
    let basic = Basic::of(&request.headers);
    let GrantServices { clients, hashes, origin, .. } = *services;
    Ok(authenticate(clients, basic, form, hashes, origin).await?)
}

/// The client that a request names, or means by naming none, whether or not it proves that it is that one. `None` where there
/// is no such client. For the log only.
pub(super) fn named_client(
    request: &EndpointRequest,
    form: &Form,
    services: &GrantServices<'_>,
) -> Option<ClientId> {
    named(services.clients, &Basic::of(&request.headers), form).map(|client| client.id.clone())
}

/// One `Content-Type`, of the form's media type, in UTF-8 if it says anything about it (RFC 9110 section 8.3.1).
fn is_form(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(CONTENT_TYPE).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Ok(text) = field.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let is_type = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let harmless = |parameter: &str| {
        let parameter = parameter.replace('"', "");
        parameter.is_empty() || parameter.eq_ignore_ascii_case("charset=utf-8")
    };
    is_type && parts.all(harmless)
}

/// Whether a query holds what belongs into the body: whoever sent it has already leaked it into every log on the way.
fn names_credentials(query: &str) -> bool {
    let Ok(form) = Form::parse(query.as_bytes()) else { return true };
    [
        "grant_type",
        "username",
        "password",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "scope",
        "refresh_token",
        "token",
        "access_token",
    ]
    .iter()
    .any(|name| form.names(name))
}

/// Why a request was not looked at any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestFault {
    TooLarge,
    MediaType,
    InQuery,
    Form,
    Client(ClientError),
}

impl From<ClientError> for RequestFault {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl RequestFault {
    /// The reason in the log and the metrics.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::TooLarge => Reason::ContentTooLarge,
            Self::MediaType => Reason::MediaType,
            Self::InQuery => Reason::InQuery,
            Self::Form => Reason::MalformedForm,
            Self::Client(ClientError::Unknown) => Reason::InvalidClient,
            Self::Client(ClientError::Network) => Reason::ClientNetwork,
            Self::Client(ClientError::Unsupported) => Reason::ClientMethod,
            Self::Client(ClientError::TwoMethods) => Reason::TwoClientMethods,
            Self::Client(ClientError::Throttled(_)) => Reason::Banned,
            Self::Client(ClientError::Hash(why)) => unhashed(why),
        }
    }

    /// What the client hears (RFC 6749 section 5.2).
    pub(super) fn answer(self, headers: &HeaderMap) -> Answer {
        use ErrorCode as Code;
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::TooLarge => {
                error(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidRequest, "the body is too large")
            }
            Self::MediaType => error(
                bad,
                Code::InvalidRequest,
                "send the parameters as application/x-www-form-urlencoded",
            ),
            Self::InQuery => error(
                bad,
                Code::InvalidRequest,
                "parameters belong into the body, never into the URL",
            ),
            Self::Form => {
                error(bad, Code::InvalidRequest, "a parameter is repeated or badly encoded")
            }
            Self::Client(ClientError::TwoMethods) => {
                error(bad, Code::InvalidRequest, "the client authenticates in more than one way")
            }
            Self::Client(
                ClientError::Unknown | ClientError::Network | ClientError::Unsupported,
            ) => {
                let answer = error(
                    StatusCode::UNAUTHORIZED,
                    Code::InvalidClient,
                    "the client is unknown or did not prove itself",
                );
                match headers.contains_key(AUTHORIZATION) {
                    true => answer.with(WWW_AUTHENTICATE, BASIC_CHALLENGE),
                    false => answer,
                }
            }
            Self::Client(ClientError::Throttled(wait)) => banned(wait),
            Self::Client(ClientError::Hash(why)) => busy(why),
        }
    }
}

const BASIC_CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"portcullis\"");

/// Why nothing was hashed, for the log and the metrics.
pub(super) const fn unhashed(why: HashError) -> Reason {
    match why {
        HashError::Busy => Reason::Throttled,
        HashError::TooLong | HashError::Stopped => Reason::InternalError,
    }
}

/// 503 while too many logins wait.
pub(super) fn busy(why: HashError) -> Answer {
    let answer = error(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::TemporarilyUnavailable,
        "too many logins are waiting",
    );
    match why {
        HashError::Busy => answer.with(RETRY_AFTER, HeaderValue::from_static("1")),
        HashError::TooLong | HashError::Stopped => answer,
    }
}

/// 429 (RFC 6585 section 4) after too many failures. Whether it is about the address, the user or the client is not told.
pub(super) fn banned(wait: Wait) -> Answer {
    error(
        StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::TemporarilyUnavailable,
        "too many attempts have failed",
    )
    .with(RETRY_AFTER, HeaderValue::from(wait.retry_after.as_secs()))
}

/// 503 while the state store does not answer: nothing that has to be durable can be promised.
pub(super) fn no_state() -> Answer {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::TemporarilyUnavailable,
        "try again in a moment",
    )
    .with(RETRY_AFTER, HeaderValue::from_static("2"))
}

/// An error of RFC 6749 section 5.2. The description is a fixed text: nothing that a client sent is ever repeated.
pub(super) fn error(status: StatusCode, code: ErrorCode, description: &'static str) -> Answer {
    let body = json!({ "error": code.code(), "error_description": description });
    Answer::json(status, &body)
}
