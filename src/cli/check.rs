//! `portcullis check`: every error, every warning, then the file's own tests.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::cli::output::{errln, outln};
use crate::cli::{INVALID, print_problems, read};
use crate::clock::SystemClock;
use crate::config::{Config, Problem};
use crate::gateway::dry_run::{self, TestFailure};
use crate::gateway::{Gateway, Shared};
use crate::random::OsRandom;

/// How the outcome is printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// One line each, as editors read them.
    Text,
    /// One JSON object on standard output.
    Json,
}

pub(super) fn check(file: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let read = read(file);
    let ran = read.config.as_ref().map_or(0, |config| config.tests.len());
    let failures = read.config.map(run_tests).transpose()?;
    let code = match &failures {
        None => ExitCode::from(INVALID),
        Some(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    };
    let failures = failures.unwrap_or_default();
    match format {
        Format::Json => {
            let document = json!({
                "errors": read.problems.iter().map(problem).collect::<Vec<_>>(),
                "warnings": read.warnings.iter().map(problem).collect::<Vec<_>>(),
                "tests": { "run": ran, "failed": failures.iter().map(failure).collect::<Vec<_>>() },
            });
            outln!("{document:#}");
        }
        Format::Text => {
            print_problems(&read.problems, &read.warnings);
            for failure in &failures {
                errln!("test failed: {}: {failure}", file.display());
            }
            let errors = count(read.problems.len(), "error");
            let warnings = count(read.warnings.len(), "warning");
            let (passed, tests) = (ran.saturating_sub(failures.len()), count(ran, "test"));
            outln!("{}: {errors}, {warnings}, {passed} of {tests} passed", file.display());
        }
    }
    Ok(code)
}

/// So many of them, in words.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A snapshot as `run` would build it, with nothing behind it that a check does not need.
pub(super) fn snapshot(config: Config) -> anyhow::Result<Gateway> {
    let shared =
        Shared::start(Arc::new(SystemClock), Arc::new(OsRandom), 1, Box::new(std::io::sink()))?;
    Ok(Gateway::build(config, Arc::new(shared), 0))
}

fn run_tests(config: Config) -> anyhow::Result<Vec<TestFailure>> {
    let tests = config.tests.clone();
    Ok(dry_run::run(&snapshot(config)?, &tests))
}

fn problem(problem: &Problem) -> Value {
    json!({
        "file": problem.file.display().to_string(),
        "line": problem.line,
        "column": problem.column,
        "where": problem.place,
        "message": problem.message,
        "hint": problem.hint,
    })
}

fn failure(failure: &TestFailure) -> Value {
    json!({
        "line": failure.line,
        "request": failure.request,
        "expected": failure.expected,
        "outcome": failure.outcome,
    })
}
