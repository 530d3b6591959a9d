//! The claims of an access token (RFC 9068 section 2.2), read from a payload whose signature is already checked.
//!
//! Every claim has one type here and anything else is refused, except `scope`, where anything else grants nothing.

use std::sync::Arc;

use super::VerifyError;
use super::json::{JsonFault, Object, Value};
use crate::clock::Timestamp;
use crate::oauth::client::ClientId;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;

/// The longest token id, in bytes.
pub(super) const MAX_TOKEN_ID_BYTES: usize = 128;

/// Claims of the right types. Times, issuer and audience are not judged yet.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    pub(super) subject: Subject,
    pub(super) client_id: ClientId,
    pub(super) token_id: Arc<str>,
    pub(super) scope: Scope,
    pub(super) family: Option<Arc<str>>,
    pub(super) credential: Option<Arc<str>>,
    pub(super) began_at: Option<Timestamp>,
    pub(super) began_number: Option<i64>,
    pub(super) expires_at: Timestamp,
    pub(super) issued_at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
}

impl Claims {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, VerifyError> {
        let claims = payload_object(payload)?;
        let text = |name: &str, wrong| claims.text(name).ok_or(VerifyError::Malformed(wrong));

        let issuer = claims.text("iss").ok_or(VerifyError::WrongIssuer)?.to_owned();
        let audience = claims.member("aud").and_then(audience).ok_or(VerifyError::WrongAudience)?;
        let subject = Subject::parse(text("sub", "its `sub` is no text")?)
            .map_err(|_| VerifyError::Malformed("its `sub` could not be a header value"))?;
        let client_id = ClientId::parse(text("client_id", "its `client_id` is no text")?)
            .map_err(|_| VerifyError::Malformed("its `client_id` is no client id"))?;
        let token_id = id(text("jti", "its `jti` is no text")?)
            .ok_or(VerifyError::Malformed("its `jti` is no id"))?;
        let family = optional_id(&claims, "sid", "its `sid` is no id")?;
        let credential = optional_id(&claims, "cv", "its `cv` is no id")?;
        let began_at = time(&claims, "auth_time", "its `auth_time` is no point of time")?;
        let began_number = number(&claims, "seq", "its `seq` is no number")?;
        let expires_at = time(&claims, "exp", "its `exp` is no point of time")?
            .ok_or(VerifyError::Malformed("it has no `exp`"))?;
        let issued_at = time(&claims, "iat", "its `iat` is no point of time")?
            .ok_or(VerifyError::Malformed("it has no `iat`"))?;
        let not_before = time(&claims, "nbf", "its `nbf` is no point of time")?;
        // A scope that cannot be read grants nothing; it is no reason to doubt who the subject is.
        let scope = claims.text("scope").and_then(|s| Scope::parse(s).ok()).unwrap_or_default();

        Ok(Self {
            issuer,
            audience,
            subject,
            client_id,
            token_id,
            scope,
            family,
            credential,
            began_at,
            began_number,
            expires_at,
            issued_at,
            not_before,
        })
    }
}

/// The payload as an object.
pub(super) fn payload_object(payload: &[u8]) -> Result<Object<'_>, VerifyError> {
    Object::parse(payload).map_err(|fault| {
        VerifyError::Malformed(match fault {
            JsonFault::Form => "its payload is no plain JSON object",
            JsonFault::Depth => "its payload is nested more than 8 deep",
            JsonFault::Members => "its payload has more than 1024 members in one object",
            JsonFault::Repeated => "its payload has a member twice in one object",
        })
    })
}

/// An id of visible ASCII.
fn id(text: &str) -> Option<Arc<str>> {
    Some(text)
        .filter(|id| !id.is_empty() && id.len() <= MAX_TOKEN_ID_BYTES)
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(Arc::from)
}

/// An id that may be left out. One that is there and cannot be read is never taken for absent: the token could then not be
/// revoked by it.
fn optional_id(
    claims: &Object<'_>,
    name: &str,
    wrong: &'static str,
) -> Result<Option<Arc<str>>, VerifyError> {
    match claims.member(name) {
        None => Ok(None),
        Some(Value::String(text)) => match id(text) {
            Some(id) => Ok(Some(id)),
            None => Err(VerifyError::Malformed(wrong)),
        },
        Some(_) => Err(VerifyError::Malformed(wrong)),
    }
}

/// A whole number of the store that may be left out. As with ids, one that cannot be read is never taken for absent.
fn number(
    claims: &Object<'_>,
    name: &str,
    wrong: &'static str,
) -> Result<Option<i64>, VerifyError> {
    match claims.member(name) {
        None => Ok(None),
        Some(Value::Integer(number)) => match i64::try_from(*number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(VerifyError::Malformed(wrong)),
        },
        Some(_) => Err(VerifyError::Malformed(wrong)),
    }
}

/// One text, or a list of texts and nothing else (RFC 7519 section 4.1.3).
pub(super) fn audience(value: &Value<'_>) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.to_string()]),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Some(text.to_string()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// A whole number of seconds up to [`Timestamp::MAX`]. RFC 7519 also allows fractions; we never issue them.
pub(super) fn time(
    claims: &Object<'_>,
    name: &str,
    wrong: &'static str,
) -> Result<Option<Timestamp>, VerifyError> {
    match claims.member(name) {
        None => Ok(None),
        Some(Value::Integer(seconds)) if *seconds <= Timestamp::MAX.as_secs() => {
            Ok(Some(Timestamp::from_secs(*seconds)))
        }
        Some(_) => Err(VerifyError::Malformed(wrong)),
    }
}
