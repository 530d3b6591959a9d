//! Keys that the design names and this version does not have. They are refused by name, so that nobody takes a feature
//! that is missing for one that is on, or for a typo.

use crate::config::yaml::path::YamlPath;

/// Paths, with `[]` for any item of a list and `*` for any key.
const RESERVED: &[&str] = &[
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
pub(in crate::config) fn message(name: &str) -> String {
    format!("`{name}` is planned, and not available in this version")
}

/// Whether the unknown key at this path is reserved.
pub(in crate::config) fn is_reserved(place: &YamlPath) -> bool {
    let pattern = place.pattern();
    RESERVED.iter().any(|reserved| {
        let (mut ours, mut theirs) = (reserved.split('.'), pattern.split('.'));
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
    fn reserved_keys_are_known_only_at_their_path() {
        let root = YamlPath::default();
        assert!(is_reserved(&root.key("routes").index(0).key("report")));
        assert!(is_reserved(&root.key("clients").index(3).key("issuers")));
        assert!(is_reserved(&root.key("upstreams").key("shop").key("health")));
        assert!(!is_reserved(&root.key("routes").index(0).key("health")));
        assert!(!is_reserved(&root.key("refresh")));
        assert!(!is_reserved(&root.key("upstreams").key("health")));
    }
}
