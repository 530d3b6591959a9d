//! The table of all routes, and the one winner for a host, a path and a method.
//!
//! Hosts are compared first (exact, then the longest wildcard, then any), then paths segment by segment (literal, then
//! parameter, then `**`). The first host pattern under which any path matches decides. The method is looked at last: one
//! that the winning path does not cover is refused, never handed to a broader route.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::Method;

use crate::route::certificate::CertificateRule;
use crate::route::host::HostPattern;
use crate::route::method::MethodSet;
use crate::route::pattern::{PathPattern, Segment};
use crate::route::rule::{AccessRule, Believed};
use crate::route::upstream::Upstream;

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
    /// Whose tokens it believes.
    pub believed: Believed,
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
}

impl RouteTable {
    /// Indexes the routes. What is wrong among them is found by [`crate::route::overlap::findings`]; a table of routes with
    /// an error there must not be used.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table =
            Self { routes: routes.into_iter().map(Arc::new).collect(), ..Self::default() };
        for route in table.routes.clone() {
            table.tree(&route.host).insert(&route);
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
        let Some(leaf) = self.trees(host).find_map(|tree| tree.find(relative(path))) else {
            return Found::Nothing;
        };
        match leaf.iter().find(|route| route.methods.contains(method)) {
            Some(route) => Found::Route(route),
            None => Found::OtherMethods(
                leaf.iter().fold(MethodSet::default(), |all, r| all.union(&r.methods)),
            ),
        }
    }

    /// Every route that covers the host and path, the winner's path first: for `explain`.
    #[must_use]
    pub fn candidates(&self, host: &str, path: &str) -> Vec<&Arc<Route>> {
        let mut found = Vec::new();
        for tree in self.trees(host) {
            tree.collect(relative(path), &mut found);
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

/// The path without its first and, if any, its last slash; `None` for the root. So an exact `/x` covers `/x/`.
fn relative(path: &str) -> Option<&str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() && path.len() < 2 { None } else { Some(inner) }
}

/// The routes of one host pattern as a tree of segments.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    param: Option<Box<Node>>,
    exact: Vec<Arc<Route>>,
    rest: Vec<Arc<Route>>,
}

impl Node {
    fn insert(&mut self, route: &Arc<Route>) {
        let mut node = self;
        for segment in route.path.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Param(_) => node.param.get_or_insert_default(),
            };
        }
        let leaf = if route.path.is_open() { &mut node.rest } else { &mut node.exact };
        leaf.push(Arc::clone(route));
    }

    /// The routes of the most specific pattern that matches. Every node is looked at once at most, since a tree has one way
    /// to each.
    fn find(&self, path: Option<&str>) -> Option<&[Arc<Route>]> {
        let Some(path) = path else {
            return some(&self.exact).or_else(|| some(&self.rest));
        };
        let (segment, below) = first_segment(path);
        self.literals
            .get(segment)
            .and_then(|node| node.find(below))
            .or_else(|| self.param_for(segment).and_then(|node| node.find(below)))
            .or_else(|| some(&self.rest))
    }

    fn collect<'a>(&'a self, path: Option<&str>, found: &mut Vec<&'a Arc<Route>>) {
        if let Some(path) = path {
            let (segment, below) = first_segment(path);
            for node in self.literals.get(segment).into_iter().chain(self.param_for(segment)) {
                node.collect(below, found);
            }
        } else {
            found.extend(&self.exact);
        }
        found.extend(&self.rest);
    }

    fn param_for(&self, segment: &str) -> Option<&Self> {
        self.param.as_deref().filter(|_| !segment.is_empty())
    }
}

fn some(leaf: &[Arc<Route>]) -> Option<&[Arc<Route>]> {
    Some(leaf).filter(|leaf| !leaf.is_empty())
}

fn first_segment(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(segment, below)| (segment, Some(below)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::route::allowance::PathAllowances;
    use crate::route::upstream::Timeouts;
    use proptest::prelude::*;

    /// A route from `[METHODS ]HOST/PATH`.
    pub(crate) fn route(id: &str, text: &str, rule: AccessRule) -> Route {
        let (methods, target) = text.split_once(' ').unwrap_or(("", text));
        let (host, path) = target.split_at(target.find('/').unwrap());
        let timeouts = Timeouts::default();
        let methods = match methods {
            "" => MethodSet::ALL,
            names => MethodSet::from_names(names.split(',')).unwrap(),
        };
        Route {
            id: Arc::from(id),
            host: HostPattern::parse(if host.is_empty() { "*" } else { host }).unwrap(),
            path: PathPattern::parse(path).unwrap(),
            methods,
            rule,
            believed: Believed::default(),
            certificate: None,
            upstream: Arc::new(Upstream::new("app", vec![], timeouts, PathAllowances::default())),
            body_limit: None,
            forward_authorization: None,
            end_at_token_expiry: true,
        }
    }

    fn table(routes: &[&str]) -> RouteTable {
        RouteTable::new(routes.iter().map(|text| route(text, text, AccessRule::Public)).collect())
    }

    fn winner(table: &RouteTable, host: &str, path: &str, method: &str) -> String {
        match table.find(host, path, &Method::from_bytes(method.as_bytes()).unwrap()) {
            Found::Route(route) => route.id.to_string(),
            Found::OtherMethods(methods) => format!("405 {}", methods.allow()),
            Found::Nothing => "404".to_owned(),
        }
    }

    #[test]
    fn c12_the_most_specific_route_wins_whatever_the_order() {
        let mut routes = [
            "/**",
            "/a/**",
            "/a/{x}",
            "/a/b",
            "/a/{x}/c",
            "shop.com/a/**",
            "*.shop.com/**",
            "*.b.shop.com/**",
        ];
        for _ in 0..2 {
            let table = table(&routes);
            for (host, path, expected) in [
                ("x", "/", "/**"),
                ("x", "/a", "/a/**"),
                ("x", "/a/", "/a/**"),
                ("x", "/ax", "/**"),
                ("x", "/a/b", "/a/b"),
                ("x", "/a/b/", "/a/b"),
                ("x", "/a/q", "/a/{x}"),
                ("x", "/a/q/c", "/a/{x}/c"),
                ("x", "/a/b/c", "/a/{x}/c"),
                ("x", "/a/q/d", "/a/**"),
                ("shop.com", "/a/b", "shop.com/a/**"),
                ("shop.com", "/b", "/**"),
                ("w.shop.com", "/a/b", "*.shop.com/**"),
                ("w.b.shop.com", "/", "*.b.shop.com/**"),
            ] {
                assert_eq!(winner(&table, host, path, "GET"), expected, "{host}{path}");
            }
            routes.reverse();
        }
    }

    #[test]
    fn c12_a_method_is_never_handed_to_a_broader_route() {
        let table = table(&["/**", "GET /a/**", "POST,PUT /a/**"]);
        assert_eq!(winner(&table, "x", "/a/1", "GET"), "GET /a/**");
        assert_eq!(winner(&table, "x", "/a/1", "HEAD"), "GET /a/**");
        assert_eq!(winner(&table, "x", "/a/1", "PUT"), "POST,PUT /a/**");
        assert_eq!(winner(&table, "x", "/a/1", "DELETE"), "405 GET, HEAD, POST, PUT");
        assert_eq!(winner(&table, "x", "/b", "DELETE"), "/**");
        assert_eq!(winner(&table, "x", "/b", "TRACE"), format!("405 {}", MethodSet::ALL.allow()));
    }

    #[test]
    fn the_case_of_a_host_matters_as_little_among_a_thousand_as_alone() {
        for count in [1, 100, 1_000] {
            let names: Vec<String> =
                (0..count).map(|n| format!("Host{n}.Example.com/**")).collect();
            let texts: Vec<&str> = names.iter().map(String::as_str).collect();
            let table = table(&texts);
            for asked in ["HOST0.example.COM", "host0.example.com.", "host0.example.com:8443"] {
                let host = crate::route::host::Host::parse(asked).unwrap();
                assert_eq!(
                    winner(&table, host.name(), "/x", "GET"),
                    names[0],
                    "{asked} of {count}"
                );
            }
            assert_eq!(winner(&table, "other.example.com", "/x", "GET"), "404");
        }
    }

    #[test]
    fn empty_segments_match_no_parameter() {
        let table = table(&["/a/{x}", "/a/{x}/b"]);
        assert_eq!(winner(&table, "x", "/a//b", "GET"), "404");
        assert_eq!(winner(&table, "x", "/a//", "GET"), "404");
        assert_eq!(winner(&table, "x", "//", "GET"), "404");
    }

    #[test]
    fn candidates_come_in_order_of_precedence() {
        let table = table(&["/**", "/a/{x}", "/a/b", "h/a/**"]);
        let ids: Vec<_> = table.candidates("h", "/a/b").iter().map(|r| r.id.to_string()).collect();
        assert_eq!(ids, ["h/a/**", "/a/b", "/a/{x}", "/**"]);
    }

    proptest! {
        /// The tree against the definition: of all patterns that contain the path, the first by precedence.
        #[test]
        fn the_tree_agrees_with_the_definition(
            patterns in prop::collection::btree_set("(/(a|b|\\{x\\})){0,3}(/\\*\\*)?", 1..12),
            path in "(/[abc]){1,4}",
        ) {
            let texts: Vec<String> = patterns.into_iter().map(|p| if p.is_empty() { "/".to_owned() } else { p }).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let asked = PathPattern::parse(&path).unwrap();
            let mut covering: Vec<PathPattern> = texts.iter().map(|t| PathPattern::parse(t).unwrap()).filter(|p| p.contains(&asked)).collect();
            covering.sort_by(PathPattern::precedence);
            let expected = covering.first().map_or_else(|| "404".to_owned(), ToString::to_string);
            prop_assert_eq!(winner(&table(&texts), "x", &path, "GET"), expected);
        }
    }
}
