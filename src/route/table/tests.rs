use super::*;
use crate::route::allowance::PathAllowances;
use crate::route::upstream::{PathReading, Timeouts};
use proptest::prelude::*;

/// A route from `[METHODS ]HOST/PATH`.
pub(crate) fn route(id: &str, text: &str, rule: AccessRule) -> Route {
    let (methods, target) = text.split_once(' ').unwrap_or(("", text));
    let (host, path) = target.split_at(target.find('/').unwrap());
    let timeouts = Timeouts::default();
    let methods = match methods {
        "" => MethodSet::ALL,
        names => MethodSet::from_names(names.split(',')).unwrap(),
    };
    Route {
        id: Arc::from(id),
        host: HostPattern::parse(if host.is_empty() { "*" } else { host }).unwrap(),
        path: PathPattern::parse(path).unwrap(),
        methods,
        rule,
        trusted: TrustedIssuers::default(),
        certificate: None,
        upstream: Arc::new(Upstream::new("app", vec![], timeouts, PathAllowances::default())),
        body_limit: None,
        forward_authorization: None,
        end_at_token_expiry: true,
    }
}

fn table(routes: &[&str]) -> RouteTable {
    RouteTable::new(routes.iter().map(|text| route(text, text, AccessRule::Public)).collect())
}

fn winner(table: &RouteTable, host: &str, path: &str, method: &str) -> String {
    match table.find(host, path, &Method::from_bytes(method.as_bytes()).unwrap()) {
        Found::Route(route) => route.id.to_string(),
        Found::OtherMethods(methods) => format!("405 {}", methods.allow()),
        Found::Nothing => "404".to_owned(),
    }
}

#[test]
fn c12_the_most_specific_route_wins_whatever_the_order() {
    let mut routes = [
        "/**",
        "/a/**",
        "/a/{x}",
        "/a/b",
        "/a/{x}/c",
        "shop.com/a/**",
        "*.shop.com/**",
        "*.b.shop.com/**",
    ];
    for _ in 0..2 {
        let table = table(&routes);
        for (host, path, expected) in [
            ("x", "/", "/**"),
            ("x", "/a", "/a/**"),
            ("x", "/a/", "/a/**"),
            ("x", "/ax", "/**"),
            ("x", "/a/b", "/a/b"),
            ("x", "/a/b/", "/a/b"),
            ("x", "/a/q", "/a/{x}"),
            ("x", "/a/q/c", "/a/{x}/c"),
            ("x", "/a/b/c", "/a/{x}/c"),
            ("x", "/a/q/d", "/a/**"),
            ("shop.com", "/a/b", "shop.com/a/**"),
            ("shop.com", "/b", "/**"),
            ("w.shop.com", "/a/b", "*.shop.com/**"),
            ("w.b.shop.com", "/", "*.b.shop.com/**"),
        ] {
            assert_eq!(winner(&table, host, path, "GET"), expected, "{host}{path}");
        }
        routes.reverse();
    }
}

#[test]
fn c12_a_method_is_never_handed_to_a_broader_route() {
    let table = table(&["/**", "GET /a/**", "POST,PUT /a/**"]);
    assert_eq!(winner(&table, "x", "/a/1", "GET"), "GET /a/**");
    assert_eq!(winner(&table, "x", "/a/1", "HEAD"), "GET /a/**");
    assert_eq!(winner(&table, "x", "/a/1", "PUT"), "POST,PUT /a/**");
    assert_eq!(winner(&table, "x", "/a/1", "DELETE"), "405 GET, HEAD, POST, PUT");
    assert_eq!(winner(&table, "x", "/b", "DELETE"), "/**");
    assert_eq!(winner(&table, "x", "/b", "TRACE"), format!("405 {}", MethodSet::ALL.allow()));
}

#[test]
fn the_case_of_a_host_matters_as_little_among_a_thousand_as_alone() {
    for count in [1, 100, 1_000] {
        let names: Vec<String> = (0..count).map(|n| format!("Host{n}.Example.com/**")).collect();
        let texts: Vec<&str> = names.iter().map(String::as_str).collect();
        let table = table(&texts);
        for asked in ["HOST0.example.COM", "host0.example.com.", "host0.example.com:8443"] {
            let host = crate::route::host::Host::parse(asked).unwrap();
            assert_eq!(winner(&table, host.name(), "/x", "GET"), names[0], "{asked} of {count}");
        }
        assert_eq!(winner(&table, "other.example.com", "/x", "GET"), "404");
    }
}

#[test]
fn empty_segments_match_no_parameter() {
    let table = table(&["/a/{x}", "/a/{x}/b"]);
    assert_eq!(winner(&table, "x", "/a//b", "GET"), "404");
    assert_eq!(winner(&table, "x", "/a//", "GET"), "404");
    assert_eq!(winner(&table, "x", "//", "GET"), "404");
}

#[test]
fn candidates_come_in_order_of_precedence() {
    let table = table(&["/**", "/a/{x}", "/a/b", "h/a/**"]);
    let ids: Vec<_> = table.candidates("h", "/a/b").iter().map(|r| r.id.to_string()).collect();
    assert_eq!(ids, ["h/a/**", "/a/b", "/a/{x}", "/**"]);
}

/// Public where the pattern has an even number of letters, closed otherwise.
fn mixed(texts: &[String]) -> RouteTable {
    const CLOSED: AccessRule = AccessRule::Required(crate::route::rule::Requirement::Authenticated);
    let rule = |text: &str| if text.len().is_multiple_of(2) { AccessRule::Public } else { CLOSED };
    RouteTable::new(texts.iter().map(|text| route(text, text, rule(text))).collect())
}

fn reading(table: RouteTable, reads: PathReading) -> RouteTable {
    let routes = table.routes().iter().map(|route| {
        let timeouts = Timeouts::default();
        let upstream = Upstream::new("app", vec![], timeouts, PathAllowances::default());
        Route { upstream: Arc::new(upstream.reading(reads)), ..Route::clone(route) }
    });
    RouteTable::new(routes.collect())
}

// Part 4, item 3.
#[test]
fn another_spelling_of_a_stricter_path_is_found() {
    const CLOSED: AccessRule = AccessRule::Required(crate::route::rule::Requirement::Authenticated);
    let routes = [
        ("/**", AccessRule::Public),
        ("/admin/**", CLOSED),
        ("/admin/public/**", AccessRule::Public),
        ("/report", CLOSED),
        ("/{x}/caf%C3%A9", CLOSED),
        ("/manifest/**", CLOSED),
        ("/manifest.json", AccessRule::Public),
        ("POST /form", AccessRule::Public),
    ];
    let table = || RouteTable::new(routes.iter().map(|(t, rule)| route(t, t, *rule)).collect());
    let stricter = |table: &RouteTable, path: &str| {
        let Found::Route(found) = table.find("x", path, &Method::GET) else {
            return "none".to_owned();
        };
        let stricter = table.stricter("x", path, &Method::GET, found);
        format!("{} < {}", found.id, stricter.map_or("-", |route| &route.id))
    };
    for (path, expected) in [
        ("/admin", "/admin/** < -"),
        ("/Admin", "/** < /admin/**"),
        ("/ADMIN/x", "/** < /admin/**"),
        ("/adm\u{131}n", "/** < /admin/**"),
        ("/admin.json", "/** < /admin/**"),
        ("/Admin.json", "/** < /admin/**"),
        ("/admin.tar.gz", "/** < /admin/**"),
        ("/admin.json/", "/** < /admin/**"),
        ("/admin.json/x", "/** < -"),
        ("/admin/public/x", "/admin/public/** < -"),
        ("/admin/PUBLIC/x", "/admin/** < -"),
        ("/Admin/public/x", "/** < -"),
        ("/Admin/PUBLIC/x", "/** < /admin/**"),
        ("/admin/users.json", "/admin/** < -"),
        ("/report.pdf", "/** < /report"),
        ("/REPORT/", "/** < /report"),
        ("/reports", "/** < -"),
        ("/x/CAFÉ", "/** < /{x}/caf%C3%A9"),
        ("/x/cafe", "/** < -"),
        ("/manifest.json", "/manifest.json < -"),
        ("/MANIFEST.json", "/** < /manifest/**"),
        ("/manifest.xml", "/** < /manifest/**"),
        ("/Logo.png", "/** < -"),
        ("/Form", "/** < POST /form"),
        ("/form", "none"),
    ] {
        assert_eq!(stricter(&table(), path), expected, "{path}");
    }
    let exact = PathReading { case: PathCase::Sensitive, suffix: PathSuffix::Literal };
    let exact = reading(table(), exact);
    for path in ["/Admin", "/admin.json", "/REPORT", "/Form", "/x/CAFÉ"] {
        assert_eq!(stricter(&exact, path), "/** < -", "{path}");
    }
    let folding = PathReading { case: PathCase::Insensitive, suffix: PathSuffix::Unknown };
    let folding = reading(table(), folding);
    for (path, expected) in [
        ("/Admin/X", "/admin/** < -"),
        ("/ADMIN/Public/x", "/admin/public/** < -"),
        ("/x/CAFÉ", "/{x}/caf%C3%A9 < -"),
        ("/Manifest.JSON", "/manifest.json < /manifest/**"),
        ("/manifest.json", "/manifest.json < -"),
        ("/Other", "/** < -"),
        ("/Admin.json", "/** < /admin/**"),
    ] {
        assert_eq!(stricter(&folding, path), expected, "{path}");
    }
}

proptest! {
    /// The tree against the definition: of all patterns that contain the path, the first by precedence.
    #[test]
    fn the_tree_agrees_with_the_definition(
        patterns in prop::collection::btree_set("(/(a|b|\\{x\\})){0,3}(/\\*\\*)?", 1..12),
        path in "(/[abc]){1,4}",
    ) {
        let texts: Vec<String> = patterns.into_iter().map(|p| if p.is_empty() { "/".to_owned() } else { p }).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let asked = PathPattern::parse(&path).unwrap();
        let mut covering: Vec<PathPattern> = texts.iter().map(|t| PathPattern::parse(t).unwrap()).filter(|p| p.contains(&asked)).collect();
        covering.sort_by(PathPattern::precedence);
        let expected = covering.first().map_or_else(|| "404".to_owned(), ToString::to_string);
        prop_assert_eq!(winner(&table(&texts), "x", &path, "GET"), expected);
    }

    /// Part 4, item 3: what a route covers never passes under another spelling of its literals with less than it asks for.
    #[test]
    fn no_other_spelling_is_weaker(
        patterns in prop::collection::btree_set("(/(ab|b|Ab|c1|\\{x\\})){0,3}(/\\*\\*)?", 1..10),
        pick in any::<prop::sample::Index>(),
        flips in any::<u32>(),
        suffix in "(\\.[a-z]{1,3}){0,2}/?",
        more in "(/zz){0,2}",
        insensitive in any::<bool>(),
    ) {
        let texts: Vec<String> = patterns
            .into_iter()
            .map(|p| if p.is_empty() { "/".to_owned() } else { p })
            .collect();
        let mut table = mixed(&texts);
        if insensitive {
            // Two patterns that only case tells apart are a tie there.
            let folded: std::collections::BTreeSet<_> = texts.iter().map(|t| t.to_lowercase()).collect();
            prop_assume!(folded.len() == texts.len());
            let suffix = PathSuffix::Unknown;
            table = reading(table, PathReading { case: PathCase::Insensitive, suffix });
        }
        let pattern = pick.get(&texts);
        let path = match pattern.strip_suffix("/**") {
            Some(base) => format!("{base}{more}"),
            None => pattern.clone(),
        };
        let path = path.replace("{x}", "zz");
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let flip = |(at, c): (usize, char)| match flips >> (at % 32) & 1 {
            1 if c != 'z' && c.is_lowercase() => c.to_ascii_uppercase(),
            1 if c != 'z' => c.to_ascii_lowercase(),
            _ => c,
        };
        let respelt: String = path.chars().enumerate().map(flip).collect();
        let respelt = if path == "/" { respelt } else { respelt + &suffix };
        let Found::Route(asked) = table.find("x", &path, &Method::GET) else {
            return Err(TestCaseError::fail("the path is one of a route"));
        };
        if let Found::Route(found) = table.find("x", &respelt, &Method::GET)
            && table.stricter("x", &respelt, &Method::GET, found).is_none()
        {
            prop_assert!(found.demands_no_less_than(asked), "{} {}", path, respelt);
        }
    }
}
