//! Whether what let a request pass would let it pass now: asked again and again of everything that lasts, such as tunnels,
//! event streams and long transfers.
//!
//! It reads the snapshot in force, which need not be the one that decided first: a reload may have taken the route, the
//! issuer, the key, the user or the scope away since. Like the first decision it touches no socket and waits for nothing.

use std::sync::Arc;

use http::HeaderMap;

use crate::access::denial::Denial;
use crate::clock::Timestamp;
use crate::gateway::Gateway;
use crate::gateway::decide::{Granted, Permit, Principal, check_certificate};
use crate::reason::Reason;
use crate::route::table::Route;
use crate::route::target::Target;
use crate::state::Mirror;
use crate::token::{VerifiedToken, VerifyError};

impl Gateway {
    /// Decides again about a request that was let through. The credential is not read again: its verification is a part of the
    /// permit, and what can change about it since is asked.
    ///
    /// A token ends here at its `exp` itself, without the leeway: that forgives the clock of an issuer, and a stream needs no
    /// such forgiveness. On a route with `end_at_token_expiry: false` the end of the token ends nothing; everything else does.
    ///
    /// # Errors
    /// Why the request would be refused now.
    pub fn still_holds(&self, permit: &Permit, now: Timestamp) -> Result<(), Reason> {
        let reason = |denial: Denial| denial.reason();
        let Granted { route: before, method, token, certificate, target, host, .. } =
            permit.granted();
        // The path in the one spelling that was forwarded; the query decides nothing.
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let target =
            Target::parse(path, Some(host), &HeaderMap::new()).map_err(|_| Reason::BadPath)?;
        let path = target.path().map_err(|_| Reason::BadPath)?;
        let route = self.find(&target, &path, method);
        let route = route.map_err(|unrouted| reason(unrouted.into()))?;
        // Under its route's new name it may go on, but not where requests go elsewhere.
        if route.upstream.name != before.upstream.name {
            return Err(Reason::NoRoute);
        }
        check_certificate(&route, certificate.as_deref(), now).map_err(reason)?;
        let principal = token.as_ref().map(|token| self.examine_again(token, &route, now));
        self.check(&route, principal.transpose()?.as_ref()).map_err(reason)
    }

    /// Finds the effective scope of a verified token on this route again.
    fn examine_again(
        &self,
        token: &Arc<VerifiedToken>,
        route: &Route,
        now: Timestamp,
    ) -> Result<Principal, Reason> {
        let mirror = self.mirror.as_deref();
        // A mirror that is too old cannot say that nothing was revoked.
        if mirror.is_some_and(|mirror| !mirror.is_usable()) {
            return Err(Reason::StateUnavailable);
        }
        let expires_at = token.expires_at();
        let last_moment = Timestamp::from_secs(expires_at.as_secs().saturating_sub(1));
        let recheck = |at| self.issuers().recheck(token, &route.trusted, at);
        match recheck(now) {
            // Its key was looked at before its times. The rest is asked as of its last moment.
            Err(VerifyError::Expired) if !route.end_at_token_expiry => recheck(last_moment),
            Ok(()) if route.end_at_token_expiry && now >= expires_at => Err(VerifyError::Expired),
            outcome => outcome,
        }
        .map_err(VerifyError::reason)?;
        if mirror.is_some_and(|mirror: &Mirror| mirror.is_revoked(token)) {
            return Err(Reason::Revoked);
        }
        let effective_scope =
            self.effective_scope(token).map_err(|refusal| Denial::new(refusal).reason())?;
        Ok(Principal { token: Arc::clone(token), effective_scope, fresh: None })
    }
}
