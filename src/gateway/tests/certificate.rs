//! A client certificate as a second requirement: on every kind of route, and never instead of the first.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;
use crate::access::certificate::ClientCertificate;
use crate::reason::Reason;
use crate::route::certificate::CertificateName;

const ASKING: &str = r"
  - { id: home, path: /, upstream: app, auth: optional, client_certificate: ['cn:batch'] }
  - { id: public, path: /public/**, upstream: app, auth: public, client_certificate: ['dns:batch.example.com', 'cn:batch'] }
  - { id: read, path: /read/**, methods: [GET], upstream: app, scopes: [read], client_certificate: ['cn:batch'] }
  - { id: free, path: /free/**, upstream: app, auth: public }
";

fn asking(tests: &str) -> Files {
    let text = text("", ASKING).replace(
        "{ address: 127.0.0.1:0 }",
        "{ address: 127.0.0.1:0, tls: { certificate: edge.pem, private_key: edge.key, client_ca: ca.pem } }",
    );
    let files = files(&format!("{text}{tests}"));
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["edge.example.com".to_owned()]).unwrap();
    files.write("edge.pem", &params.self_signed(&pair).unwrap().pem());
    files.write("edge.key", &pair.serialize_pem());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    files.write("ca.pem", &params.self_signed(&pair).unwrap().pem());
    files
}

fn with<'a>(ask: Ask<'a>, names: &[&str], not_after: Timestamp) -> Ask<'a> {
    let names = names.iter().map(|name| CertificateName::parse(name).unwrap());
    let certificate = Some(Arc::new(ClientCertificate::new(names, not_after)));
    let connection = Connection { certificate, ..ask.connection.clone() };
    Ask { connection, ..ask }
}

#[test]
fn a_certificate_is_needed_besides_the_token_and_on_public_routes_too() {
    let gateway = Gateway::build(read(&asking("")), shared(), 0);
    let reader = token(&gateway, "bob", "read");
    let denied = "403 client_certificate";
    for (target, free, without, other, with_it, with_both) in [
        ("/", false, denied, denied, "home", "home as bob"),
        ("/public/x", false, denied, denied, "public", "public"),
        ("/read/x", false, denied, denied, "401 no_token", "read as bob"),
        ("/free/x", true, "free", "free", "free", "free"),
        ("/none", true, "404 no_route", "404 no_route", "404 no_route", "404 no_route"),
        ("/token", true, "Token", "Token", "Token", "Token"),
    ] {
        let nobody = || Ask::new(&gateway);
        let bob = || Ask::new(&gateway).bearer(&reader);
        assert_eq!(nobody().outcome(target), without, "{target}");
        assert_eq!(with(nobody(), &["cn:Batch", "dns:batch"], NOW).outcome(target), other);
        assert_eq!(with(nobody(), &[], NOW).outcome(target), other, "{target}");
        assert_eq!(with(nobody(), &["cn:batch"], NOW).outcome(target), with_it, "{target}");
        assert_eq!(with(bob(), &["uri:a:b", "cn:batch"], NOW).outcome(target), with_both);
        // A good token is no certificate, and a bad one is not spoken of.
        assert_eq!(bob().outcome(target) == denied, !free, "{target}");
        assert_eq!(nobody().bearer("x.y.z").outcome(target) == denied, !free, "{target}");
    }
    let post = Ask { method: Method::POST, ..Ask::new(&gateway) };
    assert_eq!(post.outcome("/read/x"), "405 method_not_allowed");
}

#[test]
fn a_certificate_counts_through_its_last_second_on_a_connection_that_goes_on() {
    let gateway = Gateway::build(read(&asking("")), shared(), 0);
    let ask = |now| Ask { now, ..with(Ask::new(&gateway), &["cn:batch"], NOW) };
    assert_eq!(ask(NOW).outcome("/public"), "public");
    let Decision::Forward(tunnel) = ask(NOW).decide(b"/public") else { panic!("refused") };
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(ask(later).outcome("/public"), "403 client_certificate");
    assert_eq!(ask(later).outcome("/free"), "free");
    assert_eq!(gateway.still_holds(&tunnel, NOW), Ok(()));
    assert_eq!(gateway.still_holds(&tunnel, later), Err(Reason::ClientCertificate));
    let Decision::Forward(free) = ask(NOW).decide(b"/free") else { panic!("refused") };
    assert_eq!(gateway.still_holds(&free, later), Ok(()), "it was let in without");
}

#[test]
fn the_files_own_tests_can_play_a_certificate() {
    let tests = |expect: &str| {
        format!(
            "tests:
  - {{ request: GET /public, expect: 403 }}
  - {{ request: GET /public, certificate: 'dns:Batch.example.com', expect: allow }}
  - {{ request: GET /read, certificate: 'cn:batch', expect: 401 }}
  - {{ request: GET /read, scopes: [read], expect: 403 }}
  - {{ request: GET /read, scopes: [read], certificate: 'cn:batch', expect: {expect} }}
"
        )
    };
    for (expect, failures) in [("allow", 0), ("403", 1)] {
        let files = asking(&tests(expect));
        let config = read(&files);
        let tests = config.tests.clone();
        let gateway = Gateway::build(config, shared(), 0);
        assert_eq!(dry_run::run(&gateway, &tests).len(), failures);
    }
}
