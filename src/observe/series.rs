//! The families of series: their names, their help, their labels and where they start.

use prometheus::core::Collector;
use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::reason::Reason;

/// Bounds in seconds: an answer from the cache takes under a millisecond, an upstream may take half a minute.
const DURATION_BOUNDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Bounds in seconds: one hash takes some tens of milliseconds, and whoever waits for long is throttled.
const HASH_WAIT_BOUNDS: [f64; 9] = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Writes: each power of two up to a full batch.
const BATCH_BOUNDS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Every series of ours; what they mean stands in their help.
pub(super) struct Series {
    pub(super) requests: IntCounterVec,
    pub(super) request_duration: HistogramVec,
    pub(super) upstream_duration: HistogramVec,
    pub(super) decisions: IntCounterVec,
    pub(super) tokens_issued: IntCounterVec,
    pub(super) login_failures: IntCounterVec,
    pub(super) hash_queue_depth: IntGauge,
    pub(super) hash_wait: Histogram,
    pub(super) token_cache_hits: IntCounter,
    pub(super) token_cache_misses: IntCounter,
    pub(super) token_cache_entries: IntGauge,
    pub(super) in_flight: IntGauge,
    pub(super) reloads: IntCounterVec,
    pub(super) last_reload_successful: IntGauge,
    pub(super) panics: IntCounter,
    pub(super) connections: IntGaugeVec,
    pub(super) connections_refused: IntCounterVec,
    pub(super) requests_refused_early: IntCounterVec,
    pub(super) certificate_expiry: IntGaugeVec,
    pub(super) key_expiry: IntGaugeVec,
    pub(super) signing_key_age: IntGaugeVec,
    pub(super) access_log_dropped: IntCounter,
    pub(super) issuer_keys_age: IntGaugeVec,
    pub(super) upstream_servers_ejected: IntGaugeVec,
    pub(super) issuer_key_fetches: IntCounterVec,
    pub(super) refreshes: IntCounterVec,
    pub(super) state_writes: Histogram,
    pub(super) state_age: Gauge,
    pub(super) clock_offset: Gauge,
    pub(super) state_write_failures: IntCounter,
    pub(super) revocations: IntGauge,
}

impl Series {
    /// Registers every family, all named `portcullis_`.
    pub(super) fn new(own: &Registry) -> Result<Self, Error> {
        gauges(own, "build_info", "The running version; the value is 1.", "version")?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Ok(Self {
            requests: counters(
                own,
                "requests_total",
                "Finished requests by route and status class.",
                &["route", "code"],
            )?,
            request_duration: histograms(
                own,
                "request_duration_seconds",
                "Time from a request's head to the last byte of its answer.",
            )?,
            upstream_duration: histograms(
                own,
                "upstream_duration_seconds",
                "Time from forwarding a request to the head of the upstream's answer.",
            )?,
            decisions: counters(
                own,
                "decisions_total",
                "Decisions by route and reason; the reason of a permit is `allowed`.",
                &["route", "reason"],
            )?,
            tokens_issued: counters(
                own,
                "tokens_issued_total",
                "Access tokens issued by grant.",
                &["grant"],
            )?,
            login_failures: counters(
                own,
                "login_failures_total",
                "Refusals by reason where clients prove themselves: /token and its siblings.",
                &["reason"],
            )?,
            hash_queue_depth: gauge(
                own,
                "hash_queue_depth",
                "Logins that wait for a hashing thread.",
            )?,
            hash_wait: register(
                own,
                Histogram::with_opts(
                    HistogramOpts::new(
                        named("hash_wait_seconds"),
                        "Time a login waited for a hashing thread.",
                    )
                    .buckets(HASH_WAIT_BOUNDS.to_vec()),
                )?,
            )?,
            token_cache_hits: counter(
                own,
                "token_cache_hits_total",
                "Tokens whose signature was remembered.",
            )?,
            token_cache_misses: counter(
                own,
                "token_cache_misses_total",
                "Tokens whose signature had to be verified.",
            )?,
            token_cache_entries: gauge(
                own,
                "token_cache_entries",
                "Verified tokens that are remembered.",
            )?,
            in_flight: gauge(own, "requests_in_flight", "Requests that are being served.")?,
            reloads: counters(
                own,
                "config_reloads_total",
                "Reloads of the configuration by outcome.",
                &["outcome"],
            )?,
            last_reload_successful: gauge(
                own,
                "config_last_reload_successful",
                "Whether the last reload succeeded; if not, the old configuration is in force.",
            )?,
            panics: counter(own, "panics_total", "Faults of ours; each costs one request.")?,
            connections: gauges(
                own,
                "connections",
                "Open connections of clients by listener.",
                "listener",
            )?,
            connections_refused: counters(
                own,
                "connections_refused_total",
                "Connections that were refused or ended by a limit, by listener and limit.",
                &["listener", "reason"],
            )?,
            requests_refused_early: counters(
                own,
                "requests_refused_early_total",
                "HTTP/2 requests that broke the protocol and were refused before they were judged.",
                &["listener"],
            )?,
            certificate_expiry: {
                let help = "When a certificate of a listener expires, in seconds since the epoch.";
                let opts = Opts::new(named("certificate_expiry_timestamp_seconds"), help);
                register(own, IntGaugeVec::new(opts, &["listener", "name"])?)?
            },
            key_expiry: gauges(
                own,
                "key_expiry_timestamp_seconds",
                "When a signing key expires, in seconds since the epoch.",
                "key",
            )?,
            signing_key_age: gauges(
                own,
                "signing_key_age_seconds",
                "How long the key that signs now has signed, or its file has been there.",
                "key",
            )?,
            access_log_dropped: counter(
                own,
                "access_log_dropped_total",
                "Access log lines lost because their reader was too slow or failed.",
            )?,
            issuer_keys_age: gauges(
                own,
                "issuer_keys_age_seconds",
                "How long ago the keys of a trusted issuer were fetched; absent while there are none.",
                "issuer",
            )?,
            upstream_servers_ejected: gauges(
                own,
                "upstream_servers_ejected",
                "Servers of an upstream that are left out because their last requests failed.",
                "upstream",
            )?,
            issuer_key_fetches: counters(
                own,
                "issuer_key_fetches_total",
                "Fetches of the keys of a trusted issuer by outcome.",
                &["issuer", "outcome"],
            )?,
            refreshes: counters(
                own,
                "refresh_tokens_total",
                "Uses of refresh tokens: rotated, repeated within the grace, or reused.",
                &["outcome"],
            )?,
            state_writes: register(
                own,
                Histogram::with_opts(
                    HistogramOpts::new(
                        named("state_writes_per_commit"),
                        "Writes that shared one commit of the state store.",
                    )
                    .buckets(BATCH_BOUNDS.to_vec()),
                )?,
            )?,
            clock_offset: register(
                own,
                Gauge::new(
                    named("clock_offset_seconds"),
                    "By how much this node's clock is ahead of the state store's.",
                )?,
            )?,
            state_age: register(
                own,
                Gauge::new(
                    named("state_age_seconds"),
                    "Time since revocations were last seen to be complete; -1 for never.",
                )?,
            )?,
            state_write_failures: register(
                own,
                IntCounter::new(
                    named("state_write_failures_total"),
                    "Transactions of the state store that failed or did not end in time.",
                )?,
            )?,
            revocations: gauge(own, "revocations", "Revocations that are remembered.")?,
        })
    }

    /// A series that appears with its first event has no increase to alert on, so the closed lists start at zero.
    pub(super) fn start_at_zero(&self) {
        for reason in Reason::ALL {
            self.decisions.with_label_values(&["", reason.id()]).reset();
        }
        for reason in Reason::OF_LOGINS {
            self.login_failures.with_label_values(&[reason.id()]).reset();
        }
        for outcome in [true, false] {
            self.reloads.with_label_values(&[outcome_name(outcome)]).reset();
        }
        for outcome in ["rotated", "repeated", "reused"] {
            self.refreshes.with_label_values(&[outcome]).reset();
        }
        self.last_reload_successful.set(1);
    }
}

/// How a reload ended, as a label.
pub(super) const fn outcome_name(ok: bool) -> &'static str {
    if ok { "success" } else { "failure" }
}

fn named(name: &str) -> String {
    format!("portcullis_{name}")
}

fn register<C: Collector + Clone + 'static>(own: &Registry, collector: C) -> Result<C, Error> {
    own.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(own: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    register(own, IntCounter::new(named(name), help)?)
}

fn counters(
    own: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, Error> {
    register(own, IntCounterVec::new(Opts::new(named(name), help), labels)?)
}

fn gauge(own: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    register(own, IntGauge::new(named(name), help)?)
}

fn gauges(own: &Registry, name: &str, help: &str, label: &str) -> Result<IntGaugeVec, Error> {
    register(own, IntGaugeVec::new(Opts::new(named(name), help), &[label])?)
}

fn histograms(own: &Registry, name: &str, help: &str) -> Result<HistogramVec, Error> {
    let opts = HistogramOpts::new(named(name), help).buckets(DURATION_BOUNDS.to_vec());
    register(own, HistogramVec::new(opts, &["route"])?)
}
