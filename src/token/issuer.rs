//! Issues access tokens in the profile of RFC 9068, signed with the key of the moment.
//!
//! *Whether* a token may be issued, and with which scope, is decided by a grant (`grants`); here it is only written down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::keys::{Key, KeyRing, SignError};
use crate::oauth::bearer::MAX_TOKEN_BYTES;
use crate::oauth::client::ClientId;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::random::{self, Random, RandomError};

/// Writes tokens of one issuer for one audience.
#[derive(Debug)]
pub struct Issuer {
    issuer: String,
    audience: String,
    lifetime: Duration,
    keys: Arc<KeyRing>,
    /// The header's segment and its dot, by key id: the same for every token of one key.
    headers: HashMap<Arc<str>, String>,
}

impl Issuer {
    /// An issuer whose tokens live for `lifetime` (whole seconds).
    #[must_use]
    pub fn new(issuer: &str, audience: &str, lifetime: Duration, keys: Arc<KeyRing>) -> Self {
        let headers = keys.iter().map(|key| (Arc::clone(key.id()), header(key))).collect();
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        Self { issuer, audience, lifetime, keys, headers }
    }

    /// Issues one token.
    ///
    /// # Errors
    /// [`IssueError`] when there is no randomness, the key cannot sign, or the token would be too long to be accepted.
    pub fn issue(
        &self,
        content: &Content<'_>,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<AccessToken, IssueError> {
        let token_id = random::identifier(random)?;
        let expires_at = now.plus(self.lifetime);
        let scope = content.scope.to_string();
        let claims = Claims {
            iss: &self.issuer,
            sub: content.subject.as_str(),
            aud: &self.audience,
            exp: expires_at.as_secs(),
            iat: now.as_secs(),
            nbf: now.as_secs(),
            jti: &token_id,
            client_id: content.client_id.as_str(),
            scope: &scope,
            sid: content.family,
            cv: content.credential,
            auth_time: content.began.map(|began| began.at.as_secs()),
            seq: content.began.and_then(|began| began.number),
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| SignError)?;
        let key = self.keys.signing(now);
        let mut token = self.headers.get(key.id()).ok_or(SignError)?.clone();
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = key.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&signature);
        if token.len() > MAX_TOKEN_BYTES {
            return Err(IssueError::TooLong);
        }
        Ok(AccessToken {
            token,
            token_id: Arc::from(token_id),
            expires_in: self.lifetime.as_secs(),
            expires_at,
        })
    }

    /// How long its tokens live.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

fn header(key: &Key) -> String {
    let header = serde_json::json!({
        "alg": key.algorithm().name(),
        "kid": &**key.id(),
        "typ": "at+jwt",
    });
    format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()))
}

/// What one token says.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// For whom it speaks.
    pub subject: &'a Subject,
    /// To which client it is issued.
    pub client_id: &'a ClientId,
    /// What it may be used for.
    pub scope: &'a Scope,
    /// The family of refresh tokens that it comes from: revoking that family ends it.
    pub family: Option<&'a str>,
    /// The version of the user's credential: another password ends it.
    pub credential: Option<&'a str>,
    /// When the login began that it comes from, where there is a state store: what is revoked later ends the token, however
    /// late the token itself was issued.
    pub began: Option<Began>,
}

/// The place of a login in the order of everything that is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Began {
    /// How many changes the state store had recorded by then: every one with a higher number is later than the login. `None`
    /// for a login of a version that did not note it.
    pub number: Option<i64>,
    /// When that was, by the store's clock.
    pub at: Timestamp,
}

/// RFC 9068 section 2.2, with `nbf` beside it; `scope` is left out when empty (section 2.2.3), and `auth_time` (section
/// 2.2.1) where there is no state store. `sid`, `cv` and `seq` are ours.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u64,
    iat: u64,
    nbf: u64,
    jti: &'a str,
    client_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cv: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
}

/// A token that was issued, and what the answer and the log say about it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The token itself. Belongs in the answer's body and nowhere else.
    pub token: String,
    /// Its `jti`: what logs may show.
    pub token_id: Arc<str>,
    /// Its lifetime in seconds, for `expires_in` (RFC 6749 section 5.1).
    pub expires_in: u64,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken")
            .field("token_id", &self.token_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why no token could be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// There is no id without randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The signing key failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No verifier would look at it; the scope is too large.
    #[error("the token would be longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
}
