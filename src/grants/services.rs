//! What a grant may ask: the accounts, the clients, the state, and who writes the tokens.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::grants::{Accounts, ClientRegistry};
use crate::oauth::scope::Catalogue;
use crate::random::Random;
use crate::state::State;
use crate::throttle::Origin;
use crate::token::Issuer;
use crate::users::HashPool;

/// What a grant may ask of its snapshot and of what outlives it.
#[derive(Debug, Clone, Copy)]
pub struct GrantServices<'a> {
    /// Who may log in.
    pub accounts: Accounts<'a>,
    /// Through which clients.
    pub clients: &'a ClientRegistry,
    /// The declared scopes.
    pub catalogue: &'a Catalogue,
    /// The threads that check passwords.
    pub hashes: &'a HashPool,
    /// Whoever asks, whose failures are counted.
    pub origin: Origin<'a>,
    /// What outlives the process, if it is kept.
    pub state: Option<&'a State>,
    /// How long refresh tokens live.
    pub refresh: RefreshPolicy,
    /// Writes the access tokens.
    pub issuer: &'a Issuer,
    /// For ids, secrets and nonces.
    pub random: &'a dyn Random,
}

impl GrantServices<'_> {
    /// When the request came, by this node's clock.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.origin.now()
    }
}

/// How long refresh tokens live, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshPolicy {
    /// After the login, however much they are used.
    pub lifetime: Duration,
    /// While they are not used.
    pub idle: Duration,
    /// How long a spent one gives its successor once more.
    pub reuse_grace: Duration,
}

/// The longest that an access token of a family can live on after the family was revoked: the longest lifetime that a
/// configuration may give, the longest leeway, and as much again for clocks that differ.
pub const LONGEST_ACCESS: Duration = Duration::from_secs(24 * 3600 + 2 * 120);
