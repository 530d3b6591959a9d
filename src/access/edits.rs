//! What happens to the head of a forwarded request: which fields go, and which are then set.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::access::identity::{Claim, Identity};
use crate::oauth::bearer::Bearer;
use crate::oauth::scope::Scope;
use crate::route::rule::AccessRule;
use crate::route::table::Route;
use crate::token::VerifiedToken;

/// The edits of one request. They come only with a permit of the decision: nothing else makes them.
#[derive(Clone)]
pub struct HeaderEdits {
    identity: Arc<Identity>,
    route: Arc<Route>,
    /// Whether `Authorization` goes on to the upstream.
    authorization: bool,
    set: Vec<(HeaderName, HeaderValue)>,
}

/// Without the values, which say who is calling.
impl fmt::Debug for HeaderEdits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.set.iter().map(|(name, _)| name)).finish()
    }
}

/// What a forwarded request says about the way it came.
#[derive(Debug, Clone, Copy)]
pub struct Provenance<'a> {
    /// The client's address, as far as it is trusted.
    pub client: IpAddr,
    /// Whether the client's connection was encrypted.
    pub https: bool,
    /// The host that the client asked for.
    pub host: &'a str,
    /// The id that ties this request's log lines together.
    pub request_id: &'a str,
}

impl HeaderEdits {
    /// The edits for a request on a route, with these fields, of this identity or of nobody.
    #[must_use]
    pub(crate) fn new(
        identity: &Arc<Identity>,
        route: &Arc<Route>,
        headers: &HeaderMap,
        who: Option<(&VerifiedToken, &Scope)>,
        came: &Provenance<'_>,
    ) -> Self {
        let mut set = Vec::with_capacity(identity.headers().len() + 4);
        let mut put = |name: HeaderName, text: &str| {
            // Every value is header-safe by its type; one that were not is left out, which is closed.
            if let Ok(value) = HeaderValue::from_str(text) {
                set.push((name, value));
            }
        };
        for (name, claim) in identity.headers() {
            let Some((token, scope)) = who else { continue };
            match claim {
                Claim::Subject => put(name.clone(), token.subject().as_str()),
                Claim::Scope => put(name.clone(), &scope.to_string()),
                Claim::TokenId => {
                    if let Some(id) = token.token_id() {
                        put(name.clone(), id);
                    }
                }
                Claim::ClientId => {
                    if let Some(client) = token.client_name() {
                        put(name.clone(), &client);
                    }
                }
            }
        }
        put(HeaderName::from_static("x-forwarded-for"), &came.client.to_string());
        put(
            HeaderName::from_static("x-forwarded-proto"),
            if came.https { "https" } else { "http" },
        );
        put(HeaderName::from_static("x-forwarded-host"), came.host);
        put(HeaderName::from_static("x-request-id"), came.request_id);
        let authorization = forwards_authorization(identity, route, headers);
        Self { identity: Arc::clone(identity), route: Arc::clone(route), authorization, set }
    }

    /// Whether the client's field of this name must go before ours are set.
    #[must_use]
    pub fn removes(&self, name: &HeaderName) -> bool {
        self.identity.strips(name, self.route.upstream.passed_fields())
            || (*name == AUTHORIZATION && !self.authorization)
    }

    /// Whether a field of this name in the *response* must go: no upstream speaks for us either.
    #[must_use]
    pub fn removes_from_response(&self, name: &HeaderName) -> bool {
        self.identity.is_ours(name)
    }

    /// The fields to set, each exactly once, after all others are gone.
    #[must_use]
    pub fn set(&self) -> &[(HeaderName, HeaderValue)] {
        &self.set
    }

    /// The fields of a request after the edits: what `explain` prints, and what `proxy` does to the real one.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let going: Vec<HeaderName> =
            headers.keys().filter(|name| self.removes(name)).cloned().collect();
        for name in going {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// Whether the application sees `Authorization`. On a public route nobody has judged it: what is sure to be no bearer token is
/// the application's own business, and of several fields none passes, since each reader would choose another.
fn forwards_authorization(identity: &Identity, route: &Route, headers: &HeaderMap) -> bool {
    let all = route.forward_authorization.unwrap_or(identity.forward_authorization());
    match route.rule {
        AccessRule::Optional | AccessRule::Required(_) => all,
        AccessRule::Public => {
            let mut fields = headers.get_all(AUTHORIZATION).iter();
            let one = fields.next().filter(|_| fields.next().is_none());
            one.is_some_and(|field| all || !Bearer::may_be(field.as_bytes()))
        }
    }
}
