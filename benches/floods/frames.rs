//! HTTP/2 frames made by hand (RFC 9113, section 6), among them those that no honest client sends.

/// What a connection begins with: the preface, and settings that ask for nothing.
pub(crate) fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(settings());
    bytes
}

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;

const CANCEL: u8 = 0x8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length.into_iter().skip(1).collect::<Vec<u8>>();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(crate) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

pub(crate) fn settings_ack() -> Vec<u8> {
    frame(SETTINGS, ACK, 0, &[])
}

pub(crate) fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"anything")
}

/// A whole request.
pub(crate) fn get(stream: u32, token: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(0x82, token))
}

/// A whole request for this path.
pub(crate) fn get_path(stream: u32, path: &str, token: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head_for(0x82, path, token))
}

/// What a client says that would take gigabytes at once: the largest windows there are.
pub(crate) fn wide_open() -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: u16 = 0x4;
    const MOST: u32 = 0x7fff_ffff;
    let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &MOST.to_be_bytes()].concat();
    // What the connection may take began with 65,535.
    let more = (MOST - 65_535).to_be_bytes();
    [frame(SETTINGS, 0, 0, &setting), frame(WINDOW_UPDATE, 0, 0, &more)].concat()
}

/// A request with a body to come.
pub(crate) fn post(stream: u32, token: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head(0x83, token))
}

/// A head that is said to go on.
pub(crate) fn endless(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM, stream, &head(0x82, ""))
}

/// How it goes on: fields of a kilobyte, and no end of them.
pub(crate) fn continuation(stream: u32) -> Vec<u8> {
    let mut fields = vec![0x00];
    fields.extend(string("x-more"));
    fields.extend(string(&"x".repeat(1024)));
    frame(CONTINUATION, 0, stream, &fields)
}

pub(crate) fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &[0, 0, 0, CANCEL])
}

pub(crate) fn empty_data(stream: u32) -> Vec<u8> {
    frame(DATA, 0, stream, &[])
}

/// Whether what was received so far holds the end of this stream.
pub(crate) fn ends(received: &[u8], stream: u32) -> bool {
    let mut rest = received;
    while let Some((&[a, b, c, kind, flags, s0, s1, s2, s3], payload)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes([0, a, b, c]);
        let Some((_, next)) = payload.split_at_checked(usize::try_from(length).unwrap()) else {
            return false;
        };
        let carries = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        if carries && u32::from_be_bytes([s0, s1, s2, s3]) == stream {
            return true;
        }
        rest = next;
    }
    false
}

/// Fields in HPACK (RFC 7541), by static indices and literals that nobody has to remember.
fn head(method: u8, token: &str) -> Vec<u8> {
    head_for(method, "/app/x", token)
}

fn head_for(method: u8, path: &str, token: &str) -> Vec<u8> {
    // `:scheme: https`, then `:path` and `:authority` by the index of their names.
    let mut fields = vec![method, 0x87, 0x04];
    fields.extend(string(path));
    fields.push(0x01);
    fields.extend(string("edge"));
    if !token.is_empty() {
        // `authorization` is the 23rd; 15 is the most that the first byte holds.
        fields.extend([0x0f, 23 - 15]);
        fields.extend(string(&format!("Bearer {token}")));
    }
    fields
}

/// A string as it is, behind its length (section 5.1, with a prefix of seven bits).
fn string(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match u8::try_from(text.len()) {
        Ok(length @ 0..=126) => bytes.push(length),
        _ => {
            bytes.push(127);
            let mut left = text.len() - 127;
            while left >= 128 {
                bytes.push(u8::try_from(left % 128 + 128).unwrap());
                left /= 128;
            }
            bytes.push(u8::try_from(left).unwrap());
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}
