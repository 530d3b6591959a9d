//! A client that keeps its body back until it hears `100 Continue`, over HTTP/2 (RFC 9110 section 10.1.1). It waits for
//! ever, so each of these tests would. Part 4, item 9.

use super::harness::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Field, HEADERS, SETTINGS, frame, headers, request,
};
use super::harness::gateway::PASSWORD;
use super::harness::{Behaviour, Edge, Frames, HOST, edge, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:status: 100`, its name from the static table.
const STATUS_100: [u8; 5] = [0x08, 3, b'1', b'0', b'0'];

/// A connection whose table is as large as that of every client that is known to us.
async fn connected(edge: &Edge) -> Frames {
    let mut frames = Frames::connect_silent(edge.address, edge.root()).await;
    frames.send([PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await;
    frames
}

fn waiting<'a>(method: &'a str, path: &'a str, more: &[Field<'a>]) -> Vec<Field<'a>> {
    let mut fields = request(method, path).to_vec();
    fields.push((b"expect", b"100-continue"));
    fields.extend(more);
    fields
}

/// The payloads of the next frames of a stream with fields, up to the one that ends it or to this many.
async fn blocks(frames: &mut Frames, stream: u32, most: usize) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    while blocks.len() < most {
        let next = within(frames.frame()).await.expect("the connection ended");
        if next.kind == SETTINGS && next.flags & ACK == 0 {
            frames.send(frame(SETTINGS, ACK, 0, b"")).await;
        }
        if next.kind == HEADERS && next.stream == stream {
            assert_eq!(next.flags & END_HEADERS, END_HEADERS);
            blocks.push(next.payload);
            if next.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    blocks
}

#[tokio::test]
async fn the_application_gets_the_body_and_no_expectation() {
    let edge = edge().tls().start().await;
    let mut frames = connected(&edge).await;
    for _ in 0..3 {
        let stream = frames.stream();
        frames.send(headers(stream, 0, &waiting("POST", "/public", &[]))).await;
        assert_eq!(blocks(&mut frames, stream, 1).await, [STATUS_100]);
        frames.send(frame(DATA, END_STREAM, stream, b"hello")).await;
        let answer = blocks(&mut frames, stream, 1).await;
        // 200, as the table of RFC 7541 appendix A has it.
        assert_eq!(answer[0][0], 0x88);
    }
    for seen in edge.upstream.saw(3).await {
        assert!(seen.complete && seen.values("expect").is_empty(), "{seen:?}");
        assert!(String::from_utf8_lossy(&seen.body).contains("hello"), "{seen:?}");
    }
}

#[tokio::test]
async fn two_that_wait_at_once_both_go_on() {
    let edge = edge().tls().start().await;
    let mut frames = connected(&edge).await;
    let (one, other) = (frames.stream(), frames.stream());
    frames.send(headers(one, 0, &waiting("POST", "/public/1", &[]))).await;
    frames.send(headers(other, 0, &waiting("POST", "/public/2", &[]))).await;
    // Whichever is forwarded first, both hear it once.
    let mut told = Vec::new();
    while told.len() < 2 {
        let next = within(frames.frame()).await.unwrap();
        if next.kind == HEADERS {
            assert_eq!(next.payload, STATUS_100);
            told.push(next.stream);
        }
    }
    told.sort_unstable();
    assert_eq!(told, [one, other]);
    frames.send(frame(DATA, END_STREAM, one, b"one")).await;
    frames.send(frame(DATA, END_STREAM, other, b"other")).await;
    for seen in edge.upstream.saw(2).await {
        assert!(seen.complete, "{seen:?}");
    }
}

#[tokio::test]
async fn who_is_refused_hears_only_that() {
    let edge = edge().tls().start().await;
    let mut frames = connected(&edge).await;
    let stream = frames.stream();
    frames.send(headers(stream, 0, &waiting("POST", "/admin", &[]))).await;
    let answer = blocks(&mut frames, stream, 1).await;
    assert_ne!(answer, [STATUS_100]);
    assert!(edge.upstream.seen().is_empty());
}

#[tokio::test]
async fn our_own_endpoints_ask_for_the_body_as_well() {
    let edge = edge().tls().start().await;
    let mut frames = connected(&edge).await;
    let stream = frames.stream();
    let form = [(&b"content-type"[..], &b"application/x-www-form-urlencoded"[..])];
    frames.send(headers(stream, 0, &waiting("POST", "/token", &form))).await;
    assert_eq!(blocks(&mut frames, stream, 1).await, [STATUS_100]);
    let login = format!(
        "grant_type=password&username=bob&password={}&scope=notes:read",
        PASSWORD.replace(' ', "+")
    );
    frames.send(frame(DATA, END_STREAM, stream, login.as_bytes())).await;
    assert_eq!(blocks(&mut frames, stream, 1).await[0][0], 0x88);
}

#[tokio::test]
async fn who_does_not_expect_it_and_has_sent_its_body_hears_the_answer_alone() {
    let edge = edge().tls().start().await;
    let mut frames = connected(&edge).await;
    for fields in [request("POST", "/public").to_vec(), waiting("POST", "/public", &[])] {
        let stream = frames.stream();
        let whole = [headers(stream, 0, &fields), frame(DATA, END_STREAM, stream, b"hello")];
        frames.send(whole.concat()).await;
        assert_eq!(blocks(&mut frames, stream, 1).await[0][0], 0x88);
    }
}

#[tokio::test]
async fn over_http_1_the_expectation_is_the_applications_to_answer() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    let edge = edge().upstream(Behaviour::SaysEarly(interim)).start().await;
    let mut wire = edge.wire().await;
    let head = format!(
        "POST /public HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    );
    wire.send(head).await;
    assert_eq!(wire.read_response(false).await.unwrap().status, 100);
    wire.send("hello").await;
    let seen = edge.upstream.saw(1).await.pop().unwrap();
    assert_eq!(
        (seen.values("expect"), seen.body.as_slice()),
        (vec!["100-continue"], &b"hello"[..])
    );
}
