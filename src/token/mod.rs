//! Our access tokens: JWTs in the profile of RFC 9068. Issue them, verify them, remember what was verified. And those of
//! trusted issuers, which are only verified.
//!
//! [`VerifiedToken`] is made only by [`Verifier`] and [`TrustedIssuerPolicy`]. Whether its user still exists, and which scopes a route wants, is asked
//! above (`access`), on every request, whether the token was verified now or found in the [`TokenCache`].

mod cache;
mod claims;
mod error;
mod external;
pub mod inspect;
mod issuer;
mod json;
mod jws;
#[cfg(test)]
mod tests;
mod verifier;

pub use cache::{TokenCache, TokenDigest};
pub use error::VerifyError;
pub use external::{
    PrefixError, SCOPE_CLAIMS, SUBJECT_CLAIM, SubjectPrefix, TokenType, TrustedIssuerPolicy,
    claimed_issuer,
};
pub use issuer::{AccessToken, Began, Content, IssueError, Issuer};
pub use verifier::{VerifiedToken, Verifier};
