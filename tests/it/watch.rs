//! The file watch: a change of any file that the configuration was read from comes into force by itself.

use std::fs;
use std::os::unix::fs::symlink;

use super::binary::Site;
use super::harness::Behaviour;
use super::harness::process::Running;
use super::harness::upstream::Upstream;

const CHANGED: &str = "a file of the configuration has changed";

#[tokio::test]
async fn changes_by_link_and_by_rename_come_into_force_and_broken_ones_are_tried_once() {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let site = Site::new(&upstream.address.to_string());
    // As Kubernetes mounts a config map: a link to a folder, which is swapped.
    for (folder, disabled) in [("v1", false), ("v2", true)] {
        fs::create_dir(site.path(folder)).unwrap();
        let alice = format!("name: alice, disabled: {disabled},");
        site.write(&format!("{folder}/users.yaml"), Site::users().replace("name: alice,", &alice));
    }
    symlink("v1", site.path("data")).unwrap();
    let yaml = Site::yaml(&upstream.address.to_string()).replace("users.yaml", "data/users.yaml");
    let yaml = format!("reload: {{ watch: 250ms }}\n{yaml}");
    site.write("portcullis.yaml", &yaml);
    let mut edge = Running::start(&site).await;
    let (alice, bob) = (edge.login("alice").await, edge.login("bob").await);
    edge.get("/orders/1", &alice).await.is(200);

    symlink("v2", site.path("data.new")).unwrap();
    fs::rename(site.path("data.new"), site.path("data")).unwrap();
    edge.says(CHANGED).await;
    edge.says("configuration reloaded").await;
    edge.get("/orders/1", &alice).await.is(401);
    edge.get("/orders/1", &bob).await.is(200);

    // As an editor saves: a file of its own, and a rename.
    let save = |text: &str| {
        site.write("portcullis.yaml~", text);
        fs::rename(site.path("portcullis.yaml~"), site.path("portcullis.yaml")).unwrap();
    };
    save(&yaml.replace("upstream: app,", "upstream: ap,"));
    edge.says(CHANGED).await;
    edge.says("the old configuration stays in force").await;
    edge.get("/orders/1", &bob).await.is(200);
    save(&yaml.replace("path: /orders/**", "path: /things/**").replace(" /orders/7", " /things/7"));
    edge.says(CHANGED).await;
    edge.says("configuration reloaded").await;
    edge.get("/orders/1", &bob).await.is(404);
    edge.get("/things/1", &bob).await.is(200);
    let outcomes = ["failure", "success"].into_iter().zip([1, 2]);
    for (outcome, count) in outcomes {
        let line = format!("portcullis_config_reloads_total{{outcome=\"{outcome}\"}} {count}");
        assert!(edge.counts(&line).await, "{line}");
    }
}
