//! What browsers are told about https (RFC 6797), where they are told something.

use std::time::Duration;

use http::HeaderValue;

use super::Compiler;
use super::values::duration;
use crate::config::raw::RawHsts;
use crate::config::yaml::path::YamlPath;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads the section into the value of `Strict-Transport-Security`.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawHsts,
) -> Option<HeaderValue> {
    let document = &mut compiler.document;
    let age_place = place.key("max_age");
    let raw_age = document.require(raw.max_age.as_ref(), &age_place)?;
    let bounds = Duration::ZERO..=10 * YEAR;
    let max_age = duration(document, &age_place, Some(raw_age), Duration::ZERO, bounds);
    if max_age.subsec_nanos() != 0 {
        document.error(&age_place, "this counts in whole seconds");
    }
    let (below, preload) = (raw.include_subdomains == Some(true), raw.preload == Some(true));
    if preload && (!below || max_age < YEAR) {
        let message =
            "no list of browsers takes a host without `include_subdomains: true` and a year";
        let hint = Some("at least `max_age: 365d`".to_owned());
        document.error_with(&place.key("preload"), message, hint);
    }
    let below = if below { "; includeSubDomains" } else { "" };
    let preload = if preload { "; preload" } else { "" };
    HeaderValue::try_from(format!("max-age={}{below}{preload}", max_age.as_secs())).ok()
}
