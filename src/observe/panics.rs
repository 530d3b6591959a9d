//! Panics: faults of ours, which cost the request or the connection that met them and nothing else.

use std::panic::{PanicHookInfo, set_hook};
use std::sync::Arc;

use super::Metrics;

/// Counts every panic of the process from now on, and logs where it was instead of what it said: that could hold anything.
pub fn count_panics(metrics: Arc<Metrics>) {
    set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        metrics.panicked();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a fault of ours; one request or connection was lost");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Gauges;
    use std::panic::take_hook;

    #[test]
    fn panics_are_counted_and_what_they_say_is_kept_to_oneself() {
        let before = take_hook();
        let metrics = Arc::new(Metrics::new().unwrap());
        count_panics(Arc::clone(&metrics));
        let fault = std::thread::spawn(|| {
            let nothing: Option<u8> = std::hint::black_box(None);
            nothing.unwrap()
        });
        let outcome = fault.join();
        set_hook(before);
        assert!(outcome.is_err());
        // Another test may have met a fault at the same time.
        let rendered = metrics.render(Gauges::default());
        assert!(!rendered.contains("portcullis_panics_total 0"), "{rendered}");
    }
}
