//! What is wrong *between* routes: ties, and overlaps whose winner guards less than the loser.
//!
//! One route inside another is intent (`/static/**` public inside `/**` required). Two that merely cross are rarely meant:
//! there the stricter one must win, or the operator must say more.

use crate::route::certificate::CertificateRule;
use crate::route::host::HostPattern;
use crate::route::rule::AccessRule;
use crate::route::table::Route;

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
}

impl FindingKind {
    /// Whether a configuration with it is refused.
    #[must_use]
    pub const fn is_error(self) -> bool {
        match self {
            Self::Tie | Self::WeakerOverlap => true,
            Self::Unreachable => false,
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
    if first.host == second.host && first.path == second.path {
        return Some((FindingKind::Tie, false));
    }
    let contains = |a: &Route, b: &Route| a.host.contains(&b.host) && a.path.contains(&b.path);
    if !hosts_meet(&first.host, &second.host)
        || !first.path.overlaps(&second.path)
        || contains(first, second)
        || contains(second, first)
    {
        return None;
    }
    let first_wins = match (first.host == second.host, second.host.contains(&first.host)) {
        (true, _) => first.path.precedence(&second.path).is_lt(),
        (false, first_is_narrower) => first_is_narrower,
    };
    let (winner, loser) = if first_wins { (first, second) } else { (second, first) };
    // Nobody is believed where no token is looked at.
    let is_public = [winner, loser].iter().any(|route| route.rule == AccessRule::Public);
    let implies = winner.rule.implies(loser.rule)
        && (is_public || winner.believed.implies(&loser.believed))
        && CertificateRule::implies(winner.certificate.as_ref(), loser.certificate.as_ref());
    (!implies).then_some((FindingKind::WeakerOverlap, first_wins))
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
    let is_param = |other: &Route| {
        matches!(other.path.segments().last(), Some(crate::route::pattern::Segment::Param(_)))
    };
    let exact = routes.iter().any(|other| !other.path.is_open() && same_base(other, 0));
    let below = routes
        .iter()
        .position(|other| other.path.is_open() && same_base(other, 1) && is_param(other));
    below.filter(|_| exact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::rule::{AccessRule, Requirement};
    use crate::route::table::tests::route;

    const CLOSED: AccessRule = AccessRule::Required(Requirement::Authenticated);

    fn kinds(routes: &[(&str, AccessRule)]) -> Vec<(FindingKind, usize, usize)> {
        let routes: Vec<_> = routes.iter().map(|(text, rule)| route(text, text, *rule)).collect();
        findings(&routes).into_iter().map(|f| (f.kind, f.route, f.other)).collect()
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
            !findings(&[winner, loser]).is_empty()
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
