//! Configurations: every mistake has a place, what is valid can be built, and no route is open that the YAML, read by another
//! reader, does not call public.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{Corpus, fuzz_target};
use portcullis::config::Problem;
use portcullis::gateway::{Gateway, Shared};
use portcullis::route::rule::AccessRule;
use portcullis_fuzz::world::{Files, shared};
use serde_yaml::Value;

static FILES: LazyLock<Files> = LazyLock::new(Files::new);
static SHARED: LazyLock<Arc<Shared>> = LazyLock::new(shared);

fuzz_target!(|text: &[u8]| -> Corpus {
    let files = FILES.with(text);
    let loaded = files.examine();
    // YAML 1.1 breaks lines in more ways than one.
    let breaks = |c: &char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let lines = 1 + String::from_utf8_lossy(text).chars().filter(breaks).count();
    for problem in loaded.problems.iter().chain(&loaded.warnings) {
        // What is missing at the end may be missed behind the last line.
        let lines = if problem.file == files.file() { lines + 1 } else { usize::MAX };
        check_problem(problem, lines);
    }
    assert_eq!(loaded.config.is_none(), !loaded.problems.is_empty(), "refused without a reason");
    let Some(config) = loaded.config else { return Corpus::Keep };

    let gateway = Gateway::build(config, Arc::clone(&SHARED), 0);
    let document: Value = serde_yaml::from_slice(text).expect("it was valid");
    let written = match document.get("routes") {
        Some(Value::Sequence(routes)) => routes.as_slice(),
        _ => &[],
    };
    let routes = gateway.routes().routes();
    assert_eq!(routes.len(), written.len(), "a route came or went");
    for (route, written) in routes.iter().zip(written) {
        assert_eq!(written.get("id").and_then(Value::as_str), Some(&*route.id));
        let auth = written.get("auth").map(|auth| auth.as_str().expect("`auth` is a word"));
        let expected = match auth {
            Some("public") => "public",
            Some("optional") => "optional",
            Some("required") | None => "required",
            Some(other) => panic!("`{other}` is no way to authenticate"),
        };
        let found = match route.rule {
            AccessRule::Public => "public",
            AccessRule::Optional => "optional",
            AccessRule::Required(_) => "required",
        };
        assert_eq!(found, expected, "{}", route.id);
    }
    Corpus::Keep
});

fn check_problem(problem: &Problem, lines: usize) {
    assert!(!problem.file.as_os_str().is_empty(), "no file: {problem}");
    assert!(!problem.message.is_empty(), "no message: {problem}");
    assert!((1..=lines).contains(&problem.line), "no such line: {problem}");
    assert!(problem.column >= 1, "no such column: {problem}");
    assert!(!problem.to_string().contains(['\n', '\r']), "more than one line: {problem}");
}
