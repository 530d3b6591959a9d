//! The numbers of one listener, looked up once instead of at every connection.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::metrics::Metrics;

/// What is counted of the connections of one listener.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    /// Connections that are open.
    pub open: IntGauge,
    /// HTTP/2 requests that broke the protocol and were refused before they were judged.
    pub early: IntCounter,
    refused: IntCounterVec,
    listener: String,
}

impl ListenerMetrics {
    /// Counts a connection that was refused or ended; `reason` comes from a closed list.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[&self.listener, reason]).inc();
    }
}

impl Metrics {
    /// The numbers of the listener of this name, which is its address in the configuration.
    #[must_use]
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        let series = self.series();
        ListenerMetrics {
            open: series.connections.with_label_values(&[name]),
            early: series.requests_refused_early.with_label_values(&[name]),
            refused: series.connections_refused.clone(),
            listener: name.to_owned(),
        }
    }
}
