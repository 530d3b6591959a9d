//! Clients that send exactly what they are told: raw HTTP/1.1 over plain TCP or TLS, and HTTP/2 over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::upstream::find;
use super::{HOST, within};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One HTTP/1.1 connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects in the clear.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Connects to a server that may be gone.
    #[cfg(feature = "external-tests")]
    pub(crate) async fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = within(TcpStream::connect(address)).await.ok()?;
        Some(Self { stream: Box::new(stream), buffer: Vec::new() })
    }

    /// Connects over TLS, offering HTTP/1.1 only.
    pub(crate) async fn connect_tls(address: SocketAddr, root: &CertificateDer<'static>) -> Self {
        let stream = tls(address, root, b"http/1.1").await;
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Sends these bytes. A peer that has closed already is no failure: the answer tells.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if within(self.stream.write_all(bytes.as_ref())).await.is_ok() {
            within(self.stream.flush()).await.ok();
        }
    }

    /// Sends a request and reads its response.
    pub(crate) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(&bytes).await;
        let head = bytes.as_ref().starts_with(b"HEAD ");
        self.read_response(head).await.expect("the connection was closed without a response")
    }

    /// Sends a request and reads its response, which has a length. `None` when the connection ends before the end of it.
    #[cfg(feature = "external-tests")]
    pub(crate) async fn try_ask(&mut self, bytes: impl AsRef<[u8]>) -> Option<Response> {
        self.send(&bytes).await;
        let body = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().await.then_some(())?;
        };
        let mut response = Response::parse(std::str::from_utf8(&self.buffer[..body]).unwrap());
        let length: usize = response.values("content-length")[0].parse().unwrap();
        while self.buffer.len() < body + length {
            self.fill().await.then_some(())?;
        }
        response.body = self.buffer[body..body + length].to_vec();
        Some(response)
    }

    /// Reads one response, interim ones included. `None` when the connection ends before a byte of it.
    pub(crate) async fn read_response(&mut self, to_head: bool) -> Option<Response> {
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break self.buffer.drain(..end + 4).collect::<Vec<u8>>();
            }
            if !self.fill().await {
                assert!(self.buffer.is_empty(), "cut: {:?}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        };
        let mut response = Response::parse(&String::from_utf8(head).unwrap());
        let bodiless = to_head || response.status < 200 || matches!(response.status, 204 | 304);
        if !bodiless {
            response.body = self.read_body(&response).await;
        }
        Some(response)
    }

    /// Reads up to a number of bytes that are no response, for tunnels.
    pub(crate) async fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count && self.fill().await {}
        self.buffer.drain(..count.min(self.buffer.len())).collect()
    }

    /// Waits for the end of the connection; anything that still comes is a failure.
    pub(crate) async fn is_closed(&mut self) {
        while self.fill().await {}
        let rest = String::from_utf8_lossy(&self.buffer);
        assert!(rest.is_empty(), "more came before the end: {rest:?}");
    }

    /// Everything that comes until the end of the connection, unparsed.
    pub(crate) async fn read_to_end(&mut self) -> String {
        while self.fill().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    async fn read_body(&mut self, response: &Response) -> Vec<u8> {
        if response.values("transfer-encoding") == ["chunked"] {
            return self.read_chunked().await;
        }
        let Some(length) = response.values("content-length").first().map(|v| v.parse().unwrap())
        else {
            while self.fill().await {}
            return std::mem::take(&mut self.buffer);
        };
        self.exactly(length).await
    }

    async fn read_chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = self.line().await;
            let size = usize::from_str_radix(&size, 16).unwrap();
            body.extend(self.exactly(size).await);
            self.line().await;
            if size == 0 {
                return body;
            }
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.fill().await, "the response is cut");
        }
    }

    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill().await, "the response is cut");
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads some more. False at the end; a reset is an end too.
    async fn fill(&mut self) -> bool {
        matches!(within(self.stream.read_buf(&mut self.buffer)).await, Ok(1..))
    }
}

/// One response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    fn parse(head: &str) -> Self {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { status, fields: lines.map(field).collect(), body: Vec::new() }
    }

    /// Every value of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(own, _)| own == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Asserts the status, and shows the body when it is another.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.fields, self.text());
        self
    }

    /// Asserts an error of RFC 6749 section 5.2.
    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, code: &str) -> &Self {
        self.is(status);
        assert_eq!(self.json()["error"], code, "{}", self.text());
        self
    }

    /// Asserts a 401 or 403 with this and no other challenge.
    #[track_caller]
    pub(crate) fn is_challenged(&self, status: u16, challenge: &str) -> &Self {
        self.is(status);
        assert_eq!(self.values("www-authenticate"), [challenge]);
        self
    }
}

/// One HTTP/2 connection.
pub(crate) struct H2 {
    sender: h2::client::SendRequest<Bytes>,
}

impl H2 {
    pub(crate) async fn connect(address: SocketAddr, root: &CertificateDer<'static>) -> Self {
        let stream = tls(address, root, b"h2").await;
        let (sender, connection) = within(h2::client::handshake(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends a request with its body and trailers, and reads the response. An error is how the server refused the stream.
    pub(crate) async fn ask(
        &mut self,
        request: http::Request<()>,
        body: &[u8],
        trailers: Option<http::HeaderMap>,
    ) -> Result<Response, h2::Error> {
        let mut sender = within(self.sender.clone().ready()).await?;
        let bodiless = body.is_empty() && trailers.is_none();
        let (response, mut out) = sender.send_request(request, bodiless)?;
        if !bodiless {
            out.send_data(Bytes::copy_from_slice(body), trailers.is_none())?;
        }
        if let Some(trailers) = trailers {
            out.send_trailers(trailers)?;
        }
        receive(response).await
    }

    /// Begins a request, and leaves its body and its answer to the caller.
    pub(crate) async fn begin(
        &mut self,
        request: http::Request<()>,
        bodiless: bool,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut sender = within(self.sender.clone().ready()).await.unwrap();
        sender.send_request(request, bodiless).unwrap()
    }

    /// Sends a request with its body in just these DATA frames, of which the last ends the stream.
    pub(crate) async fn ask_in_frames(
        &mut self,
        request: http::Request<()>,
        frames: &[&'static [u8]],
    ) -> Result<Response, h2::Error> {
        let mut sender = within(self.sender.clone().ready()).await?;
        let (response, mut out) = sender.send_request(request, false)?;
        for (index, frame) in frames.iter().enumerate() {
            out.send_data(Bytes::from_static(frame), index + 1 == frames.len())?;
        }
        receive(response).await
    }
}

async fn receive(response: h2::client::ResponseFuture) -> Result<Response, h2::Error> {
    let (head, mut incoming) = within(response).await?.into_parts();
    let mut received = Vec::new();
    while let Some(chunk) = within(incoming.data()).await {
        let chunk = chunk?;
        incoming.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
    }
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    Ok(Response {
        status: head.status.as_u16(),
        fields: head.headers.iter().map(field).collect(),
        body: received,
    })
}

pub(super) async fn tls(
    address: SocketAddr,
    root: &CertificateDer<'static>,
    alpn: &[u8],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let stream = within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn), "the server chose another protocol");
    stream
}
