//! Whose the state is: one issuer's, and of a client that stays.

use std::fs;

use portcullis::oauth::subject::Subject;

use super::binary::{Site, ended};
use super::harness::gateway::VAULT_SECRET;
use super::harness::process::Running;
use super::harness::{Pair, edge, on_both_engines, within};

/// A site with state, whose issuer is this one.
fn yaml(issuer: &str) -> String {
    Site::yaml("127.0.0.1:9")
        .replace("users: {", "state: { sqlite: state.db }\nusers: {")
        .replace("https://edge.example.com", issuer)
}

// Part 4, item 25d.
#[tokio::test]
async fn a_store_belongs_to_one_issuer_until_another_adopts_it() {
    let site = Site::new("127.0.0.1:9");
    site.write("portcullis.yaml", yaml("https://one.example.com"));
    drop(Running::start(&site).await);
    let run = |what: &[&str]| site.run(&[what, &["-c", "portcullis.yaml"]].concat(), "");

    site.write("portcullis.yaml", yaml("https://other.example.com"));
    for command in [&["run"][..], &["revoke", "--user", "alice"], &["bans", "list"]] {
        let (_, err) = ended(&run(command), 1);
        assert!(
            err.contains("belongs to the issuer `https://one.example.com`"),
            "{command:?}: {err}"
        );
        assert!(err.contains("this one is `https://other.example.com`"), "{command:?}: {err}");
    }
    let (told, _) = ended(&run(&["adopt"]), 0);
    let expected = "the state store belonged to https://one.example.com, and now to https://other.example.com\n";
    assert_eq!(told, expected);
    drop(Running::start(&site).await);
    site.write("portcullis.yaml", yaml("https://one.example.com"));
    ended(&run(&["run"]), 1);
}

on_both_engines! {
    // Part 4, item 25d.
    async fn a_client_that_was_removed_and_put_back_revives_nothing(kept) {
        let edge = kept().start().await;
        let form = "grant_type=password&username=alice&password=correct+horse+battery+staple";
        let log_in = async || Pair::of(&edge.token(form).basic("vault", VAULT_SECRET).await);
        let refresh = async |pair: &Pair| {
            let form = format!("grant_type=refresh_token&refresh_token={}", pair.refresh);
            edge.token(&form).basic("vault", VAULT_SECRET).await
        };
        let (before, other) = (log_in().await, edge.tokens("alice").await);
        edge.get("/notes/1").bearer(&before.access).await.is(200);

        let file = edge.directory().join("portcullis.yaml");
        let with = fs::read_to_string(&file).unwrap();
        let without: Vec<&str> = with.lines().filter(|line| !line.contains("id: vault")).collect();
        fs::write(&file, without.join("\n")).unwrap();
        edge.reload();
        edge.get("/notes/1").bearer(&before.access).await.is(401);
        let mirror = edge.live.shared().state.as_ref().unwrap().mirror();
        let removed = Subject::parse("client:vault").unwrap();
        within(async { while !mirror.knows_end_of(&removed) { tokio::task::yield_now().await } }).await;

        fs::write(&file, with).unwrap();
        edge.reload();
        edge.get("/notes/1").bearer(&before.access).await.is(401);
        refresh(&before).await.is_refused(400, "invalid_grant");
        let after = log_in().await;
        edge.get("/notes/1").bearer(&after.access).await.is(200);
        refresh(&after).await.is(200);
        edge.get("/notes/1").bearer(&other.access).await.is(200);
        edge.refresh(&other).await.is(200);
    }
}
