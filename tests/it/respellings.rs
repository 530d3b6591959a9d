//! Other spellings of a path that an application may take for it: another case (Express, ASP.NET, IIS), and a format behind the
//! last segment (Rails). Where that would lead to a route which asks for more, the request is refused.

use http::Request;

use crate::binary::{Site, ended};
use crate::harness::{HOST, edge};

const ROUTES: &str = "
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
  - { id: report, path: '/reports/{year}/report', upstream: app, scopes: [admin] }
  - { id: form, path: /form, methods: [GET], upstream: app, auth: public }
  - { id: static, path: /static/**, upstream: app, auth: public }
  - { id: all, path: /**, upstream: app }
";

const ATTACKS: &[&str] = &[
    "/Admin/secret",
    "/ADMIN",
    "/aDmIn/",
    "/%41dmin/secret",
    "/adm%C4%B1n/secret",
    "/ADM%C4%B0N",
    "/admin.json",
    "/Admin.json",
    "/admin.json/",
    "/admin.tar.gz",
    "/reports/2026/Report",
    "/Reports/2026/report",
    "/reports/2026/report.pdf",
    "/REPORTS/2026/REPORT.PDF",
];

const HONEST: &[&str] = &[
    "/Orders/7",
    "/orders/A.b.C",
    "/static/App.js",
    "/static/admin.json",
    "/Administrator",
    "/admins.json",
    "/admin.json/x",
    "/reports/2026/report/x.pdf",
    "/x/y/report.pdf",
    "/.admin",
    "/robots.txt",
];

// Part 4, item 3.
#[tokio::test]
async fn a_path_that_may_be_one_of_a_stricter_route_is_refused() {
    let edge = edge().routes(ROUTES).start().await;
    let bob = edge.login("bob", "notes:read").await;
    let alice = edge.login("alice", "admin").await;
    edge.get("/admin/secret").bearer(&bob).await.is(403);
    for target in ATTACKS {
        for token in [&bob, &alice] {
            let answer = edge.get(target).bearer(token).await;
            assert_eq!(answer.status, 400, "{target}");
        }
        assert_eq!(edge.get(target).await.status, 400, "{target}");
    }
    // A method that the route does not have would be refused there as well.
    edge.ask("POST", "/form").bearer(&bob).await.is(405);
    edge.ask("POST", "/Form").bearer(&bob).await.is(400);
    edge.get("/Form").bearer(&bob).await.is(200);
    edge.get("/admin/Secret.json").bearer(&alice).await.is(200);
    for target in HONEST {
        let answer = edge.get(target).bearer(&bob).await;
        assert_eq!(answer.status, 200, "{target}");
    }
    assert_eq!(edge.upstream.seen().len(), HONEST.len() + 2);
}

// Part 4, item 3.
#[tokio::test]
async fn over_http2_it_is_refused_as_well() {
    let routes = "
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
  - { id: all, path: /**, upstream: app, auth: public }
";
    let edge = edge().tls().routes(routes).start().await;
    let mut h2 = edge.h2().await;
    for (target, status) in [("/Admin/secret", 400), ("/admin.json", 400), ("/Other.json", 200)] {
        let uri = format!("https://{HOST}{target}");
        let request = Request::get(uri).body(()).unwrap();
        h2.ask(request, b"", None).await.unwrap().is(status);
    }
    assert_eq!(edge.upstream.seen().len(), 1);
}

// Part 4, item 3.
#[tokio::test]
async fn an_upstream_that_is_known_to_be_exact_takes_every_spelling() {
    let exact = ", paths: { case: sensitive, suffix: literal }";
    let edge = edge().routes(ROUTES).upstream_with(exact).start().await;
    let bob = edge.login("bob", "notes:read").await;
    for target in ATTACKS.iter().chain(HONEST) {
        let answer = edge.get(target).bearer(&bob).await;
        assert_eq!(answer.status, 200, "{target}");
    }
    edge.get("/admin/secret").bearer(&bob).await.is(403);
}

// Part 4, item 3.
#[tokio::test]
async fn each_switch_switches_its_own_check_off() {
    for (paths, by_case, by_suffix) in
        [("case: sensitive", 200, 400), ("suffix: literal", 400, 200)]
    {
        let paths = format!(", paths: {{ {paths} }}");
        let edge = edge().routes(ROUTES).upstream_with(&paths).start().await;
        let bob = edge.login("bob", "notes:read").await;
        edge.get("/Admin/secret").bearer(&bob).await.is(by_case);
        edge.get("/admin.json").bearer(&bob).await.is(by_suffix);
        edge.get("/admin/secret").bearer(&bob).await.is(403);
    }
}

// Part 4, item 3.
#[tokio::test]
async fn an_upstream_that_folds_is_matched_without_regard_to_case() {
    let edge = edge().routes(ROUTES).upstream_with(", paths: { case: insensitive }").start().await;
    let bob = edge.login("bob", "notes:read").await;
    let alice = edge.login("alice", "admin").await;
    for target in ["/Admin/secret", "/ADMIN", "/%41dmin/x", "/adm%C4%B1n/x", "/reports/2026/Report"]
    {
        assert_eq!(edge.get(target).bearer(&bob).await.status, 403, "{target}");
        edge.get(target).bearer(&alice).await.is(200);
    }
    let forwarded: Vec<_> =
        edge.upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(
        forwarded,
        ["/Admin/secret", "/ADMIN", "/Admin/x", "/adm%C4%B1n/x", "/reports/2026/Report"],
        "it is forwarded as it was spelt"
    );
    edge.ask("POST", "/FORM").bearer(&bob).await.is(405);
    edge.get("/STATIC/x").await.is(200);
    edge.get("/Admin.json").bearer(&alice).await.is(400);
}

// Part 4, item 3.
#[tokio::test]
async fn the_word_of_the_upstream_counts_that_the_request_goes_to() {
    let edge = edge()
        .routes(
            "
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
  - { id: other, path: '/{x}/**', upstream: exact }
",
        )
        .upstream_with(
            " }\n  exact: { servers: ['127.0.0.1:1'], paths: { case: sensitive, suffix: literal }",
        )
        .start()
        .await;
    let bob = edge.login("bob", "notes:read").await;
    // Nobody is there, and that is as far as it gets.
    edge.get("/Admin/x").bearer(&bob).await.is(502);
    edge.get("/admin/x").bearer(&bob).await.is(403);
}

// Part 4, item 3.
#[tokio::test]
async fn what_is_routed_nowhere_stays_404() {
    let edge = edge().start().await;
    for target in ["/Admin", "/ADMIN/x", "/admin.json", "/Token", "/token/", "/TOKEN"] {
        assert_eq!(edge.get(target).await.status, 404, "{target}");
    }
    assert!(edge.upstream.seen().is_empty());
}

// Part 4, items 3 and 28.
#[test]
fn check_and_explain_name_the_routes_concerned() {
    let site = Site::new("127.0.0.1:1");
    let yaml = Site::yaml("127.0.0.1:1")
        .replace("routes:\n", "routes:\n  - { id: all, path: /**, upstream: app, auth: public }\n");
    site.write("portcullis.yaml", &yaml);
    let (_, warned) = ended(&site.run(&["check", "portcullis.yaml"], ""), 0);
    let expected = "other spellings of the paths of `orders-read` on line 13 and of 1 more";
    assert!(warned.contains(expected), "{warned}");
    assert!(warned.contains("`case` and `suffix` under `upstreams.app.paths`"), "{warned}");
    let arguments = ["explain", "-c", "portcullis.yaml", "GET", "/Orders/7"];
    let (out, _) = ended(&site.run(&arguments, ""), 1);
    assert!(out.contains("400 bad_path"), "{out}");
    assert!(
        out.contains("a path of route orders-read, which asks for more than route all"),
        "{out}"
    );
    let exact = yaml.replace("] } }", "], paths: { case: sensitive, suffix: literal } } }");
    assert_ne!(exact, yaml);
    site.write("portcullis.yaml", exact);
    let (_, warned) = ended(&site.run(&["check", "portcullis.yaml"], ""), 0);
    assert!(!warned.contains("spellings"), "{warned}");
    ended(&site.run(&arguments, ""), 0);
}
