//! Connections to the binary: plain or through TLS, from an address of choice; and one request after another on them.

use std::io::{self, Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection, its handshake or an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, whatever it is made of.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Io for T {}

/// What is spoken on a connection, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Plain,
    Tls,
    H2,
}

/// The two listeners of the binary.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    http1: TlsConnector,
    h2: TlsConnector,
}

impl Target {
    /// The certificate is the only one believed.
    pub(crate) fn new(plain: SocketAddr, tls: SocketAddr, certificate: &[u8]) -> Self {
        let connector = |protocol: &[u8]| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(certificate.to_vec())).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider);
            let config = config.with_safe_default_protocol_versions().unwrap();
            let mut config = config.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            // Each handshake is a whole one.
            config.resumption = rustls::client::Resumption::disabled();
            TlsConnector::from(Arc::new(config))
        };
        Self { plain, tls, http1: connector(b"http/1.1"), h2: connector(b"h2") }
    }

    /// A connection from the address of this client.
    pub(crate) async fn dial(&self, speaks: Speaks, client: usize) -> io::Result<Box<dyn Io>> {
        let opened = timeout(PATIENCE, async {
            let address = if speaks == Speaks::Plain { self.plain } else { self.tls };
            let socket = TcpSocket::new_v4()?;
            // The ports of connections that are over can be had again.
            socket.set_reuseaddr(true)?;
            socket.bind((source(client), 0).into())?;
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            let connector = match speaks {
                Speaks::Plain => return Ok(Box::new(stream) as Box<dyn Io>),
                Speaks::Tls => &self.http1,
                Speaks::H2 => &self.h2,
            };
            let name = ServerName::try_from("edge").unwrap();
            Ok(Box::new(connector.connect(name, stream).await?) as Box<dyn Io>)
        });
        opened.await?
    }
}

/// A thousand clients have an address each. None of them is that of the honest ones, which is 127.0.0.1.
fn source(client: usize) -> Ipv4Addr {
    let [high, low] = [client / 250 % 4, client % 250 + 1].map(|n| u8::try_from(n).unwrap());
    Ipv4Addr::new(127, 1, high, low)
}

/// An answer over HTTP/1.1.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether it was the last on its connection.
    pub(crate) last: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Sends a request and reads the answer to it. An answer that comes before all is sent counts.
pub(crate) async fn ask(io: &mut dyn Io, request: &[u8]) -> io::Result<Answer> {
    let sent = timeout(PATIENCE, io.write_all(request)).await?;
    match answer(io).await {
        // Why it could not be sent says more than that nothing was heard.
        Err(error) => Err(sent.err().unwrap_or(error)),
        answer => answer,
    }
}

/// Reads one answer. One without a length (101) has no body.
pub(crate) async fn answer(io: &mut dyn Io) -> io::Result<Answer> {
    let mut read = Vec::new();
    loop {
        if let Some(answer) = whole(&read)? {
            return Ok(answer);
        }
        if timeout(PATIENCE, io.read_buf(&mut read)).await?? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

fn whole(read: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = read.split_at(end + 4);
    let head = std::str::from_utf8(head).map_err(Error::other)?;
    let value = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let length = value("content-length").map_or(Ok(0), str::parse::<usize>);
    if body.len() < length.map_err(Error::other)? {
        return Ok(None);
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| Error::other("an answer without a status"))?;
    let last = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Answer { status, body: body.to_vec(), last }))
}

/// A request without a body.
pub(crate) fn get(path: &str, token: &str) -> Vec<u8> {
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    format!("GET {path} HTTP/1.1\r\nHost: edge\r\n{authorization}\r\n").into_bytes()
}
