//! The end of a connection whose client is still sending (RFC 9112 section 9.6).
//!
//! A socket that is closed with unread bytes resets its connection, and the client may lose the answer that it was about to read.
//! So we close our side first and read on for a while. Lingering connections count as open ones in every limit, and there is a
//! bound on how many linger at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a connection lingers at most.
const TIME: Duration = Duration::from_secs(1);
/// How many bytes are read meanwhile at most.
const BYTES: usize = 64 * 1024 * 1024;
/// How many connections of a listener linger at once; the next is closed at once.
const MOST: usize = 1024;

/// The connections of one listener that linger.
#[derive(Debug, Default)]
pub(super) struct Lingering(AtomicUsize);

/// One of them; dropping it ends that.
#[derive(Debug)]
pub(super) struct Lingers {
    all: Arc<Lingering>,
    /// When it ends at the latest; nothing before it has begun.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many bytes were read.
    dropped: usize,
}

impl Lingering {
    /// One more, if there are not too many.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Lingers> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let lingers = Lingers { all: Arc::clone(self), deadline: None, dropped: 0 };
        (before < MOST).then_some(lingers)
    }
}

impl Drop for Lingers {
    fn drop(&mut self) {
        self.all.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lingers {
    /// Reads and drops what the client still sends, until it has closed its side or has had its chance.
    pub(super) fn poll_read_on<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + Unpin,
    {
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(TIME)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut room = [0; 16 * 1024];
        while self.dropped < BYTES {
            let mut buffer = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.dropped += buffer.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_linger_and_no_more() {
        let lingering = Arc::new(Lingering::default());
        let mut all: Vec<_> = (0..MOST).map(|_| lingering.begin().unwrap()).collect();
        assert!(lingering.begin().is_none());
        all.pop();
        assert!(lingering.begin().is_some());
    }
}
