//! The introspection endpoint (RFC 7662): what a token is worth at this moment, for a client that has proved itself.
//!
//! A client learns about its own tokens; about those of others only where the configuration says `introspect: true`.
//! Everything else is `{"active":false}` and nothing more, whatever the reason.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::endpoints::client_request::{self, RequestFault, error, no_state};
use crate::endpoints::{EndpointRequest, Outcome, Served, wrong_method};
use crate::grants::{Asks, Client, ClientError, ClientSecret, GrantServices, log_unavailable};
use crate::oauth::error::ErrorCode;
use crate::oauth::scope::Scope;
use crate::reason::Reason;
use crate::state::{RefreshToken, State, StoreError};
use crate::token::VerifiedToken;

/// An access token that holds, and what it is worth now.
#[derive(Debug, Clone)]
pub struct Examined {
    /// The token.
    pub token: Arc<VerifiedToken>,
    /// What of its scope its user and client may still have.
    pub scope: Scope,
}

/// Answers one introspection request. `examine` says what a text is worth as an access token.
pub async fn serve(
    services: &GrantServices<'_>,
    audience: &str,
    examine: impl Fn(&str) -> Option<Examined>,
    request: &EndpointRequest,
) -> Served {
    if request.method != Method::POST {
        return wrong_method("POST");
    }
    let mut outcome = Outcome::default();
    let answer = match introspect(services, audience, examine, request, &mut outcome).await {
        Ok(body) => Answer::json(StatusCode::OK, &body),
        Err(failure) => {
            outcome.refused = Some(failure.reason());
            failure.answer(request)
        }
    };
    Served { answer, outcome }
}

async fn introspect(
    services: &GrantServices<'_>,
    audience: &str,
    examine: impl Fn(&str) -> Option<Examined>,
    request: &EndpointRequest,
    outcome: &mut Outcome,
) -> Result<Value, Failure> {
    let form = client_request::form(request)?;
    outcome.client_id = client_request::named_client(request, &form, services);
    if services.state.is_some_and(|state| !state.mirror().is_usable()) {
        return Err(Failure::NoState);
    }
    let client = client_request::client(request, &form, services).await?;
    // RFC 7662 section 2.1: whoever may ask must be known, or tokens could be tried out here.
    if matches!(client.secret, ClientSecret::Public) {
        return Err(Failure::Request(RequestFault::Client(ClientError::Unknown)));
    }
    let text = form.value("token").ok_or(Failure::NoToken)?;
    let found = match (RefreshToken::parse(text), services.state) {
        (Some(token), Some(state)) => refresh_token(&token, client, services, state).await?,
        (Some(_), None) => None,
        (None, _) => examine(text).and_then(|examined| access_token(&examined, client, audience)),
    };
    Ok(found.unwrap_or_else(|| json!({ "active": false })))
}

fn access_token(examined: &Examined, client: &Client, audience: &str) -> Option<Value> {
    let Examined { token, scope } = examined;
    if token.client_id() != Some(&client.id) && !client.introspect {
        return None;
    }
    let mut body = json!({
        "active": true,
        "token_type": "Bearer",
        "iss": token.issuer(),
        "sub": token.subject().as_str(),
        "aud": audience,
        "exp": token.expires_at().as_secs(),
        "iat": token.issued_at().as_secs(),
        "jti": token.token_id().map(|id| &**id),
    });
    let members = body.as_object_mut()?;
    if let Some(client_id) = token.client_id() {
        members.insert("client_id".to_owned(), client_id.as_str().into());
    }
    if token.subject().is_user() {
        members.insert("username".to_owned(), token.subject().as_str().into());
    }
    if !scope.is_empty() {
        members.insert("scope".to_owned(), scope.to_string().into());
    }
    Some(body)
}

async fn refresh_token(
    token: &RefreshToken,
    client: &Client,
    services: &GrantServices<'_>,
    state: &State,
) -> Result<Option<Value>, Failure> {
    let unavailable = |error: StoreError| {
        log_unavailable(&error, services.now());
        Failure::NoState
    };
    let family = state.store().present(token).await.map_err(unavailable)?.family();
    let good = family.filter(|family| {
        (family.client_id == client.id || client.introspect)
            && family.token == token.digest()
            && !family.revoked
            && !state.mirror().is_family_revoked(&family.id)
            && !family.is_over()
            && !state.mirror().is_overtaken(family)
    });
    let Some(family) = good else { return Ok(None) };
    let account =
        services.accounts.find(family.subject.as_str(), Asks::Proven).await.map_err(unavailable)?;
    if !account.is_some_and(|own| !own.disabled && own.credential == family.credential) {
        return Ok(None);
    }
    let mut body = json!({
        "active": true,
        "sub": family.subject.as_str(),
        "username": family.subject.as_str(),
        "client_id": family.client_id.as_str(),
        "exp": family.expires_at.min(family.idle_until).as_secs(),
        "iat": family.began.at.as_secs(),
    });
    if let (false, Some(members)) = (family.scope.is_empty(), body.as_object_mut()) {
        members.insert("scope".to_owned(), family.scope.to_string().into());
    }
    Ok(Some(body))
}

/// Why nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Request(RequestFault),
    NoToken,
    NoState,
}

impl From<RequestFault> for Failure {
    fn from(fault: RequestFault) -> Self {
        Self::Request(fault)
    }
}

impl Failure {
    const fn reason(self) -> Reason {
        match self {
            Self::Request(fault) => fault.reason(),
            Self::NoToken => Reason::NoCredentials,
            Self::NoState => Reason::StateUnavailable,
        }
    }

    fn answer(self, request: &EndpointRequest) -> Answer {
        match self {
            Self::Request(fault) => fault.answer(&request.headers),
            Self::NoToken => {
                error(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, "token is required")
            }
            Self::NoState => no_state(),
        }
    }
}
