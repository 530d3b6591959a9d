//! A way to the database that can be cut, be slow, or lead to another server: one node of a fleet goes through it, and is
//! partitioned while the others are not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::postgres::{Postgres, SOCKET, url};

/// What the way does with what is sent over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections stay and nothing arrives, as behind a firewall that drops.
    Silent,
    /// Whatever is sent, in either direction, is under way for so long.
    Slow(Duration),
}

impl Way {
    const fn delay(self) -> Option<Duration> {
        match self {
            Self::Open => Some(Duration::ZERO),
            Self::Slow(delay) => Some(delay),
            Self::Cut | Self::Silent => None,
        }
    }
}

/// A running relay; it ends with the test's runtime.
pub(crate) struct Relay {
    directory: TempDir,
    way: watch::Sender<Way>,
    server: watch::Sender<PathBuf>,
    sent: Arc<AtomicUsize>,
}

impl Relay {
    /// Listens before this server.
    pub(crate) fn start(server: &Postgres) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let (way, watched) = watch::channel(Way::Open);
        let (server, sockets) = watch::channel(server.socket());
        let sent = Arc::<AtomicUsize>::default();
        tokio::spawn(accept(listener, sockets, watched, Arc::clone(&sent)));
        Self { directory, way, server, sent }
    }

    /// The URL of the server's own database by this way.
    pub(crate) fn url(&self) -> String {
        url(self.directory.path(), "postgres")
    }

    /// Ends every connection, and refuses new ones.
    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Delivers nothing any more, and ends nothing.
    pub(crate) fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Delivers, each time so much later.
    pub(crate) fn slow_down(&self, delay: Duration) {
        self.way.send_replace(Way::Slow(delay));
    }

    /// Ends every connection; new ones lead to this server.
    pub(crate) fn turn_to(&self, server: &Postgres) {
        self.server.send_replace(server.socket());
    }

    /// How often something was sent to the server.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Delivers again, also what was sent meanwhile.
    pub(crate) fn heal(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn accept(
    listener: UnixListener,
    server: watch::Receiver<PathBuf>,
    way: watch::Receiver<Way>,
    sent: Arc<AtomicUsize>,
) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(converse(client, server.clone(), way.clone(), Arc::clone(&sent)));
    }
}

/// Carries one connection until either side or the way ends it, or it leads elsewhere.
async fn converse(
    client: UnixStream,
    mut server: watch::Receiver<PathBuf>,
    mut way: watch::Receiver<Way>,
    sent: Arc<AtomicUsize>,
) {
    let (up, down) = (way.clone(), way.clone());
    let socket = server.borrow_and_update().clone();
    let carried = async {
        let Ok(server) = UnixStream::connect(socket).await else { return };
        let (client, server) = (client.into_split(), server.into_split());
        let count = || {
            sent.fetch_add(1, Ordering::SeqCst);
        };
        tokio::join!(carry(client.0, server.1, up, count), carry(server.0, client.1, down, || {}));
    };
    tokio::select! {
        () = carried => {}
        _ = way.wait_for(|way| *way == Way::Cut) => {}
        _ = server.changed() => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    count: impl Fn(),
) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(count_of_bytes @ 1..) = from.read(&mut chunk).await {
        let delay = match way.wait_for(|way| way.delay().is_some()).await {
            Ok(way) => way.delay().unwrap_or_default(),
            Err(_) => return,
        };
        // This is the way itself, and nothing waits for it to be over.
        if !delay.is_zero() {
            sleep(delay).await;
        }
        count();
        if to.write_all(&chunk[..count_of_bytes]).await.is_err() {
            return;
        }
    }
}
