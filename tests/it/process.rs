//! `portcullis run` as a process: how it starts, obeys signals and ends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixDatagram};
use tokio::sync::oneshot;

use super::binary::{Site, ended};
use super::harness::process::{Running, get, signal};
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Wire, within};

/// An application that says when a request is there, and answers it when told.
async fn holding() -> (SocketAddr, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, arrives) = oneshot::channel();
    let (release, released) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        arrived.send(()).unwrap();
        if released.await.is_ok() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld";
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, arrives, release)
}

#[test]
fn j8_what_is_wrong_refuses_to_start_and_nothing_listens() {
    let site = Site::new("127.0.0.1:9");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let yaml = Site::yaml("127.0.0.1:9");
    for (from, to, code, wanted) in [
        ("upstream: app,", "upstream: ap,".to_owned(), 2, "error: portcullis.yaml:12:"),
        ("bob, expect: 403", "bob, expect: allow".to_owned(), 2, "test failed: "),
        ("0.1:0' }]", format!("0.1:0' }}, {{ address: '{taken}' }}]"), 1, "cannot listen on"),
        ("admin: { address: '127.0.0.1:0'", format!("admin: {{ address: '{taken}'"), 1, "cannot"),
    ] {
        assert!(yaml.contains(from), "{from}");
        site.write("portcullis.yaml", yaml.replacen(from, &to, 1));
        let (out, err) = ended(&site.run(&["run", "-c", "portcullis.yaml"], ""), code);
        assert_eq!(out, "");
        assert!(err.contains(wanted), "no {wanted:?} in {err}");
        assert!(!err.contains("\"listening\""), "{err}");
    }
}

/// A process that has begun to start and waits for its store, which is this listener and says nothing.
async fn starting() -> (tokio::process::Child, TcpListener, TcpStream) {
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://edge@{}/edge?sslmode=disable", store.local_addr().unwrap());
    let site = Site::new("127.0.0.1:9");
    let yaml = Site::yaml("127.0.0.1:9") + "state: { postgres: { url: { env: STORE } } }\n";
    site.write("portcullis.yaml", yaml);
    let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
    command.env("STORE", url);
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    let (asked, _) = within(store.accept()).await.unwrap();
    (child, store, asked)
}

// Part 4, item 27.
#[tokio::test]
async fn signals_are_obeyed_while_the_process_starts() {
    for word in ["TERM", "INT"] {
        let (mut child, _store, _asked) = starting().await;
        for before in ["HUP", "USR2"] {
            // These wait for the end of the start, and must not be the end of the process.
            signal(before, &[child.id().unwrap()]);
        }
        signal(word, &[child.id().unwrap()]);
        let status = within(child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{word}: {status}");
    }
}

#[tokio::test]
async fn b22_a_user_disabled_by_a_reload_is_refused_with_the_token_from_before() {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let site = Site::new(&upstream.address.to_string());
    let edge = Running::start(&site).await;
    let (alice, bob) = (edge.login("alice").await, edge.login("bob").await);
    edge.get("/orders/1", &alice).await.is(200);

    site.write("users.yaml", Site::users().replace("name: alice,", "name: alice, disabled: true,"));
    edge.get("/orders/1", &alice).await.is(200);
    edge.signal("HUP");
    let reloaded = "portcullis_config_reloads_total{outcome=\"success\"} 1";
    within(async { while !edge.counts(reloaded).await {} }).await;

    edge.get("/orders/1", &alice).await.is(401);
    edge.get("/orders/1", &bob).await.is(200);
}

#[tokio::test]
async fn j7_a_broken_file_keeps_the_old_configuration_and_says_where_it_is_broken() {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let application = upstream.address.to_string();
    let site = Site::new(&application);
    let mut edge = Running::start(&site).await;
    let bob = edge.login("bob").await;
    let good = "portcullis_config_last_reload_successful 1";
    let bad = "portcullis_config_last_reload_successful 0";
    let yaml = Site::yaml(&application);

    for (broken, wanted) in [
        (format!("{yaml}  - {{ request: [\n"), "portcullis.yaml:18:"),
        (
            yaml.replace("scopes: ['orders:read'] }\n  -", "scopes: ['orders:raed'] }\n  -"),
            "portcullis.yaml:12:",
        ),
        (yaml.replace("bob, expect: 403", "bob, expect: allow"), "test failed: "),
    ] {
        site.write("portcullis.yaml", broken);
        edge.signal("HUP");
        let line = edge.says(wanted).await;
        assert_eq!(line["level"], "ERROR", "{line}");
        edge.says("the old configuration stays in force").await;
        assert!(edge.counts(bad).await);
        edge.get("/orders/1", &bob).await.is(200);
    }

    site.write(
        "portcullis.yaml",
        yaml.replace("path: /orders/**", "path: /things/**").replace(" /orders/7", " /things/7"),
    );
    edge.signal("HUP");
    edge.says("configuration reloaded").await;
    assert!(edge.counts(good).await);
    edge.get("/orders/1", &bob).await.is(404);
    edge.get("/things/1", &bob).await.is(200);
}

#[tokio::test]
async fn j10_a_request_in_flight_is_finished_before_the_end() {
    let (application, arrives, release) = holding().await;
    let site = Site::new(&application.to_string());
    let mut edge = Running::start(&site).await;
    let bob = edge.login("bob").await;
    let mut idle = Wire::connect(edge.edge).await;
    idle.ask(get("/orders/1", "no-token")).await.is(401);
    let mut wire = Wire::connect(edge.edge).await;
    wire.send(get("/orders/1", &bob)).await;
    within(arrives).await.unwrap();

    edge.signal("TERM");
    edge.says("draining").await;
    within(async { while TcpStream::connect(edge.edge).await.is_ok() {} }).await;
    idle.is_closed().await;
    let ready = "GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n";
    Wire::connect(edge.admin).await.ask(ready).await.is(503);

    release.send(()).unwrap();
    let answer = wire.read_response(false).await.expect("the request was dropped");
    assert_eq!(answer.is(200).text(), "held");
    assert_eq!(edge.ends().await.code(), Some(0));
}

#[tokio::test]
async fn j10_idle_connections_do_not_hold_the_end() {
    let site = Site::new("127.0.0.1:9");
    let mut edge = Running::start(&site).await;
    let mut used = Wire::connect(edge.edge).await;
    used.ask(get("/orders/1", "no-token")).await.is(401);
    let mut silent = Wire::connect(edge.edge).await;
    edge.signal("INT");
    assert_eq!(edge.ends().await.code(), Some(0));
    used.is_closed().await;
    silent.is_closed().await;
}

#[tokio::test]
async fn j10_a_second_signal_ends_at_once() {
    let (application, arrives, release) = holding().await;
    let site = Site::new(&application.to_string());
    let mut edge = Running::start(&site).await;
    let bob = edge.login("bob").await;
    let mut wire = Wire::connect(edge.edge).await;
    wire.send(get("/orders/1", &bob)).await;
    within(arrives).await.unwrap();
    edge.signal("TERM");
    edge.says("draining").await;
    edge.signal("TERM");
    assert_eq!(edge.ends().await.code(), Some(1));
    wire.is_closed().await;
    drop(release);
}

#[tokio::test]
async fn j10_a_request_that_goes_on_and_on_is_cut_when_the_time_to_drain_is_over() {
    let (application, arrives, release) = holding().await;
    let site = Site::new(&application.to_string());
    let yaml = Site::yaml(&application.to_string());
    site.write("portcullis.yaml", format!("shutdown: {{ drain: 1s }}\n{yaml}"));
    let mut edge = Running::start(&site).await;
    let bob = edge.login("bob").await;
    let mut wire = Wire::connect(edge.edge).await;
    wire.send(get("/orders/1", &bob)).await;
    within(arrives).await.unwrap();
    edge.signal("TERM");
    let line = edge.says("the time to drain is over").await;
    assert_eq!((&line["level"], &line["requests"]), (&"WARN".into(), &1.into()), "{line}");
    assert_eq!(edge.ends().await.code(), Some(0));
    wire.is_closed().await;
    drop(release);
}

#[tokio::test]
async fn systemd_is_told_of_start_reload_and_stop() {
    let site = Site::new("127.0.0.1:9");
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
    command.env("NOTIFY_SOCKET", site.path("notify"));
    let mut edge = Running::started(command.into()).await;
    let told = async || {
        let mut buffer = [0; 512];
        let length = within(socket.recv(&mut buffer)).await.unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    for _ in ["edge", "admin"] {
        let stored = told().await;
        assert!(stored.starts_with("FDSTORE=1\nFDNAME=tcp-127.0.0.1-"), "{stored}");
    }
    assert_eq!(told().await.trim_end(), "READY=1");
    edge.signal("HUP");
    let reloading = told().await;
    let lines: Vec<&str> = reloading.lines().collect();
    assert_eq!(lines[0], "RELOADING=1");
    lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap();
    assert_eq!(told().await.trim_end(), "READY=1");
    edge.signal("TERM");
    assert_eq!(told().await.trim_end(), "STOPPING=1");
    assert_eq!(edge.ends().await.code(), Some(0));
}

#[tokio::test]
async fn whoever_hashes_gives_way_to_whoever_serves() {
    let upstream = Upstream::start(Behaviour::Echo).await;
    let site = Site::new(&upstream.address.to_string());
    let edge = Running::start(&site).await;
    let token = edge.login("alice").await;
    edge.get("/orders/1", &token).await.is(200);
    let threads = edge.threads();
    let of = |kind: &str| -> Vec<i32> {
        let own = threads.iter().filter(|(name, _)| name.starts_with(kind));
        own.map(|(_, niceness)| *niceness).collect()
    };
    let (hashing, serving) = (of("hash-"), of("tokio"));
    assert!(!hashing.is_empty() && !serving.is_empty(), "{threads:?}");
    let most = serving.iter().max().unwrap();
    assert!(hashing.iter().all(|niceness| niceness > most), "{threads:?}");
}

#[tokio::test]
async fn memory_that_is_given_back_is_not_joined_into_huge_pages() {
    let site = Site::new("127.0.0.1:9");
    let edge = Running::start(&site).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    assert!(status.contains("THP_enabled:\t0"), "{status}");
}

#[tokio::test]
async fn an_application_that_is_gone_is_warned_of() {
    let mut edge = Running::start(&Site::new("127.0.0.1:9")).await;
    let token = edge.login("alice").await;
    edge.get("/orders/1", &token).await.is(502);
    let said = edge.says("request failed").await;
    assert_eq!((&said["level"], &said["reason"]), (&"WARN".into(), &"upstream_unreachable".into()));
}
