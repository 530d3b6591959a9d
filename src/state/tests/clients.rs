//! Clients of nodes whose names nobody knows again, as those of containers.

use std::path::Path;

use super::*;

/// Acts as the node with this file and these clients.
async fn is_seen(stage: &Stage, file: &str, clients: &[&str]) {
    let clients: Vec<ClientId> = clients.iter().map(|id| ClientId::parse(id).unwrap()).collect();
    let store = stage.store.clone().with_roster(Roster::new(Path::new(file), &clients));
    store.keep_roster().await.unwrap();
}

fn knows_end(stage: &Stage) -> bool {
    stage.mirror.knows_end_of(&Subject::parse("client:web").unwrap())
}

// Part 4, item 25d.
#[tokio::test]
async fn a_client_that_comes_back_where_no_node_has_its_old_name_revives_nothing() {
    let stage = Stage::new().await;
    is_seen(&stage, "/first.yaml", &["web", "other"]).await;
    let (family, token) = stage.begin().await;
    // The next has it too: it is the same client, however long nobody ran.
    stage.clock.advance(Duration::from_secs(3600));
    is_seen(&stage, "/second.yaml", &["web", "other"]).await;
    assert!(!knows_end(&stage));
    // One without it, while the one that has it runs, says nothing.
    is_seen(&stage, "/third.yaml", &["other"]).await;
    is_seen(&stage, "/fourth.yaml", &["web", "other"]).await;
    assert!(!knows_end(&stage));
    // But now none has it, and one runs without it.
    stage.clock.advance(Duration::from_secs(3600));
    is_seen(&stage, "/third.yaml", &["other"]).await;
    assert!(!knows_end(&stage), "nobody could use it");
    is_seen(&stage, "/fifth.yaml", &["web", "other"]).await;
    assert!(knows_end(&stage));
    let (rotated, _) = stage.rotate(&family, &token, stage.clock.now()).await;
    assert_eq!(rotated, Rotated::Gone);
    let other = Subject::parse("client:other").unwrap();
    assert!(!stage.mirror.knows_end_of(&other));
}
