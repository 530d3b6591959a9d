//! What upstreams are spared, as the file says it.

use super::{Deserialize, Duration};

section! {
    /// How many requests an upstream has at once.
    RawUpstreamLimits {
        /// The most requests at once, each on a connection of its own. Default: 10000.
        max_requests: u64,
        /// The most requests that wait for others to end. Default: 1000.
        queue: u64,
        /// How long one may wait. Default: 5s.
        queue_timeout: Duration,
    }
}
