//! Verifies tokens of other issuers, each by the policy that the configuration states for it (RFC 7519, RFC 8725).
//!
//! The order is the one of our own tokens: form, type, key, signature, then claims. Other issuers write other claims, so what
//! is optional or named differently is policy; what a claim may look like is not. The subject is prefixed, and the scopes are
//! cut down to those that this issuer may confer, before anybody sees them. Where its keys come from is the business of
//! `issuers`.

use std::sync::Arc;
use std::time::Duration;

use super::claims::{MAX_TOKEN_ID_BYTES, audience, payload_object, time};
use super::json::{Object, Value};
use super::jws::{Compact, Signed, Typ};
use super::verifier::check_times;
use super::{Began, VerifiedToken, VerifyError};
use crate::clock::Timestamp;
use crate::keys::{Algorithm, Key, KeySet};
use crate::oauth::client::ClientId;
use crate::oauth::scope::{MAX_SCOPE_BYTES, Scope, ScopeToken};
use crate::oauth::subject::{CLIENT_PREFIX, Subject};

/// Where the scopes are looked for when nothing is said: RFC 9068 section 2.2.3, then what others write.
pub const SCOPE_CLAIMS: [&str; 2] = ["scope", "scp"];
/// Where the subject is looked for when nothing is said (RFC 7519 section 4.1.2).
pub const SUBJECT_CLAIM: &str = "sub";

/// What is trusted of a trusted issuer's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedIssuerPolicy {
    /// The `iss` claim, exactly.
    pub issuer: Arc<str>,
    /// What `aud` must contain.
    pub audience: String,
    /// How far clocks may differ (whole seconds).
    pub leeway: Duration,
    /// What `typ` may say.
    pub types: Vec<TokenType>,
    /// What every subject begins with here.
    pub subject_prefix: SubjectPrefix,
    /// The most that its tokens are worth.
    pub scope_ceiling: Scope,
    /// The claim that names the subject.
    pub subject_claim: String,
    /// The claims that may name the scopes; the first that is there counts.
    pub scope_claims: Vec<String>,
}

/// What a token may call itself in `typ`; media types have no case (RFC 7515 section 4.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// `at+jwt` (RFC 9068 section 2.1): an access token and nothing else.
    AccessToken,
    /// `JWT`: anything. ID tokens say so too, and are told apart by their audience only.
    Jwt,
    /// Nothing at all: as `JWT`.
    Absent,
}

impl TokenType {
    /// The names in the configuration.
    pub const NAMES: [(&'static str, Self); 3] =
        [("at+jwt", Self::AccessToken), ("JWT", Self::Jwt), ("absent", Self::Absent)];

    /// Reads the name in the configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(own, _)| *own == name).map(|(_, kind)| *kind)
    }

    const fn covers(self, typ: Typ) -> bool {
        matches!(
            (self, typ),
            (Self::AccessToken, Typ::AccessToken)
                | (Self::Jwt, Typ::Jwt)
                | (Self::Absent, Typ::Absent)
        )
    }
}

/// What sets the subjects of one issuer apart: nothing, or a text that ends with `:`, which no user name holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectPrefix(Arc<str>);

/// The longest prefix, in bytes.
const MAX_PREFIX_BYTES: usize = 64;

impl SubjectPrefix {
    /// Reads a prefix.
    ///
    /// # Errors
    /// [`PrefixError`] when a subject with it could be taken for one of somebody else's.
    pub fn parse(text: &str) -> Result<Self, PrefixError> {
        if text.starts_with(CLIENT_PREFIX) {
            return Err(PrefixError::Client);
        }
        let sound = text.len() <= MAX_PREFIX_BYTES && Subject::parse(text).is_ok();
        if text.is_empty() || (sound && text.ends_with(':')) {
            return Ok(Self(Arc::from(text)));
        }
        Err(PrefixError::Form)
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The subject that this issuer calls `name`. Without a prefix it must be one that a user of ours could have.
    fn subject(&self, name: &str) -> Option<Subject> {
        if self.0.is_empty() {
            return Subject::user(name).ok();
        }
        let subject = Subject::parse(&format!("{}{name}", self.0)).ok()?;
        (!name.is_empty() && subject.is_user()).then_some(subject)
    }
}

/// Why a text is no subject prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It marks our own machine clients.
    #[error("`{CLIENT_PREFIX}` marks our own machine clients")]
    Client,
    /// It does not keep its subjects apart from our users.
    #[error(
        "a prefix is empty, or visible ASCII without a comma that ends with `:`, at most {MAX_PREFIX_BYTES} characters"
    )]
    Form,
}

/// What a token of a trusted issuer carries beyond one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct External {
    pub(super) prefix: SubjectPrefix,
    /// Whether it was issued to a client for itself.
    pub(super) machine: bool,
    /// The set that it was verified with, and which key of it.
    keys: Arc<KeySet>,
    algorithm: Algorithm,
}

impl TrustedIssuerPolicy {
    /// Verifies a token against the issuer's keys.
    ///
    /// # Errors
    /// [`VerifyError`], with the first reason found.
    pub fn verify(
        &self,
        token: &str,
        keys: &Arc<KeySet>,
        now: Timestamp,
    ) -> Result<VerifiedToken, VerifyError> {
        let jws = Compact::parse(token)?;
        if !self.types.iter().any(|own| own.covers(jws.header.typ())) {
            return Err(VerifyError::WrongType);
        }
        let id = jws.header.key_id().ok_or(VerifyError::UnknownKey)?;
        if keys.named(id).next().is_none() {
            return Err(VerifyError::UnknownKey);
        }
        let algorithm = Algorithm::parse(jws.header.algorithm());
        let key = algorithm.and_then(|algorithm| keys.find(id, algorithm));
        let key = key.ok_or(VerifyError::WrongAlgorithm)?;
        let (payload, signed) = jws.check_signature(key)?;
        let claims = payload_object(payload)?;
        let token = self.read(&claims, signed, key, keys)?;
        check_times(&token, self.leeway, now)?;
        Ok(token)
    }

    /// Asks again what can change about a token that was verified before: its times, and whether its key is still the issuer's.
    ///
    /// # Errors
    /// [`VerifyError`] when it would not be verified any more.
    pub fn recheck(
        &self,
        token: &VerifiedToken,
        keys: &Arc<KeySet>,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        let external = token.external.as_ref().ok_or(VerifyError::WrongIssuer)?;
        if !Arc::ptr_eq(&external.keys, keys) {
            let (then, now) = (&external.keys, keys);
            let [then, now] = [then, now].map(|set| set.find(&token.key_id, external.algorithm));
            if now.is_none() || now != then {
                return Err(VerifyError::UnknownKey);
            }
        }
        check_times(token, self.leeway, now)
    }

    fn read(
        &self,
        claims: &Object<'_>,
        signed: Signed,
        key: &Key,
        keys: &Arc<KeySet>,
    ) -> Result<VerifiedToken, VerifyError> {
        if claims.text("iss") != Some(&*self.issuer) {
            return Err(VerifyError::WrongIssuer);
        }
        let audience = claims.member("aud").and_then(audience).ok_or(VerifyError::WrongAudience)?;
        if !audience.contains(&self.audience) {
            return Err(VerifyError::WrongAudience);
        }
        let name = claims
            .text(&self.subject_claim)
            .ok_or(VerifyError::Malformed("its subject claim is no text"))?;
        let subject = self.subject_prefix.subject(name).ok_or(VerifyError::Malformed(
            "its subject could not be a header value, or could be taken for somebody else's",
        ))?;
        let token_id = match claims.member("jti") {
            None => None,
            Some(Value::String(id)) if is_token_id(id) => Some(Arc::from(&**id)),
            Some(_) => return Err(VerifyError::Malformed("its `jti` is no id")),
        };
        let expires_at = time(claims, "exp", "its `exp` is no point of time")?
            .ok_or(VerifyError::Malformed("it has no `exp`"))?;
        let issued_at = time(claims, "iat", "its `iat` is no point of time")?;
        let not_before = time(claims, "nbf", "its `nbf` is no point of time")?;
        let client = claims.text("client_id").or_else(|| claims.text("azp"));
        // RFC 9068 section 2.2: where no user is involved, the subject is the client.
        let machine =
            client.is_some_and(|client| [claims.text("sub"), Some(name)].contains(&Some(client)));
        Ok(VerifiedToken {
            signed,
            issuer: Arc::clone(&self.issuer),
            key_id: Arc::clone(key.id()),
            subject,
            client_id: client.and_then(|client| ClientId::parse(client).ok()),
            token_id,
            scope: self.scope(claims).intersection(&self.scope_ceiling),
            family: None,
            credential: None,
            // One that does not say when it was issued is older than any revocation. What else it says of its login is its
            // issuer's, whose store is not ours.
            began: Began { number: None, at: issued_at.unwrap_or(Timestamp::from_secs(0)) },
            issued_at: issued_at.unwrap_or(Timestamp::from_secs(0)),
            expires_at,
            starts_at: issued_at.max(not_before).unwrap_or(Timestamp::from_secs(0)),
            external: Some(External {
                prefix: self.subject_prefix.clone(),
                machine,
                keys: Arc::clone(keys),
                algorithm: key.algorithm(),
            }),
        })
    }

    /// A scope that cannot be read grants nothing, as with our own tokens.
    fn scope(&self, claims: &Object<'_>) -> Scope {
        let scope = match self.scope_claims.iter().find_map(|name| claims.member(name)) {
            Some(Value::String(text)) => Scope::parse(text).ok(),
            Some(Value::Array(items)) => list(items),
            Some(Value::Integer(_) | Value::Object(_) | Value::Other) | None => None,
        };
        scope.unwrap_or_default()
    }
}

/// The issuer that a token claims, **unproven**: only good for choosing whose keys are asked, and for the operator's eyes. `None`
/// where it names none.
///
/// # Errors
/// [`VerifyError::Malformed`] when the token cannot be read so far.
pub fn claimed_issuer(token: &str) -> Result<Option<String>, VerifyError> {
    let jws = Compact::parse(token)?;
    Ok(payload_object(jws.unproven_payload())?.text("iss").map(str::to_owned))
}

/// Names of scopes, one to a text.
fn list(items: &[Value<'_>]) -> Option<Scope> {
    let texts = items.iter().map(|item| match item {
        Value::String(text) => Some(&**text),
        Value::Integer(_) | Value::Array(_) | Value::Object(_) | Value::Other => None,
    });
    let texts: Vec<&str> = texts.collect::<Option<_>>()?;
    let length: usize = texts.iter().map(|text| text.len() + 1).sum();
    let tokens = texts.into_iter().map(|text| ScopeToken::parse(text).ok());
    tokens.collect::<Option<Scope>>().filter(|_| length <= MAX_SCOPE_BYTES)
}

fn is_token_id(id: &str) -> bool {
    let visible = id.bytes().all(|byte| byte.is_ascii_graphic());
    visible && (1..=MAX_TOKEN_ID_BYTES).contains(&id.len())
}
