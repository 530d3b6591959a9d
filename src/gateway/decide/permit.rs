//! The proof that a request may be forwarded, and everything that forwarding it needs.
//!
//! A [`Permit`] is made here and its fields are private: only the decision, of which this module is a part, can make one, and
//! nobody can change one. A public route yields one too, without an identity, so that there is one way to the upstream and it
//! always strips the identity headers first.

use std::sync::Arc;

use http::Method;

use crate::access::certificate::ClientCertificate;
use crate::access::denial::{Denial, DenialKind};
use crate::access::edits::HeaderEdits;
use crate::oauth::client::ClientId;
use crate::oauth::subject::Subject;
use crate::route::table::Route;
use crate::route::upstream::Upstream;
use crate::token::TokenDigest;
use crate::token::VerifiedToken;

/// A request that may pass. Whoever has one may read it:
///
/// ```
/// use portcullis::gateway::decide::Permit;
/// fn read(permit: &mut Permit) -> Vec<u8> {
///     permit.target().to_owned()
/// }
/// ```
///
/// Nobody can change one, or make one without the decision:
///
/// ```compile_fail,E0616
/// use portcullis::gateway::decide::Permit;
/// fn read(permit: &mut Permit) -> Vec<u8> {
///     permit.target.to_owned()
/// }
/// ```
///
/// ```compile_fail,E0423
/// use portcullis::gateway::decide::Permit;
/// fn forge(granted: portcullis::gateway::decide::Granted) -> Permit {
///     Permit(granted)
/// }
/// ```
///
/// ```compile_fail,E0624
/// use portcullis::gateway::decide::Permit;
/// fn forge(granted: portcullis::gateway::decide::Granted) -> Permit {
///     Permit::new(granted)
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    granted: Granted,
}

/// What a permit consists of. By itself it opens nothing: whatever forwards asks for a [`Permit`].
#[derive(Debug)]
pub struct Granted {
    /// The route that was found.
    pub(in crate::gateway) route: Arc<Route>,
    /// The method of the request.
    pub(in crate::gateway) method: Method,
    /// Who is calling.
    pub(in crate::gateway) token: Option<Arc<VerifiedToken>>,
    /// Set when the verification was made anew: what `Gateway::remember` files.
    pub(in crate::gateway) fresh: Option<TokenDigest>,
    /// The client's certificate, if it showed one.
    pub(in crate::gateway) certificate: Option<Arc<ClientCertificate>>,
    /// The target for the upstream.
    pub(in crate::gateway) target: Vec<u8>,
    /// The host for the upstream.
    pub(in crate::gateway) host: String,
    /// The edits to the fields.
    pub(in crate::gateway) edits: HeaderEdits,
}

impl Permit {
    /// Only for the decision, whose private part this module is.
    pub(super) const fn new(granted: Granted) -> Self {
        Self { granted }
    }

    /// What it consists of.
    pub(in crate::gateway) const fn granted(&self) -> &Granted {
        &self.granted
    }

    /// The route's id.
    #[must_use]
    pub fn route_id(&self) -> &Arc<str> {
        &self.granted.route.id
    }

    /// The request's method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.granted.method
    }

    /// Where the request goes.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.granted.route.upstream
    }

    /// The longest body that may follow, in bytes.
    #[must_use]
    pub fn body_limit(&self) -> Option<u64> {
        self.granted.route.body_limit
    }

    /// The target for the upstream, in origin form: the path that was matched in its one spelling, and the query as received.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        &self.granted.target
    }

    /// The `Host` for the upstream: the one that was matched.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.granted.host
    }

    /// The edits to the request's fields.
    #[must_use]
    pub const fn edits(&self) -> &HeaderEdits {
        &self.granted.edits
    }

    /// Who is calling; `None` on public routes and for the anonymous.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.granted.token.as_deref().map(VerifiedToken::subject)
    }

    /// The refusal of this request after all, since there is no place for it now.
    #[must_use]
    pub fn overloaded(&self) -> Denial {
        let denial = Denial::new(DenialKind::Overloaded).on(self.route_id());
        match &self.granted.token {
            Some(token) => denial.of(token, self.cached() == Some(true)),
            None => denial,
        }
    }

    /// The client that the token was issued to.
    #[must_use]
    pub fn client_id(&self) -> Option<&ClientId> {
        self.granted.token.as_deref().and_then(VerifiedToken::client_id)
    }

    /// The token's id.
    #[must_use]
    pub fn token_id(&self) -> Option<&Arc<str>> {
        self.granted.token.as_deref().and_then(VerifiedToken::token_id)
    }

    /// Whether the token's verification came from the cache; `None` when there is no token.
    #[must_use]
    pub fn cached(&self) -> Option<bool> {
        self.granted.token.as_ref().map(|_| self.granted.fresh.is_none())
    }
}
