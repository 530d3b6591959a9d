//! The token endpoint (RFC 6749 section 3.2): a form in, a token or an error of section 5.2 out.
//!
//! This is the second of the two places where a reason becomes a status. Descriptions are fixed texts: nothing that a client
//! sent is ever repeated.

use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;

use crate::answer::Answer;
use crate::clock::Timestamp;
use crate::endpoints::{EndpointRequest, Outcome, Served, wrong_method};
use crate::grants::{
    self, ClientError, ClientRegistry, GrantType, PasswordError, PasswordRequest, authenticate,
};
use crate::oauth::basic::Basic;
use crate::oauth::error::ErrorCode;
use crate::oauth::form::Form;
use crate::oauth::scope::{Catalogue, Scope};
use crate::random::Random;
use crate::throttle::{Throttle, Wait};
use crate::token::{AccessToken, Issuer};
use crate::users::{HashError, HashPool, UserStore};

/// The largest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the endpoint needs of the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct TokenServices<'a> {
    /// Writes the tokens.
    pub issuer: &'a Issuer,
    /// Who may log in.
    pub users: &'a UserStore,
    /// Through which clients.
    pub clients: &'a ClientRegistry,
    /// The declared scopes.
    pub catalogue: &'a Catalogue,
    /// The threads that check passwords.
    pub hashes: &'a HashPool,
    /// Who has guessed too often.
    pub throttle: &'a Throttle,
    /// For token ids.
    pub random: &'a dyn Random,
}

/// Answers one token request.
pub async fn serve(
    services: &TokenServices<'_>,
    request: &EndpointRequest,
    now: Timestamp,
) -> Served {
    if request.method != Method::POST {
        return Served::from(wrong_method("POST"));
    }
    let mut outcome = Outcome::default();
    match exchange(services, request, now, &mut outcome).await {
        Ok((token, scope)) => {
            outcome.token_id = Some(token.token_id.clone());
            Served { answer: success(&token, &scope), outcome }
        }
        Err(failure) => {
            outcome.failure = Some(failure.id());
            let used_basic = request.headers.contains_key(AUTHORIZATION);
            Served { answer: failure.answer(used_basic), outcome }
        }
    }
}

async fn exchange(
    services: &TokenServices<'_>,
    request: &EndpointRequest,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Result<(AccessToken, Scope), Failure> {
    if request.body.len() > MAX_BODY_BYTES {
        return Err(Failure::TooLarge);
    }
    if !is_form(&request.headers) {
        return Err(Failure::MediaType);
    }
    if request.query.as_deref().is_some_and(names_credentials) {
        return Err(Failure::InQuery);
    }
    let form = Form::parse(&request.body).map_err(|_| Failure::Form)?;
    let basic = Basic::of(&request.headers);
    let visitor = services.throttle.visitor(request.client, now);
    let client = authenticate(services.clients, basic, &form, services.hashes, visitor).await?;
    outcome.client_id = Some(client.id.clone());
    let name = form.value("grant_type").ok_or(Failure::NoGrantType)?;
    let grant_type = GrantType::parse(name).ok_or(Failure::GrantType)?;
    outcome.grant = Some(grant_type);
    let grant = match grant_type {
        GrantType::Password => {
            let request = PasswordRequest::parse(&form)?;
            let TokenServices { users, catalogue, hashes, .. } = services;
            grants::exchange(request, client, users, catalogue, hashes, visitor).await?
        }
    };
    outcome.subject = Some(grant.subject().clone());
    let token = grants::issue(&grant, services.issuer, now, services.random);
    let token = token.map_err(|error| {
        tracing::error!(%error, "no token could be issued");
        Failure::Internal
    })?;
    Ok((token, grant.scope().clone()))
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
    ["grant_type", "username", "password", "client_id", "client_secret", "scope", "refresh_token"]
        .iter()
        .any(|name| form.names(name))
}

fn success(token: &AccessToken, scope: &Scope) -> Answer {
    let mut body = json!({
        "access_token": token.token,
        "token_type": "Bearer",
        "expires_in": token.expires_in,
    });
    // The grammar has no empty scope (RFC 6749 section 3.3): who may have nothing is told nothing.
    if let (false, Some(members)) = (scope.is_empty(), body.as_object_mut()) {
        members.insert("scope".to_owned(), scope.to_string().into());
    }
    Answer::json(StatusCode::OK, &body)
}

/// Why nothing was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    TooLarge,
    MediaType,
    InQuery,
    Form,
    NoGrantType,
    GrantType,
    Client(ClientError),
    Password(PasswordError),
    Internal,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        Self::Password(error)
    }
}

impl Failure {
    /// The id in the log and the metric.
    const fn id(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::MediaType => "media_type",
            Self::InQuery => "in_query",
            Self::Form => "malformed_form",
            Self::NoGrantType => "no_grant_type",
            Self::GrantType => "unsupported_grant_type",
            Self::Client(ClientError::Unknown) => "invalid_client",
            Self::Client(ClientError::TwoMethods) => "two_client_methods",
            Self::Client(ClientError::Hash(_)) | Self::Password(PasswordError::Hash(_)) => {
                "throttled"
            }
            Self::Client(ClientError::Throttled(_))
            | Self::Password(PasswordError::Throttled(_)) => "banned",
            Self::Password(PasswordError::Missing) => "no_credentials",
            Self::Password(PasswordError::TooLong) => "too_long",
            Self::Password(PasswordError::Scope) => "invalid_scope",
            Self::Password(PasswordError::Unauthorized) => "unauthorized_client",
            Self::Password(PasswordError::Refused) => "invalid_grant",
            Self::Internal => "internal_error",
        }
    }

    /// What the client hears (RFC 6749 section 5.2).
    fn answer(self, used_basic: bool) -> Answer {
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
            Self::NoGrantType => error(bad, Code::InvalidRequest, "grant_type is missing"),
            Self::GrantType => {
                error(bad, Code::UnsupportedGrantType, "there is no such grant here")
            }
            Self::Client(ClientError::TwoMethods) => {
                error(bad, Code::InvalidRequest, "the client authenticates in more than one way")
            }
            Self::Client(ClientError::Unknown) => {
                let answer = error(
                    StatusCode::UNAUTHORIZED,
                    Code::InvalidClient,
                    "the client is unknown or did not prove itself",
                );
                match used_basic {
                    true => answer.with(WWW_AUTHENTICATE, BASIC_CHALLENGE),
                    false => answer,
                }
            }
            Self::Client(ClientError::Hash(why)) | Self::Password(PasswordError::Hash(why)) => {
                unavailable(why)
            }
            Self::Client(ClientError::Throttled(wait))
            | Self::Password(PasswordError::Throttled(wait)) => banned(wait),
            Self::Password(PasswordError::Missing) => {
                error(bad, Code::InvalidRequest, "username and password are required")
            }
            Self::Password(PasswordError::Scope) => {
                error(bad, Code::InvalidScope, "nothing of the requested scope can be granted")
            }
            Self::Password(PasswordError::Unauthorized) => {
                error(bad, Code::UnauthorizedClient, "the client may not use this grant")
            }
            // Nobody has a name or password of that length: the same answer as for any other that is wrong.
            Self::Password(PasswordError::Refused | PasswordError::TooLong) => {
                error(bad, Code::InvalidGrant, "the username or password is wrong")
            }
            Self::Internal => error(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::ServerError,
                "no token could be issued",
            ),
        }
    }
}

const BASIC_CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"portcullis\"");

fn unavailable(why: HashError) -> Answer {
    let answer = error(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::TemporarilyUnavailable,
        "too many logins are waiting",
    );
    match why {
        HashError::Busy => answer.with(RETRY_AFTER, HeaderValue::from_static("1")),
        HashError::Stopped => answer,
    }
}

/// RFC 6585 section 4. Whether it is about the address, the user or the client is not told.
fn banned(wait: Wait) -> Answer {
    error(
        StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::TemporarilyUnavailable,
        "too many attempts have failed",
    )
    .with(RETRY_AFTER, HeaderValue::from(wait.retry_after.as_secs()))
}

fn error(status: StatusCode, code: ErrorCode, description: &'static str) -> Answer {
    let body = json!({ "error": code.code(), "error_description": description });
    Answer::json(status, &body)
}
