//! `portcullis revoke` beside a running edge: another node, as far as that one can tell.

use std::time::{Duration, Instant};

use super::binary::{PASSWORD, Site, ended};
use super::harness::process::{Running, get, post};
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Pair, Wire, within};

/// What design and README promise.
const PROMISED: Duration = Duration::from_secs(2);

/// A running edge with a store.
async fn running() -> (Site, Upstream, Running) {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let application = upstream.address.to_string();
    let site = Site::new(&application);
    let yaml = Site::yaml(&application)
        .replace("users: {", "state: { sqlite: state/portcullis.db }\nusers: {")
        .replace("grants: [password]", "grants: [password, refresh_token]");
    site.write("portcullis.yaml", yaml);
    let edge = Running::start(&site).await;
    (site, upstream, edge)
}

async fn token(edge: &Running, form: &str) -> super::harness::Response {
    Wire::connect(edge.edge).await.ask(post("/token", form)).await
}

async fn log_in(edge: &Running, user: &str) -> Pair {
    let password = PASSWORD.replace(' ', "+");
    let form = format!("grant_type=password&username={user}&password={password}");
    Pair::of(&token(edge, &form).await)
}

async fn refresh(edge: &Running, pair: &Pair) -> super::harness::Response {
    token(edge, &format!("grant_type=refresh_token&refresh_token={}", pair.refresh)).await
}

async fn passes(edge: &Running, pair: &Pair) -> bool {
    match Wire::connect(edge.edge).await.ask(get("/orders/1", &pair.access)).await.status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

/// Runs the command, and waits until the edge refuses the token; that must be soon.
#[expect(clippy::disallowed_methods, reason = "the promise is in real time")]
async fn revokes(site: &Site, edge: &Running, what: &[&str], input: &str, dead: &Pair) -> String {
    assert!(passes(edge, dead).await);
    let arguments = [&["revoke", "-c", "portcullis.yaml"], what].concat();
    let (said, _) = ended(&site.run(&arguments, input), 0);
    let since = Instant::now();
    within(async { while passes(edge, dead).await {} }).await;
    assert!(since.elapsed() < PROMISED, "{:?}", since.elapsed());
    said
}

#[tokio::test]
async fn everything_of_a_user_ends_and_logging_in_again_works_at_once() {
    let (site, _upstream, edge) = running().await;
    let (alice, bob) = (log_in(&edge, "alice").await, log_in(&edge, "bob").await);
    let said = revokes(&site, &edge, &["--user", "bob"], "", &bob).await;
    assert!(said.contains("everything of bob"), "{said}");
    refresh(&edge, &bob).await.is_refused(400, "invalid_grant");
    assert!(passes(&edge, &alice).await);
    refresh(&edge, &alice).await.is(200);
    // In the same second, and for the access token as for the refresh token.
    let again = log_in(&edge, "bob").await;
    assert!(passes(&edge, &again).await);
    refresh(&edge, &again).await.is(200);
}

#[tokio::test]
async fn one_token_ends_by_the_file_that_holds_it() {
    let (site, _upstream, edge) = running().await;
    let (one, other) = (log_in(&edge, "alice").await, log_in(&edge, "alice").await);
    site.write("token", &one.access);
    let said = revokes(&site, &edge, &["--token-file", "token"], "", &one).await;
    assert!(said.contains("of alice") && !said.contains(&one.access), "{said}");
    let next = Pair::of(&refresh(&edge, &one).await);
    assert!(passes(&edge, &next).await);
    let what = ["--token-file", "-"];
    let said = revokes(&site, &edge, &what, &format!("{}\n", next.refresh), &next).await;
    assert!(said.contains("alice") && !said.contains(&next.refresh), "{said}");
    refresh(&edge, &next).await.is_refused(400, "invalid_grant");
    assert!(passes(&edge, &other).await);
    site.write("token", "nonsense");
    let unknown = site.run(&["revoke", "-c", "portcullis.yaml", "--token-file", "token"], "");
    let (_, err) = ended(&unknown, 1);
    assert!(err.contains("no token of ours that would be accepted"), "{err}");
}

#[tokio::test]
async fn everything_before_a_time_ends_for_everybody() {
    let (site, _upstream, edge) = running().await;
    let (alice, bob) = (log_in(&edge, "alice").await, log_in(&edge, "bob").await);
    let future = ["revoke", "-c", "portcullis.yaml", "--all-before", "2200-01-01T00:00:00Z"];
    let (_, err) = ended(&site.run(&future, ""), 1);
    assert!(err.contains("in the future"), "{err}");
    let past = ["revoke", "-c", "portcullis.yaml", "--all-before", "2026-01-01T00:00:00Z"];
    ended(&site.run(&past, ""), 0);
    let said = revokes(&site, &edge, &["--user", "bob"], "", &bob).await;
    assert!(said.contains("bob"));
    assert!(passes(&edge, &alice).await, "what came after that time goes on");
}

#[test]
fn what_to_revoke_must_be_said_and_there_must_be_a_store() {
    let site = Site::new("127.0.0.1:9");
    let none = site.run(&["revoke", "-c", "portcullis.yaml"], "");
    ended(&none, 2);
    let two =
        site.run(&["revoke", "-c", "portcullis.yaml", "--user", "a", "--all-before", "now"], "");
    ended(&two, 2);
    let (_, err) = ended(&site.run(&["revoke", "-c", "portcullis.yaml", "--user", "bob"], ""), 1);
    assert!(err.contains("keeps no state"), "{err}");
}
