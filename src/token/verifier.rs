//! Decides whether a token is one of our valid access tokens (RFC 9068 section 4, RFC 8725), in one order for all:
//! form, type, key, signature, then claims. Nothing of a payload is read before its signature holds.
//!
//! Whether the user still exists and the token was not revoked is asked by `access` after this, on every request.

use std::sync::Arc;
use std::time::Duration;

use super::VerifyError;
use super::claims::Claims;
use super::external::External;
use super::issuer::Began;
use super::jws::{Compact, Signed};
use crate::clock::Timestamp;
use crate::keys::{Key, KeyRing};
use crate::oauth::client::ClientId;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;

/// Verifies the access tokens of one issuer for one audience.
#[derive(Debug)]
pub struct Verifier {
    issuer: Arc<str>,
    audience: Arc<str>,
    leeway: Duration,
    keys: Arc<KeyRing>,
}

impl Verifier {
    /// A verifier that forgives clocks that differ by up to `leeway` (whole seconds).
    #[must_use]
    pub fn new(issuer: &str, audience: &str, leeway: Duration, keys: Arc<KeyRing>) -> Self {
        Self { issuer: Arc::from(issuer), audience: Arc::from(audience), leeway, keys }
    }

    /// Whose tokens it verifies: the `iss` claim.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`VerifyError`], with the first reason found.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<VerifiedToken, VerifyError> {
        let jws = Compact::parse(token)?;
        if !jws.header.is_access_token() {
            return Err(VerifyError::WrongType);
        }
        let key = self.key(jws.header.key_id().ok_or(VerifyError::UnknownKey)?, now)?;
        let (payload, signed) = jws.check_signature(key)?;
        let claims = Claims::parse(payload)?;
        if claims.issuer != *self.issuer {
            return Err(VerifyError::WrongIssuer);
        }
        if !claims.audience.iter().any(|audience| *audience == *self.audience) {
            return Err(VerifyError::WrongAudience);
        }
        let token = VerifiedToken {
            signed,
            issuer: Arc::clone(&self.issuer),
            key_id: Arc::clone(key.id()),
            subject: claims.subject,
            client_id: Some(claims.client_id),
            token_id: Some(claims.token_id),
            scope: claims.scope,
            family: claims.family,
            credential: claims.credential,
            began: Began {
                number: claims.began_number,
                at: claims.began_at.unwrap_or(claims.issued_at),
            },
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            starts_at: claims.not_before.map_or(claims.issued_at, |at| at.max(claims.issued_at)),
            external: None,
        };
        check_times(&token, self.leeway, now)?;
        Ok(token)
    }

    /// Asks again what can change about a token that this verifier has verified before: its times, and whether its key is
    /// still there. For tokens out of the cache.
    ///
    /// # Errors
    /// [`VerifyError`] when it would not be verified any more.
    pub fn recheck(&self, token: &VerifiedToken, now: Timestamp) -> Result<(), VerifyError> {
        self.key(&token.key_id, now)?;
        check_times(token, self.leeway, now)
    }

    fn key(&self, id: &str, now: Timestamp) -> Result<&Key, VerifyError> {
        let key = self.keys.find(id).ok_or(VerifyError::UnknownKey)?;
        if key.is_retired(now) {
            return Err(VerifyError::RetiredKey);
        }
        Ok(key)
    }
}

pub(super) fn check_times(
    token: &VerifiedToken,
    leeway: Duration,
    now: Timestamp,
) -> Result<(), VerifyError> {
    // RFC 7519 section 4.1.4: valid *before* `exp`, not at it.
    if now >= token.expires_at.plus(leeway) {
        return Err(VerifyError::Expired);
    }
    if now.plus(leeway) < token.starts_at {
        return Err(VerifyError::NotYetValid);
    }
    Ok(())
}

/// The proof that a token was verified. There is no other way to make one: neither a literal nor a copy.
///
/// ```
/// fn read(token: &portcullis::token::VerifiedToken) -> String {
///     token.subject().to_string()
/// }
/// ```
///
/// ```compile_fail,E0616
/// fn read(token: &portcullis::token::VerifiedToken) -> String {
///     token.subject.to_string()
/// }
/// ```
///
/// ```compile_fail,E0599
/// fn copy(token: &portcullis::token::VerifiedToken) -> portcullis::token::VerifiedToken {
///     Clone::clone(token)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Its signature was checked.
    pub(super) signed: Signed,
    pub(super) issuer: Arc<str>,
    pub(super) key_id: Arc<str>,
    pub(super) subject: Subject,
    pub(super) client_id: Option<ClientId>,
    pub(super) token_id: Option<Arc<str>>,
    pub(super) scope: Scope,
    pub(super) family: Option<Arc<str>>,
    pub(super) credential: Option<Arc<str>>,
    pub(super) began: Began,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// The later of `nbf` and `iat`.
    pub(super) starts_at: Timestamp,
    /// Set when a trusted issuer issued it.
    pub(super) external: Option<External>,
}

impl VerifiedToken {
    /// Who the token speaks for (`sub`).
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether a trusted issuer issued it: then its subject, client and id mean nothing to our own users, clients and lists.
    #[must_use]
    pub const fn is_external(&self) -> bool {
        self.external.is_some()
    }

    /// Whether it speaks for a person, and not for a client itself.
    #[must_use]
    pub fn is_of_user(&self) -> bool {
        self.subject.is_user() && self.external.as_ref().is_none_or(|external| !external.machine)
    }

    /// The client it was issued to, by the name that its issuer has for it; our own tokens always name one (RFC 9068 section
    /// 2.2).
    #[must_use]
    pub const fn client_id(&self) -> Option<&ClientId> {
        self.client_id.as_ref()
    }

    /// The client for whoever does not look at the issuer: with the prefix of an external one, like its subjects.
    #[must_use]
    pub fn client_name(&self) -> Option<String> {
        let client = self.client_id.as_ref()?;
        let prefix = self.external.as_ref().map_or("", |external| external.prefix.as_str());
        Some(format!("{prefix}{client}"))
    }

    /// Its id (`jti`), by which it is logged and revoked; our own tokens always have one.
    #[must_use]
    pub const fn token_id(&self) -> Option<&Arc<str>> {
        self.token_id.as_ref()
    }

    /// What it may be used for; empty when the token says nothing readable.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The family of refresh tokens that it came with (`sid`), if it came with one.
    #[must_use]
    pub const fn family(&self) -> Option<&Arc<str>> {
        self.family.as_ref()
    }

    /// The version of the user's credential when it was issued (`cv`).
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// When its login began (`auth_time` and `seq`); where it does not say, when it was issued.
    #[must_use]
    pub const fn began(&self) -> Began {
        self.began
    }

    /// When it was issued (`iat`).
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// When it ends (`exp`), without the leeway.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Who issued it (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}
