//! The token endpoint (RFC 6749 section 3.2): a form in, a token or an error of section 5.2 out.
//!
//! This is the second of the two places where a reason becomes a status. Descriptions are fixed texts: nothing that a client
//! sent is ever repeated.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::answer::Answer;
use crate::clock::Timestamp;
use crate::endpoints::client_request::{
    self, RequestFault, banned, busy, error, no_state, unhashed,
};
use crate::endpoints::{EndpointRequest, Outcome, Served, wrong_method};
use crate::grants::{
    self, ClientCredentialsError, ClientCredentialsRequest, GrantIssueError, GrantServices,
    GrantType, PasswordError, PasswordRequest, RefreshError, RefreshRequest, Spent, TokenPair,
};
use crate::oauth::error::ErrorCode;
use crate::oauth::scope::Scope;
use crate::reason::Reason;

/// Answers one token request.
pub async fn serve(
    services: &GrantServices<'_>,
    request: &EndpointRequest,
    now: Timestamp,
) -> Served {
    if request.method != Method::POST {
        return wrong_method("POST");
    }
    let mut outcome = Outcome::default();
    match exchange(services, request, now, &mut outcome).await {
        Ok((pair, scope)) => {
            outcome.token_id = Some(Arc::clone(&pair.access.token_id));
            Served { answer: success(&pair, &scope), outcome }
        }
        Err(failure) => {
            outcome.refused = Some(failure.reason());
            Served { answer: failure.answer(&request.headers), outcome }
        }
    }
}

async fn exchange(
    services: &GrantServices<'_>,
    request: &EndpointRequest,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Result<(TokenPair, Scope), Failure> {
    let form = client_request::form(request)?;
    outcome.grant = form.value("grant_type").and_then(GrantType::parse);
    if outcome.grant == Some(GrantType::Password) {
        outcome.subject = form.value("username").and_then(|name| services.accounts.known(name));
    }
    outcome.client_id = client_request::named_client(request, &form, services);
    // Where there is a state store, what is issued must be revocable: without the store, nothing is issued.
    if services.state.is_some_and(|state| !state.mirror().is_current()) {
        return Err(Failure::NoState);
    }
    let client = client_request::client(request, &form, services).await?;
    let name = form.value("grant_type").ok_or(Failure::NoGrantType)?;
    let grant = match GrantType::parse(name).ok_or(Failure::GrantType)? {
        GrantType::Password => {
            let request = PasswordRequest::parse(&form)?;
            grants::log_in(request, client, services).await?
        }
        GrantType::RefreshToken => {
            let request = RefreshRequest::parse(&form)?;
            let refreshed = grants::refresh(&request, client, services).await;
            outcome.refresh = refresh_outcome(&refreshed);
            refreshed?.0
        }
        GrantType::ClientCredentials => {
            ClientCredentialsRequest::parse(&form)?.exchange(client, services.catalogue)?
        }
    };
    outcome.subject = Some(grant.subject().clone());
    let pair = grants::issue(&grant, services, now).await.map_err(|error| match error {
        GrantIssueError::Overtaken => Failure::Overtaken,
        GrantIssueError::Store(error) => {
            grants::log_unavailable(&error, now);
            Failure::NoState
        }
        GrantIssueError::Token(_) | GrantIssueError::Random(_) => {
            tracing::error!(%error, "no token could be issued");
            Failure::Internal
        }
    })?;
    Ok((pair, grant.scope().clone()))
}

/// How a refresh token was spent, as the metric counts it.
const fn refresh_outcome(
    refreshed: &Result<(grants::Grant, Spent), RefreshError>,
) -> Option<&'static str> {
    match refreshed {
        Ok((_, Spent::Fresh)) => Some("rotated"),
        Ok((_, Spent::Again)) => Some("repeated"),
        Err(RefreshError::Reused) => Some("reused"),
        Err(_) => None,
    }
}

fn success(pair: &TokenPair, scope: &Scope) -> Answer {
    let mut body = json!({
        "access_token": pair.access.token,
        "token_type": "Bearer",
        "expires_in": pair.access.expires_in,
    });
    if let Some(members) = body.as_object_mut() {
        // The grammar has no empty scope (RFC 6749 section 3.3): who may have nothing is told nothing.
        if !scope.is_empty() {
            members.insert("scope".to_owned(), scope.to_string().into());
        }
        if let Some(refresh) = &pair.refresh {
            members.insert("refresh_token".to_owned(), refresh.expose().into());
        }
    }
    Answer::json(StatusCode::OK, &body)
}

/// Why nothing was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Request(RequestFault),
    NoGrantType,
    GrantType,
    Password(PasswordError),
    Refresh(RefreshError),
    NoState,
    Overtaken,
    ClientCredentials(ClientCredentialsError),
    Internal,
}

impl From<RequestFault> for Failure {
    fn from(fault: RequestFault) -> Self {
        Self::Request(fault)
    }
}

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        Self::Password(error)
    }
}

impl From<RefreshError> for Failure {
    fn from(error: RefreshError) -> Self {
        Self::Refresh(error)
    }
}

impl From<ClientCredentialsError> for Failure {
    fn from(error: ClientCredentialsError) -> Self {
        Self::ClientCredentials(error)
    }
}

impl Failure {
    /// The reason in the log and the metrics.
    const fn reason(self) -> Reason {
        match self {
            Self::Request(fault) => fault.reason(),
            Self::NoGrantType => Reason::NoGrantType,
            Self::GrantType => Reason::UnsupportedGrantType,
            Self::Password(PasswordError::Hash(why)) => unhashed(why),
            Self::Password(PasswordError::Missing) | Self::Refresh(RefreshError::Missing) => {
                Reason::NoCredentials
            }
            Self::Password(PasswordError::Throttled(_))
            | Self::Refresh(RefreshError::Throttled(_)) => Reason::Banned,
            Self::Password(PasswordError::TooLong) => Reason::TooLong,
            Self::Password(PasswordError::Scope)
            | Self::Refresh(RefreshError::Scope)
            | Self::ClientCredentials(ClientCredentialsError::Scope) => Reason::InvalidScope,
            Self::Password(PasswordError::Unauthorized)
            | Self::Refresh(RefreshError::Unauthorized)
            | Self::ClientCredentials(ClientCredentialsError::Unauthorized) => {
                Reason::UnauthorizedClient
            }
            Self::Password(PasswordError::Refused) => Reason::InvalidGrant,
            Self::Refresh(RefreshError::Invalid) => Reason::RefreshTokenInvalid,
            Self::Refresh(RefreshError::OtherClient) => Reason::RefreshTokenOfAnotherClient,
            Self::Refresh(RefreshError::Reused) => Reason::RefreshTokenReused,
            Self::Refresh(RefreshError::UserChanged) => Reason::UserChanged,
            Self::NoState
            | Self::Password(PasswordError::Unavailable)
            | Self::Refresh(RefreshError::Unavailable) => Reason::StateUnavailable,
            Self::Overtaken => Reason::Revoked,
            Self::Internal | Self::Refresh(RefreshError::Random(_)) => Reason::InternalError,
        }
    }

    /// What the client hears (RFC 6749 section 5.2).
    fn answer(self, headers: &HeaderMap) -> Answer {
        use ErrorCode as Code;
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::Request(fault) => fault.answer(headers),
            Self::NoGrantType => error(bad, Code::InvalidRequest, "grant_type is missing"),
            Self::GrantType => {
                error(bad, Code::UnsupportedGrantType, "there is no such grant here")
            }
            Self::Password(PasswordError::Hash(why)) => busy(why),
            Self::Password(PasswordError::Throttled(wait))
            | Self::Refresh(RefreshError::Throttled(wait)) => banned(wait),
            Self::Password(PasswordError::Missing) => {
                error(bad, Code::InvalidRequest, "username and password are required")
            }
            Self::Refresh(RefreshError::Missing) => {
                error(bad, Code::InvalidRequest, "refresh_token is required")
            }
            Self::Password(PasswordError::Scope)
            | Self::ClientCredentials(ClientCredentialsError::Scope) => {
                error(bad, Code::InvalidScope, "nothing of the requested scope can be granted")
            }
            Self::Refresh(RefreshError::Scope) => {
                error(bad, Code::InvalidScope, "the scope is more than was granted")
            }
            Self::Password(PasswordError::Unauthorized)
            | Self::Refresh(RefreshError::Unauthorized)
            | Self::ClientCredentials(ClientCredentialsError::Unauthorized) => {
                error(bad, Code::UnauthorizedClient, "the client may not use this grant")
            }
            // Nobody has a name or password of that length: the same answer as for any other that is wrong.
            Self::Password(PasswordError::Refused | PasswordError::TooLong) => {
                error(bad, Code::InvalidGrant, "the username or password is wrong")
            }
            // Whatever is wrong with it, the user has to log in again.
            Self::Refresh(
                RefreshError::Invalid
                | RefreshError::OtherClient
                | RefreshError::Reused
                | RefreshError::UserChanged,
            ) => error(bad, Code::InvalidGrant, "the refresh token is not valid"),
            Self::Overtaken => {
                error(bad, Code::InvalidGrant, "everything of the user was revoked meanwhile")
            }
            Self::NoState
            | Self::Password(PasswordError::Unavailable)
            | Self::Refresh(RefreshError::Unavailable) => no_state(),
            Self::Internal | Self::Refresh(RefreshError::Random(_)) => error(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::ServerError,
                "no token could be issued",
            ),
        }
    }
}
