//! The proof that a request may be forwarded, and everything that forwarding it needs.
//!
//! A [`Permit`] has no public constructor: only `Gateway::decide` makes one. A public route yields one too, without an
//! identity, so that there is one way to the upstream and it always strips the identity headers first.

use std::sync::Arc;

use http::Method;

use crate::access::certificate::ClientCertificate;
use crate::access::edits::HeaderEdits;
use crate::oauth::client::ClientId;
use crate::oauth::subject::Subject;
use crate::route::table::Route;
use crate::route::upstream::Upstream;
use crate::token::TokenDigest;
use crate::token::VerifiedToken;

/// A request that may pass.
#[derive(Debug)]
pub struct Permit {
    pub(crate) route: Arc<Route>,
    pub(crate) method: Method,
    pub(crate) token: Option<Arc<VerifiedToken>>,
    /// Set when the verification was made anew: what `Gateway::remember` files.
    pub(crate) fresh: Option<TokenDigest>,
    /// The client's certificate, if it showed one.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    pub(crate) target: Vec<u8>,
    pub(crate) host: String,
    pub(crate) edits: HeaderEdits,
}

impl Permit {
    /// The route's id.
    #[must_use]
    pub fn route_id(&self) -> &Arc<str> {
        &self.route.id
    }

    /// The request's method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// Where the request goes.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.route.upstream
    }

    /// The longest body that may follow, in bytes.
    #[must_use]
    pub fn body_limit(&self) -> Option<u64> {
        self.route.body_limit
    }

    /// The target for the upstream, in origin form: the path that was matched in its one spelling, and the query as received.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// The `Host` for the upstream: the one that was matched.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The edits to the request's fields.
    #[must_use]
    pub const fn edits(&self) -> &HeaderEdits {
        &self.edits
    }

    /// Who is calling; `None` on public routes and for the anonymous.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.token.as_deref().map(VerifiedToken::subject)
    }

    /// The verified token.
    #[must_use]
    pub const fn token(&self) -> Option<&Arc<VerifiedToken>> {
        self.token.as_ref()
    }

    /// The client that the token was issued to.
    #[must_use]
    pub fn client_id(&self) -> Option<&ClientId> {
        self.token.as_deref().and_then(VerifiedToken::client_id)
    }

    /// The token's id.
    #[must_use]
    pub fn token_id(&self) -> Option<&Arc<str>> {
        self.token.as_deref().and_then(VerifiedToken::token_id)
    }

    /// Whether the token's verification came from the cache; `None` when there is no token.
    #[must_use]
    pub fn cached(&self) -> Option<bool> {
        self.token.as_ref().map(|_| self.fresh.is_none())
    }
}
