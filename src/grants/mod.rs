//! The authorization server's side of OAuth 2.0 (RFC 6749): which client asks, may it use the grant, what is granted.
//!
//! One file per grant; each ends in a [`Grant`], which nothing else can make, and [`issue`] alone turns one into a token.
//! Nothing here knows HTTP statuses: `endpoints` puts outcomes into words.

mod accounts;
mod client;
mod client_credentials;
mod issue;
mod password;
mod presented;
mod refresh_token;
mod services;
#[cfg(test)]
mod tests;

pub use accounts::{Account, Accounts, Asks, Database};
pub use client::{
    Client, ClientError, ClientRegistry, ClientRegistryError, ClientSecret, GrantType,
    authenticate, named,
};
pub use client_credentials::{ClientCredentialsError, ClientCredentialsRequest};
pub use issue::{Grant, GrantIssueError, TokenPair, issue};
pub use password::{PasswordError, PasswordRequest, log_in};
pub use presented::{PresentedError, family_of, log_unavailable};
pub use refresh_token::{RefreshError, RefreshRequest, Spent, refresh};
pub use services::{GrantServices, LONGEST_ACCESS, RefreshPolicy};
