//! The endpoints that portcullis serves itself: requests and answers as values, no sockets.
//!
//! `proxy` reads a bounded body, builds an [`EndpointRequest`] and writes the [`Served::answer`]; it logs the outcome.

pub mod client_request;
pub mod discovery;
pub mod introspect;
pub mod metadata;
pub mod revoke;
pub mod token;
pub mod userinfo;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::answer::Answer;
use crate::grants::GrantType;
use crate::oauth::client::ClientId;
use crate::oauth::subject::Subject;
use crate::reason::Reason;

/// An endpoint of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /token` (RFC 6749 section 3.2).
    Token,
    /// `POST /token/revoke` (RFC 7009).
    Revoke,
    /// `POST /token/introspect` (RFC 7662).
    Introspect,
    /// Who the bearer is.
    Userinfo,
    /// The public keys (RFC 7517 section 5).
    Jwks,
    /// What the authorization server can do (RFC 8414).
    Metadata,
}

impl Endpoint {
    /// Whether a client proves itself there, and so may fail to.
    #[must_use]
    pub const fn takes_credentials(self) -> bool {
        matches!(self, Self::Token | Self::Revoke | Self::Introspect)
    }
}

/// A request to one of them.
#[derive(Clone)]
pub struct EndpointRequest {
    /// The client's address, as far as it is trusted.
    pub client: IpAddr,
    /// The method.
    pub method: Method,
    /// The fields.
    pub headers: HeaderMap,
    /// The query as received; it never counts (RFC 6749 section 2.3.1).
    pub query: Option<String>,
    /// The whole body.
    pub body: Bytes,
}

/// Without fields, query and body, which hold passwords and tokens.
impl fmt::Debug for EndpointRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, method, headers, query: _, body } = self;
        let (fields, bytes) = (headers.len(), body.len());
        write!(f, "EndpointRequest({method} from {client}, {fields} fields, {bytes} bytes)")
    }
}

/// An answer, and what happened for the operator's eyes.
#[derive(Debug)]
pub struct Served {
    /// What the client hears.
    pub answer: Answer,
    /// What happened.
    pub outcome: Outcome,
}

/// What happened at an endpoint.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The grant, once it is known.
    pub grant: Option<GrantType>,
    /// The client: whether or not it has proved itself, but only one that there is. What names nobody may be a secret in the
    /// wrong place.
    pub client_id: Option<ClientId>,
    /// Who logged in, or tried to; only a user that there is, for the same reason.
    pub subject: Option<Subject>,
    /// The id of the token that was issued.
    pub token_id: Option<Arc<str>>,
    /// How a refresh token was spent.
    pub refresh: Option<&'static str>,
    /// Why the request was refused.
    pub refused: Option<Reason>,
    /// What exactly was wrong with its token: a fixed text.
    pub detail: Option<&'static str>,
}

impl Outcome {
    /// A request that was refused, of which nothing more is known.
    #[must_use]
    pub fn refused(reason: Reason) -> Self {
        Self { refused: Some(reason), ..Self::default() }
    }
}

impl From<Answer> for Served {
    fn from(answer: Answer) -> Self {
        Self { answer, outcome: Outcome::default() }
    }
}

/// 405 with the methods there are (RFC 9110 section 15.5.6).
fn wrong_method(allow: &'static str) -> Served {
    let body = serde_json::json!({ "error": "method_not_allowed" });
    let answer = Answer::json(StatusCode::METHOD_NOT_ALLOWED, &body);
    let answer = answer.with(ALLOW, HeaderValue::from_static(allow));
    Served { answer, outcome: Outcome::refused(Reason::MethodNotAllowed) }
}
