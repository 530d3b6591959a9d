//! Lines on their way to a writer that may be slow, stuck or gone: the access log's, and those of our own log.
//!
//! Whoever has a line never waits for the writer. Lines go into a bounded queue, from which a thread writes; when whoever
//! reads them is too slow, lines are lost, which the observer hears of, and everything else goes on.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::iter;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

/// How much is handed to the writer at once while lines keep coming, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Hears what becomes of lines. It is told from the thread that writes, and from whoever has a line.
pub(super) trait LineObserver: Send + Sync {
    /// A line was lost.
    fn dropped(&self);

    /// Writing has begun to fail: told once, and again when it has worked in between.
    fn failing(&self, error: &io::Error);
}

/// The queue and its thread. Dropping it lets the thread end once the queue is empty, and does not wait for that.
pub(super) struct LineQueue {
    queue: RwLock<Option<SyncSender<Vec<u8>>>>,
    /// Disconnects when the thread has ended.
    ended: Mutex<Receiver<()>>,
    observer: Arc<dyn LineObserver>,
}

impl LineQueue {
    /// Starts a thread of this name, which writes to `writer` whatever is pushed. At most `lines` wait.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        name: &str,
        writer: Box<dyn Write + Send>,
        lines: usize,
        observer: Arc<dyn LineObserver>,
    ) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(lines);
        let (ending, ended) = sync_channel::<()>(0);
        let out = BufWriter::with_capacity(BUFFER_BYTES, writer);
        let sink = Sink { out, observer: Arc::clone(&observer), failing: false };
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            sink.drain(&waiting);
            drop(ending);
        })?;
        Ok(Self { queue: RwLock::new(Some(queue)), ended: Mutex::new(ended), observer })
    }

    /// Queues a line, which ends with its line feed, or loses it when the queue is full or closed. Never blocks.
    pub(super) fn push(&self, line: Vec<u8>) {
        let queued = self.queue.read().as_ref().is_some_and(|queue| queue.try_send(line).is_ok());
        if !queued {
            self.observer.dropped();
        }
    }

    /// Writes what is queued and ends the thread. Blocks for at most `patience`, and says whether that was enough; what comes
    /// later is lost. A second call does nothing.
    pub(super) fn close(&self, patience: Duration) -> bool {
        if self.queue.write().take().is_none() {
            return true;
        }
        self.ended.lock().recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

impl fmt::Debug for LineQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineQueue").finish_non_exhaustive()
    }
}

/// The thread's side.
struct Sink {
    out: BufWriter<Box<dyn Write + Send>>,
    observer: Arc<dyn LineObserver>,
    failing: bool,
}

impl Sink {
    /// Writes until the queue is closed, and flushes whenever it is empty, so that a quiet proxy's lines appear at once.
    fn drain(mut self, lines: &Receiver<Vec<u8>>) {
        while let Ok(first) = lines.recv() {
            for line in iter::once(first).chain(lines.try_iter()) {
                let written = self.out.write_all(&line);
                if written.is_err() {
                    self.observer.dropped();
                }
                self.note(written);
            }
            // Bytes that cannot be flushed stay in the buffer and are tried again: nothing is lost yet.
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
                self.observer.failing(&error);
            }
            Err(_) => {}
        }
    }
}
