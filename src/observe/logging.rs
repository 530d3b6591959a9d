//! Our own log: what happens to portcullis itself, as lines of JSON on standard error.
//!
//! Requests are not its business but the access log's, which has standard output to itself. As there, whoever has something to
//! say never waits for who reads it: a reader that has stopped, or a disk that is full, costs lines, which are counted, and
//! nothing else.
//!
//! What is below us knows what nobody may read: Pingora and the codecs would log the heads of requests, with queries, cookies
//! and tokens. `PORTCULLIS_LOG` therefore chooses among the lines of ours; of a dependency's it can take away, never add.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::filter::{FilterExt as _, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, registry};

use super::line_queue::{LineObserver, LineQueue};

/// The environment variable with the filter, in the syntax of `tracing_subscriber::EnvFilter`.
const FILTER_VARIABLE: &str = "PORTCULLIS_LOG";

const DEFAULT_FILTER: &str = "info";

/// What dependencies may say at most, whatever the operator's filter wants; ours is left to that filter.
const CAP: &str = "info,portcullis=trace";

/// How many lines may wait.
const QUEUED_LINES: usize = 4096;

/// How long [`close_log`] waits for the queue to empty.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// The log of this process, once it was started.
static LOG: OnceLock<LineQueue> = OnceLock::new();

/// Lines of it that were lost. The log is older than the metrics, and there is one in a process.
static DROPPED: LazyLock<Result<IntCounter, prometheus::Error>> = LazyLock::new(|| {
    IntCounter::new(
        "portcullis_log_dropped_total",
        "Lines of the log on standard error lost because their reader was too slow or failed.",
    )
});

/// The counter of lost lines, for the registry.
///
/// # Errors
/// When its name is malformed, which no input can cause.
pub(super) fn dropped() -> Result<IntCounter, prometheus::Error> {
    match &*DROPPED {
        Ok(counter) => Ok(counter.clone()),
        Err(error) => Err(prometheus::Error::Msg(error.to_string())),
    }
}

/// Starts the log for this run, and takes in what dependencies say through the `log` crate. The filter comes from
/// `PORTCULLIS_LOG`; one that does not parse is reported and replaced by the default, since a typo there is no reason
/// for an edge not to start. Dependencies say no more than `quiet` allows: directives that name a target and a level.
/// Only the first call has an effect.
///
/// # Errors
/// When standard error cannot be had, or its thread cannot be started.
pub fn init_logging(quiet: &[&str]) -> io::Result<()> {
    if LOG.get().is_some() {
        return Ok(());
    }
    // A handle of its own: the standard library's is locked while somebody writes, and who reads may have stopped.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let queue = LineQueue::start("log", Box::new(stderr), QUEUED_LINES, Arc::new(Observer))?;
    if LOG.set(queue).is_err() {
        return Ok(());
    }
    let wanted = std::env::var(FILTER_VARIABLE).ok();
    let (filter, mistake) = filter(wanted.as_deref());
    let cap = cap(quiet).map_err(io::Error::other)?;
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        // Otherwise it would say on standard error that standard error cannot be written, and panic.
        .log_internal_errors(false)
        .with_writer(QueueWriter)
        .with_filter(filter.and(cap));
    let started = registry().with(layer).try_init();
    if let (Ok(()), Some(mistake)) = (started, mistake) {
        tracing::warn!(
            variable = FILTER_VARIABLE,
            mistake,
            "the log filter does not parse; using the default"
        );
    }
    Ok(())
}

/// Writes what was logged and ends the log: what is logged later is lost. Blocks for at most a second, so that a reader who
/// has stopped cannot hold up the end of the process. Without a log it does nothing.
pub fn close_log() {
    if let Some(log) = LOG.get() {
        log.close(CLOSE_PATIENCE);
    }
}

/// The filter that was asked for, or the default and what was wrong with it.
fn filter(wanted: Option<&str>) -> (EnvFilter, Option<String>) {
    let default = || EnvFilter::new(DEFAULT_FILTER);
    match wanted.map(str::trim).filter(|text| !text.is_empty()).map(EnvFilter::try_new) {
        None => (default(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (default(), Some(error.to_string())),
    }
}

/// The most that dependencies say.
fn cap(quiet: &[&str]) -> Result<Targets, tracing_subscriber::filter::ParseError> {
    quiet.iter().fold(CAP.to_owned(), |all, one| format!("{all},{one}")).parse()
}

/// Puts lines into the queue. Each event comes as one write.
struct QueueWriter;

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            log.push(line.to_vec());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for QueueWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Counts what is lost. That the log cannot be written can be told nowhere else.
struct Observer;

impl LineObserver for Observer {
    fn dropped(&self) {
        if let Ok(counter) = &*DROPPED {
            counter.inc();
        }
    }

    fn failing(&self, _: &io::Error) {}
}

#[cfg(test)]
mod tests {
    use tracing::Level;

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
            let (filter, mistake) = filter(wanted);
            assert_eq!((filter.to_string().as_str(), mistake.is_some()), (expected, mistaken));
        }
    }

    #[test]
    fn starting_twice_does_not_panic() {
        init_logging(&[]).unwrap();
        init_logging(&["noisy=off"]).unwrap();
    }

    // Part 4, item 21.
    #[test]
    fn dependencies_say_no_more_than_they_may() {
        let cap = cap(&["noisy=error", "silent=off"]).unwrap();
        for (target, level, passes) in [
            ("portcullis", Level::TRACE, true),
            ("portcullis::proxy::filter", Level::DEBUG, true),
            ("sqlx::query", Level::INFO, true),
            ("sqlx::query", Level::DEBUG, false),
            ("pingora_proxy", Level::DEBUG, false),
            ("noisy::deep", Level::ERROR, true),
            ("noisy::deep", Level::WARN, false),
            ("silent", Level::ERROR, false),
        ] {
            assert_eq!(cap.would_enable(target, &level), passes, "{target} {level}");
        }
    }
}
