//! Names that the field has a better word for do not come back.

use std::path::Path;

/// A former name, and the name that stands in its place.
const FORMER: &[(&str, &str)] = &[
    ("Guest", "ClientConnection"),
    ("Guests", "Connections"),
    ("GuestState", "ConnectionState"),
    ("Seat", "ConnectionSlot"),
    ("Crowd", "ConnectionCounts"),
    ("Edges", "OpenListeners"),
    ("Door", "Acceptor"),
    ("farewell", "drain"),
    ("goodbye", "drain_grace"),
    ("Duty", "ControlLoop"),
    ("obey", "run"),
    ("relieve", "notify"),
    ("Rehearsal", "DryRun"),
    ("Scene", "SimulatedRequest"),
    ("came_out", "outcome"),
    ("Marks", "Positions"),
    ("Held", "CachedUser or CachedKeys"),
    ("HeldUser", "UserCeiling"),
    ("HeldUsers", "UserCache"),
    ("Holder", "Principal"),
    ("Holders", "Principals"),
    ("tend", "refresh"),
    ("wish", "request_refresh"),
    ("Believed", "TrustedIssuers"),
    ("OutsidePolicy", "TrustedIssuerPolicy"),
    ("may_confer", "scope_ceiling"),
    ("Stranger", "Attacker"),
    ("STRANGERS", "FORBIDDEN_IMPORTS"),
    ("absolve", "clear"),
    ("pardon", "reset"),
    ("PlainRule", "PlaintextPolicy"),
    ("Fate", "Disposition"),
    ("QUIET", "LOG_FILTER"),
];

/// Comments are prose, in which some of these are words.
fn is_code(line: &str) -> bool {
    !line.trim_start().starts_with("//")
}

fn complaints(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            complaints(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("names.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate().filter(|(_, line)| is_code(line)) {
                let names = line.split(|c: char| !c.is_alphanumeric() && c != '_');
                let former = names.filter_map(|name| FORMER.iter().find(|(old, _)| *old == name));
                found.extend(former.map(|(old, new)| {
                    format!("{}:{}: `{old}` is called {new}", path.display(), number + 1)
                }));
            }
        }
    }
}

// Part 5.
#[test]
fn former_names_do_not_come_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "benches", "tests"] {
        complaints(&root.join(folder), &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
