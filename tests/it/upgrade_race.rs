//! Part 4, item 12 (a). An application that is a process of its own accepts an upgrade before the proxy below us has passed on
//! the end of the request; the tunnel must stand all the same. Three processes: the client here, the built binary, and an
//! application of threads that answers as soon as it has a head.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::binary::Site;
use super::harness::process::Running;
use super::harness::within;

/// Set in the process that is the application.
const APPLICATION: &str = "PORTCULLIS_TEST_APPLICATION";
const ACCEPTED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
/// How many tunnels are opened.
const TUNNELS: usize = 4000;
/// By how many clients at once.
const CLIENTS: usize = 8;

/// Not a test by itself: the process that `every_tunnel_stands` starts as its application.
#[test]
#[ignore = "it is the application of another test"]
fn the_application() {
    if std::env::var_os(APPLICATION).is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("\nlistening {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        thread::spawn(move || {
            let mut head = Vec::new();
            let mut room = [0; 4096];
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(count @ 1..) = stream.read(&mut room) else { return };
                head.extend_from_slice(&room[..count]);
            }
            if stream.write_all(ACCEPTED).is_err() {
                return;
            }
            while let Ok(count @ 1..) = stream.read(&mut room) {
                if stream.write_all(&room[..count]).is_err() {
                    return;
                }
            }
        });
    }
}

/// Opens a tunnel and sends something through it.
fn stands(edge: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(edge).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = "GET /socket HTTP/1.1\r\nHost: edge.example.com\r\nConnection: Upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut room = [0; 1024];
    while !answer.ends_with(b"\r\n\r\n") {
        let Ok(count @ 1..) = stream.read(&mut room) else { return false };
        answer.extend_from_slice(&room[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    let mut back = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"ping"
}

#[tokio::test]
async fn every_tunnel_stands() {
    let mut application = Command::new(std::env::current_exe().unwrap());
    application.args(["--exact", "upgrade_race::the_application", "--ignored", "--nocapture"]);
    application.env(APPLICATION, "1").stdout(Stdio::piped()).kill_on_drop(true);
    let mut application = application.spawn().unwrap();
    let mut said = BufReader::new(application.stdout.take().unwrap()).lines();
    let address = loop {
        let line = within(said.next_line()).await.unwrap().expect("the application has ended");
        if let Some(address) = line.strip_prefix("listening ") {
            break address.to_owned();
        }
    };
    let site = Site::new(&address);
    let routes = "routes:\n  - { id: sockets, path: /socket, upstream: app, auth: public }";
    site.write("portcullis.yaml", Site::yaml(&address).replacen("routes:", routes, 1));
    let running = Running::start(&site).await;
    let edge = running.edge;
    let failed = tokio::task::spawn_blocking(move || {
        let (left, failed) = (AtomicUsize::new(TUNNELS), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let take = |left: usize| left.checked_sub(1);
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                        if !stands(edge) {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        failed.into_inner()
    });
    assert_eq!(failed.await.unwrap(), 0, "of {TUNNELS} tunnels");
}
