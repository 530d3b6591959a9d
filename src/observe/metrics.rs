//! The numbers, in Prometheus' text format.
//!
//! Labels are route ids, reasons, grants, status classes, listeners, key ids and issuers: all of them from the configuration or
//! from a closed list of ours. A method, a path, a host, a user or an address never is one, since whoever can choose a
//! label's value can make as many series as he likes, and since metrics are read by more people than the access log.
//! Every value lives in a registry of its own, not in the crate's global one, so that tests do not see each other.

use std::fmt;
use std::time::Duration;

use prometheus::{Error, IntGauge, Registry, TextEncoder};

use super::series::{Series, outcome_name};
use super::{Decided, Record, logging};
use crate::clock::Timestamp;
use crate::reason::Reason;

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Everything that is counted. One per run: it outlives reloads, so counters never go back.
pub struct Metrics {
    registry: Registry,
    series: Series,
}

/// What is only known when somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Logins that wait for a hashing thread.
    pub hash_queue_depth: usize,
    /// Verified tokens that are remembered.
    pub token_cache_entries: usize,
    /// Revocations that are remembered.
    pub revocations: usize,
    /// How long ago revocations were last seen to be complete; none for never, or where nothing is kept.
    pub state_age: Option<Duration>,
    /// By how many milliseconds this node's clock is ahead of the state store's.
    pub clock_offset: i64,
    /// Transactions that have failed since the start.
    pub state_write_failures: u64,
}

impl Metrics {
    /// Everything at zero, and the last reload, which is the start, successful.
    ///
    /// # Errors
    /// [`Error`] when a name is malformed or taken, which no input can cause.
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let series = Series::new(&registry)?;
        registry.register(Box::new(logging::dropped()?))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        series.start_at_zero();
        Ok(Self { registry, series })
    }

    /// Counts a panic.
    pub(super) fn panicked(&self) {
        self.series.panics.inc();
    }

    pub(super) const fn series(&self) -> &Series {
        &self.series
    }

    /// Counts a finished request.
    pub fn request(&self, record: &Record<'_>) {
        let route = record.route.unwrap_or_default();
        self.series.requests.with_label_values(&[route, class(record.status)]).inc();
        self.series
            .request_duration
            .with_label_values(&[route])
            .observe(record.total.as_secs_f64());
        if let Some(upstream) = record.upstream {
            self.series
                .upstream_duration
                .with_label_values(&[route])
                .observe(upstream.as_secs_f64());
        }
        self.series.decisions.with_label_values(&[route, reason(record)]).inc();
        match record.cached {
            Some(true) => self.series.token_cache_hits.inc(),
            Some(false) => self.series.token_cache_misses.inc(),
            None => {}
        }
        // A grant that was refused is known, too.
        if let (Some(grant), Decided::Serve) = (record.grant, record.decision) {
            self.series.tokens_issued.with_label_values(&[grant]).inc();
        }
        if let Some(outcome) = record.refresh {
            self.series.refreshes.with_label_values(&[outcome]).inc();
        }
        if let (true, Some(failure)) = (record.is_login, record.reason) {
            self.series.login_failures.with_label_values(&[failure.id()]).inc();
        }
    }

    /// Counts a request as in flight until the guard is dropped, however that comes about.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.series.in_flight.inc();
        InFlight(self.series.in_flight.clone())
    }

    /// How many requests are being served.
    #[must_use]
    pub fn requests_in_flight(&self) -> i64 {
        self.series.in_flight.get()
    }

    /// Notes how long a login waited for a hashing thread.
    pub fn hash_waited(&self, waited: Duration) {
        self.series.hash_wait.observe(waited.as_secs_f64());
    }

    /// Notes how many writes shared a commit of the state store.
    pub fn state_committed(&self, writes: usize) {
        self.series.state_writes.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, ok: bool) {
        self.series.reloads.with_label_values(&[outcome_name(ok)]).inc();
        self.series.last_reload_successful.set(i64::from(ok));
    }

    /// Notes when a certificate in this file of a configured listener expires.
    pub fn set_certificate_expiry(&self, listener: &str, file: &str, at: Timestamp) {
        self.series.certificate_expiry.with_label_values(&[listener, file]).set(seconds(at));
    }

    /// Forgets when certificates expire, as [`Metrics::forget_key_expiries`] does for keys.
    pub fn forget_certificate_expiries(&self) {
        self.series.certificate_expiry.reset();
    }

    /// Notes until when the key with this id verifies.
    pub fn set_key_expiry(&self, key: &str, at: Timestamp) {
        self.series.key_expiry.with_label_values(&[key]).set(seconds(at));
    }

    /// Forgets when keys expire. A reload calls this before it notes the new ones: a key that is no longer configured would
    /// otherwise be reported as expired for ever.
    pub fn forget_key_expiries(&self) {
        self.series.key_expiry.reset();
    }

    /// Notes which key signs now, and how long it has. Asked for just before [`Metrics::render`]: ages grow by themselves.
    pub fn set_signing_key(&self, key: &str, age: Option<Duration>) {
        self.series.signing_key_age.reset();
        if let Some(age) = age {
            let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            self.series.signing_key_age.with_label_values(&[key]).set(age);
        }
    }

    /// Counts a fetch of the keys of this configured trusted issuer.
    pub fn issuer_fetched(&self, issuer: &str, ok: bool) {
        self.series.issuer_key_fetches.with_label_values(&[issuer, outcome_name(ok)]).inc();
    }

    /// Notes how old the keys of the trusted issuers are, and forgets those that are not named.
    pub fn set_issuer_key_ages<'a>(&self, ages: impl IntoIterator<Item = (&'a str, Duration)>) {
        self.series.issuer_keys_age.reset();
        for (issuer, age) in ages {
            let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            self.series.issuer_keys_age.with_label_values(&[issuer]).set(seconds);
        }
    }

    /// Notes how many servers of each upstream are ejected, and forgets the upstreams that are not named.
    pub fn set_ejected_servers<'a>(&self, counts: impl IntoIterator<Item = (&'a str, usize)>) {
        self.series.upstream_servers_ejected.reset();
        for (upstream, count) in counts {
            let gauge = self.series.upstream_servers_ejected.with_label_values(&[upstream]);
            gauge.set(saturated(count));
        }
    }

    /// Counts a lost line of the access log.
    pub fn log_dropped(&self) {
        self.series.access_log_dropped.inc();
    }

    /// Everything as text, of the type [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self, now: Gauges) -> String {
        self.series.hash_queue_depth.set(saturated(now.hash_queue_depth));
        self.series.token_cache_entries.set(saturated(now.token_cache_entries));
        self.series.revocations.set(saturated(now.revocations));
        let offset = i32::try_from(now.clock_offset).unwrap_or(i32::MAX);
        self.series.clock_offset.set(f64::from(offset) / 1000.0);
        let failures = &self.series.state_write_failures;
        failures.inc_by(now.state_write_failures.saturating_sub(failures.get()));
        self.series.state_age.set(now.state_age.map_or(-1.0, |age| age.as_secs_f64()));
        let mut text = String::new();
        for family in self.registry.gather() {
            // One at a time, so that a family that cannot be written does not take the others with it.
            if let Err(error) =
                TextEncoder::new().encode_utf8(std::slice::from_ref(&family), &mut text)
            {
                tracing::error!(family = family.name(), %error, "metrics cannot be written");
            }
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A request in flight; dropping it ends the flight, also when a panic does so.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The reason's label. Only what was let through may count as allowed, even if nobody named a reason.
fn reason(record: &Record<'_>) -> &'static str {
    match (record.reason, record.decision) {
        (Some(reason), _) => reason.id(),
        (None, Decided::Forward | Decided::Serve) => "allowed",
        (None, Decided::Refuse | Decided::Error) => Reason::InternalError.id(),
    }
}

/// The status class, of which there are few whatever an upstream sends.
const fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "none",
    }
}

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

fn saturated(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::record::tests::permitted;
    use super::*;

    const NOW: Gauges = Gauges {
        hash_queue_depth: 3,
        token_cache_entries: 17,
        revocations: 5,
        state_age: None,
        clock_offset: 0,
        state_write_failures: 2,
    };

    fn holds(text: &str, line: &str) -> bool {
        text.lines().any(|l| l == line)
    }

    fn busy() -> Metrics {
        let metrics = Metrics::new().unwrap();
        metrics.request(&permitted());
        for (decision, reason) in
            [(Decided::Serve, None), (Decided::Refuse, Some(Reason::InvalidGrant))]
        {
            let (grant, is_login) = (Some("password"), true);
            metrics.request(&Record { decision, reason, grant, is_login, ..permitted() });
        }
        metrics.listener("web").refused("flood");
        metrics.hash_waited(Duration::from_millis(20));
        metrics.set_certificate_expiry("web", "edge.pem", Timestamp::from_secs(2_000_000_000));
        metrics.set_key_expiry("2024-a", Timestamp::from_secs(u64::MAX));
        metrics.set_signing_key("2024-a", Some(Duration::from_secs(7)));
        metrics.issuer_fetched("https://idp.example.com", true);
        metrics.set_issuer_key_ages([("https://idp.example.com", Duration::from_secs(7))]);
        metrics.set_ejected_servers([("shop", 1)]);
        metrics
    }

    #[test]
    fn every_family_is_named_and_described_as_promtool_wants_it() {
        let text = busy().render(NOW);
        let (mut types, mut helped) = (BTreeMap::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(!help.is_empty() && helped.insert(name), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(helped.contains(name), "{line}");
                assert!(types.insert(name, kind).is_none(), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(name.starts_with("portcullis_") || name.starts_with("process_"), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = series.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
                let known = types.contains_key(name)
                    || base.is_some_and(|b| types.get(b) == Some(&"histogram"));
                assert!(known, "{line}");
            }
        }
        assert_eq!(types.keys().filter(|n| n.starts_with("portcullis_")).count(), 33);
        #[cfg(target_os = "linux")]
        assert!(types.contains_key("process_open_fds"));
    }

    #[test]
    fn nothing_that_a_client_chooses_becomes_a_label() {
        let metrics = busy();
        let before = metrics.render(NOW).lines().count();
        metrics.request(&Record {
            request_id: "evil-id",
            client: [203, 0, 113, 9].into(),
            subject: Some("evil-subject"),
            client_id: Some("evil-client"),
            token_id: Some("evil-token"),
            method: "EVIL",
            path: "/evil",
            ..permitted()
        });
        let text = metrics.render(NOW);
        assert_eq!(text.lines().count(), before);
        assert!(!text.to_lowercase().contains("evil") && !text.contains("203.0.113.9"));
    }

    #[test]
    fn a_request_is_counted_by_route_class_and_reason() {
        let metrics = Metrics::new().unwrap();
        metrics.request(&permitted());
        metrics.request(&Record {
            route: None,
            decision: Decided::Refuse,
            reason: Some(Reason::NoRoute),
            status: 404,
            upstream: None,
            cached: Some(false),
            ..permitted()
        });
        let text = metrics.render(NOW);
        for line in [
            r#"portcullis_requests_total{code="2xx",route="reports"} 1"#,
            r#"portcullis_requests_total{code="4xx",route=""} 1"#,
            r#"portcullis_decisions_total{reason="allowed",route="reports"} 1"#,
            r#"portcullis_decisions_total{reason="no_route",route=""} 1"#,
            r#"portcullis_decisions_total{reason="bad_path",route=""} 0"#,
            r#"portcullis_request_duration_seconds_count{route="reports"} 1"#,
            r#"portcullis_upstream_duration_seconds_count{route="reports"} 1"#,
            "portcullis_token_cache_hits_total 1",
            "portcullis_token_cache_misses_total 1",
            "portcullis_hash_queue_depth 3",
            "portcullis_token_cache_entries 17",
        ] {
            assert!(holds(&text, line), "{line} not in\n{text}");
        }
        assert!(!text.contains(r#"upstream_duration_seconds_count{route=""}"#));
    }

    // Part 4, item 28.
    #[test]
    fn a_refused_login_is_counted_once_in_each_family_and_issued_nothing() {
        let text = busy().render(NOW);
        for line in [
            r#"portcullis_tokens_issued_total{grant="password"} 1"#,
            r#"portcullis_login_failures_total{reason="invalid_grant"} 1"#,
            r#"portcullis_login_failures_total{reason="banned"} 0"#,
            r#"portcullis_decisions_total{reason="invalid_grant",route="reports"} 1"#,
            r#"portcullis_decisions_total{reason="allowed",route="reports"} 2"#,
        ] {
            assert!(holds(&text, line), "{line} not in\n{text}");
        }
        assert!(!text.contains(r#"login_failures_total{reason="no_route"}"#));
    }

    #[test]
    fn what_failed_without_a_reason_is_not_counted_as_allowed() {
        for decision in [Decided::Refuse, Decided::Error] {
            assert_eq!(reason(&Record { decision, ..permitted() }), "internal_error");
        }
        for decision in [Decided::Forward, Decided::Serve] {
            assert_eq!(reason(&Record { decision, ..permitted() }), "allowed");
        }
    }

    #[test]
    fn statuses_fall_into_few_classes() {
        for (status, expected) in
            [(101, "1xx"), (204, "2xx"), (302, "3xx"), (499, "4xx"), (503, "5xx"), (0, "none")]
        {
            assert_eq!(class(status), expected);
        }
        assert_eq!(class(u16::MAX), "none");
    }

    #[test]
    fn a_flight_ends_also_by_a_panic() {
        let metrics = Metrics::new().unwrap();
        let honest = metrics.in_flight();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _flight = metrics.in_flight();
            panic!("a filter gave up");
        }));
        assert!(panicked.is_err());
        assert!(holds(&metrics.render(NOW), "portcullis_requests_in_flight 1"));
        drop(honest);
        assert!(holds(&metrics.render(NOW), "portcullis_requests_in_flight 0"));
    }

    #[test]
    fn reloads_and_expiries_show_the_latest() {
        let metrics = busy();
        assert!(holds(&metrics.render(NOW), "portcullis_config_last_reload_successful 1"));
        metrics.reloaded(false);
        let text = metrics.render(NOW);
        for line in [
            "portcullis_config_last_reload_successful 0",
            r#"portcullis_config_reloads_total{outcome="failure"} 1"#,
            r#"portcullis_config_reloads_total{outcome="success"} 0"#,
            r#"portcullis_certificate_expiry_timestamp_seconds{listener="web",name="edge.pem"} 2000000000"#,
        ] {
            assert!(holds(&text, line), "{line} not in\n{text}");
        }
        let age = r#"portcullis_signing_key_age_seconds{key="2024-a"} 7"#;
        assert!(holds(&metrics.render(NOW), age));
        metrics.set_signing_key("2024-b", Some(Duration::ZERO));
        let text = metrics.render(NOW);
        assert!(holds(&text, r#"portcullis_signing_key_age_seconds{key="2024-b"} 0"#));
        assert!(!text.contains(age), "only the key that signs now");
        metrics.set_issuer_key_ages([]);
        assert!(!metrics.render(NOW).contains("issuer_keys_age_seconds{"));
        metrics.forget_key_expiries();
        assert!(!metrics.render(NOW).contains("key_expiry_timestamp_seconds{"));
        metrics.forget_certificate_expiries();
        assert!(!metrics.render(NOW).contains("certificate_expiry_timestamp_seconds{"));
    }
}
