//! A text that may be a refresh token of ours, presented by whoever may not be known to us.
//!
//! Texts that we never made cost as little as can be, and are counted by address, by themselves: too many ban refresh tokens
//! from there. What the store's key proves to be ours is neither counted nor kept waiting by those.

use crate::clock::Timestamp;
use crate::grants::services::GrantServices;
use crate::log_limit::LogLimit;
use crate::state::{Family, Presented, RefreshToken, State, StoreError};
use crate::throttle::Wait;

/// The family of a token, if we made it and the store still knows its family.
///
/// # Errors
/// [`PresentedError`].
pub async fn family_of(
    token: &RefreshToken,
    services: &GrantServices<'_>,
    state: &State,
) -> Result<Option<Family>, PresentedError> {
    if !state.store().is_proven(token) {
        services.origin.check_tokens()?;
    }
    match state.store().present(token).await? {
        Presented::Ours(family) => Ok(Some(*family)),
        Presented::Forgotten => Ok(None),
        Presented::Invented => {
            services.origin.invented_a_token();
            Ok(None)
        }
    }
}

/// Why it is not known what a token is.
#[derive(Debug, thiserror::Error)]
pub enum PresentedError {
    /// Too many from this address were never made by us.
    #[error(transparent)]
    Throttled(#[from] Wait),
    /// The store does not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

static LIMIT: LogLimit = LogLimit::new();

/// Says that the store did not do what a request needed: once per cause and interval, since any request may be the cause.
pub fn log_unavailable(error: &StoreError, now: Timestamp) {
    if let Some(left_out) = LIMIT.allow(error.cause(), now) {
        tracing::warn!(%error, left_out, "the state store did not do what a request needs");
    }
}
