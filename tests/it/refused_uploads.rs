//! A refusal is heard by clients that send their whole body before they read (RFC 9112 section 9.6).

use super::harness::{Edge, HOST, edge};

const LENGTH: usize = 5_000_000;
const ROUTES: &str = "
  - { id: public, path: /public/**, upstream: app, auth: public, limits: { body: 1MiB } }
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
";

async fn limited() -> Edge {
    edge().routes(ROUTES).start().await
}

/// What a client that sends everything first hears, thirty times.
async fn hears(edge: &Edge, head: &str, body: &[u8], status: u16) {
    for round in 0..30 {
        let mut wire = edge.wire().await;
        wire.send([head.as_bytes(), b"\r\n\r\n", body].concat()).await;
        let answer = wire.read_response(false).await;
        let answer = answer.unwrap_or_else(|| panic!("round {round}: no answer to {head}"));
        assert_eq!(answer.is(status).values("connection"), ["close"]);
    }
}

// Part 4, item 15b.
#[tokio::test]
async fn a_large_body_does_not_cost_the_client_its_answer() {
    let edge = limited().await;
    let bob = edge.login("bob", "notes:read").await;
    let body = vec![b'a'; LENGTH];
    let post = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LENGTH}{more}")
    };
    hears(&edge, &post("/admin", ""), &body, 401).await;
    hears(&edge, &post("/admin", &format!("\r\nAuthorization: Bearer {bob}")), &body, 403).await;
    hears(&edge, &post("/nowhere", ""), &body, 404).await;
    hears(&edge, &post("/public", ""), &body, 413).await;
    hears(&edge, &post("/token", ""), &body, 413).await;
    assert!(edge.upstream.seen().is_empty());
}

// Part 4, item 15b.
#[tokio::test]
async fn nor_does_one_that_turns_out_too_large_on_its_way() {
    let edge = limited().await;
    let chunk = [b"10000\r\n", &vec![b'a'; 0x10000][..], b"\r\n"].concat();
    let body = [chunk.repeat(LENGTH / 0x10000), b"0\r\n\r\n".to_vec()].concat();
    let head = format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked");
    hears(&edge, &head, &body, 413).await;
}

/// The clients that people use, at this address.
#[cfg(feature = "external-tests")]
async fn says(program: &str, flag: &str, script: &str, address: std::net::SocketAddr) -> String {
    let mut command = tokio::process::Command::new(program);
    command.arg(flag).arg(script).arg(address.port().to_string());
    let output = super::harness::within(command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

// Part 4, item 15b.
#[cfg(feature = "external-tests")]
#[tokio::test]
async fn fetch_of_node_hears_it_every_time() {
    let edge = limited().await;
    let script = "
let heard = 0;
for (let round = 0; round < 30; round += 1) {
  try {
    const body = new Uint8Array(5000000);
    const url = `http://127.0.0.1:${process.argv[1]}/admin`;
    const answer = await fetch(url, { method: 'POST', body });
    if (answer.status === 401) heard += 1;
  } catch {}
}
console.log(heard);
";
    let script = format!("(async () => {{ {script} }})()");
    assert_eq!(says("node", "-e", &script, edge.address).await.trim(), "30");
}

// Part 4, item 15b.
#[cfg(feature = "external-tests")]
#[tokio::test]
async fn http_client_of_python_hears_it_every_time() {
    let edge = limited().await;
    let script = "
import http.client, sys
heard = 0
for _ in range(30):
    try:
        connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))
        connection.request('POST', '/admin', bytes(5000000))
        heard += connection.getresponse().status == 401
    except OSError:
        pass
print(heard)
";
    assert_eq!(says("python3", "-c", script, edge.address).await.trim(), "30");
}
