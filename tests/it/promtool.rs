//! What Prometheus itself says about the metrics.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::metrics::{busy, metrics};

#[tokio::test]
async fn j6_promtool_finds_nothing_wrong_with_the_metrics() {
    let (edge, log, _) = busy().await;
    log.lines(14).await;
    let text = metrics(&edge).await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool does not start: install prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
