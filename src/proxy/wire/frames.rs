//! What an HTTP/2 client may cost without asking for anything: floods of frames that carry no request.
//!
//! The codec below us answers a PING or SETTINGS frame, and makes and forgets a stream for a HEADERS and RST_STREAM pair,
//! as fast as they come. Here the frames are counted as they pass, and nothing else is looked at: every frame without content
//! costs a point; points come back with time and with content that is really transferred, in either direction.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::continues::Continues;

/// What a client sends before the first frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// The length of a frame header (RFC 9113 section 4.1).
pub(super) const HEADER: usize = 9;

/// The points of a new connection, and the most there can be: enough for a page of a thousand cancelled images.
const MOST_POINTS: u32 = 2000;
/// The points that come back in a second.
const POINTS_A_SECOND: u32 = 100;
/// How much content earns a point, in bytes. A client that confirms every packet of a download stays even.
const CONTENT_A_POINT: u64 = 1024;

/// Frame types (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;

/// The client spends its time on us instead of on requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many frames without content")]
pub(super) struct Flood;

/// The count of one connection.
#[derive(Debug)]
pub(in crate::proxy) struct Frames {
    preface: usize,
    header: [u8; HEADER],
    filled: usize,
    /// The bytes of the current frame that are still to come.
    payload: usize,
    points: u32,
    since: Instant,
    /// Content that has not earned a whole point yet.
    content: u64,
    last_stream: u32,
    opened: u64,
    continues: Continues,
}

impl Frames {
    /// A new connection.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            preface: PREFACE,
            header: [0; HEADER],
            filled: 0,
            payload: 0,
            points: MOST_POINTS,
            since: now,
            content: 0,
            last_stream: 0,
            opened: 0,
            continues: Continues::new(),
        }
    }

    /// The streams that the client has opened.
    pub(super) const fn opened(&self) -> u64 {
        self.opened
    }

    /// Bytes that went to the client.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.continues.sent(bytes);
        self.earn(bytes.len());
    }

    /// Whether a request keeps its body back, perhaps until it is told to go on.
    pub(super) fn is_waiting(&self) -> bool {
        self.continues.is_waiting()
    }

    /// Tells all requests that keep their bodies back to go on. `false` when no frame may stand here now.
    pub(super) fn say_continue(&mut self, out: &mut BytesMut) -> bool {
        self.continues.say(out)
    }

    /// Bytes that came from the client. `now` is asked only when a frame without content is among them.
    ///
    /// # Errors
    /// [`Flood`] when there were too many of those.
    pub(super) fn received(
        &mut self,
        bytes: &[u8],
        now: impl Fn() -> Instant,
    ) -> Result<(), Flood> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = if self.preface > 0 {
                let (passed, rest) = take(rest, self.preface);
                self.preface -= passed.len();
                rest
            } else if self.payload > 0 {
                let (passed, rest) = take(rest, self.payload);
                self.payload -= passed.len();
                let [_, _, _, kind, ..] = self.header;
                if kind == SETTINGS {
                    self.continues.settings(passed);
                }
                rest
            } else {
                let (passed, rest) = take(rest, HEADER - self.filled);
                for (slot, byte) in self.header.iter_mut().skip(self.filled).zip(passed) {
                    *slot = *byte;
                }
                self.filled += passed.len();
                if self.filled == HEADER {
                    self.filled = 0;
                    self.begin(&now)?;
                }
                rest
            };
        }
        Ok(())
    }

    fn begin(&mut self, now: &impl Fn() -> Instant) -> Result<(), Flood> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.payload = usize::try_from(length).unwrap_or(usize::MAX);
        self.continues.received(kind, flags, stream, stream > self.last_stream);
        match kind {
            DATA if length > 0 => self.earn(self.payload),
            DATA if flags & END_STREAM != 0 => {}
            // Later heads on the stream are trailers, which are no request.
            HEADERS if stream > self.last_stream => {
                self.last_stream = stream;
                self.opened += 1;
                self.earn(self.payload);
            }
            _ => return self.spend(now()),
        }
        Ok(())
    }

    fn earn(&mut self, content: usize) {
        self.content = self.content.saturating_add(content as u64);
        let earned = u32::try_from(self.content / CONTENT_A_POINT).unwrap_or(MOST_POINTS);
        self.content %= CONTENT_A_POINT;
        self.points = self.points.saturating_add(earned).min(MOST_POINTS);
    }

    fn spend(&mut self, now: Instant) -> Result<(), Flood> {
        let pause = Duration::from_secs(1) / POINTS_A_SECOND;
        let passed = now.saturating_duration_since(self.since);
        let back = u32::try_from(passed.as_nanos() / pause.as_nanos()).unwrap_or(MOST_POINTS);
        if back > 0 {
            self.since = now;
            self.points = self.points.saturating_add(back).min(MOST_POINTS);
        }
        self.points = self.points.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }
}

fn take(bytes: &[u8], most: usize) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len().min(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn begun() -> (Frames, Instant) {
        let now = SystemClock.instant();
        let mut frames = Frames::new(now);
        frames.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || now).unwrap();
        (frames, now)
    }

    /// How many of these are taken before the connection is ended.
    fn taken(one: &[u8]) -> Option<usize> {
        let (mut frames, now) = begun();
        (0..10_000).position(|_| frames.received(one, || now).is_err())
    }

    #[test]
    fn i18_floods_end_after_a_bounded_number_of_frames() {
        for (name, one) in [
            ("PING", frame(6, 0, 0, &[0; 8])),
            ("SETTINGS", frame(4, 0, 0, &[])),
            ("PRIORITY", frame(2, 0, 1, &[0; 5])),
            ("RST_STREAM", frame(3, 0, 1, &[0; 4])),
            ("CONTINUATION", frame(9, 0, 1, &[0; 4])),
            ("WINDOW_UPDATE", frame(8, 0, 0, &[0, 0, 0, 1])),
            ("empty DATA", frame(0, 0, 1, &[])),
            ("unknown", frame(0xfa, 0, 0, &[0; 16])),
            ("trailers", frame(1, 4, 0, &[0; 4])),
        ] {
            assert_eq!(taken(&one), Some(2000), "{name}");
        }
    }

    #[test]
    fn requests_bodies_and_downloads_cost_nothing() {
        let (mut frames, now) = begun();
        for stream in 0..20_000 {
            frames.received(&frame(1, 5, stream * 2 + 1, &[0; 30]), || now).unwrap();
            frames.received(&frame(0, 0, stream * 2 + 1, &[0; 100]), || now).unwrap();
            frames.received(&frame(0, 1, stream * 2 + 1, &[]), || now).unwrap();
            // A download whose every kilobyte is confirmed.
            frames.sent(&[0; 1024]);
            frames.received(&frame(8, 0, 0, &[0, 0, 4, 0]), || now).unwrap();
        }
        assert_eq!(frames.opened(), 20_000);
    }

    #[test]
    fn rapid_reset_is_a_flood_and_a_few_resets_are_not() {
        let (mut frames, now) = begun();
        let mut pairs = (0..10_000)
            .map(|n| [frame(1, 5, n * 2 + 1, &[0; 20]), frame(3, 0, n * 2 + 1, &[0; 4])].concat());
        let end = pairs.position(|pair| frames.received(&pair, || now).is_err()).unwrap();
        assert!((2000..2100).contains(&end), "{end}");
        let (mut frames, mut now) = begun();
        for stream in 0..10_000 {
            now += Duration::from_millis(20);
            frames.received(&frame(1, 5, stream * 2 + 1, &[0; 20]), || now).unwrap();
            frames.received(&frame(3, 0, stream * 2 + 1, &[0; 4]), || now).unwrap();
        }
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let now = SystemClock.instant();
        let mut frames = Frames::new(now);
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for stream in [1, 3, 5] {
            bytes.extend(frame(1, 4, stream, &[7; 33]));
            bytes.extend(frame(0, 0, stream, &[1; 300]));
            bytes.extend(frame(1, 5, stream, &[7; 3]));
        }
        for byte in bytes {
            frames.received(&[byte], || now).unwrap();
        }
        assert_eq!((frames.opened(), frames.points), (3, MOST_POINTS - 3));
    }
}
