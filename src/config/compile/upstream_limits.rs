//! How many requests an upstream may have at once.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Compiler;
use super::values::duration;
use crate::config::raw::RawUpstreamLimits;
use crate::config::yaml::path::YamlPath;
use crate::route::upstream_limits::UpstreamLimits;

const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// Reads the limits; what is left out is as usual.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawUpstreamLimits>,
) -> UpstreamLimits {
    let usual = UpstreamLimits::default();
    let Some(raw) = raw else { return usual };
    let document = &mut compiler.document;
    let wait = &place.key("queue_timeout");
    let queue_timeout =
        duration(document, wait, raw.queue_timeout.as_ref(), usual.queue_timeout, WAITS);
    let mut count = |key: &str, raw: Option<u64>, usual: usize, least: u64| {
        let Some(count) = raw else { return usual };
        if !(least..=1_000_000).contains(&count) {
            document.error(&place.key(key), format!("must be from {least} to 1000000"));
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    };
    UpstreamLimits {
        max_requests: count("max_requests", raw.max_requests, usual.max_requests, 1),
        queue: count("queue", raw.queue, usual.queue, 0),
        queue_timeout,
    }
}
