//! Part 4, item 14. How many requests may be with applications at once: from one address, on a listener, with an upstream. What
//! comes beyond is 503 with `Retry-After`, and is served once there is room.

use super::harness::captured::Captured;
use super::harness::frames::{DATA, END_STREAM, RST_STREAM, frame, headers, request};
use super::harness::{Behaviour, Edge, HOST, Response, Wire, edge};

/// An edge whose application holds every request until it is released.
async fn holding(limits: &str, upstream: &str, listener: &str) -> (Edge, Captured) {
    let log = Captured::default();
    let listener = format!("{{ address: '127.0.0.1:0', limits: {{ {limits} }}{listener} }}");
    let edge = edge().listener(&listener).upstream_with(upstream).upstream(Behaviour::Holds);
    (edge.log_to(&log).start().await, log)
}

/// Sends a request that the application holds.
async fn held(edge: &Edge, path: &str, token: &str) -> Wire {
    let mut wire = edge.wire().await;
    let ask = edge.get(path);
    let ask = if token.is_empty() { ask } else { ask.bearer(token) };
    wire.send(ask.bytes()).await;
    wire
}

/// Waits until the edge has so many requests: each has then gone as far as it gets without waiting.
async fn in_flight(edge: &Edge, count: i64) {
    while edge.live.shared().metrics.requests_in_flight() < count {
        tokio::task::yield_now().await;
    }
}

#[track_caller]
fn is_overloaded(response: &Response) {
    response.is(503);
    assert_eq!(response.json()["error"], "overloaded");
    assert_eq!(response.values("retry-after"), ["1"]);
}

#[tokio::test]
async fn one_address_has_so_many_requests_at_once() {
    let (edge, log) = holding("max_requests_per_address: 2", "", "").await;
    let mut both = [held(&edge, "/public/1", "").await, held(&edge, "/public/2", "").await];
    edge.upstream.began(2).await;
    is_overloaded(&edge.get("/public/3").await);
    edge.upstream.release();
    for wire in &mut both {
        wire.read_response(false).await.unwrap().is(200);
    }
    // The connection over which they came has room again, and so has another.
    both[0].ask(edge.get("/public/4").bytes()).await.is(200);
    edge.get("/public/5").await.is(200);
    let refused = log.lines(1).await;
    assert_eq!(
        (&refused[0]["reason"], &refused[0]["route"]),
        (&"overloaded".into(), &"public".into())
    );
}

/// The streams of one HTTP/2 connection are counted like connections; those inside go on.
#[tokio::test]
async fn streams_count_as_well() {
    let tls = ", tls: { certificate: edge.pem, private_key: edge.key }";
    let (edge, _) = holding("max_requests_per_address: 2", "", tls).await;
    let mut h2 = edge.h2().await;
    let get = || {
        let uri = format!("https://{HOST}/public/stream");
        http::Request::builder().uri(uri).body(()).unwrap()
    };
    let (one, _) = h2.begin(get(), true).await;
    let (two, _) = h2.begin(get(), true).await;
    edge.upstream.began(2).await;
    is_overloaded(&h2.ask(get(), b"", None).await.unwrap());
    edge.upstream.release();
    assert_eq!(one.await.unwrap().status(), 200);
    assert_eq!(two.await.unwrap().status(), 200);
}

/// Three of four places are for everybody; the last is for who has a token.
#[tokio::test]
async fn what_nobody_authenticated_leaves_room_for_what_is() {
    for (limits, upstream) in
        [("max_requests: 4", ""), ("max_requests: 100", ", limits: { max_requests: 4, queue: 0 }")]
    {
        let (edge, _) = holding(limits, upstream, "").await;
        let token = edge.login("bob", "notes:read").await;
        let mut inside = Vec::new();
        for _ in 0..3 {
            inside.push(held(&edge, "/public/x", "").await);
        }
        edge.upstream.began(3).await;
        is_overloaded(&edge.get("/public/x").await);
        inside.push(held(&edge, "/notes/x", &token).await);
        edge.upstream.began(4).await;
        is_overloaded(&edge.get("/notes/x").bearer(&token).await);
        // Endpoints of our own need no application.
        edge.login("alice", "admin").await;
        edge.upstream.release();
        for wire in &mut inside {
            wire.read_response(false).await.unwrap().is(200);
        }
        edge.get("/public/x").await.is(200);
    }
}

#[tokio::test]
async fn an_upstream_has_a_queue_in_which_a_token_comes_first() {
    let limits = ", limits: { max_requests: 1, queue: 2, queue_timeout: 60s }";
    let (edge, _) = holding("max_requests: 100", limits, "").await;
    let token = edge.login("bob", "notes:read").await;
    let mut first = held(&edge, "/public/first", "").await;
    edge.upstream.began(1).await;
    let mut waits = held(&edge, "/public/waits", "").await;
    in_flight(&edge, 2).await;
    let mut token_waits = held(&edge, "/notes/waits", &token).await;
    in_flight(&edge, 3).await;
    is_overloaded(&edge.get("/notes/third").bearer(&token).await);
    edge.upstream.release();
    for wire in [&mut first, &mut waits, &mut token_waits] {
        wire.read_response(false).await.unwrap().is(200);
    }
    let seen = edge.upstream.seen();
    let order: Vec<_> = seen.iter().map(|seen| seen.target()).collect();
    assert_eq!(order, ["/public/first", "/notes/waits", "/public/waits"]);
}

/// Over HTTP/1.1 the connection ends, over HTTP/2 only the stream.
#[tokio::test]
async fn who_leaves_the_queue_makes_room_for_another() {
    let limits = ", limits: { max_requests: 1, queue: 1, queue_timeout: 60s }";
    let settings = ", tls: { certificate: edge.pem, private_key: edge.key }";
    for (tls, body) in [(false, false), (true, false), (false, true), (true, true)] {
        let settings = if tls { settings } else { "" };
        let (edge, log) = holding("max_requests: 100", limits, settings).await;
        let asks = async |path: &str| {
            let mut wire = if tls { edge.wire_tls().await } else { edge.wire().await };
            wire.send(edge.get(path).bytes()).await;
            wire
        };
        let mut first = asks("/public/first").await;
        edge.upstream.began(1).await;
        if tls {
            let mut frames = edge.frames().await;
            let stream = frames.stream();
            let head = request(if body { "POST" } else { "GET" }, "/public/leaves");
            let mut asked = headers(stream, if body { 0 } else { END_STREAM }, &head);
            if body {
                asked.extend(frame(DATA, END_STREAM, stream, b"body"));
            }
            frames.send(asked).await;
            in_flight(&edge, 2).await;
            is_overloaded(&asks("/public/more").await.read_response(false).await.unwrap());
            frames.send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).await;
        } else {
            let mut waits = edge.wire().await;
            let ask = edge.ask(if body { "POST" } else { "GET" }, "/public/leaves");
            waits.send(if body { ask.body(b"body") } else { ask }.bytes()).await;
            in_flight(&edge, 2).await;
            is_overloaded(&asks("/public/more").await.read_response(false).await.unwrap());
            drop(waits);
        }
        let line = log.lines(2).await.pop().unwrap();
        let told = (&line["reason"], &line["path"]);
        assert_eq!(told, (&"client_gone".into(), &"/public/leaves".into()));
        let mut next = asks("/public/next").await;
        in_flight(&edge, 2).await;
        edge.upstream.release();
        for wire in [&mut first, &mut next] {
            wire.read_response(false).await.unwrap().is(200);
        }
        let seen = edge.upstream.seen();
        let order: Vec<_> = seen.iter().map(|seen| seen.target()).collect();
        assert_eq!(order, ["/public/first", "/public/next"]);
    }
}

#[tokio::test]
async fn who_waits_for_too_long_is_told_so() {
    let limits = ", limits: { max_requests: 1, queue: 5, queue_timeout: 10ms }";
    let (edge, _) = holding("max_requests: 100", limits, "").await;
    let mut first = held(&edge, "/public/first", "").await;
    edge.upstream.began(1).await;
    is_overloaded(&edge.get("/public/late").await);
    edge.upstream.release();
    first.read_response(false).await.unwrap().is(200);
    edge.get("/public/next").await.is(200);
}
