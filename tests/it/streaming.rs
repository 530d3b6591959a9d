//! Large and slow bodies (J1 and J3 of the requirements): they pass piece by piece, the slower side sets the pace, and nothing
//! of them gathers at the edge.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Behaviour, HOST, edge, within};

const MEBIBYTE: usize = 1 << 20;
/// More than all buffers between two ends of a stalled stream hold together, those of the kernel included.
const BUFFERS: usize = 24 * MEBIBYTE;
/// A stream that has not moved for so long is stalled.
const STALL: Duration = Duration::from_millis(300);

/// Waits until a counter has stopped, and says where.
async fn stalled(counter: &mut watch::Receiver<usize>) -> usize {
    within(async {
        while timeout(STALL, counter.changed()).await.is_ok() {}
        *counter.borrow()
    })
    .await
}

#[tokio::test]
async fn j3_an_upload_waits_for_the_application() {
    const LENGTH: usize = 64 * MEBIBYTE;
    let edge = edge().upstream(Behaviour::Holds).start().await;
    let mut wire = edge.wire().await;
    let (progress, mut sent) = watch::channel(0);
    let client = tokio::spawn(async move {
        wire.send(format!(
            "POST /public HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LENGTH}\r\n\r\n"
        ))
        .await;
        let chunk = vec![b'u'; MEBIBYTE];
        for _ in 0..LENGTH / MEBIBYTE {
            wire.send(&chunk).await;
            progress.send_modify(|sent| *sent += MEBIBYTE);
        }
        wire.read_response(false).await
    });
    edge.upstream.began(1).await;
    let before = stalled(&mut sent).await;
    assert!(before < BUFFERS, "{before} bytes were taken and not forwarded");
    // Others are not held up by it.
    edge.get("/nowhere").await.is(404);
    edge.upstream.release();
    within(client).await.unwrap().unwrap().is(200);
    let seen = edge.upstream.last();
    assert!(seen.complete && seen.body.len() == LENGTH && seen.body.iter().all(|b| *b == b'u'));
}

#[tokio::test]
async fn j3_a_download_waits_for_the_client() {
    const LENGTH: usize = 100_000_000;
    let edge = edge().upstream(Behaviour::Pours(LENGTH)).start().await;
    let mut poured = edge.upstream.poured();
    let mut wire = edge.wire().await;
    wire.send(edge.get("/public").field("Connection: close").bytes()).await;
    within(poured.wait_for(|poured| *poured > 0)).await.unwrap();
    let before = stalled(&mut poured).await;
    assert!(before < BUFFERS, "{before} bytes were taken and not forwarded");
    edge.get("/nowhere").await.is(404);
    let heard = wire.read_response(false).await.unwrap();
    assert_eq!(heard.is(200).body.len(), LENGTH);
    wire.is_closed().await;
}

#[tokio::test]
async fn j1_a_slow_login_holds_no_place_of_another() {
    // One worker hashes passwords. Fifty clients announce a login and send all of it but the last byte.
    let edge = edge().start().await;
    let form = format!(
        "grant_type=password&username=alice&password={}&scope=admin",
        PASSWORD.replace(' ', "+")
    );
    let bytes = edge.token(&form).bytes();
    let (most, last) = bytes.split_at(bytes.len() - 1);
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut wire = edge.wire().await;
        wire.send(most).await;
        slow.push(wire);
    }
    edge.login("bob", "notes:read").await;
    // Its honest twin comes to an end.
    let mut first = slow.swap_remove(0);
    first.send(last).await;
    first.read_response(false).await.unwrap().is(200);
}
