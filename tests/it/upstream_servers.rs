//! Servers of an upstream that fail: the request goes to another where that is safe, the failure is remembered, and the
//! server has its turns again once it answers. Part 4, item 11.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Duration, Instant, timeout};

use super::harness::sources::DUAL_HOST;
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, Edge, HOST, Wire, edge, within};
use super::metrics::metrics;

/// How many clients ask at the same time.
const CLIENTS: usize = 16;
/// How often each of them asks.
const REQUESTS: usize = 20;
/// The time to connect, where servers are there that take no connection and say nothing.
const CONNECT: Duration = Duration::from_millis(500);

/// An edge whose `/pool` leads to these servers.
async fn pool(servers: &[String]) -> Edge {
    let list = servers.iter().map(|server| format!("'{server}'")).collect::<Vec<_>>().join(", ");
    let connect = CONNECT.as_millis();
    let more = format!(
        " }}\n  pool: {{ servers: [{list}], timeouts: {{ connect: {connect}ms, read: 5s }}"
    );
    edge()
        .upstream_with(&more)
        .routes("\n  - { id: pool, path: /pool/**, upstream: pool, auth: public }\n")
        .with("admin: { address: '127.0.0.1:0' }")
        .start()
        .await
}

/// A port on which connections are refused: it is bound, so nobody else can have it, and it does not listen.
fn dead() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A port on which nothing comes of a connection: the queue of the listener is full, so the system drops what comes.
async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let (socket, address) = dead();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(CONNECT, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (listener, waiting, address)
}

/// Many clients at once: each asks on a connection of its own and counts the answers that were not 200.
async fn storm(edge: &Edge) -> usize {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let address = edge.address;
        clients.spawn(async move {
            let mut wire = Wire::connect(address).await;
            let mut failed = 0;
            for _ in 0..REQUESTS {
                if status(&mut wire).await != 200 {
                    // The connection ends with a failure.
                    wire = Wire::connect(address).await;
                    failed += 1;
                }
            }
            failed
        });
    }
    within(clients.join_all()).await.iter().sum()
}

async fn status(wire: &mut Wire) -> u16 {
    wire.ask(format!("GET /pool/a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await.status
}

async fn ejected(edge: &Edge) -> String {
    let series = "portcullis_upstream_servers_ejected{upstream=\"pool\"} ";
    let text = metrics(edge).await;
    let value = text.lines().find_map(|line| line.strip_prefix(series)).expect(series);
    value.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_costs_no_request() {
    let (_bound, dead) = dead();
    let live = Upstream::start(Behaviour::Echo).await;
    let edge = pool(&[dead.to_string(), live.address.to_string()]).await;
    assert_eq!(ejected(&edge).await, "0");
    assert_eq!(storm(&edge).await, 0);
    assert_eq!(live.seen().len(), CLIENTS * REQUESTS);
    assert_eq!(ejected(&edge).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_a_name_are_alternatives_of_one_server() {
    let live = Upstream::start(Behaviour::Echo).await;
    let edge = pool(&[format!("{DUAL_HOST}:{}", live.address.port())]).await;
    assert_eq!(storm(&edge).await, 0);
    assert_eq!(live.seen().len(), CLIENTS * REQUESTS);
    assert_eq!(ejected(&edge).await, "0", "one of its addresses answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_close_at_once_cost_no_get() {
    let mut servers = Vec::new();
    for behaviour in [Behaviour::Refuses, Behaviour::Closes, Behaviour::Refuses, Behaviour::Echo] {
        servers.push(Upstream::start(behaviour).await);
    }
    let addresses: Vec<_> = servers.iter().map(|server| server.address.to_string()).collect();
    let edge = pool(&addresses).await;
    assert_eq!(storm(&edge).await, 0);
    assert_eq!(servers[3].seen().len(), CLIENTS * REQUESTS);
}

#[tokio::test]
async fn a_black_hole_costs_its_timeout_once() {
    let (_listener, _waiting, hole) = black_hole().await;
    let live = Upstream::start(Behaviour::Echo).await;
    let edge = pool(&[hole.to_string(), live.address.to_string()]).await;
    let mut wire = edge.wire().await;
    let mut slow = Vec::new();
    for number in 0..24 {
        match number {
            // The first ejection is over, and one request finds that nothing has changed.
            8 => edge.clock.advance_instant(Duration::from_secs(1)),
            // What is known outlives a reload.
            16 => edge.reload(),
            _ => {}
        }
        let began = Instant::now();
        assert_eq!(status(&mut wire).await, 200);
        if began.elapsed() >= CONNECT {
            slow.push(number);
        }
    }
    assert!(matches!(slow[..], [0 | 1, 8 | 9]), "{slow:?}");
}

#[tokio::test]
async fn a_recovered_server_has_its_turns_again() {
    let (socket, address) = dead();
    let live = Upstream::start(Behaviour::Echo).await;
    let edge = pool(&[address.to_string(), live.address.to_string()]).await;
    let mut wire = edge.wire().await;
    for _ in 0..4 {
        assert_eq!(status(&mut wire).await, 200);
    }
    let recovered = Upstream::on(socket.listen(16).unwrap(), Behaviour::Echo);
    for _ in 0..4 {
        assert_eq!(status(&mut wire).await, 200);
    }
    assert_eq!(recovered.seen().len(), 0, "it is left out for a second");
    edge.clock.advance_instant(Duration::from_secs(1));
    for _ in 0..8 {
        assert_eq!(status(&mut wire).await, 200);
    }
    assert_eq!((recovered.seen().len(), live.seen().len()), (4, 12));
    assert_eq!(ejected(&edge).await, "0");
}

#[tokio::test]
async fn all_are_tried_once_and_then_it_is_502() {
    let servers =
        [Upstream::start(Behaviour::Closes).await, Upstream::start(Behaviour::Closes).await];
    let (_bound, dead) = dead();
    let addresses = [servers[0].address, dead, servers[1].address].map(|server| server.to_string());
    let edge = pool(&addresses).await;
    for round in 1..=3 {
        // All are ejected after the first round, and are tried all the same.
        edge.get("/pool/a").await.is(502);
        assert_eq!(servers.each_ref().map(|server| server.seen().len()), [round, round]);
    }
    assert_eq!(ejected(&edge).await, "3");
}

#[tokio::test]
async fn what_may_not_be_repeated_is_sent_once() {
    let large = vec![b'x'; 200_000];
    let sent_once: [(&str, &[u8]); 4] =
        [("POST", b""), ("POST", b"pay"), ("PATCH", b"pay"), ("PUT", &large)];
    for (method, body) in sent_once {
        let servers =
            [Upstream::start(Behaviour::Closes).await, Upstream::start(Behaviour::Closes).await];
        let edge = pool(&servers.each_ref().map(|server| server.address.to_string())).await;
        edge.ask(method, "/pool/a").body(body).await.is(502);
        let seen = servers[0].seen().len() + servers[1].seen().len();
        assert_eq!(seen, 1, "{method} with {} bytes", body.len());
    }
}

#[tokio::test]
async fn what_may_be_repeated_arrives_whole_at_the_other_server() {
    for (method, body) in [("PUT", &b"the whole body"[..]), ("DELETE", b""), ("OPTIONS", b"")] {
        let closing = Upstream::start(Behaviour::Closes).await;
        let live = Upstream::start(Behaviour::Echo).await;
        let edge = pool(&[closing.address.to_string(), live.address.to_string()]).await;
        edge.ask(method, "/pool/a").body(body).await.is(200);
        edge.ask(method, "/pool/a").body(body).await.is(200);
        assert_eq!(closing.seen().len(), 1, "{method}");
        for seen in live.saw(2).await {
            assert_eq!((seen.body.as_slice(), seen.complete), (body, true), "{method}");
        }
    }
}

#[tokio::test]
async fn before_a_connection_stands_every_method_goes_to_another_server() {
    let (_bound, dead) = dead();
    let live = Upstream::start(Behaviour::Echo).await;
    let edge = pool(&[dead.to_string(), live.address.to_string()]).await;
    for _ in 0..2 {
        edge.ask("POST", "/pool/a").body(b"pay").await.is(200);
    }
    assert_eq!(live.saw(2).await.len(), 2);
}
