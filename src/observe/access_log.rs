//! The access log: one line of JSON per request, written off the request's path by a queue of its own (`line_queue`).
//!
//! When whoever reads the log is too slow, lines are lost and counted, and requests go on. Which requests are logged is the
//! caller's choice.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::Record;
use super::line::line;
use super::line_queue::{LineObserver, LineQueue};
use super::metrics::Metrics;

/// How many lines may wait: at a few hundred bytes each, some seconds of a busy proxy in a few megabytes.
const QUEUED_LINES: usize = 8192;

/// How long [`AccessLog::close`] waits for the queue to empty: a reader that has stopped must not hold up a shutdown.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// The log of one run. Dropping it closes it.
#[derive(Debug)]
pub struct AccessLog {
    queue: LineQueue,
    observer: Arc<Observer>,
}

impl AccessLog {
    /// Starts the thread that writes to `writer`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(writer: Box<dyn Write + Send>, metrics: Arc<Metrics>) -> io::Result<Self> {
        Self::start_with(writer, metrics, QUEUED_LINES)
    }

    fn start_with(
        writer: Box<dyn Write + Send>,
        metrics: Arc<Metrics>,
        queued_lines: usize,
    ) -> io::Result<Self> {
        let observer = Arc::new(Observer(metrics));
        let heard = Arc::clone(&observer);
        let queue = LineQueue::start("access-log", writer, queued_lines, heard)?;
        Ok(Self { queue, observer })
    }

    /// Queues the line for this request, or counts it as dropped when the queue is full or closed. Never blocks.
    pub fn record(&self, record: &Record<'_>) {
        match line(record) {
            Ok(line) => self.queue.push(line),
            Err(_) => self.observer.dropped(),
        }
    }

    /// Writes what is queued and ends the thread. Blocks for at most five seconds; what comes later is dropped and
    /// counted. A second call does nothing.
    pub fn close(&self) {
        if !self.queue.close(CLOSE_PATIENCE) {
            tracing::warn!("the access log's reader is stuck; the last lines are lost");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
struct Observer(Arc<Metrics>);

impl LineObserver for Observer {
    fn dropped(&self) {
        self.0.log_dropped();
    }

    fn failing(&self, error: &io::Error) {
        tracing::error!(%error, "the access log cannot be written");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use parking_lot::Mutex;

    use super::super::metrics::Gauges;
    use super::super::record::tests::permitted;
    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn lines(&self) -> Vec<serde_json::Value> {
            let text = String::from_utf8(self.0.lock().clone()).unwrap();
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Says when it is written to, and then waits for leave.
    struct Gated {
        entered: Sender<()>,
        leave: Receiver<()>,
        kept: Kept,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(()).ok();
            self.leave.recv().ok();
            self.kept.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn dropped(metrics: &Metrics) -> u64 {
        let text = metrics.render(Gauges::default());
        let lost =
            text.lines().find_map(|l| l.strip_prefix("portcullis_access_log_dropped_total "));
        lost.unwrap().parse().unwrap()
    }

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new().unwrap())
    }

    #[test]
    fn every_record_is_one_line_of_json_in_order() {
        let (metrics, kept) = (metrics(), Kept::default());
        let log = AccessLog::start(Box::new(kept.clone()), Arc::clone(&metrics)).unwrap();
        for status in 200..300 {
            log.record(&Record { status, path: "/a\nb\r\u{2028}c", ..permitted() });
        }
        drop(log);
        let statuses: Vec<_> = kept.lines().iter().map(|l| l["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, (200..300).collect::<Vec<_>>());
        assert_eq!(dropped(&metrics), 0);
    }

    #[test]
    fn a_line_appears_without_the_next_one() {
        let (entered, seen) = channel();
        let (leave, gate) = channel();
        let kept = Kept::default();
        let writer = Gated { entered, leave: gate, kept: kept.clone() };
        let log = AccessLog::start(Box::new(writer), metrics()).unwrap();
        for _ in 0..2 {
            log.record(&permitted());
            seen.recv().unwrap();
            leave.send(()).unwrap();
        }
        drop(log);
        assert_eq!(kept.lines().len(), 2);
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_does_not_block() {
        let (entered, seen) = channel();
        let (leave, gate) = channel();
        let (metrics, kept) = (metrics(), Kept::default());
        let writer = Gated { entered, leave: gate, kept: kept.clone() };
        let log = AccessLog::start_with(Box::new(writer), Arc::clone(&metrics), 4).unwrap();
        log.record(&permitted());
        seen.recv().unwrap();
        for _ in 0..4 + 3 {
            log.record(&permitted());
        }
        assert_eq!(dropped(&metrics), 3);
        drop(leave);
        log.close();
        assert_eq!(kept.lines().len(), 1 + 4);
    }

    #[test]
    fn after_closing_lines_are_dropped_and_counted() {
        let (metrics, kept) = (metrics(), Kept::default());
        let log = AccessLog::start(Box::new(kept.clone()), Arc::clone(&metrics)).unwrap();
        log.record(&permitted());
        log.close();
        log.close();
        log.record(&permitted());
        assert_eq!((kept.lines().len(), dropped(&metrics)), (1, 1));
    }

    #[test]
    fn a_writer_that_fails_loses_lines_and_counts_them() {
        let metrics = metrics();
        let log = AccessLog::start(Box::new(Full), Arc::clone(&metrics)).unwrap();
        let long = "a".repeat(2000);
        for _ in 0..100 {
            log.record(&Record { path: &long, ..permitted() });
        }
        log.close();
        assert!(dropped(&metrics) > 0);
    }
}
