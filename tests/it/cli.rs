//! The commands of the built binary: what they print where, and the codes they end with.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::keys::Algorithm;
use portcullis::reason::Reason;
use portcullis::secret::Secret;
use portcullis::users::PasswordHash;
use serde_json::{Value, json};

use super::binary::{Site, ended, stdout};

const NOWHERE: &str = "127.0.0.1:9";

fn site() -> Site {
    Site::new(NOWHERE)
}

/// The usual configuration with these texts exchanged.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(Site::yaml(NOWHERE), |yaml, (from, to)| {
        assert!(yaml.contains(from), "{from}");
        yaml.replacen(from, to, 1)
    })
}

/// Ten mistakes, and the line of each.
fn ten_mistakes() -> (String, BTreeSet<u64>) {
    let yaml = changed(&[
        ("listeners: [{ address: '127.0.0.1:0' }]", "listeners: [{ address: 'localhost' }]"),
        ("admin: { address:", "admin: { adress:"),
        ("Write orders }", "Write orders, 'a b': Two }"),
        ("issuer: https://edge.example.com", "issuer: edge"),
        ("  audience: app\n", "  audience: ''\n"),
        ("algorithm: EdDSA", "algorithm: none"),
        ("users: { file: users.yaml }", "users: { file: nobody.yaml }"),
        ("grants: [password]", "grants: [pasword]"),
        ("methods: [GET], upstream: app,", "methods: [GET], upstream: ap,"),
        (
            "methods: [POST], upstream: app, scopes: ['orders:write']",
            "methods: [POST], upstream: app, scopes: ['orders:wirte']",
        ),
    ]);
    (yaml, [1, 2, 3, 5, 6, 7, 8, 9, 12, 13].into())
}

#[test]
fn check_says_0_for_valid_1_for_a_failing_test_and_2_for_invalid() {
    let site = site();
    let (out, err) = ended(&site.run(&["check", "portcullis.yaml"], ""), 0);
    assert_eq!(out, "portcullis.yaml: 0 errors, 0 warnings, 2 of 2 tests passed\n");
    assert_eq!(err, "");

    site.write("failing.yaml", changed(&[("user: bob, expect: 403", "user: bob, expect: allow")]));
    let (out, err) = ended(&site.run(&["check", "failing.yaml"], ""), 1);
    assert_eq!(out, "failing.yaml: 0 errors, 0 warnings, 1 of 2 tests passed\n");
    assert!(err.starts_with("test failed: failing.yaml:"), "{err}");
    assert!(err.contains("POST /orders/7") && err.contains("403"), "{err}");

    site.write("invalid.yaml", changed(&[("upstream: app,", "upstream: ap,")]));
    let (_, err) = ended(&site.run(&["check", "invalid.yaml"], ""), 2);
    assert!(err.contains("(did you mean `app`?)"), "{err}");
    // Part 4, item 31.
    let (out, _) = ended(&site.run(&["check", "invalid.yaml"], ""), 2);
    assert_eq!(out, "invalid.yaml: 1 error, 0 warnings, 0 of 0 tests passed\n");
    let one = changed(&[
        ("  - { request: POST /orders/7, user: bob, expect: 403 }\n", ""),
        ("Write orders }", "Write orders, unused: Nothing }"),
    ]);
    site.write("one.yaml", one);
    let (out, _) = ended(&site.run(&["check", "one.yaml"], ""), 0);
    assert_eq!(out, "one.yaml: 0 errors, 1 warning, 1 of 1 test passed\n");

    let (_, err) = ended(&site.run(&["check", "absent.yaml"], ""), 2);
    assert!(err.starts_with("error: absent.yaml:1:1: the file cannot be read: "), "{err}");
}

#[test]
fn j8_ten_mistakes_are_ten_located_errors_in_one_run() {
    let site = site();
    let (yaml, lines) = ten_mistakes();
    site.write("ten.yaml", yaml);
    let (_, err) = ended(&site.run(&["check", "ten.yaml"], ""), 2);
    let errors: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
    let found: BTreeSet<u64> = errors
        .iter()
        .map(|line| {
            let place = line.strip_prefix("error: ten.yaml:").unwrap_or_else(|| panic!("{line}"));
            let mut numbers = place.split(':');
            let line = numbers.next().unwrap().parse().unwrap();
            assert!(numbers.next().unwrap().parse::<u64>().unwrap() >= 1, "{place}");
            line
        })
        .collect();
    assert!(found.is_superset(&lines), "{err}");
    assert!(errors.len() >= 10, "{err}");

    let (out, err) = ended(&site.run(&["check", "--format", "json", "ten.yaml"], ""), 2);
    assert_eq!(err, "", "JSON has standard output to itself");
    let document: Value = serde_json::from_str(&out).unwrap();
    let printed: Vec<String> = document["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            let place = Some(text("where")).filter(|place| !place.is_empty());
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            let hint = error["hint"].as_str().map_or_else(String::new, |hint| format!(" ({hint})"));
            let (file, message) = (text("file"), text("message"));
            format!("error: {file}:{}:{}: {place}{message}{hint}", error["line"], error["column"])
        })
        .collect();
    assert_eq!(printed, errors);
    assert_eq!(document["tests"], json!({ "run": 0, "failed": [] }));
}

#[test]
fn check_as_json_tells_which_tests_failed() {
    let site = site();
    let (out, _) = ended(&site.run(&["check", "portcullis.yaml", "--format", "json"], ""), 0);
    let document: Value = serde_json::from_str(&out).unwrap();
    let tests = json!({ "run": 2, "failed": [] });
    assert_eq!(document, json!({ "errors": [], "warnings": [], "tests": tests }));

    site.write("failing.yaml", changed(&[("user: bob, expect: 403", "user: bob, expect: allow")]));
    let (out, _) = ended(&site.run(&["check", "failing.yaml", "--format", "json"], ""), 1);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["tests"]["run"], 2);
    let failed = document["tests"]["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 1, "{out}");
    assert_eq!(failed[0]["line"], 16, "{out}");
}

#[test]
fn explain_names_candidates_winner_reason_and_what_the_upstream_sees() {
    let site = site();
    let explain = |who: &[&str], method: &str, target: &str, code| {
        let arguments = [&["explain", "-c", "portcullis.yaml", method, target], who].concat();
        ended(&site.run(&arguments, ""), code).0
    };
    for (who, method, target, code, wanted) in [
        (
            &["--user", "bob"][..],
            "GET",
            "/orders/7",
            0,
            &[
                "  orders-read  */orders/**  GET",
                "  orders-write  */orders/**  POST",
                "(not for this method)",
                "forwarded by route orders-read to upstream app",
                "  GET /orders/7\n",
                "  x-user: bob\n",
                // Part 4, item 31: nobody has given it one.
                "  x-request-id: (a new one)\n",
            ][..],
        ),
        (
            &["--user", "bob"],
            "POST",
            "/orders/7",
            1,
            &[
                "refused by route orders-write: 403 missing_scope\n",
                "  wanted: orders:write\n",
                "  held:   orders:read\n",
                "error=\"insufficient_scope\"",
            ],
        ),
        (&[], "GET", "/orders/7", 1, &["refused by route orders-read: 401 no_token\n"]),
        (&["--user", "alice"], "GET", "/elsewhere", 1, &["refused: 404 no_route\n"]),
        (&["--scopes", "orders:write"], "POST", "/orders/7", 0, &["by route orders-write"]),
        (&[], "POST", "/token", 0, &["served by portcullis itself"]),
    ] {
        let out = explain(who, method, target, code);
        for text in wanted {
            assert!(out.contains(text), "{method} {target} {who:?}: no {text:?} in\n{out}");
        }
        assert!(!out.contains("eyJ"), "a token was printed:\n{out}");
    }
    // Part 4, item 28: every reason, whoever refuses.
    for reason in Reason::ALL {
        let (out, err) = ended(&site.run(&["explain", "--reason", reason.id()], ""), 0);
        assert_eq!((out.as_str(), &*err), (&*format!("{}\n", reason.explanation()), ""));
    }
}

#[test]
fn hash_password_makes_what_the_user_file_takes() {
    let site = site();
    let (out, err) = ended(&site.run(&["hash-password"], "pässword with spaces \r\n"), 0);
    assert_eq!(err, "");
    let hash = out.trim_end();
    assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
    let parsed = PasswordHash::parse(hash).unwrap();
    assert_eq!(parsed.matches(&Secret::from("pässword with spaces "), &mut Vec::new()), Ok(true));
    assert_eq!(parsed.matches(&Secret::from("pässword with spaces"), &mut Vec::new()), Ok(false));

    site.write(
        "users.yaml",
        format!("users:\n  - {{ name: bob, password: '{hash}', scopes: ['orders:read'] }}\n"),
    );
    ended(&site.run(&["check", "portcullis.yaml"], ""), 0);

    let (out, err) = ended(&site.run(&["hash-password"], "\n"), 1);
    assert_eq!(out, "");
    assert!(err.contains("no password"), "{err}");
}

#[test]
fn clients_new_makes_a_secret_and_the_line_that_knows_only_its_digest() {
    let site = site();
    let (out, err) = ended(&site.run(&["clients", "new", "--id", "nightly"], ""), 0);
    assert_eq!(err, "");
    let lines: Vec<&str> = out.lines().filter(|line| !line.starts_with('#')).collect();
    let [secret, line] = lines[..] else { panic!("{out}") };
    assert_eq!(URL_SAFE_NO_PAD.decode(secret).unwrap().len(), 32);
    assert_eq!(out.matches(secret).count(), 1);
    assert!(line.contains("id: \"nightly\"") && !line.contains(secret), "{line}");
    let line = line.replace("scopes: []", "scopes: ['orders:read']");
    let web = "clients: [{ id: web, default: true, grants: [password], scopes: ['orders:read', 'orders:write'] }]";
    let listed = format!("clients:\n  - {}\n{line}", &web["clients: [".len()..web.len() - 1]);
    site.write("machine.yaml", changed(&[(web, &listed)]));
    let (_, err) = ended(&site.run(&["check", "machine.yaml"], ""), 0);
    assert_eq!(err, "");

    let made_up = |out: String| out.lines().last().unwrap().to_owned();
    let one = made_up(ended(&site.run(&["clients", "new"], ""), 0).0);
    let other = made_up(ended(&site.run(&["clients", "new"], ""), 0).0);
    assert!(one.contains("id: \"client-") && one != other, "{one}");
    for bad in ["a:b", "a b", "", "a,b"] {
        let (out, _) = ended(&site.run(&["clients", "new", "--id", bad], ""), 1);
        assert_eq!(out, "", "{bad}");
    }
}

#[test]
fn keys_generate_makes_a_file_that_check_accepts_for_every_algorithm() {
    let site = site();
    for algorithm in Algorithm::ALL {
        let name = algorithm.name();
        let key = stdout(&site.run(&["keys", "generate", "--algorithm", name], ""));
        site.write("signing.pem", key);
        site.write("one.yaml", changed(&[("algorithm: EdDSA", &format!("algorithm: {name}"))]));
        let (_, err) = ended(&site.run(&["check", "one.yaml"], ""), 0);
        assert_eq!(err, "", "{name}");
    }
    let (out, err) = ended(&site.run(&["keys", "generate", "--algorithm", "none"], ""), 2);
    assert_eq!(out, "");
    assert!(err.contains("ES256, ES384, EdDSA"), "{err}");
}

#[test]
fn token_inspect_prints_header_and_claims_and_says_unverified() {
    let site = site();
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (header, claims) = (json!({ "alg": "none" }), json!({ "sub": "mallory", "exp": 1 }));
    let token = format!("{}.{}.AAAA", encode(header.clone()), encode(claims.clone()));
    site.write("token", format!("{token}\n"));
    for (arguments, input) in
        [(&["token", "inspect"][..], token.as_str()), (&["token", "inspect", "token"], "")]
    {
        let (out, err) = ended(&site.run(arguments, input), 0);
        let printed: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(printed, json!({ "header": header, "claims": claims }));
        assert!(err.contains("not verified"), "{err}");
    }
    let (out, err) = ended(&site.run(&["token", "inspect"], "secret-that-is-no-token"), 1);
    assert_eq!(out, "");
    assert!(!err.contains("secret-that"), "{err}");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_explains_itself_on_standard_error() {
    let site = site();
    for arguments in [
        &[][..],
        &["serve"],
        &["check"],
        &["run"],
        &["check", "portcullis.yaml", "--format", "xml"],
        &["explain", "-c", "portcullis.yaml", "GET"],
        &["explain", "--reason", "no_such_reason"],
        &["explain", "--reason", "banned", "-c", "portcullis.yaml", "GET", "/"],
        &["explain", "-c", "portcullis.yaml", "GET", "/", "--user", "bob", "--scopes", "a"],
    ] {
        let (out, err) = ended(&site.run(arguments, ""), 2);
        assert_eq!(out, "", "{arguments:?}");
        assert!(err.contains("Usage") || err.contains("possible values"), "{arguments:?}: {err}");
    }
    for arguments in [&["--help"][..], &["--version"], &["check", "--help"]] {
        assert!(!ended(&site.run(arguments, ""), 0).0.is_empty());
    }
}
