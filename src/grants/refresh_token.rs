//! The refresh token grant (RFC 6749 section 6), with rotation and reuse detection (RFC 9700 section 4.14.2).
//!
//! Whatever can be refused without spending the token is refused first: another client, a wider scope, a user who is gone. Then
//! one durable step spends it. A token that was spent a moment ago gives its successor once more (two tabs, a lost answer); one
//! that was spent earlier is in two hands, and ends its family.

use crate::grants::accounts::Asks;
use crate::grants::client::{Client, GrantType};
use crate::grants::issue::{Grant, Lineage};
use crate::grants::presented::{PresentedError, family_of, log_unavailable};
use crate::grants::services::{GrantServices, LONGEST_ACCESS};
use crate::oauth::form::Form;
use crate::oauth::scope::Scope;
use crate::random::RandomError;
use crate::state::{Family, Nonce, RefreshToken, Rotated, Rotation, State, StoreError};
use crate::throttle::Wait;

/// The grant's parameters.
#[derive(Debug)]
pub struct RefreshRequest {
    /// `None` for a text that is no token of ours in its only spelling.
    token: Option<RefreshToken>,
    scope: Option<Scope>,
}

impl RefreshRequest {
    /// Reads them from the form.
    ///
    /// # Errors
    /// [`RefreshError::Missing`] or [`RefreshError::Scope`].
    pub fn parse(form: &Form) -> Result<Self, RefreshError> {
        let text = form.value("refresh_token").ok_or(RefreshError::Missing)?;
        let scope = form.value("scope").map(Scope::parse).transpose();
        let scope = scope.map_err(|_| RefreshError::Scope)?;
        Ok(Self { token: RefreshToken::parse(text), scope })
    }
}

/// How a token was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Now.
    Fresh,
    /// A moment ago; its successor was given once more.
    Again,
}

/// Spends a refresh token and says what is granted for it.
///
/// # Errors
/// [`RefreshError`].
pub async fn refresh(
    request: &RefreshRequest,
    client: &Client,
    services: &GrantServices<'_>,
) -> Result<(Grant, Spent), RefreshError> {
    if !client.grants.contains(&GrantType::RefreshToken) {
        return Err(RefreshError::Unauthorized);
    }
    let state = services.state.ok_or(RefreshError::Unavailable)?;
    let presented = request.token.as_ref().ok_or(RefreshError::Invalid)?;
    let family = find(presented, client, services, state).await?;
    let account = services.accounts.find(family.subject.as_str(), Asks::Proven).await;
    let account = account.map_err(|error| unavailable(&error, services))?;
    let account = account.filter(|account| !account.disabled);
    // Another password since then ends what the old one began.
    let account = account.filter(|account| account.credential == family.credential);
    let account = account.ok_or(RefreshError::UserChanged)?;
    if request.scope.as_ref().is_some_and(|wanted| !wanted.is_subset(&family.scope)) {
        return Err(RefreshError::Scope);
    }
    let most = account.scope.intersection(&client.scope);
    let most = most.intersection(&services.catalogue.iter().cloned().collect());
    let scope = request.scope.as_ref().unwrap_or(&family.scope).intersection(&most);
    if request.scope.is_some() && scope.is_empty() {
        return Err(RefreshError::Scope);
    }
    let began = family.began;
    let (successor, spent) = spend(presented, family, services, state).await?;
    let grant = Grant {
        subject: account.name,
        client_id: client.id.clone(),
        scope,
        credential: Some(account.credential),
        began: Some(began),
        lineage: Lineage::GoesOn(successor),
    };
    Ok((grant, spent))
}

/// The family of a genuine token of this client, as long as it may go on.
async fn find(
    presented: &RefreshToken,
    client: &Client,
    services: &GrantServices<'_>,
    state: &State,
) -> Result<Family, RefreshError> {
    let family = family_of(presented, services, state).await.map_err(|error| match error {
        PresentedError::Throttled(wait) => RefreshError::Throttled(wait),
        PresentedError::Store(error) => unavailable(&error, services),
    })?;
    let family = family.ok_or(RefreshError::Invalid)?;
    if family.client_id != client.id {
        return Err(RefreshError::OtherClient);
    }
    // What this node knows holds, whatever the database has lost.
    let revoked = family.revoked || state.mirror().is_family_revoked(&family.id);
    if revoked || family.is_over() || state.mirror().is_overtaken(&family) {
        return Err(RefreshError::Invalid);
    }
    Ok(family)
}

async fn spend(
    presented: &RefreshToken,
    family: Family,
    services: &GrantServices<'_>,
    state: &State,
) -> Result<(RefreshToken, Spent), RefreshError> {
    let nonce = Nonce::new(services.random)?;
    let successor = presented.successor(&nonce, &family.tag_key).ok_or(RefreshError::Invalid)?;
    let rotation = Rotation {
        family: family.clone(),
        presented: presented.digest(),
        successor: successor.digest(),
        nonce,
        idle: services.refresh.idle,
        grace: services.refresh.reuse_grace,
        access: LONGEST_ACCESS,
    };
    match state.store().rotate(rotation).await.map_err(|error| unavailable(&error, services))? {
        Rotated::Fresh => Ok((successor, Spent::Fresh)),
        Rotated::Again(nonce) => {
            let same = presented.successor(&nonce, &family.tag_key);
            Ok((same.ok_or(RefreshError::Invalid)?, Spent::Again))
        }
        Rotated::Reused => {
            let Family { id, subject, client_id, .. } = family;
            tracing::warn!(
                family = %id, %subject, %client_id,
                "a refresh token was used after it was spent: its family is revoked"
            );
            Err(RefreshError::Reused)
        }
        Rotated::Gone => Err(RefreshError::Invalid),
    }
}

fn unavailable(error: &StoreError, services: &GrantServices<'_>) -> RefreshError {
    log_unavailable(error, services.now());
    RefreshError::Unavailable
}

/// Why nothing is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// No refresh token.
    #[error("refresh_token is required")]
    Missing,
    /// It is unknown, mangled, revoked or over.
    #[error("the refresh token is unknown, revoked or over")]
    Invalid,
    /// It was issued to another client.
    #[error("the refresh token was issued to another client")]
    OtherClient,
    /// It was spent before, so its family is revoked now.
    #[error("the refresh token was spent before")]
    Reused,
    /// Its user is gone or disabled, or has another password since.
    #[error("the user is gone, disabled, or has another password")]
    UserChanged,
    /// The scope is malformed, or more than was granted.
    #[error("the scope is malformed or more than was granted")]
    Scope,
    /// The client may not use this grant.
    #[error("the client may not use the refresh token grant")]
    Unauthorized,
    /// Too many from this address were never made by us.
    #[error(transparent)]
    Throttled(#[from] Wait),
    /// The store does not say.
    #[error("the state store does not answer")]
    Unavailable,
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}
