//! `100 Continue` over HTTP/2 (RFC 9110 section 10.1.1): Pingora cannot say it, so it is put between the frames here.
//!
//! A client that sent `Expect: 100-continue` holds its body back. Which stream that is, only the codec above knows; here every
//! request whose body was announced and has not begun is known. When one of them is to be let go on, all of those are told:
//! a client must be able to take an interim answer that it did not ask for (section 15.2).
//!
//! The field block refers to the static table only and changes nothing in the dynamic one, so the codec's own compression
//! does not notice (RFC 7541 section 6.2.2). A client that makes the table smaller must see that in the very next block
//! (section 4.2), which only the codec can say; such a connection gets no `100`.

use std::collections::BTreeSet;

use bytes::BytesMut;

use super::frames::HEADER;

/// Frame types and flags (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const STATUS_100_LENGTH: u8 = 5;
/// `:status: 100` as a literal without indexing, its name from the static table (RFC 7541 appendix A).
const STATUS_100: [u8; STATUS_100_LENGTH as usize] = [0x08, 3, b'1', b'0', b'0'];

/// The setting that changes the dynamic table, and the size that it begins with (RFC 9113 section 6.5.2).
const HEADER_TABLE_SIZE: [u8; 2] = [0, 1];
const INITIAL_TABLE_SIZE: u32 = 4096;
/// The most streams that are kept in mind. The codec takes fewer, but passes over what comes after its GOAWAY.
const MOST_WAITING: usize = 1024;
/// The length of one setting.
const SETTING: usize = 6;

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Continues {
    /// Streams whose request has a body of which nothing came, and no answer yet.
    waiting: BTreeSet<u32>,
    /// Whether the client made its table smaller at any time.
    has_small_table: bool,
    /// The part of a setting that came so far.
    setting: [u8; SETTING],
    set: usize,
    /// The frame that goes to the client.
    header: [u8; HEADER],
    filled: usize,
    payload: usize,
    /// A field block goes on in the next frame, which must be the next (RFC 9113 section 6.10).
    in_block: bool,
}

impl Continues {
    /// A new connection.
    pub(super) const fn new() -> Self {
        Self {
            waiting: BTreeSet::new(),
            has_small_table: false,
            setting: [0; SETTING],
            set: 0,
            header: [0; HEADER],
            filled: 0,
            payload: 0,
            in_block: false,
        }
    }

    /// A frame of the client begins; `opens` says whether it opens a stream.
    pub(super) fn received(&mut self, kind: u8, flags: u8, stream: u32, opens: bool) {
        match kind {
            HEADERS if opens && flags & END_STREAM == 0 && self.waiting.len() < MOST_WAITING => {
                self.waiting.insert(stream);
            }
            DATA | HEADERS | RST_STREAM => {
                self.waiting.remove(&stream);
            }
            SETTINGS => self.set = 0,
            _ => {}
        }
    }

    /// A part of the payload of a SETTINGS frame.
    pub(super) fn settings(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(slot) = self.setting.get_mut(self.set) {
                *slot = *byte;
            }
            self.set += 1;
            if self.set == SETTING {
                self.set = 0;
                let [a, b, value @ ..] = self.setting;
                let is_small = u32::from_be_bytes(value) < INITIAL_TABLE_SIZE;
                self.has_small_table |= [a, b] == HEADER_TABLE_SIZE && is_small;
            }
        }
    }

    /// Bytes that the codec has handed over for the client.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let is_payload = self.payload > 0;
            let wanted = if is_payload { self.payload } else { HEADER - self.filled };
            let (passed, left) = rest.split_at(rest.len().min(wanted));
            rest = left;
            if is_payload {
                self.payload -= passed.len();
                continue;
            }
            for (slot, byte) in self.header.iter_mut().skip(self.filled).zip(passed) {
                *slot = *byte;
            }
            self.filled += passed.len();
            if self.filled == HEADER {
                self.filled = 0;
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.payload = usize::try_from(length).unwrap_or(usize::MAX);
        match kind {
            HEADERS => self.in_block = flags & END_HEADERS == 0,
            CONTINUATION => self.in_block = self.in_block && flags & END_HEADERS == 0,
            RST_STREAM => {}
            _ => return,
        }
        // It is answered, or will not be.
        self.waiting.remove(&(u32::from_be_bytes(stream) & 0x7fff_ffff));
    }

    /// Whether a request waits that could be told to go on.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() && !self.has_small_table
    }

    /// Tells all requests that wait to go on, if a frame may stand here. `false` when it must be asked again later.
    pub(super) fn say(&mut self, out: &mut BytesMut) -> bool {
        if self.payload > 0 || self.filled > 0 || self.in_block {
            return false;
        }
        for stream in std::mem::take(&mut self.waiting) {
            if !self.has_small_table {
                out.extend_from_slice(&[0, 0, STATUS_100_LENGTH, HEADERS, END_HEADERS]);
                out.extend_from_slice(&stream.to_be_bytes());
                out.extend_from_slice(&STATUS_100);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(continues: &mut Continues) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        continues.say(&mut out).then(|| out.to_vec())
    }

    fn interim(stream: u8) -> Vec<u8> {
        vec![0, 0, 5, 1, 4, 0, 0, 0, stream, 8, 3, b'1', b'0', b'0']
    }

    // Part 4, item 9.
    #[test]
    fn who_waits_is_told_once() {
        let mut continues = Continues::new();
        continues.received(HEADERS, END_HEADERS, 1, true);
        continues.received(HEADERS, END_HEADERS | END_STREAM, 3, true);
        continues.received(HEADERS, END_HEADERS, 5, true);
        continues.received(DATA, 0, 5, false);
        continues.received(HEADERS, END_HEADERS, 7, true);
        continues.received(RST_STREAM, 0, 7, false);
        continues.received(HEADERS, END_HEADERS, 9, true);
        continues.sent(&[0, 0, 1, HEADERS, END_HEADERS, 0, 0, 0, 9, 0x88]);
        assert!(continues.is_waiting());
        assert_eq!(said(&mut continues), Some(interim(1)));
        assert!(!continues.is_waiting());
        assert_eq!(said(&mut continues), Some(Vec::new()));
    }

    #[test]
    fn nothing_is_put_into_a_frame_or_between_the_frames_of_a_block() {
        let mut continues = Continues::new();
        continues.received(HEADERS, END_HEADERS, 1, true);
        let begun = [0, 0, 2, HEADERS, 0, 0, 0, 0, 3, 0x88, 0x88];
        let ended = [0, 0, 1, CONTINUATION, END_HEADERS, 0, 0, 0, 3, 0x88];
        let data = [0, 0, 2, DATA, 0, 0, 0, 0, 3, b'o', b'k'];
        let all = [&begun[..], &ended[..], &data[..]].concat();
        let ends = [all.len() - data.len(), all.len()];
        for (index, byte) in all.iter().enumerate() {
            continues.sent(&[*byte]);
            continues.waiting.insert(1);
            assert_eq!(said(&mut continues).is_some(), ends.contains(&(index + 1)), "{index}");
        }
    }

    #[test]
    fn a_client_with_a_small_table_is_told_nothing() {
        for (size, expected) in [(4096_u32, interim(1)), (65_536, interim(1)), (0, Vec::new())] {
            let mut continues = Continues::new();
            let other = [0, 3, 0, 0, 0, 100];
            let [a, b, c, d] = size.to_be_bytes();
            continues.received(SETTINGS, 0, 0, false);
            for byte in [&other[..], &[0, 1, a, b, c, d]].concat() {
                continues.settings(&[byte]);
            }
            continues.received(HEADERS, END_HEADERS, 1, true);
            assert_eq!(said(&mut continues), Some(expected), "{size}");
        }
    }
}
