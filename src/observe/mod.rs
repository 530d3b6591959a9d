//! What operations see: metrics, the access log and our own log.
//!
//! Everything here is told what happened, in one [`Record`] per request, and decides nothing. Serving the metrics is the
//! admin listener's business, filling in the record the proxy's.

pub mod access_log;
mod line;
mod line_queue;
mod listener;
mod logging;
pub mod metrics;
mod panics;
mod record;
mod series;

pub use access_log::AccessLog;
pub use listener::ListenerMetrics;
pub use logging::{close_log, init_logging};
pub use metrics::Metrics;
pub use panics::count_panics;
pub use record::{Decided, Record};
