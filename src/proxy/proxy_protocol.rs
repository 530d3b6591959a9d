//! The PROXY protocol, versions 1 and 2: a balancer in front says on each connection whose it is.
//!
//! Nothing of the header reaches HTTP, and no byte after it is taken here. Who may say it is the listener's business.

use std::net::SocketAddr;

use ppp::v2::{Command, Protocol};
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest header of version 1, in bytes.
const MAX_V1: usize = 107;
/// The longest header of version 2 that is read, in bytes: the addresses, and room for extensions.
const MAX_V2: usize = 2048;

/// Why a connection has no sound header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    /// It broke off.
    #[error("the PROXY header was cut: {0}")]
    Cut(#[from] std::io::Error),
    /// The peer is no trusted proxy, and was not listened to.
    #[error("the peer is no trusted proxy")]
    Untrusted,
    /// It is no header of either version, or too long.
    #[error("there is no sound PROXY header")]
    Malformed,
    /// It speaks of something other than TCP.
    #[error("the PROXY header speaks of no TCP connection")]
    NotTcp,
}

/// Reads the header, and returns the address of the client; `None` when the balancer speaks for itself, as health checks do.
///
/// # Errors
/// [`HeaderError`]; the connection is good for nothing then.
pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<Option<SocketAddr>, HeaderError> {
    // No header of either version is shorter.
    let mut header = vec![0; v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        header.extend(rest);
        let [_, _, high, low] = rest;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_V2 {
            return Err(HeaderError::Malformed);
        }
        let mut addresses = vec![0; length];
        stream.read_exact(&mut addresses).await?;
        header.extend(addresses);
        return second(&header);
    }
    // Byte by byte: what follows the line is not ours.
    while !header.ends_with(b"\n") && header.len() < MAX_V1 {
        header.push(stream.read_u8().await?);
    }
    first(&header)
}

fn first(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let parsed = v1::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
    match parsed.addresses {
        v1::Addresses::Unknown => Ok(None),
        v1::Addresses::Tcp4(of) => Ok(Some((of.source_address, of.source_port).into())),
        v1::Addresses::Tcp6(of) => Ok(Some((of.source_address, of.source_port).into())),
    }
}

fn second(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let parsed = v2::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
    if parsed.command == Command::Local {
        return Ok(None);
    }
    match (parsed.protocol, parsed.addresses) {
        (Protocol::Stream, v2::Addresses::IPv4(of)) => {
            Ok(Some((of.source_address, of.source_port).into()))
        }
        (Protocol::Stream, v2::Addresses::IPv6(of)) => {
            Ok(Some((of.source_address, of.source_port).into()))
        }
        _ => Err(HeaderError::NotTcp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of these bytes, and what is left of them.
    async fn taken(bytes: &[u8]) -> (Result<Option<String>, HeaderError>, usize) {
        let mut rest = bytes;
        let read = read(&mut rest).await.map(|client| client.map(|client| client.to_string()));
        (read, rest.len())
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        header.extend(addresses);
        header.extend(b"GET /");
        header
    }

    const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    #[tokio::test]
    async fn sound_headers_name_the_client_and_nothing_behind_them_is_taken() {
        let mut with_extension = V4.to_vec();
        with_extension.extend([0x04, 0, 2, 0, 0]);
        let mut v6 = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
        v6.extend([0; 16]);
        v6.extend([0x12, 0x34, 0, 80]);
        for (bytes, client) in [
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 80\r\nGET /".to_vec(),
                Some("203.0.113.7:4660"),
            ),
            (b"PROXY TCP6 2001:db8::7 ::1 4660 80\r\nGET /".to_vec(), Some("[2001:db8::7]:4660")),
            (b"PROXY UNKNOWN\r\nGET /".to_vec(), None),
            (b"PROXY UNKNOWN whatever\r\nGET /".to_vec(), None),
            (binary(1, 0x11, &V4), Some("203.0.113.7:4660")),
            (binary(1, 0x11, &with_extension), Some("203.0.113.7:4660")),
            (binary(1, 0x21, &v6), Some("[2001:db8::7]:4660")),
            (binary(0, 0x00, &[]), None),
        ] {
            let (read, left) = taken(&bytes).await;
            assert_eq!((read.unwrap().as_deref(), left), (client, 5), "{:?}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4660\r\nGET /".to_vec(),
            b"PROXY TCP4 203.0.113.700 10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 4660 80\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 66000 80\r\n".to_vec(),
            b"PROXY  TCP4 203.0.113.7 10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 80 \r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 80\n".to_vec(),
            b"proxy TCP4 203.0.113.7 10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.7 10.0.0.1 4660 80\r\n".to_vec(),
            [b"PROXY UNKNOWN ".as_slice(), &[b'a'; 200], b"\r\n"].concat(),
            b"PROXY TCP4 203".to_vec(),
            binary(1, 0x11, &V4[..8]),
            binary(1, 0x12, &V4),
            binary(1, 0x00, &[]),
            binary(1, 0x31, &[0; 216]),
            binary(2, 0x11, &V4),
            binary(1, 0x41, &V4),
            binary(1, 0x11, &[0; 2049]),
            v2::PROTOCOL_PREFIX.to_vec(),
        ] {
            let (read, _) = taken(&bytes).await;
            assert!(read.is_err(), "{:?}", bytes.escape_ascii());
        }
    }
}
