//! The authorization server's side of OAuth 2.0 (RFC 6749): which client asks, may it use the grant, what is granted.
//!
//! One file per grant; each ends in a [`Grant`], which nothing else can make, and [`issue`] alone turns one into a token.
//! Nothing here knows HTTP statuses: `endpoints` puts outcomes into words.

mod client;
mod client_credentials;
mod issue;
mod password;

pub use client::{
    Client, ClientError, ClientRegistry, ClientRegistryError, ClientSecret, GrantType, authenticate,
};
pub use client_credentials::{ClientCredentialsError, ClientCredentialsRequest};
pub use issue::{Grant, issue};
pub use password::{PasswordError, PasswordRequest, exchange};
