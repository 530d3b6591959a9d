//! An application that knows nothing about OAuth, and writes down every byte it is sent. It is raw TCP on a free port: what a
//! proxy does wrong with framing is visible only as bytes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::within;

/// A chunk with an event.
const EVENT: &str = "b\r\ndata: one\n\n\r\n";

/// What the application does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Reads all of it and answers 200 with the head it received as the body.
    Echo,
    /// Reads all of it and answers with these bytes.
    Says(&'static [u8]),
    /// Answers with these bytes as soon as it has the head.
    SaysEarly(&'static [u8]),
    /// Reads all of it, answers with these bytes, and closes.
    SaysAndCloses(&'static [u8]),
    /// Closes each connection as soon as it is there.
    Refuses,
    /// Reads all of it and closes.
    Closes,
    /// Reads all of it and says nothing.
    IsSilent,
    /// Switches to WebSocket and sends back whatever comes.
    Tunnels,
    /// Says these bytes to whoever connects, and then does as it should.
    SpeaksFirst(&'static [u8]),
    /// Answers the first request of each connection as it should, and closes at the second.
    AnswersOnce,
    /// Reads all of it, answers the first request with the first of these, the second with the second, and closes each time.
    Scripted(&'static [&'static [u8]]),
    /// Reads a head, and the body only once it is told to.
    Holds,
    /// Answers with a body of so many bytes, as fast as they are taken.
    Pours(usize),
    /// Answers with an event stream: one event at once, another once it is told to, and no end.
    Streams,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Which connection it came over, counted from 0.
    pub(crate) connection: usize,
    /// The request line and the fields, with the empty line.
    pub(crate) head: String,
    /// The body with its framing.
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as it was announced.
    pub(crate) complete: bool,
}

impl Seen {
    /// The request line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// The target in the request line.
    pub(crate) fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap()
    }

    /// Every value of a field; names are compared without case, and as they stand otherwise.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }

    /// The names of all fields, in lower case.
    pub(crate) fn names(&self) -> Vec<String> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.map(|(name, _)| name.to_ascii_lowercase()).collect()
    }
}

/// The running application; it ends with the test's runtime.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
    heads: watch::Sender<usize>,
    poured: watch::Sender<usize>,
    released: watch::Sender<bool>,
    connections: Mutex<usize>,
}

impl Log {
    fn number(&self) -> usize {
        let mut connections = self.connections.lock().unwrap();
        *connections += 1;
        *connections - 1
    }

    fn record(&self, seen: Seen) {
        let mut all = self.seen.lock().unwrap();
        all.push(seen);
        self.count.send_replace(all.len());
    }
}

impl Upstream {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_with(behaviour, None).await
    }

    /// The same behind TLS. A connection counts once its handshake is done.
    pub(crate) async fn start_tls(behaviour: Behaviour, config: ServerConfig) -> Self {
        Self::start_with(behaviour, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), behaviour, tls)
    }

    /// The same on a socket that listens already.
    pub(crate) fn on(listener: TcpListener, behaviour: Behaviour) -> Self {
        Self::serve(listener, behaviour, None)
    }

    fn serve(listener: TcpListener, behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log {
            seen: Mutex::default(),
            count: watch::Sender::new(0),
            heads: watch::Sender::new(0),
            poured: watch::Sender::new(0),
            released: watch::Sender::new(false),
            connections: Mutex::default(),
        });
        let shared = Arc::clone(&log);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, tls) = (Arc::clone(&shared), tls.clone());
                // Numbered in the order of their arrival where there is no handshake.
                let number = tls.is_none().then(|| log.number());
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return converse(stream, number.unwrap(), behaviour, log).await;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        let number = log.number();
                        converse(stream, number, behaviour, log).await;
                    }
                });
            }
        });
        Self { address, log, accepting: Mutex::new(Some(accepting)) }
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        *self.log.connections.lock().unwrap()
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.seen.lock().unwrap().clone()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("the application saw no request")
    }

    /// Waits until the application has seen so many requests.
    pub(crate) async fn saw(&self, count: usize) -> Vec<Seen> {
        let mut changes = self.log.count.subscribe();
        within(changes.wait_for(|seen| *seen >= count)).await.unwrap();
        self.seen()
    }

    /// Waits until the application has read the heads of so many requests, whatever became of their bodies.
    pub(crate) async fn began(&self, count: usize) {
        let mut changes = self.log.heads.subscribe();
        within(changes.wait_for(|heads| *heads >= count)).await.unwrap();
    }

    /// Waits until every request whose head was read has come to its end, or to that of its connection.
    pub(crate) async fn settled(&self) -> Vec<Seen> {
        let mut changes = self.log.count.subscribe();
        within(changes.wait_for(|seen| *seen >= *self.log.heads.borrow())).await.unwrap();
        self.seen()
    }

    /// Lets the bodies be read that are held back.
    pub(crate) fn release(&self) {
        self.log.released.send_replace(true);
    }

    /// How many bytes of bodies were taken so far.
    pub(crate) fn poured(&self) -> watch::Receiver<usize> {
        self.log.poured.subscribe()
    }

    /// Stops listening: from now on connections are refused.
    pub(crate) async fn stop(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            assert!(accepting.await.is_err(), "it ended before it was told to");
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn converse(mut stream: impl Stream, connection: usize, behaviour: Behaviour, log: Arc<Log>) {
    if let Behaviour::Refuses = behaviour {
        return;
    }
    let mut buffer = Vec::new();
    let mut first = true;
    if let Behaviour::SpeaksFirst(bytes) = behaviour
        && stream.write_all(bytes).await.is_err()
    {
        return;
    }
    while let Some(head) = read_head(&mut stream, &mut buffer).await {
        let number = {
            log.heads.send_modify(|heads| *heads += 1);
            *log.heads.borrow() - 1
        };
        if let Behaviour::SaysEarly(answer) = behaviour
            && stream.write_all(answer).await.is_err()
        {
            return;
        }
        if let Behaviour::Holds = behaviour
            && log.released.subscribe().wait_for(|released| *released).await.is_err()
        {
            return;
        }
        let (body, complete) = read_body(&mut stream, &mut buffer, &head).await;
        let answer = match behaviour {
            Behaviour::Echo
            | Behaviour::SpeaksFirst(_)
            | Behaviour::AnswersOnce
            | Behaviour::Holds => echo(&head),
            Behaviour::Scripted(answers) => answers[number].to_vec(),
            Behaviour::Pours(length) => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes()
            }
            Behaviour::Says(answer) | Behaviour::SaysAndCloses(answer) => answer.to_vec(),
            Behaviour::Tunnels => switch(&head),
            Behaviour::Streams => {
                let head = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked";
                format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{EVENT}").into_bytes()
            }
            Behaviour::SaysEarly(_)
            | Behaviour::Refuses
            | Behaviour::Closes
            | Behaviour::IsSilent => Vec::new(),
        };
        log.record(Seen { connection, head, body, complete });
        match behaviour {
            Behaviour::Closes => return,
            Behaviour::AnswersOnce if !first => return,
            Behaviour::Tunnels => {
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
                return send_back(stream, buffer).await;
            }
            _ if stream.write_all(&answer).await.is_err() => return,
            Behaviour::SaysAndCloses(_) | Behaviour::Scripted(_) => return,
            Behaviour::Streams => {
                let mut released = log.released.subscribe();
                if released.wait_for(|released| *released).await.is_err()
                    || stream.write_all(EVENT.as_bytes()).await.is_err()
                {
                    return;
                }
            }
            Behaviour::Pours(length) if pour(&mut stream, length, &log).await.is_err() => return,
            _ => {}
        }
        first = false;
    }
}

async fn pour(stream: &mut impl Stream, mut left: usize, log: &Log) -> std::io::Result<()> {
    let chunk = [b'.'; 64 * 1024];
    while left > 0 {
        let written = stream.write(&chunk[..left.min(chunk.len())]).await?;
        left -= written;
        log.poured.send_modify(|poured| *poured += written);
    }
    Ok(())
}

fn echo(head: &str) -> Vec<u8> {
    let bodiless = head.starts_with("HEAD ");
    let body = if bodiless { "" } else { head };
    let length = head.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Accepts the upgrade. The key is not answered as RFC 6455 wants it, since nobody here checks that.
fn switch(head: &str) -> Vec<u8> {
    assert!(head.to_ascii_lowercase().contains("upgrade: websocket"), "{head}");
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        .to_vec()
}

async fn send_back(mut stream: impl Stream, early: Vec<u8>) {
    if stream.write_all(&early).await.is_err() {
        return;
    }
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        if stream.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}

/// Reads a head and leaves what follows in the buffer. `None` at the end of the connection.
async fn read_head(stream: &mut impl Stream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            // What is not UTF-8 is shown byte by byte, as `\xe9`.
            let shown = |part: std::str::Utf8Chunk<'_>| {
                format!("{}{}", part.valid(), part.invalid().escape_ascii())
            };
            return Some(head.utf8_chunks().map(shown).collect());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads the body as the head announces it. The flag says whether all of it came.
async fn read_body(stream: &mut impl Stream, buffer: &mut Vec<u8>, head: &str) -> (Vec<u8>, bool) {
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let chunked = lower.lines().any(|line| line.starts_with("transfer-encoding:"));
    loop {
        let end = match length {
            _ if chunked => chunked_end(buffer),
            Some(digits) => Some(digits.trim().parse().unwrap()).filter(|end| *end <= buffer.len()),
            None => Some(0),
        };
        if let Some(end) = end {
            return (buffer.drain(..end).collect(), true);
        }
        if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return (std::mem::take(buffer), false);
        }
    }
}

/// Where a chunked body ends, once all of it is there. Trailers are part of it.
fn chunked_end(buffer: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line_end = at + find(&buffer[at..], b"\r\n")?;
        let line = std::str::from_utf8(&buffer[at..line_end]).unwrap();
        let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            let trailers = find(&buffer[line_end..], b"\r\n\r\n")?;
            return Some(line_end + trailers + 4);
        }
        at = line_end + 2 + size + 2;
        if at > buffer.len() {
            return None;
        }
    }
}

/// Where a run of bytes first stands.
pub(crate) fn find(buffer: &[u8], wanted: &[u8]) -> Option<usize> {
    buffer.windows(wanted.len()).position(|window| window == wanted)
}
