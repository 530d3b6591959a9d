//! Keys that the design names and this version does not have. They are refused by name, so that nobody takes a feature
//! that is missing for one that is on, or for a typo.

use super::place::Place;

/// Places, with `[]` for any item of a list and `*` for any key.
const PLANNED: &[&str] = &[
    "clients[].issuers",
    "upstreams.*.health",
    "routes[].report",
    "routes[].cors",
    "routes[].preflight",
    "routes[].rate_limit",
    "routes[].timeouts",
    "routes[].websocket",
    "routes[].networks",
    "routes[].rewrite",
    "tests[].client",
    "tests[].at",
];

/// What is said about any of them.
pub(super) fn message(name: &str) -> String {
    format!("`{name}` is planned, and not available in this version")
}

/// Whether the unknown key at this place is planned.
pub(super) fn is_planned(place: &Place) -> bool {
    let pattern = place.pattern();
    PLANNED.iter().any(|planned| {
        let (mut ours, mut theirs) = (planned.split('.'), pattern.split('.'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_keys_are_known_only_in_their_place() {
        let root = Place::default();
        assert!(is_planned(&root.key("routes").index(0).key("report")));
        assert!(is_planned(&root.key("clients").index(3).key("issuers")));
        assert!(is_planned(&root.key("upstreams").key("shop").key("health")));
        assert!(!is_planned(&root.key("routes").index(0).key("health")));
        assert!(!is_planned(&root.key("refresh")));
        assert!(!is_planned(&root.key("upstreams").key("health")));
    }
}
