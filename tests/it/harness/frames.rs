//! HTTP/2 by hand (RFC 9113, RFC 7541): frames as they are told, also those that no library sends. Fields are written as
//! literals that are never indexed, without Huffman coding; of the answers only what the suites ask for is read.

use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::tls;
use super::{Edge, HOST, within};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `SETTINGS_HEADER_TABLE_SIZE` 0: the answers then index into the static table only.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];
/// The window of the connection, far enough opened that no answer waits for it.
const WINDOW: [u8; 4] = [0x3f, 0, 0, 0];

/// A field: its name and its value.
pub(crate) type Field<'a> = (&'a [u8], &'a [u8]);

/// A frame, whatever it says.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field block.
pub(crate) fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0x10);
        string(&mut bytes, name);
        string(&mut bytes, value);
    }
    bytes
}

/// RFC 7541 sections 5.1 and 5.2.
fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        bytes.push(u8::try_from(length).unwrap());
    }
    bytes.extend(text);
}

/// A whole head in one frame.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// The pseudo-fields of a request for the edge.
pub(crate) const fn request<'a>(method: &'a str, path: &'a str) -> [Field<'a>; 4] {
    [
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", HOST.as_bytes()),
        (b":path", path.as_bytes()),
    ]
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered with this status, to the end.
    Answered(u16),
    /// It was reset with this code, before or after an answer began.
    Reset(u32),
    /// The connection ended, with this code if one was given.
    Gone(Option<u32>),
}

impl Outcome {
    /// Whether the edge refused the request or its connection.
    pub(crate) const fn is_refusal(&self) -> bool {
        match self {
            Self::Answered(status) => *status >= 400,
            Self::Reset(_) | Self::Gone(_) => true,
        }
    }
}

impl Edge {
    /// A fresh HTTP/2 connection for frames made by hand.
    pub(crate) async fn frames(&self) -> Frames {
        Frames::connect(self.address, self.root()).await
    }
}

/// One HTTP/2 connection.
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    next: u32,
}

impl Frames {
    /// Connects and opens with the preface and settings of our own.
    pub(crate) async fn connect(address: SocketAddr, root: &CertificateDer<'static>) -> Self {
        let mut own = Self::connect_silent(address, root).await;
        let settings = frame(SETTINGS, 0, 0, &NO_TABLE);
        own.send([PREFACE, &settings, &frame(WINDOW_UPDATE, 0, 0, &WINDOW)].concat()).await;
        own
    }

    /// Connects and says nothing.
    pub(crate) async fn connect_silent(
        address: SocketAddr,
        root: &CertificateDer<'static>,
    ) -> Self {
        let stream = tls(address, root, b"h2").await;
        Self { stream, buffer: Vec::new(), next: 1 }
    }

    /// Sends these bytes. False when the peer has closed already.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        within(self.stream.write_all(bytes.as_ref())).await.is_ok()
            && within(self.stream.flush()).await.is_ok()
    }

    /// The number of a stream that is not used yet.
    pub(crate) const fn stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// Sends a request with its body, if it has one, and waits for what becomes of it.
    pub(crate) async fn ask(&mut self, fields: &[Field<'_>], body: Option<&[u8]>) -> Outcome {
        let stream = self.stream();
        let mut bytes = headers(stream, if body.is_some() { 0 } else { END_STREAM }, fields);
        if let Some(body) = body {
            bytes.extend(frame(DATA, END_STREAM, stream, body));
        }
        self.send(bytes).await;
        self.outcome(stream).await
    }

    /// Reads until a stream has ended.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        let mut status = None;
        let mut code = None;
        while let Some(Frame { kind, flags, stream: of, payload }) = self.frame().await {
            match kind {
                SETTINGS if flags & ACK == 0 => _ = self.send(frame(SETTINGS, ACK, 0, b"")).await,
                GOAWAY => code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
                RST_STREAM if of == stream => {
                    let code = u32::from_be_bytes(payload[..4].try_into().unwrap());
                    // An answer that was whole before the rest of the request was refused.
                    return match status {
                        Some((status, true)) if code == 0 => Outcome::Answered(status),
                        _ => Outcome::Reset(code),
                    };
                }
                HEADERS | DATA if of == stream => {
                    let ends = flags & END_STREAM != 0;
                    let heard = match status {
                        None => self::status(&payload),
                        Some((status, _)) => status,
                    };
                    // An interim answer is none.
                    status = (heard >= 200).then_some((heard, ends));
                    if ends {
                        return Outcome::Answered(heard);
                    }
                }
                _ => {}
            }
        }
        Outcome::Gone(code)
    }

    /// Reads one frame. `None` at the end of the connection; a reset is an end too.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        while self.buffer.len() < 9 {
            self.fill().await?;
        }
        let length = u32::from_be_bytes([0, self.buffer[0], self.buffer[1], self.buffer[2]]);
        let end = 9 + usize::try_from(length).unwrap();
        while self.buffer.len() < end {
            self.fill().await?;
        }
        let bytes: Vec<u8> = self.buffer.drain(..end).collect();
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        Some(Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() })
    }

    async fn fill(&mut self) -> Option<()> {
        matches!(within(self.stream.read_buf(&mut self.buffer)).await, Ok(1..)).then_some(())
    }
}

/// One frame of the server.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The status, which is the first field of every answer.
fn status(block: &[u8]) -> u16 {
    let mut rest = block;
    // Updates of the table's size come before.
    while rest[0] & 0xe0 == 0x20 {
        rest = &rest[1..];
    }
    let known = [200, 204, 206, 304, 400, 404, 500];
    match rest[0] {
        index @ 0x88..=0x8e => known[usize::from(index - 0x88)],
        // A literal whose name is entry 8, in any of the three forms.
        0x48 | 0x08 | 0x18 => {
            let length = usize::from(rest[1] & 0x7f);
            let text = &rest[2..2 + length];
            let digits = if rest[1] & 0x80 == 0 { text.to_vec() } else { digits(text) };
            std::str::from_utf8(&digits).unwrap().parse().unwrap()
        }
        other => panic!("no status but {other:#x}"),
    }
}

/// Undoes Huffman coding for three digits (RFC 7541 appendix B): `0` to `2` take five bits, the others six.
fn digits(coded: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> =
        coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number * 2 + bit);
    let (mut at, mut text) = (0, Vec::new());
    while text.len() < 3 {
        let short = number(&bits[at..at + 5]);
        if short <= 2 {
            text.push(b'0' + short);
            at += 5;
        } else {
            // Six bits, of which the code of `3` is 0x19.
            text.push(b'3' + number(&bits[at..at + 6]) - 0x19);
            at += 6;
        }
    }
    text
}
