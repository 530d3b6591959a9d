//! Trusted issuers: whose tokens are trusted beside our own, by which policy, and with which of their keys.
//!
//! [`Issuers`] belongs to a snapshot of the configuration and judges tokens: pure, without I/O, like the rest of the decision.
//! [`IssuerKeys`] outlives reloads, and is what [`refresh`] (with the feature `proxy`) fetches in the background. How a token is
//! verified is said in `token`, what a key set may hold in `keys`, and which route trusts whom in `route`.

#[cfg(feature = "proxy")]
mod fetch;
mod key_cache;
#[cfg(feature = "proxy")]
mod refresher;
mod registry;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use key_cache::{FetchPlan, IssuerKeys, KeySource};
#[cfg(feature = "proxy")]
pub use refresher::refresh;
pub use registry::KeyRegistry;

use crate::clock::Timestamp;
use crate::route::rule::TrustedIssuers;
use crate::token::{TrustedIssuerPolicy, VerifiedToken, Verifier, VerifyError, claimed_issuer};

/// A trusted issuer as the configuration names it.
#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    /// What is trusted of its tokens.
    pub policy: TrustedIssuerPolicy,
    /// Where its keys come from.
    pub source: KeySource,
}

/// Everybody whose tokens this snapshot can verify: ourselves and the trusted issuers.
#[derive(Debug)]
pub struct Issuers {
    own: Arc<Verifier>,
    external: Vec<(TrustedIssuerPolicy, Arc<IssuerKeys>)>,
}

impl Issuers {
    /// Ourselves and these, whose key sets are taken over from `registry` where it has them already.
    #[must_use]
    pub fn new(own: Arc<Verifier>, accepted: Vec<TrustedIssuer>, registry: &KeyRegistry) -> Self {
        let external = accepted
            .into_iter()
            .map(|TrustedIssuer { policy, source }| (policy, registry.find(source)))
            .collect();
        Self { own, external }
    }

    /// Verifies a token by the policy of whoever it says issued it, which the signature then has to prove.
    ///
    /// # Errors
    /// [`VerifyError`], with the first reason found. A key id that is not known makes its issuer's keys be fetched soon.
    pub fn verify(
        &self,
        token: &str,
        trusted: &TrustedIssuers,
        now: Timestamp,
    ) -> Result<VerifiedToken, VerifyError> {
        let claimed = match self.external.is_empty() {
            true => None,
            // What cannot be read is nobody's, and says why it cannot.
            false => claimed_issuer(token)?,
        };
        let Some((policy, keys)) = claimed.and_then(|issuer| self.find(&issuer)) else {
            let token = self.own.verify(token, now).map_err(|error| self.exactly(error, token))?;
            return if trusted.own() { Ok(token) } else { Err(VerifyError::WrongIssuer) };
        };
        if !trusted.includes(&policy.issuer) {
            return Err(VerifyError::WrongIssuer);
        }
        let set = keys.current(now).ok_or(VerifyError::KeysUnavailable)?;
        let outcome = policy.verify(token, &set, now);
        if outcome == Err(VerifyError::UnknownKey) {
            keys.request_refresh();
        }
        outcome
    }

    /// Asks again what can change about a token that was verified before.
    ///
    /// # Errors
    /// [`VerifyError`] when it would not be verified any more, or not on this route.
    pub fn recheck(
        &self,
        token: &VerifiedToken,
        trusted: &TrustedIssuers,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        if !token.is_external() {
            self.own.recheck(token, now)?;
            return if trusted.own() { Ok(()) } else { Err(VerifyError::WrongIssuer) };
        }
        let (policy, keys) = self.find(token.issuer()).ok_or(VerifyError::WrongIssuer)?;
        if !trusted.includes(&policy.issuer) {
            return Err(VerifyError::WrongIssuer);
        }
        let set = keys.current(now).ok_or(VerifyError::KeysUnavailable)?;
        policy.recheck(token, &set, now)
    }

    /// Why a token that is not ours is refused. Whoever sends one of an issuer that nobody configured, or one that cannot be read,
    /// is not helped by hearing that its key or its type is unknown. Asked of refused tokens only, so what is unproven opens nothing.
    fn exactly(&self, error: VerifyError, token: &str) -> VerifyError {
        match error {
            VerifyError::UnknownKey | VerifyError::WrongType => match claimed_issuer(token) {
                Ok(Some(issuer)) if issuer != self.own.issuer() => VerifyError::WrongIssuer,
                Ok(_) => error,
                Err(malformed) => malformed,
            },
            error => error,
        }
    }

    /// What verifies our own tokens.
    #[must_use]
    pub fn own(&self) -> &Verifier {
        &self.own
    }

    /// Whether a text says that one of the trusted issuers made it. Nothing of it is proven.
    #[must_use]
    pub fn is_from_trusted_issuer(&self, text: &str) -> bool {
        !self.external.is_empty()
            && claimed_issuer(text)
                .is_ok_and(|claimed| claimed.is_some_and(|issuer| self.find(&issuer).is_some()))
    }

    /// The key sets of the trusted issuers, in the order of the configuration.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<IssuerKeys>> {
        self.external.iter().map(|(_, keys)| keys)
    }

    fn find(&self, issuer: &str) -> Option<(&TrustedIssuerPolicy, &Arc<IssuerKeys>)> {
        let found = self.external.iter().find(|(policy, _)| *policy.issuer == *issuer);
        found.map(|(policy, keys)| (policy, keys))
    }
}
