//! Keys that are refused with a message of their own: planned keys, which this version does not have, and former names of keys. So a
//! missing feature is not taken for an enabled one, and an old file says what to change.

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

/// Former paths, with the present name of the key.
const RENAMED: &[(&str, &str)] = &[("tokens.accept", "trusted_issuers")];

/// The message for the unknown key `name` at this path. `None` for a key that is not reserved.
pub(in crate::config) fn message(path: &YamlPath, name: &str) -> Option<String> {
    let path = path.pattern();
    if RESERVED.iter().any(|reserved| matches(reserved, &path)) {
        return Some(format!("`{name}` is planned, and not available in this version"));
    }
    let renamed = RENAMED.iter().find(|(former, _)| matches(former, &path));
    renamed.map(|(_, present)| format!("`{name}` is now called `{present}`"))
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut ours, mut theirs) = (pattern.split('.'), path.split('.'));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_keys_are_known_only_at_their_path() {
        let root = YamlPath::default();
        let is_reserved = |path: &YamlPath| message(path, "key").is_some();
        assert!(is_reserved(&root.key("routes").index(0).key("report")));
        assert!(is_reserved(&root.key("clients").index(3).key("issuers")));
        assert!(is_reserved(&root.key("upstreams").key("shop").key("health")));
        assert!(!is_reserved(&root.key("routes").index(0).key("health")));
        assert!(!is_reserved(&root.key("refresh")));
        assert!(is_reserved(&root.key("tokens").key("accept")));
        assert!(!is_reserved(&root.key("accept")));
        assert!(!is_reserved(&root.key("upstreams").key("health")));
    }
}
