//! The access log: one line of JSON per request, written off the request's path.
//!
//! A request never waits for the log. Its line goes into a bounded queue, from which a thread writes; when whoever reads
//! the log is too slow, lines are lost and counted, and requests go on. Which requests are logged is the caller's choice.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::iter;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::Record;
use super::line::line;
use super::metrics::Metrics;

/// How many lines may wait: at a few hundred bytes each, some seconds of a busy proxy in a few megabytes.
const QUEUED_LINES: usize = 8192;

/// How much is handed to the writer at once while lines keep coming.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long [`AccessLog::close`] waits for the queue to empty: a reader that has stopped must not hold up a shutdown.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// The log of one run. Dropping it closes it.
pub struct AccessLog {
    queue: RwLock<Option<SyncSender<Vec<u8>>>>,
    /// Disconnects when the thread has ended.
    ended: Mutex<Receiver<()>>,
    metrics: Arc<Metrics>,
}

impl AccessLog {
    /// Starts the thread that writes to `writer`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(writer: Box<dyn Write + Send>, metrics: Arc<Metrics>) -> io::Result<Self> {
        Self::start_with(writer, metrics, QUEUED_LINES)
    }

    /// A log on standard output.
    ///
    /// # Errors
    /// As [`AccessLog::start`].
    pub fn stdout(metrics: Arc<Metrics>) -> io::Result<Self> {
        Self::start(Box::new(io::stdout()), metrics)
    }

    fn start_with(
        writer: Box<dyn Write + Send>,
        metrics: Arc<Metrics>,
        queued_lines: usize,
    ) -> io::Result<Self> {
        let (queue, lines) = sync_channel(queued_lines);
        let (ending, ended) = sync_channel::<()>(0);
        let out = BufWriter::with_capacity(BUFFER_BYTES, writer);
        let sink = Sink { out, metrics: Arc::clone(&metrics), failing: false };
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            sink.drain(&lines);
            drop(ending);
        })?;
        Ok(Self { queue: RwLock::new(Some(queue)), ended: Mutex::new(ended), metrics })
    }

    /// Queues the line for this request, or counts it as dropped when the queue is full or closed. Never blocks.
    pub fn record(&self, record: &Record<'_>) {
        let queued = match (line(record), &*self.queue.read()) {
            (Ok(line), Some(queue)) => queue.try_send(line).is_ok(),
            _ => false,
        };
        if !queued {
            self.metrics.log_dropped();
        }
    }

    /// Writes what is queued and ends the thread. Blocks for at most five seconds; what comes later is dropped and
    /// counted. A second call does nothing.
    pub fn close(&self) {
        if self.queue.write().take().is_none() {
            return;
        }
        if self.ended.lock().recv_timeout(CLOSE_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the access log's reader is stuck; the last lines are lost");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").finish_non_exhaustive()
    }
}

/// The thread's side of the log.
struct Sink {
    out: BufWriter<Box<dyn Write + Send>>,
    metrics: Arc<Metrics>,
    failing: bool,
}

impl Sink {
    /// Writes until the queue is closed, and flushes whenever it is empty, so that a quiet proxy's lines appear at once.
    fn drain(mut self, lines: &Receiver<Vec<u8>>) {
        while let Ok(first) = lines.recv() {
            for line in iter::once(first).chain(lines.try_iter()) {
                let written = self.out.write_all(&line);
                if written.is_err() {
                    self.metrics.log_dropped();
                }
                self.note(written);
            }
            // Bytes that cannot be flushed stay in the buffer and are tried again: nothing to count yet.
            let flushed = self.out.flush();
            self.note(flushed);
        }
    }

    /// Says when writing starts to fail, not once per line: the error may well be a full disk.
    fn note(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(%error, "the access log cannot be written");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

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
