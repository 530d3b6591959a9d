//! A way to the database that can be cut: one node of a fleet goes through it, and is partitioned while the others are not.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::postgres::{Postgres, SOCKET, url};

/// What the way does with what is sent over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections stay and nothing arrives, as behind a firewall that drops.
    Silent,
}

/// A running relay; it ends with the test's runtime.
pub(crate) struct Relay {
    directory: TempDir,
    way: watch::Sender<Way>,
}

impl Relay {
    /// Listens before this server.
    pub(crate) fn start(server: &Postgres) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let (way, watched) = watch::channel(Way::Open);
        tokio::spawn(accept(listener, server.socket(), watched));
        Self { directory, way }
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

    /// Delivers again, also what was sent meanwhile.
    pub(crate) fn heal(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn accept(listener: UnixListener, server: PathBuf, way: watch::Receiver<Way>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(converse(client, server.clone(), way.clone()));
    }
}

/// Carries one connection until either side or the way ends it.
async fn converse(client: UnixStream, server: PathBuf, mut way: watch::Receiver<Way>) {
    let (up, down) = (way.clone(), way.clone());
    let carried = async {
        let Ok(server) = UnixStream::connect(server).await else { return };
        let (client, server) = (client.into_split(), server.into_split());
        tokio::join!(carry(client.0, server.1, up), carry(server.0, client.1, down));
    };
    tokio::select! {
        () = carried => {}
        _ = way.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        if way.wait_for(|way| *way == Way::Open).await.is_err()
            || to.write_all(&chunk[..count]).await.is_err()
        {
            return;
        }
    }
}
