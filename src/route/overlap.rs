//! What is wrong *between* routes: ties, and overlaps whose winner guards less than the loser.
//!
//! One route inside another is intent (`/static/**` public inside `/**` required). Two that merely cross are rarely meant:
//! there the stricter one must win, or the operator must say more.

use crate::route::host::HostPattern;
use crate::route::pattern::{PathPattern, Segment};
use crate::route::table::Route;
use crate::route::upstream::{PathCase, PathSuffix};

/// A remark on two routes, by their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The route it is about.
    pub route: usize,
    /// The other route.
    pub other: usize,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// Both cover the same host and path for the same method: no winner. An error.
    Tie,
    /// They cross without one containing the other, and `route` wins there although it lets through what `other` refuses.
    /// An error.
    WeakerOverlap,
    /// No request can reach `route`; `other` is one of those that take them all. A warning.
    Unreachable,
    /// `route` takes paths that differ from those of `other`, which asks for more, only in case or by a format such as `.json`.
    /// Nobody has said whether the application behind `route` tells them apart, so they are refused. A warning.
    OtherSpelling,
}

impl FindingKind {
    /// Whether a configuration with it is refused.
    #[must_use]
    pub const fn is_error(self) -> bool {
        match self {
            Self::Tie | Self::WeakerOverlap => true,
            Self::Unreachable | Self::OtherSpelling => false,
        }
    }
}

/// Compares all routes in pairs.
#[must_use]
pub fn findings(routes: &[Route]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, route) in routes.iter().enumerate() {
        for (before, other) in routes.iter().enumerate().take(position) {
            let kind = between(other, route).map(|(kind, first)| {
                let (route, other) = if first { (before, position) } else { (position, before) };
                Finding { kind, route, other }
            });
            found.extend(kind);
        }
        for (stricter, other) in routes.iter().enumerate() {
            if takes_other_spellings(route, other) {
                let kind = FindingKind::OtherSpelling;
                found.push(Finding { kind, route: position, other: stricter });
            }
        }
        if let Some(other) = covering(route, routes) {
            found.push(Finding { kind: FindingKind::Unreachable, route: position, other });
        }
    }
    found
}

/// What is wrong between two routes, and whether it is the first that it is said of.
fn between(first: &Route, second: &Route) -> Option<(FindingKind, bool)> {
    if !first.methods.intersects(&second.methods) {
        return None;
    }
    // Where one of them matches without regard to case, what they both cover is seen so.
    let folds = [first, second].iter().any(|r| r.upstream.reads.case == PathCase::Insensitive);
    let path = |route: &Route| if folds { route.path.folded() } else { route.path.clone() };
    let (first_path, second_path) = (path(first), path(second));
    if first.host == second.host && first_path == second_path {
        return Some((FindingKind::Tie, false));
    }
    if !hosts_meet(&first.host, &second.host)
        || !first_path.overlaps(&second_path)
        || (first.host.contains(&second.host) && first_path.contains(&second_path))
        || (second.host.contains(&first.host) && second_path.contains(&first_path))
    {
        return None;
    }
    let first_wins = match (first.host == second.host, second.host.contains(&first.host)) {
        (true, _) => first_path.precedence(&second_path).is_lt(),
        (false, first_is_narrower) => first_is_narrower,
    };
    let (winner, loser) = if first_wins { (first, second) } else { (second, first) };
    (!winner.demands_no_less_than(loser)).then_some((FindingKind::WeakerOverlap, first_wins))
}

/// Whether `route` covers what differs from a path of `other`, which asks for more, in a way that the application behind `route`
/// may not see.
fn takes_other_spellings(route: &Route, other: &Route) -> bool {
    let reads = route.upstream.reads;
    if route.demands_no_less_than(other) || !hosts_meet(&route.host, &other.host) {
        return false;
    }
    let (own, others) = (route.path.folded(), other.path.folded());
    if !own.overlaps(&others) {
        return false;
    }
    let literal = |pattern: &PathPattern, at: usize| match pattern.segments().get(at) {
        Some(Segment::Literal(text)) => Some(text.clone()),
        Some(Segment::Param(_)) | None => None,
    };
    let cased = |text: &str| text.chars().any(|c| c.is_lowercase() || c.is_uppercase());
    let mut places = 0..other.path.segments().len();
    let in_case = reads.case == PathCase::Unknown
        && places.any(|at| {
            let (own, other) = (literal(&route.path, at), literal(&other.path, at));
            other.is_some_and(|other| cased(&other) && own.as_ref() != Some(&other))
        });
    let last = other.path.segments().len().saturating_sub(1);
    let by_suffix = reads.suffix == PathSuffix::Unknown
        && literal(&other.path, last).is_some()
        && literal(&route.path, last).is_none();
    in_case || by_suffix
}

fn hosts_meet(a: &HostPattern, b: &HostPattern) -> bool {
    a.contains(b) || b.contains(a)
}

/// `/x/**` is never reached when `/x` and `/x/{any}/**` are routes of the same host.
fn covering(route: &Route, routes: &[Route]) -> Option<usize> {
    if !route.path.is_open() {
        return None;
    }
    let same_base = |other: &Route, extra: usize| {
        other.host == route.host
            && other.path.segments().len() == route.path.segments().len() + extra
            && route.path.segments()
                == other.path.segments().get(..route.path.segments().len()).unwrap_or_default()
    };
    let is_param = |other: &Route| matches!(other.path.segments().last(), Some(Segment::Param(_)));
    let exact = routes.iter().any(|other| !other.path.is_open() && same_base(other, 0));
    let below = routes
        .iter()
        .position(|other| other.path.is_open() && same_base(other, 1) && is_param(other));
    below.filter(|_| exact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::certificate::CertificateRule;
    use crate::route::rule::{AccessRule, Requirement};
    use crate::route::table::tests::route;

    const CLOSED: AccessRule = AccessRule::Required(Requirement::Authenticated);

    fn kinds(routes: &[(&str, AccessRule)]) -> Vec<(FindingKind, usize, usize)> {
        let routes: Vec<_> = routes.iter().map(|(text, rule)| route(text, text, *rule)).collect();
        let found = findings(&routes).into_iter().map(|f| (f.kind, f.route, f.other));
        found.filter(|(kind, _, _)| *kind != FindingKind::OtherSpelling).collect()
    }

    // Part 4, item 3.
    #[test]
    fn a_route_that_takes_other_spellings_of_a_stricter_one_is_found() {
        use crate::route::upstream::{PathReading, PathSuffix};
        const OPEN: AccessRule = AccessRule::Public;
        let found = |weaker: &str, stricter: &str, reads: PathReading| {
            let mut routes = [route("weaker", weaker, OPEN), route("stricter", stricter, CLOSED)];
            let timeouts = routes[0].upstream.timeouts;
            let upstream = crate::route::upstream::Upstream::new(
                "app",
                vec![],
                timeouts,
                crate::route::allowance::PathAllowances::default(),
            );
            routes[0].upstream = std::sync::Arc::new(upstream.reading(reads));
            findings(&routes).iter().any(|f| f.kind == FindingKind::OtherSpelling)
        };
        let unknown = PathReading::default();
        let exact = PathReading { case: PathCase::Sensitive, suffix: PathSuffix::Literal };
        for (weaker, stricter, expected) in [
            ("/**", "/admin/**", true),
            ("/**", "/admin", true),
            ("/{x}/**", "/admin/**", true),
            ("/**", "/{x}/edit", true),
            ("/a/**", "/a/b", true),
            ("/**", "/2026/{x}", false),
            ("/**", "/2026", true),
            ("/static/**", "/admin/**", false),
            ("/Admin/**", "/admin/**", true),
            ("/admin/{x}", "/admin/{y}/edit", false),
            ("/", "/admin/**", false),
            ("a.com/**", "b.com/admin", false),
            ("a.com/**", "/admin", true),
        ] {
            assert_eq!(found(weaker, stricter, unknown), expected, "{weaker} {stricter}");
            assert!(!found(weaker, stricter, exact), "{weaker} {stricter}");
        }
        let by_case = PathReading { suffix: PathSuffix::Unknown, ..exact };
        assert!(found("/**", "/admin", by_case) && !found("/**", "/admin/{x}", by_case));
        let by_suffix = PathReading { case: PathCase::Unknown, ..exact };
        assert!(found("/**", "/admin/{x}", by_suffix) && !found("/**", "/2026", by_suffix));
    }

    #[test]
    fn the_same_host_and_path_must_have_disjoint_methods() {
        assert_eq!(kinds(&[("/a/{x}", CLOSED), ("/a/{y}", CLOSED)]), [(FindingKind::Tie, 1, 0)]);
        assert_eq!(kinds(&[("GET /a", CLOSED), ("HEAD /a", CLOSED)]), [(FindingKind::Tie, 1, 0)]);
        assert_eq!(kinds(&[("GET /a", CLOSED), ("POST /a", CLOSED)]), []);
        assert_eq!(kinds(&[("a.com/a", CLOSED), ("b.com/a", CLOSED)]), []);
    }

    #[test]
    fn a_route_inside_another_is_intent() {
        assert_eq!(kinds(&[("/**", CLOSED), ("/static/**", AccessRule::Public)]), []);
        assert_eq!(kinds(&[("/**", CLOSED), ("a.com/**", AccessRule::Public)]), []);
    }

    #[test]
    fn a_crossing_whose_winner_is_weaker_is_an_error() {
        // /a/b is covered by both; the literal `a` wins, and it is the public one.
        assert_eq!(
            kinds(&[("/a/**", AccessRule::Public), ("/{x}/b", CLOSED)]),
            [(FindingKind::WeakerOverlap, 0, 1)]
        );
        assert_eq!(
            kinds(&[("/{x}/b", CLOSED), ("/a/**", AccessRule::Public)]),
            [(FindingKind::WeakerOverlap, 1, 0)]
        );
        assert_eq!(kinds(&[("/a/**", CLOSED), ("/{x}/b", AccessRule::Public)]), []);
        // The host is compared first: the public one wins on a.com/x/admin although its path is broader.
        assert_eq!(
            kinds(&[("a.com/**", AccessRule::Public), ("/x/admin", CLOSED)]),
            [(FindingKind::WeakerOverlap, 0, 1)]
        );
        assert_eq!(kinds(&[("GET /a/**", AccessRule::Public), ("POST /{x}/b", CLOSED)]), []);
    }

    #[test]
    fn a_winner_that_asks_for_no_certificate_is_weaker_than_a_loser_that_does() {
        use crate::route::certificate::CertificateName;
        let asking = |mut route: Route, name: Option<&str>| {
            let name = name.map(|name| CertificateName::parse(name).unwrap());
            route.certificate = name.map(|name| CertificateRule::any_of([name]));
            route
        };
        let weaker = |winner: Option<&str>, loser: Option<&str>| {
            let winner = asking(route("w", "/a/**", AccessRule::Public), winner);
            let loser = asking(route("l", "/{x}/b", AccessRule::Public), loser);
            findings(&[winner, loser]).iter().any(|found| found.kind.is_error())
        };
        assert!(weaker(None, Some("cn:batch")));
        assert!(weaker(Some("cn:other"), Some("cn:batch")));
        assert!(!weaker(Some("cn:batch"), Some("cn:batch")));
        assert!(!weaker(Some("cn:batch"), None));
        assert!(!weaker(None, None));
    }

    #[test]
    fn a_route_that_others_cover_wholly_is_found() {
        let all = [("/a/**", CLOSED), ("/a", CLOSED), ("/a/{x}/**", CLOSED)];
        assert_eq!(kinds(&all), [(FindingKind::Unreachable, 0, 2)]);
        assert_eq!(kinds(&all[..2]), []);
    }
}
