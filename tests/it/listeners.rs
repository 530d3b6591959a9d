//! Listeners that a reload opens, closes and changes, while connections are open.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::binary::Site;
use super::harness::process::Running;
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Wire, edge, within};

const LISTENERS: &str = "listeners: [{ address: '127.0.0.1:0' }]";
const HOST: &str = "edge.example.com";

/// The usual site with an open route, and what it runs as.
async fn running() -> (Upstream, Site, Running) {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let site = Site::new(&upstream.address.to_string());
    site.write("portcullis.yaml", yaml(&upstream));
    let edge = Running::start(&site).await;
    (upstream, site, edge)
}

fn yaml(upstream: &Upstream) -> String {
    let open = "routes:\n  - { id: open, path: /open/**, upstream: app, auth: public }";
    Site::yaml(&upstream.address.to_string()).replacen("routes:", open, 1)
}

async fn reload(site: &Site, edge: &mut Running, from: &str, to: &str, upstream: &Upstream) {
    let yaml = yaml(upstream);
    assert!(yaml.contains(from));
    site.write("portcullis.yaml", yaml.replacen(from, to, 1));
    edge.signal("HUP");
}

async fn listening(edge: &mut Running) -> SocketAddr {
    edge.says("listening").await["address"].as_str().unwrap().parse().unwrap()
}

/// Waits until nobody listens there: the socket goes with the task that accepts.
async fn is_gone(address: SocketAddr) {
    while within(TcpStream::connect(address)).await.is_ok() {}
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

#[tokio::test]
async fn j7_a_reload_opens_and_closes_listeners() {
    let (upstream, site, mut edge) = running().await;
    let two = "listeners: [{ address: '127.0.0.1:0' }, { address: '127.0.0.2:0' }]";
    reload(&site, &mut edge, LISTENERS, two, &upstream).await;
    let second = listening(&mut edge).await;
    edge.says("configuration reloaded").await;
    assert!(second.ip().to_string() == "127.0.0.2");
    let mut kept = Wire::connect(edge.edge).await;
    for address in [edge.edge, second] {
        Wire::connect(address).await.ask(get("/open")).await.is(200);
        Wire::connect(address).await.ask(get("/orders/7")).await.is(401);
    }
    kept.ask(get("/open")).await.is(200);
    let mut idle = Wire::connect(second).await;
    idle.ask(get("/open")).await.is(200);

    reload(&site, &mut edge, LISTENERS, LISTENERS, &upstream).await;
    edge.says("closing").await;
    edge.says("configuration reloaded").await;
    // One more answer, so that who uses the connection need not ask twice; then it ends.
    let last = idle.ask(get("/open")).await;
    assert_eq!(last.is(200).values("connection"), ["close"]);
    idle.is_closed().await;
    is_gone(second).await;
    // The other was not touched.
    let answer = kept.ask(get("/open")).await;
    assert!(!answer.is(200).values("connection").contains(&"close"));
}

#[tokio::test]
async fn a_listener_whose_settings_change_keeps_its_socket_and_no_connection_its_settings() {
    let (upstream, site, mut edge) = running().await;
    let mut before = Wire::connect(edge.edge).await;
    let many = format!("GET /open HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", "X-A: b\r\n".repeat(20));
    before.ask(&many).await.is(200);

    let stricter = "listeners: [{ address: '127.0.0.1:0', limits: { header_count: 10 } }]";
    reload(&site, &mut edge, LISTENERS, stricter, &upstream).await;
    assert_eq!(listening(&mut edge).await, edge.edge, "the socket is the same");
    edge.says("configuration reloaded").await;
    Wire::connect(edge.edge).await.ask(&many).await.is(431);
    Wire::connect(edge.edge).await.ask(get("/open")).await.is(200);
    let last = before.ask(get("/open")).await;
    assert_eq!(last.is(200).values("connection"), ["close"]);
    before.is_closed().await;
}

#[tokio::test]
async fn an_address_that_cannot_be_had_refuses_the_reload_and_changes_nothing() {
    let (upstream, site, mut edge) = running().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let both = format!(
        "listeners: [{{ address: '127.0.0.1:0', limits: {{ header_count: 8 }} }}, {{ address: '{taken}' }}]"
    );
    reload(&site, &mut edge, LISTENERS, &both, &upstream).await;
    let said = edge.says("cannot listen on").await;
    assert!(said["message"].as_str().unwrap().contains(&taken.to_string()), "{said}");
    edge.says("the old configuration stays").await;
    let many = format!("GET /open HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", "X-A: b\r\n".repeat(20));
    Wire::connect(edge.edge).await.ask(&many).await.is(200);
    assert!(edge.counts("portcullis_config_last_reload_successful 0").await);
}

#[tokio::test]
async fn an_open_websocket_outlives_reloads_of_routes_and_of_its_own_listener() {
    let edge = edge().upstream(Behaviour::Tunnels).start().await;
    let mut tunnel = edge.wire().await;
    let upgrade = edge.get("/public/socket").field("Connection: Upgrade");
    let upgrade = upgrade.field("Upgrade: websocket").field("Sec-WebSocket-Version: 13");
    let upgrade = upgrade.field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    tunnel.ask(upgrade.bytes()).await.is(101);
    let file = edge.directory().join("portcullis.yaml");
    let stricter = "{ address: '127.0.0.1:0', limits: { header_count: 10 } }";
    for (from, to) in [("id: notes,", "id: renamed,"), ("{ address: '127.0.0.1:0' }", stricter)] {
        let yaml = std::fs::read_to_string(&file).unwrap();
        assert!(yaml.contains(from));
        std::fs::write(&file, yaml.replacen(from, to, 1)).unwrap();
        edge.live.reload().unwrap();
        tunnel.send(b"\x81\x05hello").await;
        assert_eq!(tunnel.read_bytes(7).await, b"\x81\x05hello", "after {to}");
    }
    let many = (0..20).fold(edge.get("/public"), |asked, _| asked.field("X-A: b"));
    many.await.is(431);
}

#[tokio::test]
async fn the_operators_listener_moves_with_a_reload() {
    let (upstream, site, mut edge) = running().await;
    let admin = "admin: { address: '127.0.0.1:0' }";
    reload(&site, &mut edge, admin, "admin: { address: '127.0.0.2:0' }", &upstream).await;
    let line = edge.says("admin listening").await;
    let moved: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    edge.says("configuration reloaded").await;
    let healthy = Wire::connect(moved).await.ask(get("/healthz")).await;
    assert_eq!(healthy.is(200).text(), "ok\n");
    is_gone(edge.admin).await;
}

#[tokio::test]
async fn a_drain_answers_who_is_about_to_ask() {
    let (_upstream, _site, mut edge) = running().await;
    let mut idle = Wire::connect(edge.edge).await;
    idle.ask(get("/open")).await.is(200);
    edge.signal("TERM");
    edge.says("draining").await;
    // Every request is answered, until one is told that it was the last.
    while idle.ask(get("/open")).await.is(200).values("connection") != ["close"] {}
    idle.is_closed().await;
    assert_eq!(edge.ends().await.code(), Some(0));
}
