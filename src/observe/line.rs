//! One record as one line of JSON.
//!
//! The line is pure ASCII: a path may hold anything, and there are readers who take U+0085 or U+2028 for the end of a
//! line, and terminals that obey U+009B. What a client chooses the length of is cut.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

use super::Record;
use crate::clock::Timestamp;
use crate::reason::Reason;

/// The longest text of a field, in bytes before escaping: the queue's memory is bounded by this, not by the client.
const MAX_FIELD_BYTES: usize = 2048;

/// The line for this record, with its line feed.
pub(super) fn line(record: &Record<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(512);
    Line::from(record).serialize(&mut serde_json::Serializer::with_formatter(&mut out, Ascii))?;
    out.push(b'\n');
    Ok(out)
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "rfc_3339")]
    time: SystemTime,
    #[serde(serialize_with = "cut")]
    request_id: &'a str,
    client: IpAddr,
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'static str>,
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    #[serde(serialize_with = "cut")]
    method: &'a str,
    #[serde(serialize_with = "cut")]
    path: &'a str,
    status: u16,
    bytes: u64,
    total_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_ms: Option<f64>,
}

impl<'a> From<&Record<'a>> for Line<'a> {
    fn from(record: &Record<'a>) -> Self {
        Self {
            time: record.time,
            request_id: record.request_id,
            client: record.client,
            route: record.route,
            decision: record.decision.name(),
            reason: record.reason.map(Reason::id),
            detail: record.detail,
            grant: record.grant,
            subject: record.subject,
            client_id: record.client_id,
            token_id: record.token_id,
            method: record.method,
            path: record.path,
            status: record.status,
            bytes: record.bytes,
            total_ms: milliseconds(record.total),
            upstream_ms: record.upstream.map(milliseconds),
        }
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// To the millisecond, in UTC. Times that RFC 3339 cannot write become the nearest that it can: `humantime` panics.
fn rfc_3339<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let last = UNIX_EPOCH + Duration::from_secs(Timestamp::MAX.as_secs());
    to.collect_str(&humantime::format_rfc3339_millis((*time).clamp(UNIX_EPOCH, last)))
}

/// A text that was cut ends in an ellipsis.
fn cut<S: Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
    match text.get(..text.floor_char_boundary(MAX_FIELD_BYTES)) {
        Some(start) if start.len() < text.len() => to.collect_str(&format_args!("{start}\u{2026}")),
        _ => to.serialize_str(text),
    }
}

fn cut_some<S: Serializer>(text: &Option<&str>, to: S) -> Result<S::Ok, S::Error> {
    cut(text.unwrap_or_default(), to)
}

/// Compact JSON that escapes everything outside printable ASCII; serde_json itself has escaped what is below a space.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return out.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte @ b' '..=b'~') => out.write_all(&[byte])?,
                _ => write!(out, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Decided;
    use super::super::record::tests::permitted;
    use super::*;

    fn read(record: &Record<'_>) -> (String, Value) {
        let text = String::from_utf8(line(record).unwrap()).unwrap();
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    }

    #[test]
    fn a_line_holds_every_field_of_the_record() {
        let expected = json!({
            "time": "2023-11-14T22:13:20.123Z", "request_id": "req-1", "client": "192.0.2.7",
            "route": "reports", "decision": "forward", "subject": "alice", "client_id": "web",
            "token_id": "jti-1", "method": "GET", "path": "/reports/7", "status": 200,
            "bytes": 512, "total_ms": 12.345, "upstream_ms": 9.5,
        });
        assert_eq!(read(&permitted()).1, expected);
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let refused = Record {
            route: None,
            decision: Decided::Refuse,
            reason: Some(Reason::NoRoute),
            detail: Some("why"),
            grant: Some("password"),
            subject: None,
            client_id: None,
            token_id: None,
            upstream: None,
            ..permitted()
        };
        let (_, value) = read(&refused);
        assert_eq!(value["decision"], "refuse");
        assert_eq!(value["reason"], "no_route");
        assert_eq!((&value["detail"], &value["grant"]), (&json!("why"), &json!("password")));
        for absent in ["route", "subject", "client_id", "token_id", "upstream_ms"] {
            assert!(value.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn no_value_can_break_the_line_or_the_terminal() {
        let evil = "/a\n{\"status\":200}\r\0\t\"\\\u{1b}[2J\u{7f}\u{85}\u{9b}\u{2028}\u{202e}é😀";
        let record = Record { path: evil, subject: Some(evil), method: evil, ..permitted() };
        let (text, value) = read(&record);
        assert!(text.trim_end_matches('\n').bytes().all(|b| matches!(b, b' '..=b'~')), "{text}");
        assert!(text.ends_with("}\n"));
        for field in ["path", "subject", "method"] {
            assert_eq!(value[field], evil);
        }
        assert_eq!(value["status"], 200);
    }

    #[test]
    fn a_long_path_is_cut_between_characters() {
        let long = format!("/{}", "é".repeat(MAX_FIELD_BYTES));
        let (_, value) = read(&Record { path: &long, ..permitted() });
        let logged = value["path"].as_str().unwrap();
        let start = logged.strip_suffix('\u{2026}').unwrap();
        assert!(long.starts_with(start) && start.len() <= MAX_FIELD_BYTES);
        let whole = "a".repeat(MAX_FIELD_BYTES);
        assert_eq!(read(&Record { path: &whole, ..permitted() }).1["path"], whole.as_str());
    }

    #[test]
    fn a_clock_that_stands_wrong_does_not_panic() {
        for (time, expected) in [
            (UNIX_EPOCH - Duration::from_secs(1), "1970-01-01T00:00:00.000Z"),
            (UNIX_EPOCH + Duration::from_secs(1 << 40), "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(read(&Record { time, ..permitted() }).1["time"], expected);
        }
    }
}
