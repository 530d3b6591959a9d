//! An application to stand behind the binary, on threads of its own: it reads whole bodies and says how long they were, sends
//! large ones, and returns what it hears through a tunnel.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// The length of what `/app/large` sends.
pub(crate) const LARGE: usize = 1 << 20;
/// A part of it: thousands of them at once must not fill the memory.
static PIECE: [u8; 16 << 10] = [b'x'; 16 << 10];

/// Starts it, and says where it listens.
pub(crate) fn start() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            // Two thousand stalled downloads connect at once: with a shorter queue the system drops some, for a second each.
            let listener = socket.listen(4096).unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(Incoming { stream, read: Vec::new() }));
            }
        });
    });
    told.recv().unwrap()
}

/// Answers until the other side is done. Whatever it does wrong ends the connection.
async fn serve(mut incoming: Incoming) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while head.last().is_none_or(|line: &String| !line.is_empty()) {
            head.push(incoming.line().await?);
        }
        let value = |wanted: &str| {
            head.iter().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        if value("upgrade").is_some() {
            return incoming.tunnel().await;
        }
        let read = match value("content-length") {
            Some(length) => incoming.skip(length.parse().ok()?).await?,
            None if value("transfer-encoding").is_some() => incoming.skip_chunks().await?,
            None => 0,
        };
        let large = head.first()?.contains(" /app/large ");
        let body = if large { String::new() } else { read.to_string() };
        let length = if large { LARGE } else { body.len() };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        incoming.stream.write_all(answer.as_bytes()).await.ok()?;
        for _ in 0..if large { LARGE / PIECE.len() } else { 0 } {
            incoming.stream.write_all(&PIECE).await.ok()?;
        }
    }
}

/// A connection and what was read of it too early.
struct Incoming {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Incoming {
    async fn more(&mut self) -> Option<()> {
        (self.stream.read_buf(&mut self.read).await.ok()? > 0).then_some(())
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = self.read.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).ok();
            }
            self.more().await?;
        }
    }

    /// Reads so many bytes of a body.
    async fn skip(&mut self, length: usize) -> Option<usize> {
        let mut left = length;
        loop {
            let taken = left.min(self.read.len());
            self.read.drain(..taken);
            left -= taken;
            if left == 0 {
                return Some(length);
            }
            self.more().await?;
        }
    }

    async fn skip_chunks(&mut self) -> Option<usize> {
        let mut length = 0;
        loop {
            let size = usize::from_str_radix(&self.line().await?, 16).ok()?;
            length += self.skip(size).await?;
            self.line().await?;
            if size == 0 {
                return Some(length);
            }
        }
    }

    async fn tunnel(mut self) -> Option<()> {
        const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        self.stream.write_all(SWITCHING).await.ok()?;
        loop {
            self.stream.write_all(&self.read).await.ok()?;
            self.read.clear();
            self.more().await?;
        }
    }
}
