//! What the clients of one listener may take.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Compiler;
use super::values::{duration, size, size_or_off};
use crate::config::model::ConnectionLimits;
use crate::config::raw::{self, RawConnectionLimits};
use crate::config::yaml::path::YamlPath;
use crate::route::target::MAX_TARGET_BYTES;

const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const KIB: u64 = 1024;
/// Whoever asks for more a second has meant something else.
const MOST_RATE: u64 = KIB * KIB;

/// Reads the limits; what is left out is as usual.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawConnectionLimits>,
) -> ConnectionLimits {
    let usual = ConnectionLimits::default();
    let Some(raw) = raw else { return usual };
    let document = &mut compiler.document;
    let mut time = |key: &str, raw: Option<&raw::Duration>, usual| {
        duration(document, &place.key(key), raw, usual, TIMES)
    };
    let header_timeout = time("header_timeout", raw.header_timeout.as_ref(), usual.header_timeout);
    let keepalive_timeout =
        time("keepalive_timeout", raw.keepalive_timeout.as_ref(), usual.keepalive_timeout);
    let body_timeout = time("body_timeout", raw.body_timeout.as_ref(), usual.body_timeout);
    let body_rate = size_or_off(
        document,
        &place.key("body_rate"),
        raw.body_rate.as_ref(),
        usual.body_rate,
        1..=MOST_RATE,
    );
    let mut bytes = |key: &str, raw: Option<&raw::Size>, usual: usize, bounds| {
        let size = size(document, &place.key(key), raw, bounds);
        size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usual)
    };
    let header_bytes =
        bytes("header_bytes", raw.header_bytes.as_ref(), usual.header_bytes, KIB..=256 * KIB);
    let longest = KIB / 4..=MAX_TARGET_BYTES as u64;
    let target_bytes =
        bytes("target_bytes", raw.target_bytes.as_ref(), usual.target_bytes, longest);
    let mut count = |key: &str, raw: Option<u64>, usual: u64, bounds: RangeInclusive<u64>| {
        let Some(count) = raw else { return usual };
        if !bounds.contains(&count) {
            let message = format!("must be from {} to {}", bounds.start(), bounds.end());
            document.error(&place.key(key), message);
        }
        count
    };
    let (most, streams) = (usual.connections as u64, u64::from(usual.h2_streams));
    // Pingora's parser takes no more fields.
    let header_count = count("header_count", raw.header_count, usual.header_count as u64, 8..=250);
    let connections = count("connections", raw.connections, most, 1..=1_000_000);
    let per_address =
        count("per_address", raw.per_address, usual.per_address as u64, 1..=1_000_000);
    let requests = count("requests", raw.requests, usual.requests, 1..=1_000_000_000);
    let h2_streams = count("h2_streams", raw.h2_streams, streams, 1..=1000);
    let max_requests =
        count("max_requests", raw.max_requests, usual.max_requests as u64, 1..=1_000_000);
    let key = "max_requests_per_address";
    let usual_of_one = usual.max_requests_per_address as u64;
    let of_one = count(key, raw.max_requests_per_address, usual_of_one, 1..=1_000_000);
    let whole = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    ConnectionLimits {
        header_timeout,
        keepalive_timeout,
        body_timeout,
        body_rate,
        header_bytes,
        header_count: whole(header_count),
        target_bytes,
        connections: whole(connections),
        per_address: whole(per_address),
        requests,
        h2_streams: u32::try_from(h2_streams).unwrap_or(usual.h2_streams),
        max_requests: whole(max_requests),
        max_requests_per_address: whole(of_one),
    }
}
