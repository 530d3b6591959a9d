//! Where a chunked body ends (RFC 9112 section 7.1), read strictly.
//!
//! Whatever a lenient reader would let pass (a sign, white space, a bare LF, an empty size) is refused, so that nobody in front
//! of or behind us can see another end than we do. The bytes themselves are not changed.

use crate::proxy::head::is_token;

/// The longest chunk header, extensions included, in bytes.
const MAX_LINE: usize = 1024;
/// The longest trailer section, in bytes. Trailers are dropped later; they only have to end.
const MAX_TRAILERS: usize = 8 * 1024;
/// The most digits of a chunk size: sizes stay far below what overflows anywhere.
const MAX_DIGITS: u8 = 15;

/// A body that breaks the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunks are malformed")]
pub(super) struct Malformed;

/// A reader of one chunked body.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// The digits of the size so far.
    size: u64,
    digits: u8,
    /// The bytes of this chunk header, or of the trailers, so far.
    line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    /// In a chunk extension.
    Extension,
    /// After the CR of a chunk header.
    SizeEnd,
    Data(u64),
    /// Before the CR after the data.
    DataEnd,
    /// After it.
    DataEndLf,
    /// At the start of a trailer line.
    Trailer,
    /// In its name.
    TrailerName,
    /// After its colon.
    TrailerLine,
    /// After its CR.
    TrailerEnd,
    /// After the CR of the empty line.
    LastLf,
    Done,
}

impl Chunks {
    /// At the start of a body.
    pub(super) const fn new() -> Self {
        Self { at: At::Size, size: 0, digits: 0, line: 0 }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Reads on, and returns how many of these bytes belong to the body: all of them, unless it ended.
    ///
    /// # Errors
    /// [`Malformed`]; nothing that follows may be read then.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut rest = bytes;
        while let (Some((&byte, after)), false) = (rest.split_first(), self.is_done()) {
            if let At::Data(left) = self.at {
                let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                rest = rest.split_at_checked(taken).map_or(&[][..], |(_, after)| after);
                let left = left.saturating_sub(taken as u64);
                self.at = if left == 0 { At::DataEnd } else { At::Data(left) };
                continue;
            }
            self.at = self.step(byte)?;
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        self.line += 1;
        match (self.at, byte) {
            (At::Size, _) if byte.is_ascii_hexdigit() && self.digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                Ok(At::Size)
            }
            (At::Size, b'\r') if self.digits > 0 => Ok(At::SizeEnd),
            (At::Size, b';') if self.digits > 0 => Ok(At::Extension),
            (At::Extension, b'\r') => Ok(At::SizeEnd),
            (At::Extension, _) if is_text(byte) && self.line < MAX_LINE => Ok(At::Extension),
            (At::SizeEnd, b'\n') => {
                let size = std::mem::take(&mut self.size);
                (self.digits, self.line) = (0, 0);
                Ok(if size == 0 { At::Trailer } else { At::Data(size) })
            }
            (At::DataEnd, b'\r') => Ok(At::DataEndLf),
            (At::DataEndLf, b'\n') => {
                self.line = 0;
                Ok(At::Size)
            }
            (At::Trailer, b'\r') => Ok(At::LastLf),
            (_, _) if self.line >= MAX_TRAILERS => Err(Malformed),
            (At::Trailer | At::TrailerName, _) if is_token(&[byte]) => Ok(At::TrailerName),
            (At::TrailerName, b':') => Ok(At::TrailerLine),
            (At::TrailerLine, _) if is_text(byte) => Ok(At::TrailerLine),
            (At::TrailerLine, b'\r') => Ok(At::TrailerEnd),
            (At::TrailerEnd, b'\n') => Ok(At::Trailer),
            (At::LastLf, b'\n') => Ok(At::Done),
            _ => Err(Malformed),
        }
    }
}

const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut chunks = Chunks::new();
        chunks.read(body).map(|taken| (taken, chunks.is_done()))
    }

    #[test]
    fn i5_whole_bodies_end_where_they_end() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=b;c=\"d\"\r\nhello\r\n000\r\n\r\n",
            "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n",
            "2\r\n\r\n\r\n0\r\n\r\n",
        ] {
            let next = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(read(body.as_bytes()), Ok((body.len(), true)), "{body:?}");
            assert_eq!(read(next.as_bytes()), Ok((body.len(), true)), "{body:?}");
        }
        assert_eq!(read(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn i5_what_a_lenient_reader_would_take_is_refused() {
        for body in [
            "\r\n",
            "+5\r\nhello\r\n",
            "-5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\t\r\nhello\r\n",
            "5_0\r\nhello\r\n",
            "g\r\n",
            "5\nhello\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "5;\0\r\nhello\r\n",
            "0\n\n",
            "0\r\n\n",
            "0\r\n\rX",
            "0\r\nX-A: b\n\r\n",
            "0\r\nX-A: b\rc\r\n\r\n",
            "0\r\nX A: b\r\n\r\n",
            "0\r\n: b\r\n\r\n",
            "0\r\nX-A\r\n\r\n",
            "0\r\nX-A: b\r\n folded\r\n\r\n",
            "1000000000000000\r\n",
            "0000000000000000\r\n",
            ";a\r\n",
        ] {
            assert_eq!(read(body.as_bytes()), Err(Malformed), "{body:?}");
        }
        let long =
            |size: usize| read(format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(size)).as_bytes());
        assert!(long(1000).is_ok() && long(1100).is_err());
        let trailers =
            |count: usize| read(format!("0\r\n{}\r\n", "X-A: b\r\n".repeat(count)).as_bytes());
        assert!(trailers(900).is_ok() && trailers(1100).is_err());
    }

    proptest! {
        /// However the bytes are cut into reads, the end is the same.
        #[test]
        fn cuts_make_no_difference(body in "[0-9a-f;x\r\n]{0,40}", cut in 0usize..40) {
            let whole = read(body.as_bytes());
            let (head, tail) = body.as_bytes().split_at(cut.min(body.len()));
            let mut chunks = Chunks::new();
            let parts = chunks.read(head).and_then(|first| {
                if chunks.is_done() { Ok(first) } else { chunks.read(tail).map(|second| first + second) }
            });
            prop_assert_eq!(whole, parts.map(|taken| (taken, chunks.is_done())));
        }
    }
}
