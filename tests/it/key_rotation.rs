//! A signing key's whole life, with the built binary: the first one, a second that is published before it signs, the change
//! from one to the other, and the end of the first. The process is never restarted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;
use std::time::Duration;

use super::binary::{Site, ended};
use super::harness::process::Running;
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Response, Wire};

const ROTATE: [&str; 4] = ["keys", "rotate", "-c", "portcullis.yaml"];
const LIST: &str = "keys/keys.yaml";

/// A site whose keys are in a folder that is not there yet.
fn site(application: &str) -> Site {
    let site = Site::new(application);
    let listed = "keys: [{ id: k1, algorithm: EdDSA, file: signing.pem, use: sign }]";
    let yaml = Site::yaml(application);
    assert!(yaml.contains(listed));
    site.write("portcullis.yaml", yaml.replace(listed, "key_folder: keys"));
    site
}

/// Rotates, and returns the new key's id.
fn rotate(site: &Site, more: &[&str]) -> String {
    let (out, _) = ended(&site.run(&[&ROTATE[..], more].concat(), ""), 0);
    let id = out.strip_prefix("new key ").and_then(|rest| rest.split(' ').next());
    id.unwrap_or_else(|| panic!("{out}")).to_owned()
}

fn key_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

async fn key_set(edge: &Running, more: &str) -> Response {
    let request = format!("GET /.well-known/jwks.json HTTP/1.1\r\nHost: edge\r\n{more}\r\n");
    Wire::connect(edge.edge).await.ask(request).await
}

/// The ids of the published keys, in their order.
async fn published(edge: &Running) -> Vec<String> {
    let set = key_set(edge, "").await.is(200).json();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Changes a time in the list of keys, as if time had passed, and reloads.
async fn changed(site: &Site, edge: &mut Running, name: &str, at: Timestamp) {
    let text = std::fs::read_to_string(site.path(LIST)).unwrap();
    let (before, rest) = text.split_once(&format!("{name}: \"")).unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    site.write(LIST, format!("{before}{name}: \"{at}\"{after}"));
    edge.signal("HUP");
    edge.says("configuration reloaded").await;
}

#[tokio::test]
async fn f3_b24_a_key_is_published_then_signs_then_only_verifies_then_is_gone() {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let site = site(&upstream.address.to_string());
    let (_, err) = ended(&site.run(&["check", "portcullis.yaml"], ""), 2);
    assert!(err.contains("`portcullis keys rotate` makes the first one"), "{err}");

    // The first key signs at once.
    let first = rotate(&site, &[]);
    let mut edge = Running::start(&site).await;
    assert_eq!(published(&edge).await, [first.as_str()]);
    let old = edge.login("bob").await;
    assert_eq!(key_of(&old), first);
    let tag = key_set(&edge, "").await.values("etag")[0].to_owned();
    let known = format!("If-None-Match: {tag}\r\n");
    assert!(key_set(&edge, &known).await.is(304).body.is_empty());

    // The second is published and does not sign.
    let second = rotate(&site, &["--publish-ahead", "1h", "--algorithm", "ES256"]);
    edge.signal("HUP");
    edge.says("configuration reloaded").await;
    assert_eq!(published(&edge).await, [first.as_str(), &second]);
    assert_eq!(
        key_set(&edge, &known).await.is(200).values("cache-control"),
        ["public, max-age=300"]
    );
    assert_eq!(key_of(&edge.login("bob").await), first);
    edge.get("/orders/1", &old).await.is(200);
    let (_, err) = ended(&site.run(&ROTATE, ""), 1);
    assert!(err.contains(&format!("`{second}` is published and signs from")), "{err}");

    // Its time has come: it signs, and what the first one signed is still good.
    let now = SystemClock.now();
    changed(&site, &mut edge, "from", now.minus(Duration::from_secs(60))).await;
    assert_eq!(published(&edge).await, [second.as_str(), &first]);
    let new = edge.login("bob").await;
    assert_eq!(key_of(&new), second);
    edge.get("/orders/1", &old).await.is(200);
    edge.get("/orders/1", &new).await.is(200);
    let age = format!("portcullis_signing_key_age_seconds{{key=\"{second}\"}} ");
    let metrics = edge.metrics().await;
    let age = metrics.lines().find_map(|line| line.strip_prefix(&age)).unwrap();
    assert!((60..3600).contains(&age.parse::<u64>().unwrap()), "{age}");
    assert!(!metrics.contains(&format!("signing_key_age_seconds{{key=\"{first}\"}}")));

    // And the end of the first.
    changed(&site, &mut edge, "until", now.minus(Duration::from_secs(1))).await;
    assert_eq!(published(&edge).await, [second.as_str()]);
    edge.get("/orders/1", &old).await.is(401);
    edge.get("/orders/1", &new).await.is(200);
    let (_, err) = ended(&site.run(&["check", "portcullis.yaml"], ""), 0);
    assert_eq!(err, "", "a key that is over is no mistake of the operator's");
}

#[test]
fn a_rotation_reads_no_more_than_it_needs_and_breaks_nothing() {
    // Without a folder, there is nothing to rotate.
    let plain = Site::new("127.0.0.1:9");
    let (_, err) = ended(&plain.run(&ROTATE, ""), 2);
    assert!(err.contains("`key_folder` is required"), "{err}");

    let site = site("127.0.0.1:9");
    rotate(&site, &[]);
    let list = std::fs::read_to_string(site.path(LIST)).unwrap();
    // What could not come into force is not rotated either.
    for (broken, wanted) in [
        (list.replace(".pem", ".mep"), "cannot be read"),
        (list.replace("use: sign", "use: verify"), "no key to sign with"),
        (list.replace("algorithm", "algorthm"), "did you mean `algorithm`?"),
    ] {
        site.write(LIST, &broken);
        let (out, err) = ended(&site.run(&ROTATE, ""), 2);
        assert!(out.is_empty() && err.contains(wanted), "{err}");
        assert_eq!(std::fs::read_to_string(site.path(LIST)).unwrap(), broken);
    }
    site.write(LIST, list);
    let before = std::fs::read_dir(site.path("keys")).unwrap().count();
    let (out, err) = ended(&site.run(&[&ROTATE[..], &["--publish-ahead", "0s"]].concat(), ""), 0);
    assert!(out.contains("reload now"), "{out}");
    assert!(err.contains("key sets are kept for 300 seconds"), "{err}");
    assert_eq!(std::fs::read_dir(site.path("keys")).unwrap().count(), before + 1);
    ended(&site.run(&["check", "portcullis.yaml"], ""), 0);
}
