//! The traffic: honest_clients of every kind, each doing its thing again and again until told to stop.

use std::io::{self, Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::application::LARGE;
use crate::dial::{Answer, Io, Speaks, Target, ask, get};
use crate::edge::{refresh_request, token_request};
use crate::site::{LOGIN, Tokens, tokens};

/// How many requests are open at once on an HTTP/2 connection, and how many each of them is followed by.
const H2_AT_ONCE: u64 = 8;
const H2_IN_A_ROW: u64 = 100;
/// The pause of those who are there to be there, and not to make load.
const PAUSE: Duration = Duration::from_millis(20);
const BETWEEN_LOGINS: Duration = Duration::from_secs(1);
/// What a slow reader takes at once.
const MOUTHFUL: usize = 64 << 10;

/// A kind of honest_client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kept,
    KeptTls,
    Fresh,
    FreshTls,
    H2,
    Post,
    Chunked,
    Tokens,
    Refused,
    WebSocket,
    SlowReader,
    Aborted,
}

/// How many honest_clients of each kind there are.
pub(crate) const KINDS: &[(Kind, usize)] = &[
    (Kind::Kept, 4),
    (Kind::KeptTls, 2),
    (Kind::Fresh, 2),
    (Kind::FreshTls, 1),
    (Kind::H2, 2),
    (Kind::Post, 2),
    (Kind::Chunked, 2),
    (Kind::Tokens, 1),
    (Kind::Refused, 1),
    (Kind::WebSocket, 2),
    (Kind::SlowReader, 2),
    (Kind::Aborted, 2),
];

/// What all honest_clients share.
pub(crate) struct Traffic {
    target: Target,
    tokens: watch::Sender<Tokens>,
    stop: AtomicBool,
    done: Vec<AtomicU64>,
    failed: AtomicU64,
}

impl Traffic {
    pub(crate) fn new(target: Target, tokens: Tokens) -> Arc<Self> {
        Arc::new(Self {
            target,
            tokens: watch::Sender::new(tokens),
            stop: AtomicBool::new(false),
            done: KINDS.iter().map(|_| AtomicU64::new(0)).collect(),
            failed: AtomicU64::new(0),
        })
    }

    /// Lets everybody begin.
    pub(crate) fn begin(self: &Arc<Self>) -> JoinSet<()> {
        let mut honest_clients = JoinSet::new();
        for (index, (kind, number)) in KINDS.iter().enumerate() {
            for number in 0..*number {
                let traffic = Arc::clone(self);
                let client = 10 * index + number;
                honest_clients.spawn(
                    HonestClient { kind: *kind, client, kept: None, round: 0, traffic }.go(index),
                );
            }
        }
        honest_clients
    }

    /// Everybody finishes what is begun.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The requests of each kind that were answered as they should.
    pub(crate) fn done(&self) -> Vec<u64> {
        self.done.iter().map(|done| done.load(Ordering::Relaxed)).collect()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn token(&self) -> String {
        self.tokens.borrow().access.clone()
    }
}

struct HonestClient {
    kind: Kind,
    /// Which address it has.
    client: usize,
    kept: Option<Box<dyn Io>>,
    round: usize,
    traffic: Arc<Traffic>,
}

impl HonestClient {
    async fn go(mut self, index: usize) {
        while !self.traffic.stop.load(Ordering::Relaxed) {
            match self.once().await {
                Ok(requests) => {
                    let done = self.traffic.done.get(index).unwrap();
                    done.fetch_add(requests, Ordering::Relaxed);
                }
                Err(error) => {
                    if self.traffic.failed.fetch_add(1, Ordering::Relaxed) < 20 {
                        println!("{:?} failed: {error}", self.kind);
                    }
                    self.kept = None;
                    sleep(PAUSE).await;
                }
            }
            self.round += 1;
        }
    }

    /// Does its thing once; how many requests that was.
    async fn once(&mut self) -> io::Result<u64> {
        let token = self.traffic.token();
        match self.kind {
            Kind::Kept => self.expect(Speaks::Plain, &get("/app/x", &token), 200).await?,
            Kind::KeptTls => self.expect(Speaks::Tls, &get("/app/x", &token), 200).await?,
            Kind::Fresh => {
                self.kept = None;
                self.expect(Speaks::Plain, &get("/app/x", &token), 200).await?
            }
            Kind::FreshTls => {
                self.kept = None;
                self.expect(Speaks::Tls, &get("/app/x", &token), 200).await?
            }
            Kind::H2 => return self.h2(&token).await,
            Kind::Post | Kind::Chunked => return self.post(&token).await,
            Kind::Tokens => return self.log_in().await,
            Kind::Refused => {
                let (path, token, status) = match self.round % 4 {
                    0 => ("/app/x", String::new(), 401),
                    1 => ("/app/x", format!("{token}x"), 401),
                    2 => ("/app/admin/x", token, 403),
                    _ => ("/elsewhere", token, 404),
                };
                sleep(PAUSE / 10).await;
                self.expect(Speaks::Plain, &get(path, &token), status).await?
            }
            Kind::WebSocket => return self.web_socket(&token).await,
            Kind::SlowReader => return self.read_slowly(&token).await,
            Kind::Aborted => return self.abort(&token).await,
        };
        Ok(1)
    }

    /// Asks on the connection that is kept, or on a new one, and wants this status.
    async fn expect(&mut self, speaks: Speaks, request: &[u8], status: u16) -> io::Result<Answer> {
        let mut io = match self.kept.take() {
            Some(io) => io,
            None => self.traffic.target.dial(speaks, self.client).await?,
        };
        let answer = ask(&mut *io, request).await?;
        if answer.status != status {
            let text = answer.text();
            return Err(Error::other(format!("{} instead of {status}: {text}", answer.status)));
        }
        if !answer.last {
            self.kept = Some(io);
        }
        Ok(answer)
    }

    async fn h2(&self, token: &str) -> io::Result<u64> {
        let io = self.traffic.target.dial(Speaks::H2, self.client).await?;
        let (sender, connection) = handshake(io).await.map_err(Error::other)?;
        let connection = tokio::spawn(connection);
        let mut streams = JoinSet::new();
        for _ in 0..H2_AT_ONCE {
            let (mut sender, token) = (sender.clone(), token.to_owned());
            streams.spawn(async move {
                for _ in 0..H2_IN_A_ROW {
                    ask_h2(&mut sender, &token).await?;
                }
                Ok::<_, Error>(())
            });
        }
        streams.join_all().await.into_iter().collect::<Result<(), _>>()?;
        drop(sender);
        connection.await?.map_err(Error::other)?;
        Ok(H2_AT_ONCE * H2_IN_A_ROW)
    }

    async fn post(&mut self, token: &str) -> io::Result<u64> {
        let lengths = [0, 1, 100, 10_000, 256 << 10];
        let length = lengths.get(self.round % lengths.len()).copied().unwrap();
        let head = |field: &str| {
            format!(
                "POST /app/form HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\n{field}\r\n\r\n"
            )
        };
        let request = if self.kind == Kind::Post {
            head(&format!("Content-Length: {length}")) + &"x".repeat(length)
        } else {
            // Chunks of a hundredth, and what is left.
            let size = (length / 100).max(1);
            let mut request = head("Transfer-Encoding: chunked");
            for at in (0..length).step_by(size) {
                let size = size.min(length - at);
                request += &format!("{size:x}\r\n{}\r\n", "x".repeat(size));
            }
            request + "0\r\n\r\n"
        };
        let answer = self.expect(Speaks::Plain, request.as_bytes(), 200).await?;
        if answer.text() != length.to_string() {
            let heard = answer.text();
            return Err(Error::other(format!("sent {length} bytes, {heard} arrived")));
        }
        Ok(1)
    }

    /// Logs in, and refreshes twice. The others use the newest token.
    async fn log_in(&mut self) -> io::Result<u64> {
        let mut request = token_request(LOGIN, "");
        for _ in 0..3 {
            let answer = self.expect(Speaks::Plain, request.as_bytes(), 200).await?;
            let tokens = tokens(answer.text());
            request = refresh_request(&tokens.refresh);
            self.traffic.tokens.send_replace(tokens);
            sleep(BETWEEN_LOGINS).await;
        }
        Ok(3)
    }

    async fn web_socket(&self, token: &str) -> io::Result<u64> {
        const FRAME: &[u8] = b"\x81\x05hello";
        let mut io = self.traffic.target.dial(Speaks::Plain, self.client).await?;
        let request = format!(
            "GET /app/socket HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let status = ask(&mut *io, request.as_bytes()).await?.status;
        if status != 101 {
            return Err(Error::other(format!("{status} instead of a tunnel")));
        }
        for _ in 0..5 {
            io.write_all(FRAME).await?;
            let mut heard = [0; FRAME.len()];
            io.read_exact(&mut heard).await?;
            if heard != FRAME {
                return Err(Error::other("the tunnel changed a frame"));
            }
            sleep(PAUSE).await;
        }
        Ok(1)
    }

    async fn read_slowly(&self, token: &str) -> io::Result<u64> {
        let mut io = self.traffic.target.dial(Speaks::Plain, self.client).await?;
        io.write_all(&get("/app/large", token)).await?;
        let mut read = Vec::new();
        while read.len() < LARGE {
            read.resize(read.len() + MOUTHFUL, 0);
            let start = read.len() - MOUTHFUL;
            let (_, free) = read.split_at_mut(start);
            let more = io.read(free).await?;
            if more == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            read.truncate(start + more);
            sleep(PAUSE).await;
        }
        if !read.starts_with(b"HTTP/1.1 200") {
            return Err(Error::other("no 200"));
        }
        Ok(1)
    }

    /// Begins a request and goes away. What the edge makes of that is no failure of its own.
    async fn abort(&self, token: &str) -> io::Result<u64> {
        let speaks = if self.round % 3 == 2 { Speaks::H2 } else { Speaks::Plain };
        let mut io = self.traffic.target.dial(speaks, self.client).await?;
        match self.round % 3 {
            0 => {
                io.write_all(&get("/app/large", token)).await?;
                io.read_exact(&mut [0; 1000]).await?;
            }
            1 => {
                let head = format!(
                    "POST /app/form HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\n\
                     Content-Length: 100000\r\n\r\n"
                );
                io.write_all(head.as_bytes()).await?;
                io.write_all(&[b'x'; 1000]).await?;
            }
            _ => {
                let (sender, connection) = handshake(io).await.map_err(Error::other)?;
                let connection = tokio::spawn(connection);
                let mut sender = sender.ready().await.map_err(Error::other)?;
                let request = request_h2("/app/large", token);
                drop(sender.send_request(request, true).map_err(Error::other)?);
                sleep(PAUSE).await;
                drop(sender);
                drop(connection.await);
            }
        }
        sleep(PAUSE).await;
        Ok(1)
    }
}

fn request_h2(path: &str, token: &str) -> Request<()> {
    let request = Request::get(format!("https://edge{path}"));
    request.header("authorization", format!("Bearer {token}")).body(()).unwrap()
}

async fn ask_h2(sender: &mut SendRequest<Bytes>, token: &str) -> io::Result<()> {
    let mut sender = sender.clone().ready().await.map_err(Error::other)?;
    let (response, _) =
        sender.send_request(request_h2("/app/x", token), true).map_err(Error::other)?;
    let (head, mut body) = response.await.map_err(Error::other)?.into_parts();
    while let Some(data) = body.data().await {
        let length = data.map_err(Error::other)?.len();
        body.flow_control().release_capacity(length).map_err(Error::other)?;
    }
    if head.status == 200 { Ok(()) } else { Err(Error::other(head.status.to_string())) }
}
