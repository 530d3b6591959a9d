//! How many requests may be with one upstream at once, and how many may wait for that.

use std::time::Duration;

/// The limits of one upstream. The defaults are those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// The most requests at once, upgraded connections among them. Over HTTP/1.1 each has a connection of its own.
    pub max_requests: usize,
    /// The most requests that wait for others to end.
    pub queue: usize,
    /// How long one may wait.
    pub queue_timeout: Duration,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self { max_requests: 10_000, queue: 1_000, queue_timeout: Duration::from_secs(5) }
    }
}
