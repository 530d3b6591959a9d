//! The source stands in floors (see `src/lib.rs`): no file imports from a higher one, only `proxy` names Pingora, and no file
//! is so long that it must hold two ideas.

use std::path::{Path, PathBuf};

/// The floors from the ground up. Within one, a module may use those that stand before it.
const FLOORS: &[&[&str]] = &[
    &["clock", "random", "secret", "supervise", "log_limit", "answer", "reason", "oauth"],
    &["keys", "route"],
    &["token", "users", "issuers", "throttle", "state"],
    &["access", "grants"],
    &["endpoints", "observe", "config"],
    &["gateway"],
    &["proxy"],
    &["cli"],
];

/// OAuth's two roles do not know each other, although they share a floor.
const FORBIDDEN_IMPORTS: &[(&str, &str)] = &[("grants", "access")];

const MOST_LINES: usize = 500;

#[test]
fn no_file_imports_from_a_higher_floor() {
    let complaints: Vec<String> = sources("src")
        .iter()
        .flat_map(|(path, text)| match module_of(path) {
            Some(module) => imports_upward(&module, text),
            None => Vec::new(),
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_module_stands_on_a_floor() {
    for (path, _) in sources("src") {
        if let Some(module) = module_of(&path) {
            assert!(position(&module).is_some(), "`{module}` is on no floor");
        }
    }
}

#[test]
fn only_the_proxy_names_pingora() {
    for (path, text) in sources("src") {
        let inside = module_of(&path).is_some_and(|module| module == "proxy");
        assert!(inside || !names_pingora(&text), "{} names Pingora", path.display());
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_checks_see_what_they_are_for() {
    let violations = [
        ("route", "use crate::token::Verifier;"),
        ("route", "    let x = crate::access::edits::f();"),
        ("oauth", "use crate::{clock::Timestamp, keys::{KeyRing, jwks}};"),
        ("oauth", "use crate::{\n    clock::Timestamp,\n    users::UserStore,\n};"),
        ("keys", "use crate::route::path;"),
        ("grants", "use crate::access::edits::HeaderEdits;"),
        ("access", "use crate::grants::client::Client;"),
        ("gateway", "pub(in crate::cli) fn f() {}"),
        ("token", "use crate::unheard_of::X;"),
    ];
    for (module, text) in violations {
        assert_eq!(imports_upward(module, text).len(), 1, "{module}: {text}");
    }
    let honest = [
        ("route", "use crate::oauth::scope::Scope;\nuse crate::keys::KeyRing;"),
        ("gateway", "use crate::{access::edits::HeaderEdits, gateway::live::Live, proxy_like};"),
    ];
    assert!(imports_upward(honest[0].0, honest[0].1).is_empty());
    assert_eq!(
        imports_upward(honest[1].0, honest[1].1).len(),
        1,
        "a name on no floor is a complaint"
    );
    assert!(imports_upward("route", "//! See [`crate::gateway`].\n    // crate::cli").is_empty());
    assert!(imports_upward("cli", "pub(crate) fn f() {}\npub(in crate::cli) fn g() {}").is_empty());

    assert!(names_pingora("use pingora::prelude::*;") && names_pingora("f(pingora_core::X);"));
    assert!(!names_pingora("//! Without pingora::X.\n/// No pingora\n// pingora"));
    assert!(
        !names_pingora("const FILTER: &str = \"info,pingora_core=error\";"),
        "a log filter is text"
    );
}

/// Every Rust file below a folder of the package, with its text.
pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut unread = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = unread.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Where the fuzz targets are built, there is code that build scripts wrote.
                if path.file_name().is_some_and(|name| name != "target") {
                    unread.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The top module that a file of `src` belongs to; `lib.rs` and `main.rs` name them all and belong to none.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).ok()?;
    let top = inside.components().next()?.as_os_str().to_str()?;
    let module = top.strip_suffix(".rs").unwrap_or(top);
    (module != "lib" && module != "main").then(|| module.to_owned())
}

fn position(module: &str) -> Option<(usize, usize)> {
    FLOORS.iter().enumerate().find_map(|(floor, modules)| {
        modules.iter().position(|own| *own == module).map(|place| (floor, place))
    })
}

fn imports_upward(module: &str, text: &str) -> Vec<String> {
    let own = position(module);
    imported(text)
        .into_iter()
        .filter(|name| {
            let below = position(name) <= own && position(name).is_some();
            !below || FORBIDDEN_IMPORTS.contains(&(module, name))
        })
        .map(|name| format!("`{module}` uses `{name}`"))
        .collect()
}

/// The top modules that a text names behind `crate::`, in comments excepted.
fn imported(text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut names = Vec::new();
    for (at, marker) in code.match_indices("crate::") {
        let rest = &code[at + marker.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(members(group)),
            None => names.push(identifier(rest)),
        }
    }
    names
}

/// The first names of the members of `{a::b, c::{d, e}, …}`, whose opening brace is already gone.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_start) = (1, Vec::new(), true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.push(identifier(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn names_pingora(text: &str) -> bool {
    let code = without_comments(text);
    code.match_indices("pingora").any(|(at, _)| {
        let path = code[at..].trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        path.starts_with("::")
    })
}

pub(crate) fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push('\n');
            code
        },
    )
}
