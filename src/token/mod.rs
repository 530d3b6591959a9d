//! Our access tokens: JWTs in the profile of RFC 9068. Issue them, verify them, remember what was verified.
//!
//! [`VerifiedToken`] is made only by [`Verifier`]. Whether its user still exists, and which scopes a route wants, is asked
//! above (`access`), on every request, whether the token was verified now or found in the [`TokenCache`].

mod cache;
mod claims;
mod error;
pub mod inspect;
mod issuer;
mod json;
mod jws;
#[cfg(test)]
mod tests;
mod verifier;

pub use cache::{TokenCache, TokenDigest};
pub use error::VerifyError;
pub use issuer::{AccessToken, Content, IssueError, Issuer};
pub use verifier::{VerifiedToken, Verifier};
