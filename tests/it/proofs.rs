//! What cannot be forged is made in one place. Outside the crate the examples of its types prove that (they must not compile);
//! inside it privacy does for `Permit` and `VerifiedToken`, and this reads the source for the rest.
// Part 4, item 29.

use super::floors::{sources, without_comments};

/// Where this text stands in the code of `src`, as paths below it. Tests of a module may make what they like.
fn found(text: &str) -> Vec<String> {
    let inside = |path: &std::path::Path| {
        let path = path.to_str().unwrap().rsplit_once("/src/").unwrap().1.to_owned();
        (!path.contains("tests")).then_some(path)
    };
    let mut found: Vec<String> = sources("src")
        .into_iter()
        .filter(|(_, code)| {
            let code = without_comments(code);
            code.split("#[cfg(test)]\nmod tests {").next().unwrap().contains(text)
        })
        .filter_map(|(path, _)| inside(&path))
        .collect();
    found.sort();
    found
}

#[test]
fn only_the_decision_makes_a_permit_and_the_edits_of_one() {
    assert_eq!(found("Permit::new("), ["gateway/decide.rs"]);
    assert_eq!(found("HeaderEdits::new("), ["gateway/decide.rs"]);
    // Neither of the two has a field that others can write to.
    assert_eq!(
        found("pub struct Permit {\n    granted: Granted,\n}"),
        ["gateway/decide/permit.rs"]
    );
    assert_eq!(found("pub(super) const fn new(granted: Granted)"), ["gateway/decide/permit.rs"]);
    assert_eq!(
        found("pub struct HeaderEdits {\n    identity: Arc<Identity>,\n    route: "),
        ["access/edits.rs"]
    );
    assert_eq!(found("new(Granted {"), ["gateway/decide.rs"]);
}

#[test]
fn only_a_checked_signature_makes_a_verified_token() {
    assert_eq!(found("Signed(())"), ["token/jws.rs"]);
    assert_eq!(found("pub(super) struct Signed(());"), ["token/jws.rs"]);
    assert_eq!(found("VerifiedToken {"), ["token/external.rs", "token/verifier.rs"]);
}

#[test]
fn only_the_flows_of_the_grants_make_a_grant() {
    let flows = ["grants/client_credentials.rs", "grants/password.rs", "grants/refresh_token.rs"];
    let mut made = [found("Ok(Grant {"), found("= Grant {")].concat();
    made.sort();
    assert_eq!(made, flows);
    // Its fields are private to `grants`, where nobody else names one so; the command line has an order of that name.
    let mut all = [&flows[..], &["grants/issue.rs", "cli/users.rs"]].concat();
    all.sort_unstable();
    assert_eq!(found("Grant {"), all);
}

#[test]
fn the_search_sees_what_it_is_for() {
    assert_eq!(found("no such text anywhere"), [] as [&str; 0]);
    assert!(found("macro_rules! reasons").contains(&"reason.rs".to_owned()));
}
