//! The revocation endpoint (RFC 7009): ends a refresh token with its whole family, or one access token.
//!
//! 200 means that the token is dead, durably and on this node at once; also where it never lived. A client ends its own tokens
//! only.

use http::{Method, StatusCode};
use serde_json::json;

use crate::answer::Answer;
use crate::clock::Timestamp;
use crate::endpoints::client_request::{self, RequestFault, banned, error, no_state};
use crate::endpoints::{EndpointRequest, Outcome, Served, wrong_method};
use crate::grants::{
    Client, GrantServices, LONGEST_ACCESS, PresentedError, family_of, log_unavailable,
};
use crate::issuers::Issuers;
use crate::oauth::error::ErrorCode;
use crate::reason::Reason;
use crate::state::{RefreshToken, Revocation, State, StoreError};
use crate::throttle::Wait;
use crate::token::{VerifiedToken, VerifyError};

/// The longest leeway, and as much again for clocks that differ: a revoked token is remembered for as long as any node might
/// still take it.
const MAX_LEEWAY: std::time::Duration = std::time::Duration::from_secs(240);

/// Answers one revocation request.
pub async fn serve(
    services: &GrantServices<'_>,
    issuers: &Issuers,
    request: &EndpointRequest,
    now: Timestamp,
) -> Served {
    if request.method != Method::POST {
        return wrong_method("POST");
    }
    let mut outcome = Outcome::default();
    let answer = match revoke(services, issuers, request, now, &mut outcome).await {
        Ok(()) => Answer::json(StatusCode::OK, &json!({})),
        Err(failure) => {
            outcome.refused = Some(failure.reason());
            failure.answer(request)
        }
    };
    Served { answer, outcome }
}

async fn revoke(
    services: &GrantServices<'_>,
    issuers: &Issuers,
    request: &EndpointRequest,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let form = client_request::form(request)?;
    outcome.client_id = client_request::named_client(request, &form, services);
    let state = services.state.filter(|state| state.mirror().is_current());
    let state = state.ok_or(Failure::NoState)?;
    let client = client_request::client(request, &form, services).await?;
    // `token_type_hint` is only a hint (section 2.1): the two kinds cannot be taken for each other.
    let text = form.value("token").ok_or(Failure::NoToken)?;
    if let Some(token) = RefreshToken::parse(text) {
        return end_family(&token, client, services, state, outcome).await;
    }
    // Section 2.2.1: 200 would say that it is dead, and it may live on here for as long as its issuer lets it.
    if issuers.is_from_trusted_issuer(text) {
        return Err(Failure::FromOutside);
    }
    match issuers.own().verify(text, now) {
        Ok(token) => end_token(&token, client, services, state, outcome).await,
        // It will live, and cannot be told from one of another client's yet.
        Err(VerifyError::NotYetValid) => Err(Failure::NotYet),
        // It is dead, or was never ours.
        Err(_) => Ok(()),
    }
}

async fn end_family(
    token: &RefreshToken,
    client: &Client,
    services: &GrantServices<'_>,
    state: &State,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let found = family_of(token, services, state).await.map_err(|error| match error {
        PresentedError::Throttled(wait) => Failure::Throttled(wait),
        PresentedError::Store(error) => unavailable(&error, services),
    })?;
    let Some(family) = found else { return Ok(()) };
    if family.client_id != client.id {
        return Err(Failure::OtherClient);
    }
    outcome.subject = Some(family.subject.clone());
    let ended = state.store().end_family(&family, LONGEST_ACCESS).await;
    ended.map(|_| ()).map_err(|error| unavailable(&error, services))
}

async fn end_token(
    token: &VerifiedToken,
    client: &Client,
    services: &GrantServices<'_>,
    state: &State,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    if token.client_id() != Some(&client.id) {
        return Err(Failure::OtherClient);
    }
    let id = token.token_id().ok_or(Failure::NoToken)?;
    outcome.subject = Some(token.subject().clone());
    outcome.token_id = Some(id.clone());
    let revocation = Revocation::Token {
        id: id.to_string(),
        subject: token.subject().clone(),
        until: token.expires_at().plus(MAX_LEEWAY),
    };
    state.store().revoke(revocation).await.map_err(|error| unavailable(&error, services))
}

/// Why nothing was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Request(RequestFault),
    NoToken,
    OtherClient,
    FromOutside,
    NotYet,
    Throttled(Wait),
    NoState,
}

impl From<RequestFault> for Failure {
    fn from(fault: RequestFault) -> Self {
        Self::Request(fault)
    }
}

fn unavailable(error: &StoreError, services: &GrantServices<'_>) -> Failure {
    log_unavailable(error, services.now());
    Failure::NoState
}

impl Failure {
    const fn reason(self) -> Reason {
        match self {
            Self::Request(fault) => fault.reason(),
            Self::NoToken => Reason::NoCredentials,
            Self::OtherClient => Reason::TokenOfAnotherClient,
            Self::FromOutside => Reason::TokenOfAnotherIssuer,
            Self::NotYet => Reason::NotYetValid,
            Self::Throttled(_) => Reason::Banned,
            Self::NoState => Reason::StateUnavailable,
        }
    }

    fn answer(self, request: &EndpointRequest) -> Answer {
        use ErrorCode as Code;
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::Request(fault) => fault.answer(&request.headers),
            Self::NoToken => error(bad, Code::InvalidRequest, "token is required"),
            Self::OtherClient => {
                error(bad, Code::InvalidGrant, "the token was issued to another client")
            }
            Self::FromOutside => {
                error(bad, Code::UnsupportedTokenType, "the token is revoked by its issuer only")
            }
            Self::NotYet => error(bad, Code::UnsupportedTokenType, "the token is not valid yet"),
            Self::Throttled(wait) => banned(wait),
            Self::NoState => no_state(),
        }
    }
}
