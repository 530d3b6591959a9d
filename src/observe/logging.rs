//! Our own log: what happens to portcullis itself, as lines of JSON on standard error.
//!
//! Requests are not its business but the access log's, which has standard output to itself.

use std::io;

use tracing_subscriber::EnvFilter;

/// The environment variable with the filter, in the syntax of `tracing_subscriber::EnvFilter`.
const FILTER_VARIABLE: &str = "PORTCULLIS_LOG";

const DEFAULT_FILTER: &str = "info";

/// Starts the log for this run, and takes in what dependencies say through the `log` crate. The filter comes from
/// `PORTCULLIS_LOG`; one that does not parse is reported and replaced by the default, since a typo there is no reason
/// for an edge not to start. The default takes the `quiet` directives in, which name a target and how little of it is wanted.
/// Only the first call has an effect.
pub fn init_logging(quiet: &[&str]) {
    let wanted = std::env::var(FILTER_VARIABLE).ok();
    let default = quiet.iter().fold(DEFAULT_FILTER.to_owned(), |all, one| format!("{all},{one}"));
    let (filter, mistake) = filter(wanted.as_deref(), &default);
    let started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(io::stderr)
        .with_env_filter(filter)
        .try_init();
    if let (Ok(()), Some(mistake)) = (started, mistake) {
        tracing::warn!(
            variable = FILTER_VARIABLE,
            mistake,
            "the log filter does not parse; using the default"
        );
    }
}

/// The filter that was asked for, or the default and what was wrong with it.
fn filter(wanted: Option<&str>, default: &str) -> (EnvFilter, Option<String>) {
    let default = || EnvFilter::new(default);
    match wanted.map(str::trim).filter(|text| !text.is_empty()).map(EnvFilter::try_new) {
        None => (default(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (default(), Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_gives_way_to_the_default() {
        let default = EnvFilter::try_new(DEFAULT_FILTER).unwrap().to_string();
        for (wanted, expected, mistaken) in [
            (None, default.as_str(), false),
            (Some(" "), &default, false),
            (Some("debug"), "debug", false),
            (Some("portcullis=shout"), &default, true),
        ] {
            let (filter, mistake) = filter(wanted, DEFAULT_FILTER);
            assert_eq!((filter.to_string().as_str(), mistake.is_some()), (expected, mistaken));
        }
    }

    #[test]
    fn starting_twice_does_not_panic() {
        init_logging(&[]);
        init_logging(&["noisy=off"]);
    }
}
