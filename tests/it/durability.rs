//! The write is on the disk before the answer leaves: strace says so.

use std::process::Command;

use super::binary::{BINARY, Site};
use super::harness::node::configuration;
use super::harness::process::Running;
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, within};

/// What is received, what is made durable, and what is sent.
const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,fsync,fdatasync,write,writev,sendto,sendmsg";

#[tokio::test]
async fn a_rotation_and_a_revocation_are_synced_before_they_are_answered() {
    let application = Upstream::start(Behaviour::Echo).await;
    let site = Site::new("127.0.0.1:9");
    let yaml = configuration(&application.address.to_string(), "{ sqlite: portcullis.db }");
    site.write("portcullis.yaml", yaml);
    let mut command = Command::new("strace");
    // -D: the binary is our child, and strace its shadow.
    command.args(["-D", "-f", "-s", "300", "-e", CALLS, "-o"]).arg(site.path("trace"));
    command.args([BINARY, "run", "-c", "portcullis.yaml"]).current_dir(site.path("."));
    command.env_remove("NOTIFY_SOCKET").stderr(std::process::Stdio::piped());
    assert!(
        Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()),
        "strace does not start: install it"
    );

    let mut running = Running::started(command.into()).await;
    let node = running.node();
    let first = node.login("alice").await.unwrap();
    node.get("/orders/1", &first.access).await.unwrap().is(200);
    node.refresh(&first.refresh).await.unwrap().is(200);
    node.revoke(&first.access).await.unwrap().is(200);
    running.signal("TERM");
    assert_eq!(running.ends().await.code(), Some(0));
    let trace = within(async {
        loop {
            let trace = std::fs::read_to_string(site.path("trace")).unwrap();
            if trace.lines().any(|line| line.contains("+++ exited with 0 +++")) {
                return trace;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    for asked in ["grant_type=password&", "grant_type=refresh_token&", "POST /token/revoke "] {
        let story = until_answered(&trace, asked);
        assert!(story.iter().any(|line| is_synced(line)), "{asked}\n{}", story.join("\n"));
    }
}

/// The lines from the one that received this to the one that began to answer.
fn until_answered<'a>(trace: &'a str, asked: &str) -> Vec<&'a str> {
    let story = trace.lines().skip_while(|line| !line.contains(asked));
    let story: Vec<&str> = story.take_while(|line| !line.contains("\"HTTP/1.1 ")).collect();
    assert!(!story.is_empty(), "nobody received {asked}");
    story
}

/// Whether the line is the successful end of a sync.
fn is_synced(line: &str) -> bool {
    let sync = ["fsync(", "fdatasync(", "fsync resumed", "fdatasync resumed"];
    sync.iter().any(|call| line.contains(call)) && line.trim_end().ends_with("= 0")
}
