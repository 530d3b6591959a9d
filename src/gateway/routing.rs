//! Which route a request belongs to, in every way in which its path could be read; and, for `explain`, why none does.

use std::sync::Arc;

use http::Method;

use crate::access::denial::{Denial, DenialKind};
use crate::endpoints::Endpoint;
use crate::gateway::Gateway;
use crate::gateway::decide::{RequestHead, is_near};
use crate::route::allowance::PathAllowances;
use crate::route::method::MethodSet;
use crate::route::path::{PathError, RequestPath};
use crate::route::table::{Found, Route};
use crate::route::target::{Target, TargetError};

/// Why a request has no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unrouted {
    /// Nothing is routed there.
    Nothing,
    /// The path is routed for these methods only.
    Method(MethodSet),
    /// Its target could be read in two ways.
    Bad(BadPath),
}

impl From<Unrouted> for Denial {
    fn from(unrouted: Unrouted) -> Self {
        Self::new(match unrouted {
            Unrouted::Nothing => DenialKind::NoRoute,
            Unrouted::Method(methods) => DenialKind::Method(methods),
            Unrouted::Bad(_) => DenialKind::BadPath,
        })
    }
}

/// Why a target is refused as `bad_path`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// The target itself.
    #[error("{0}")]
    Target(TargetError),
    /// Its path, in some reading.
    #[error("{0}")]
    Path(PathError),
    /// It could be read as a path of another route.
    #[error("it could be read as `{}`, which is not a path of route {route}", .reading.escape_default())]
    OtherRoute {
        /// The reading.
        reading: String,
        /// The route of the path as it was received.
        route: Arc<str>,
    },
    /// It differs from a path of a route that asks for more only in case, or by the format behind its last segment.
    #[error(
        "it could be another spelling of a path of route {stricter}, which asks for more than route {route} (in case, or by \
         its suffix); `paths` of upstream {upstream} can say `case: sensitive`, `case: insensitive` or `suffix: literal`"
    )]
    Spelling {
        /// The route of the path as it was received.
        route: Arc<str>,
        /// The route that asks for more.
        stricter: Arc<str>,
        /// The upstream of the former.
        upstream: Arc<str>,
    },
    /// It could be read as one of our own endpoints.
    #[error("it could be read as `{}`, an endpoint of portcullis itself", .0.escape_default())]
    Endpoint(String),
}

/// What an operator could say so that a path passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// All that the upstream would have to allow, what it allows already included.
    pub allow: PathAllowances,
    /// The name of the upstream.
    pub upstream: Arc<str>,
}

impl Gateway {
    /// Why the target of a request is bad, and what would have to be allowed for it to pass, if that can be allowed. `None` when
    /// it is not bad.
    #[must_use]
    pub fn bad_path(&self, head: &RequestHead<'_>) -> Option<(BadPath, Option<Remedy>)> {
        let target = match Target::parse(head.target, head.authority, head.headers) {
            Ok(target) => target,
            Err(error) => return Some((BadPath::Target(error), None)),
        };
        let path = match target.path() {
            Ok(path) => path,
            Err(error) => return Some((BadPath::Path(error), None)),
        };
        match self.find(&target, &path, head.method) {
            Err(Unrouted::Bad(why)) => Some((why, self.remedy(&target, &path, head.method))),
            Ok(_) | Err(Unrouted::Nothing | Unrouted::Method(_)) => None,
        }
    }

    /// Adds what is missing, one by one.
    fn remedy(&self, target: &Target<'_>, path: &RequestPath, method: &Method) -> Option<Remedy> {
        let route = self.find_reading(target, path.decoded(), method).ok()?;
        let mut allow = route.upstream.allow;
        loop {
            match self.check_readings(target, path, method, &route, allow) {
                Ok(()) => break,
                Err(BadPath::Path(PathError::NotAllowed(missing))) => allow = allow.with(missing),
                Err(_) => return None,
            }
        }
        let upstream = Arc::clone(&route.upstream.name);
        (allow != route.upstream.allow).then_some(Remedy { allow, upstream })
    }

    /// The one route of a path, in every way that its upstream could read it.
    pub(super) fn find(
        &self,
        target: &Target<'_>,
        path: &RequestPath,
        method: &Method,
    ) -> Result<Arc<Route>, Unrouted> {
        let found = self.find_reading(target, path.decoded(), method);
        let Some(needed) = path.needs().iter().next() else {
            let route = found?;
            self.check_spelling(target, path.decoded(), method, &route).map_err(Unrouted::Bad)?;
            return Ok(route);
        };
        // Who would read it is not known without a route; a path that nobody vouches for is bad, not missing.
        let bad = |_| Unrouted::Bad(BadPath::Path(PathError::NotAllowed(needed)));
        let route = found.map_err(bad)?;
        self.check_readings(target, path, method, &route, route.upstream.allow)
            .map_err(Unrouted::Bad)?;
        Ok(route)
    }

    /// Whether all readings of a path are paths of this route.
    fn check_readings(
        &self,
        target: &Target<'_>,
        path: &RequestPath,
        method: &Method,
        route: &Arc<Route>,
        allow: PathAllowances,
    ) -> Result<(), BadPath> {
        for reading in path.readings(allow).map_err(BadPath::Path)? {
            let near = |(path, _): &(String, Endpoint)| is_near(reading.as_bytes(), path);
            if self.endpoints_on(&target.host).iter().any(near) {
                return Err(BadPath::Endpoint(reading));
            }
            let other = self.find_reading(target, &reading, method);
            if !other.is_ok_and(|other| other.id == route.id) {
                return Err(BadPath::OtherRoute { reading, route: Arc::clone(&route.id) });
            }
            self.check_spelling(target, &reading, method, route)?;
        }
        Ok(())
    }

    /// Whether the application could take the path for one that asks for more.
    fn check_spelling(
        &self,
        target: &Target<'_>,
        path: &str,
        method: &Method,
        route: &Arc<Route>,
    ) -> Result<(), BadPath> {
        match self.routes.stricter(target.host.name(), path, method, route) {
            None => Ok(()),
            Some(stricter) => Err(BadPath::Spelling {
                route: Arc::clone(&route.id),
                stricter: Arc::clone(&stricter.id),
                upstream: Arc::clone(&route.upstream.name),
            }),
        }
    }

    fn find_reading(
        &self,
        target: &Target<'_>,
        path: &str,
        method: &Method,
    ) -> Result<Arc<Route>, Unrouted> {
        match self.routes.find(target.host.name(), path, method) {
            Found::Route(route) => Ok(Arc::clone(route)),
            Found::OtherMethods(methods) => Err(Unrouted::Method(methods)),
            Found::Nothing => Err(Unrouted::Nothing),
        }
    }
}
