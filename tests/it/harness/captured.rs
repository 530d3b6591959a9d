//! The access log of an edge, kept for reading.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::watch;

use super::within;

/// Everything that was written so far; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    lines: watch::Sender<usize>,
}

impl Default for Captured {
    fn default() -> Self {
        Self { bytes: Arc::default(), lines: watch::Sender::new(0) }
    }
}

impl Captured {
    /// Everything, as it was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }

    /// Waits for so many lines, and returns all of them.
    pub(crate) async fn lines(&self, count: usize) -> Vec<Value> {
        let mut changes = self.lines.subscribe();
        within(changes.wait_for(|lines| *lines >= count)).await.unwrap();
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.bytes.lock().unwrap();
        all.extend_from_slice(bytes);
        let lines = all.iter().filter(|byte| **byte == b'\n').count();
        drop(all);
        self.lines.send_replace(lines);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
