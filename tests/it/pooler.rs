//! PgBouncer before the database: by session it is as if it were not there, by transaction it is found out and said.

use super::binary::Site;
use super::harness::bouncer::Bouncer;
use super::harness::node::{Pair, configuration};
use super::harness::postgres::Postgres;
use super::harness::process::Running;
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, within};

/// A directory with everything for a node whose database is here.
async fn site(url: &str) -> (Site, Upstream) {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere";
    let application = Upstream::start(Behaviour::Says(answer)).await;
    let site = Site::new("127.0.0.1:9");
    let state = "{ postgres: { url: { file: database-url } } }";
    site.write("portcullis.yaml", configuration(&application.address.to_string(), state));
    site.write("database-url", url);
    (site, application)
}

// Part 4, item 26.
#[tokio::test]
async fn by_session_everything_works() {
    let server = Postgres::start().await;
    let bouncer = Bouncer::start(&server, "session", 60).await;
    let (site, _application) = site(&bouncer.url(&server.url())).await;
    let (one, other) = (Running::start(&site).await, Running::start(&site).await);
    let (one, other) = (one.node(), other.node());
    for _ in 0..8 {
        let first = one.login("alice").await.unwrap();
        let second = Pair::read(&other.refresh(&first.refresh).await.unwrap());
        one.get("/orders/1", &second.access).await.unwrap().is(200);
        one.revoke(&second.refresh).await.unwrap().is(200);
        other.refresh(&second.refresh).await.unwrap().is_refused(400, "invalid_grant");
        let refused = async || other.get("/orders/1", &second.access).await.unwrap().status == 401;
        within(async { while !refused().await {} }).await;
    }
    assert_eq!((one.readiness().await, other.readiness().await), (Some(200), Some(200)));
}

// Part 4, item 26. However many sessions it has.
#[tokio::test]
async fn by_transaction_is_found_out_and_said() {
    let server = Postgres::start().await;
    for sessions in [1, 2, 20] {
        let bouncer = Bouncer::start(&server, "transaction", sessions).await;
        let (site, _application) = site(&bouncer.url(&server.url())).await;
        for _ in 0..3 {
            let listed = site.run(&["revoke", "-c", "portcullis.yaml", "--user", "alice"], "");
            let said = String::from_utf8_lossy(&listed.stderr).into_owned();
            assert!(!listed.status.success(), "{said}");
            assert!(said.contains("behind a pooler in transaction mode"), "{sessions}: {said}");
        }
        let running = Running::start(&site).await;
        let said = running.has_said("the state store does not answer");
        let error = said["error"].as_str().unwrap();
        assert!(error.contains("use a pool in session mode"), "{sessions}: {error}");
        let node = running.node();
        assert_eq!(node.readiness().await, Some(503), "and nothing is half there");
    }
}
