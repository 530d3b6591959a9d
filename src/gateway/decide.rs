//! The one decision: what happens to a request, from its head alone.
//!
//! Pure and synchronous: it reads the snapshot, the token cache and the trusted issuers' keys, and writes nothing (a key id that
//! is not known requests newer keys, which a task with sockets may fetch). The proxy, `explain`, the
//! configuration's own tests and the benches all call [`Gateway::decide`]. Top to bottom it is the request walk of the README.

mod permit;

use std::fmt;
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};

use crate::access::authorize::authorize;
use crate::access::certificate::ClientCertificate;
use crate::access::connection::{Connection, PlaintextPolicy, Transport};
use crate::access::denial::{Denial, DenialKind};
use crate::access::edits::{HeaderEdits, Provenance};
use crate::access::identity::Claim;
use crate::clock::Timestamp;
use crate::endpoints::Endpoint;
use crate::endpoints::introspect::Examined;
use crate::gateway::Gateway;
use crate::oauth::bearer::Bearer;
use crate::oauth::scope::{Scope, ScopeBits};
use crate::reason::Reason;
use crate::route::host::Host;
use crate::route::path::RequestPath;
use crate::route::rule::{AccessRule, TrustedIssuers};
use crate::route::table::Route;
use crate::route::target::{Target, TargetError};
use crate::token::{TokenDigest, VerifiedToken, VerifyError};
pub use permit::{Granted, Permit};

/// The head of a request, as it was received.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target's bytes (HTTP/2: `:path`).
    pub target: &'a [u8],
    /// HTTP/2's `:authority`.
    pub authority: Option<&'a str>,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// The connection it came over.
    pub connection: &'a Connection,
    /// The id that ties this request's log lines together; becomes `X-Request-Id`.
    pub request_id: &'a str,
}

/// Without target and fields, whose query, cookies and tokens are nobody's business.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestHead({} {}, {} fields)", self.request_id, self.method, self.headers.len())
    }
}

/// What happens to a request.
#[derive(Debug)]
pub enum Decision {
    /// It is for an endpoint of ours.
    Serve(Endpoint),
    /// It is refused.
    Refuse(Denial),
    /// It may pass.
    Forward(Box<Permit>),
}

/// The principal of a request: a verified token, and the scope that is in effect for it now.
pub(super) struct Principal {
    pub(super) token: Arc<VerifiedToken>,
    pub(super) effective_scope: ScopeBits,
    /// Set when the verification was made anew.
    pub(super) fresh: Option<TokenDigest>,
}

impl Gateway {
    /// Decides about a request at a point of time.
    #[must_use]
    pub fn decide(&self, head: &RequestHead<'_>, now: Timestamp) -> Decision {
        self.walk(head, now).unwrap_or_else(Decision::Refuse)
    }

    /// Files the verification that a decision made, for the next request with the same token.
    pub fn remember(&self, permit: &Permit, now: Timestamp) {
        let Granted { fresh, token, .. } = permit.granted();
        if let (Some(digest), Some(token)) = (*fresh, token) {
            self.shared.cache.remember(digest, Arc::clone(token), now);
        }
    }

    /// Every route that covers the target, the winner's path first. Empty when the target is refused.
    #[must_use]
    pub fn candidates(&self, head: &RequestHead<'_>) -> Vec<Arc<Route>> {
        let Ok(target) = Target::parse(head.target, head.authority, head.headers) else {
            return Vec::new();
        };
        let Ok(path) = target.path() else { return Vec::new() };
        self.routes.candidates(target.host.name(), path.decoded()).into_iter().cloned().collect()
    }

    fn walk(&self, head: &RequestHead<'_>, now: Timestamp) -> Result<Decision, Denial> {
        let target = Target::parse(head.target, head.authority, head.headers).map_err(refused)?;
        if head.connection.transport == Transport::Plain(PlaintextPolicy::Redirect) {
            return Err(Denial::new(self.redirect(&target, head)));
        }
        if let Some(endpoint) = self.own_endpoint(&target, head)? {
            return Ok(Decision::Serve(endpoint));
        }
        let path = target.path().map_err(|_| Denial::new(DenialKind::BadPath))?;
        let route = self.find(&target, &path, head.method)?;
        check_certificate(&route, head.connection.certificate.as_deref(), now)?;
        let principal = match route.rule {
            AccessRule::Public => None,
            AccessRule::Optional | AccessRule::Required(_) => self
                .identify(head.headers, &route.trusted, now)
                .map_err(|denial| denial.on(&route.id))?,
        };
        self.check(&route, principal.as_ref())?;
        check_length(&route, principal.as_ref(), head.headers)?;
        Ok(Decision::Forward(Box::new(self.permit(route, principal, &target, &path, head))))
    }

    /// Where to, on a listener that only redirects: the same path and query on a host that the configuration names. What
    /// cannot be repeated, since its body or its effect would be, is refused; credentials are not even looked at.
    fn redirect(&self, target: &Target<'_>, head: &RequestHead<'_>) -> DenialKind {
        let Ok(path) = target.path() else { return DenialKind::BadPath };
        // In absolute form the client chooses more than a path; no client sends it to whom it takes for the server itself.
        if head.target.first() != Some(&b'/') {
            return DenialKind::BadPath;
        }
        let host = target.host.name();
        if !self.routes.names(host) && !self.hosts.iter().any(|own| own.name() == host) {
            return DenialKind::NoRoute;
        }
        if !matches!(*head.method, Method::GET | Method::HEAD) {
            return DenialKind::Plaintext;
        }
        // Whether an ambiguous path is a good one is for its route to say.
        if path.is_ambiguous()
            && let Err(unrouted) = self.find(target, &path, head.method)
        {
            return Denial::from(unrouted).refusal().clone();
        }
        let query = target.query.map_or_else(String::new, |query| format!("?{}", as_uri(query)));
        DenialKind::Redirect(format!("https://{host}{}{query}", path.spelling()))
    }

    /// Whether the target is an endpoint of ours. A near-miss of one is nothing, on every host where they are ours: an
    /// upstream must never see the password that was meant for `/token`.
    fn own_endpoint(
        &self,
        target: &Target<'_>,
        head: &RequestHead<'_>,
    ) -> Result<Option<Endpoint>, Denial> {
        for (path, endpoint) in self.endpoints_on(&target.host) {
            if target.raw_path == path.as_bytes() {
                self.check_transport(*endpoint, head)?;
                return Ok(Some(*endpoint));
            }
            if is_near(target.raw_path, path) {
                return Err(Denial::new(DenialKind::NoRoute));
            }
        }
        Ok(None)
    }

    pub(super) fn endpoints_on(&self, host: &Host) -> &[(String, Endpoint)] {
        let ours = self.hosts.is_empty() || self.hosts.iter().any(|own| own.name() == host.name());
        if ours { &self.endpoints } else { &[] }
    }

    fn check_transport(&self, endpoint: Endpoint, head: &RequestHead<'_>) -> Result<(), Denial> {
        let vouched = match (endpoint, head.connection.transport) {
            (Endpoint::Jwks | Endpoint::Metadata, _) | (_, Transport::Tls) => true,
            (
                Endpoint::Token | Endpoint::Revoke | Endpoint::Introspect | Endpoint::Userinfo,
                Transport::Plain(rule),
            ) => match rule {
                PlaintextPolicy::Loopback | PlaintextPolicy::Insecure => true,
                PlaintextPolicy::BehindTls => {
                    self.trusted_proxies.is_https(head.connection, head.headers)
                }
                PlaintextPolicy::Refused | PlaintextPolicy::Redirect => false,
            },
        };
        if vouched { Ok(()) } else { Err(Denial::new(DenialKind::Plaintext)) }
    }

    /// Who is calling. `None` only when the request offers no credential at all; what is offered and does not hold is refused.
    fn identify(
        &self,
        headers: &HeaderMap,
        trusted: &TrustedIssuers,
        now: Timestamp,
    ) -> Result<Option<Principal>, Denial> {
        match Bearer::of(headers) {
            Bearer::Absent => Ok(None),
            Bearer::OtherScheme => Err(Denial::new(DenialKind::NoToken)),
            Bearer::Malformed => Err(Denial::new(DenialKind::MalformedCredential)),
            Bearer::Token(text) => self.examine(text, trusted, now).map(Some),
        }
    }

    /// Verifies a token of one of these issuers, and finds its effective scope.
    fn examine(
        &self,
        text: &str,
        trusted: &TrustedIssuers,
        now: Timestamp,
    ) -> Result<Principal, Denial> {
        let mirror = self.mirror.as_ref();
        // A mirror that was never filled, or is too old, cannot say that nothing was revoked.
        if mirror.is_some_and(|mirror| !mirror.is_usable()) {
            return Err(Denial::new(DenialKind::NoState));
        }
        let bad = |error: VerifyError| Denial::new(error.into());
        let digest = TokenDigest::of(text, self.generation);
        let (token, fresh) = match self.shared.cache.find(&digest) {
            Some(token) => {
                self.issuers.recheck(&token, trusted, now).map_err(|e| bad(e).of(&token, true))?;
                (token, None)
            }
            None => {
                let token = self.issuers.verify(text, trusted, now).map_err(bad)?;
                (Arc::new(token), Some(digest))
            }
        };
        let revoked = mirror.is_some_and(|mirror| mirror.is_revoked(&token));
        let effective_scope = match revoked {
            true => Err(DenialKind::Token(Reason::Revoked)),
            false => self.effective_scope(&token),
        };
        let effective_scope =
            effective_scope.map_err(|r| Denial::new(r).of(&token, fresh.is_none()))?;
        Ok(Principal { token, effective_scope, fresh })
    }

    /// As [`Gateway::examine`], for the endpoints of our own.
    pub(super) fn examined(&self, text: &str, now: Timestamp) -> Result<Examined, Denial> {
        let Principal { token, effective_scope, .. } =
            self.examine(text, &TrustedIssuers::default(), now)?;
        let scope = self.catalogue.scope(effective_scope);
        Ok(Examined { token, scope })
    }

    /// The principal of a request to an endpoint of our own.
    pub(super) fn bearer(&self, headers: &HeaderMap, now: Timestamp) -> Result<Examined, Denial> {
        let principal = self
            .identify(headers, &TrustedIssuers::default(), now)?
            .ok_or(Denial::new(DenialKind::NoToken))?;
        Ok(Examined {
            scope: self.catalogue.scope(principal.effective_scope),
            token: principal.token,
        })
    }

    /// The effective scope of a token: never more than its user and its client may still have. The scope of a trusted issuer's token
    /// is already limited to what that issuer may grant; its users and clients are not in our files.
    pub(super) fn effective_scope(&self, token: &VerifiedToken) -> Result<ScopeBits, DenialKind> {
        let granted = self.catalogue.bits(token.scope());
        if token.is_external() {
            return Ok(granted);
        }
        let client = token.client_id().and_then(|client| self.principals.clients.get(client));
        let client = client.ok_or(DenialKind::Token(Reason::Revoked))?;
        let subject = match token.subject().as_client() {
            Some(id) => {
                let client = self.principals.clients.get(id).copied();
                client.ok_or(DenialKind::Token(Reason::UserDisabled))?
            }
            None => self.effective_scope_of_user(token)?,
        };
        Ok(granted.intersection(*client).intersection(subject))
    }

    /// What the user may have now, as long as the token names the credential that the user has now.
    fn effective_scope_of_user(&self, token: &VerifiedToken) -> Result<ScopeBits, DenialKind> {
        let current = |credential: &str| token.credential() == Some(credential);
        let revoked = DenialKind::Token(Reason::Revoked);
        if let Some(user) = self.principals.users.get(token.subject()) {
            return if current(&user.credential) { Ok(user.scope) } else { Err(revoked) };
        }
        let mirror = self.mirror.as_ref().filter(|_| self.users_in_state);
        match mirror.and_then(|mirror| mirror.user(token.subject())) {
            Some(user) if current(&user.credential) => Ok(self.catalogue.bits(&user.scope)),
            Some(_) => Err(revoked),
            None => Err(DenialKind::Token(Reason::UserDisabled)),
        }
    }

    pub(super) fn check(
        &self,
        route: &Arc<Route>,
        principal: Option<&Principal>,
    ) -> Result<(), Denial> {
        match (route.rule, principal) {
            (AccessRule::Public | AccessRule::Optional, _) => Ok(()),
            (AccessRule::Required(_), None) => Err(Denial::new(DenialKind::NoToken).on(&route.id)),
            (AccessRule::Required(requirement), Some(principal)) => {
                authorize(requirement, principal.token.is_of_user(), principal.effective_scope)
                    .map_err(|wanted| {
                        Denial::new(DenialKind::Scope(self.catalogue.scope(wanted)))
                            .on(&route.id)
                            .of(&principal.token, principal.fresh.is_none())
                    })
            }
        }
    }

    fn permit(
        &self,
        route: Arc<Route>,
        principal: Option<Principal>,
        target: &Target<'_>,
        path: &RequestPath,
        head: &RequestHead<'_>,
    ) -> Permit {
        let came = Provenance {
            client: self.client_address(head.connection, head.headers),
            https: self.trusted_proxies.is_https(head.connection, head.headers),
            host: target.host.as_str(),
            request_id: head.request_id,
        };
        let names_scope = self.identity.headers().iter().any(|(_, claim)| *claim == Claim::Scope);
        let scope = match &principal {
            Some(principal) if names_scope => self.catalogue.scope(principal.effective_scope),
            Some(_) | None => Scope::default(),
        };
        let who = principal.as_ref().map(|principal| (&*principal.token, &scope));
        let edits = HeaderEdits::new(&self.identity, &route, head.headers, who, &came);
        let mut forwarded = path.spelling().as_bytes().to_vec();
        if let Some(query) = target.query {
            forwarded.push(b'?');
            forwarded.extend_from_slice(query);
        }
        let (token, fresh) = match principal {
            Some(Principal { token, fresh, .. }) => (Some(token), fresh),
            None => (None, None),
        };
        let certificate = head.connection.certificate.clone();
        let method = head.method.clone();
        let host = target.host.to_string();
        Permit::new(Granted {
            route,
            method,
            token,
            fresh,
            certificate,
            target: forwarded,
            host,
            edits,
        })
    }
}

/// Refuses a body that is announced to be longer than the route takes. One that is not announced is counted as it comes.
fn check_length(
    route: &Route,
    principal: Option<&Principal>,
    headers: &HeaderMap,
) -> Result<(), Denial> {
    let (Some(limit), Some(length)) = (route.body_limit, headers.get(CONTENT_LENGTH)) else {
        return Ok(());
    };
    // Whoever reads heads has refused what is no number.
    let length = length.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length <= limit) {
        return Ok(());
    }
    let denial = Denial::new(DenialKind::TooLarge).on(&route.id);
    Err(match principal {
        Some(principal) => denial.of(&principal.token, principal.fresh.is_none()),
        None => denial,
    })
}

/// Whether the connection has the certificate that the route needs. Asked of every route in one place, before its rule is
/// looked at, so that no rule can forget it; and before any token, so that whoever lacks the certificate learns nothing about
/// a token that may be stolen.
pub(super) fn check_certificate(
    route: &Arc<Route>,
    certificate: Option<&ClientCertificate>,
    now: Timestamp,
) -> Result<(), Denial> {
    let Some(rule) = &route.certificate else { return Ok(()) };
    let counts = certificate
        .is_some_and(|certificate| certificate.holds(now) && rule.admits(certificate.names()));
    if counts { Ok(()) } else { Err(Denial::new(DenialKind::Certificate).on(&route.id)) }
}

fn refused(error: TargetError) -> Denial {
    Denial::new(match error {
        TargetError::Host => DenialKind::BadRequest,
        TargetError::Path(_) | TargetError::Query => DenialKind::BadPath,
    })
}

/// A query as it may stand in a URL of ours: every byte that no URI holds is escaped (RFC 3986 section 3.4).
fn as_uri(query: &[u8]) -> String {
    query.iter().fold(String::with_capacity(query.len()), |mut text, byte| {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                text.push_str(&format!("%{byte:02X}"));
            }
            byte => text.push(char::from(*byte)),
        }
        text
    })
}

/// Whether a path would be the endpoint's after undoing escapes, case, doubled and trailing slashes.
pub(super) fn is_near(raw: &[u8], endpoint: &str) -> bool {
    simplified(raw) == simplified(endpoint.as_bytes())
}

fn simplified(raw: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        let escaped = match (byte, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
        let byte = escaped.unwrap_or(*byte).to_ascii_lowercase();
        if byte != b'/' || plain.last() != Some(&b'/') {
            plain.push(byte);
        }
    }
    if plain.last() == Some(&b'/') {
        plain.pop();
    }
    plain
}
