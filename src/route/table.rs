//! The table of all routes, and the one winner for a host, a path and a method.
//!
//! Hosts are compared first (exact, then the longest wildcard, then any), then paths segment by segment (literal, then
//! parameter, then `**`). The first host pattern under which any path matches decides. The method is looked at last: one
//! that the winning path does not cover is refused, never handed to a broader route.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::Method;

use crate::route::certificate::CertificateRule;
use crate::route::fold::{folded, without_suffix};
use crate::route::host::HostPattern;
use crate::route::method::MethodSet;
use crate::route::pattern::PathPattern;
use crate::route::rule::{AccessRule, TrustedIssuers};
use crate::route::tree::{Tree, relative};
use crate::route::upstream::{PathCase, PathSuffix, Upstream};

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name in the configuration, logs and metrics.
    pub id: Arc<str>,
    /// Which hosts it is for.
    pub host: HostPattern,
    /// Which paths it is for.
    pub path: PathPattern,
    /// Which methods it is for.
    pub methods: MethodSet,
    /// What it demands.
    pub rule: AccessRule,
    /// Whose tokens it trusts.
    pub trusted: TrustedIssuers,
    /// Whose certificates it lets through, whatever else it demands; with none, also who has no certificate.
    pub certificate: Option<CertificateRule>,
    /// Where it leads.
    pub upstream: Arc<Upstream>,
    /// The longest body of a request, in bytes; none when it takes as much as comes.
    pub body_limit: Option<u64>,
    /// Whether its application sees bearer tokens; where it does not say, the whole configuration does.
    pub forward_authorization: Option<bool>,
    /// Whether what was let through by a token ends at the token's `exp`, however long it would last.
    pub end_at_token_expiry: bool,
}

impl Route {
    /// Whether whoever this route lets through would also pass `other`.
    #[must_use]
    pub fn demands_no_less_than(&self, other: &Self) -> bool {
        // Nobody is trusted where no token is looked at.
        let is_public = [self, other].iter().any(|route| route.rule == AccessRule::Public);
        self.rule.implies(other.rule)
            && (is_public || self.trusted.implies(&other.trusted))
            && CertificateRule::implies(self.certificate.as_ref(), other.certificate.as_ref())
    }
}

/// What the table has for a request.
#[derive(Debug, Clone)]
pub enum Found<'a> {
    /// The route.
    Route(&'a Arc<Route>),
    /// The path is routed, but only for these methods.
    OtherMethods(MethodSet),
    /// No route covers the host and path.
    Nothing,
}

/// All routes, indexed. Immutable.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    exact: HashMap<String, Node>,
    /// Longest suffix first.
    wildcards: Vec<(String, Node)>,
    any: Node,
    /// Whether some literal is another one without regard to case.
    has_cased_literals: bool,
}

type Node = Tree<Arc<Route>>;

impl RouteTable {
    /// Indexes the routes. What is wrong among them is found by [`crate::route::overlap::findings`]; a table of routes with
    /// an error there must not be used.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table =
            Self { routes: routes.into_iter().map(Arc::new).collect(), ..Self::default() };
        for route in table.routes.clone() {
            table.has_cased_literals |= route.path != route.path.folded();
            table.tree(&route.host).insert(&route.path, Arc::clone(&route));
        }
        table.wildcards.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table
    }

    /// The routes in the order of the file.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Every upstream that a route leads to, by name.
    #[must_use]
    pub fn upstreams(&self) -> BTreeMap<&str, &Arc<Upstream>> {
        self.routes.iter().map(|route| (&*route.upstream.name, &route.upstream)).collect()
    }

    /// Whether a route names this host, alone or with others; a route for every host names none.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        self.routes.iter().any(|route| route.host != HostPattern::Any && route.host.matches(host))
    }

    /// The one winner. `host` is a [`crate::route::host::Host::name`], `path` a decoded path.
    #[must_use]
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Found<'_> {
        let asked = self.asked(path);
        let counts = |route: &Arc<Route>| asked.is_for(route);
        let leaf = self.trees(host).find_map(|tree| tree.find(asked.relative(), &counts));
        let Some(leaf) = leaf else { return Found::Nothing };
        let mut routes = leaf.iter().filter(|route| counts(route));
        match routes.clone().find(|route| route.methods.contains(method)) {
            Some(route) => Found::Route(route),
            None => Found::OtherMethods(
                routes.by_ref().fold(MethodSet::default(), |all, r| all.union(&r.methods)),
            ),
        }
    }

    /// Every route that covers the host and path, the winner's path first: for `explain`.
    #[must_use]
    pub fn candidates(&self, host: &str, path: &str) -> Vec<&Arc<Route>> {
        let asked = self.asked(path);
        let leaves = self.leaves(host, &asked);
        leaves.into_iter().flatten().filter(|route| asked.is_for(route)).collect()
    }

    /// The route that asks for more than `found`, which is the winner for this path, and that the application behind `found`
    /// could take the path for: because it reads it without regard to case, in every segment or in some; or because it takes
    /// the format off the last one. `None` where its owner says that it does not, and where there is no such route.
    ///
    /// A reading that is routed for other methods only asks for more than anything.
    #[must_use]
    pub fn stricter(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        found: &Route,
    ) -> Option<&Arc<Route>> {
        let reads = found.upstream.reads;
        let by_case = || {
            let asked = self.asked(path);
            let alike = asked.is_exact || reads.case == PathCase::Sensitive;
            if alike { None } else { self.stricter_reading(host, path, method, found) }
        };
        let by_suffix = || {
            // Who names the file has said what it asks for.
            let names = found.path.names_last_of(path);
            let known = reads.suffix == PathSuffix::Literal || names;
            let mut readings = without_suffix(path).filter(|_| !known);
            readings.find_map(|reading| self.stricter_reading(host, reading, method, found))
        };
        by_case().or_else(by_suffix)
    }

    fn stricter_reading(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        found: &Route,
    ) -> Option<&Arc<Route>> {
        let asked = self.asked(path);
        let leaves = self.leaves(host, &asked);
        let folds = found.upstream.reads.case != PathCase::Sensitive;
        let folds_all = found.upstream.reads.case == PathCase::Insensitive;
        let could_be = |route: &Arc<Route>| folds || asked.is_for(route);
        for (position, leaf) in leaves.iter().enumerate() {
            let before = leaves.iter().take(position).flat_map(|leaf| leaf.iter());
            let before: Vec<_> = before.filter(|route| could_be(route)).collect();
            // The path as the route spells it: a more specific pattern that covers it then wins there too.
            let wins = |route: &&Arc<Route>| {
                let covers = |other: &&Arc<Route>| {
                    folds_all || other.path.covers_spelling(&route.path, asked.plain)
                };
                could_be(route) && !before.iter().any(covers)
            };
            let winners: Vec<_> = leaf.iter().filter(wins).collect();
            let asks_more = |route: &&&Arc<Route>| {
                let for_method =
                    |own: &&Arc<Route>| own.path == route.path && own.methods.contains(method);
                match route.methods.contains(method) {
                    true => !found.demands_no_less_than(route),
                    false => !winners.iter().any(for_method),
                }
            };
            if let Some(route) = winners.iter().find(asks_more) {
                return Some(route);
            }
        }
        None
    }

    fn asked<'a>(&self, path: &'a str) -> Asked<'a> {
        let folded = folded(path);
        let is_exact = !self.has_cased_literals && matches!(folded, Cow::Borrowed(_));
        Asked { plain: relative(path), folded, is_exact }
    }

    fn leaves(&self, host: &str, asked: &Asked<'_>) -> Vec<&[Arc<Route>]> {
        let mut found = Vec::new();
        for tree in self.trees(host) {
            tree.collect(asked.relative(), &mut found);
        }
        found
    }

    fn trees(&self, host: &str) -> impl Iterator<Item = &Node> {
        let below = move |(suffix, _): &&(String, Node)| {
            host.len() > suffix.len() && host.ends_with(suffix.as_str())
        };
        let wildcards = self.wildcards.iter().filter(below).map(|(_, tree)| tree);
        self.exact.get(host).into_iter().chain(wildcards).chain(std::iter::once(&self.any))
    }

    fn tree(&mut self, host: &HostPattern) -> &mut Node {
        match host {
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Any => &mut self.any,
            HostPattern::Wildcard(suffix) => {
                let known = self.wildcards.iter().position(|(own, _)| own == suffix);
                let position = known.unwrap_or(self.wildcards.len());
                if known.is_none() {
                    self.wildcards.push((suffix.clone(), Node::default()));
                }
                // The position was just found or just made.
                match self.wildcards.get_mut(position) {
                    Some((_, node)) => node,
                    None => &mut self.any,
                }
            }
        }
    }
}

/// A path that is asked for.
struct Asked<'a> {
    /// As it stands, relative.
    plain: Option<&'a str>,
    /// Without regard to case.
    folded: Cow<'a, str>,
    /// Whether what matches without regard to case also matches with regard to it.
    is_exact: bool,
}

impl<'a> Asked<'a> {
    fn relative(&self) -> Option<&str> {
        relative(&self.folded)
    }

    /// Whether the route takes the path: as it stands or, where its upstream folds, without regard to case.
    fn is_for(&self, route: &Route) -> bool {
        self.is_exact
            || route.upstream.reads.case == PathCase::Insensitive
            || route.path.is_spelt_in(self.plain)
    }
}

#[cfg(test)]
pub(crate) mod tests;
