//! The command line: what each command prints and which code it ends with. What they *do* lies below.
//!
//! Codes: 0 done, or nothing worse than warnings; 1 the configuration's own tests failed, or the command could not do its
//! work; 2 the configuration, or the command line, is invalid.

mod adopt;
mod bans;
mod check;
mod clients;
#[cfg(feature = "proxy")]
mod control;
#[cfg(feature = "proxy")]
mod demo;
mod explain;
mod keys;
mod output;
mod password;
mod revoke;
#[cfg(unix)]
mod rotate;
#[cfg(feature = "proxy")]
mod run;
mod state;
#[cfg(feature = "proxy")]
mod systemd;
mod token;
#[cfg(feature = "proxy")]
mod upgrade;
mod user_import;
mod users;
#[cfg(feature = "proxy")]
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::output::errln;
use crate::config::{self, Config, Problem, SystemSources};
use crate::observe;

/// An edge reverse proxy that puts OAuth2 in front of applications nobody wants to change.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve. SIGHUP reloads the configuration, SIGUSR2 hands over to the program as it is now, SIGTERM drains and ends.
    #[cfg(feature = "proxy")]
    Run {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read a configuration, print everything that is wrong with it, and run its own tests.
    Check {
        /// The configuration.
        #[arg(value_name = "FILE")]
        config: PathBuf,
        /// How to print it.
        #[arg(long, value_enum, default_value = "text")]
        format: check::Format,
    },
    /// Say what would happen to a request, and why.
    Explain(explain::Explain),
    /// Read a password and print its argon2id hash for the user file.
    HashPassword,
    /// OAuth clients.
    #[command(subcommand)]
    Clients(clients::Clients),
    /// Signing keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Access tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// End tokens before their time, on every node.
    Revoke(revoke::Revoke),
    /// Take over the state store of another issuer.
    Adopt(adopt::Adopt),
    /// Who may not log in for having guessed too often.
    #[command(subcommand)]
    Bans(bans::Bans),
    /// Users in the database, on every node.
    #[command(subcommand)]
    Users(users::Users),
    /// Start an example application with the proxy in front of it, and print curl lines to try.
    #[cfg(feature = "proxy")]
    Demo,
}

/// The configuration or the command line is invalid.
const INVALID: u8 = 2;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let outcome = match arguments.command {
        #[cfg(feature = "proxy")]
        Command::Run { config } => run::run(&config),
        Command::Check { config, format } => check::check(&config, format),
        Command::Explain(explain) => explain.run(),
        Command::HashPassword => password::hash_password(),
        Command::Clients(clients) => clients.run(),
        Command::Keys(keys) => keys.run(),
        Command::Token(token) => token.run(),
        Command::Revoke(revoke) => revoke.run(),
        Command::Adopt(adopt) => adopt.run(),
        Command::Bans(bans) => bans.run(),
        Command::Users(users) => users.run(),
        #[cfg(feature = "proxy")]
        Command::Demo => demo::demo(),
    };
    let code = outcome.unwrap_or_else(|error| {
        errln!("portcullis: {error:#}");
        ExitCode::FAILURE
    });
    observe::close_log();
    output::ended(code)
}

/// A valid configuration with its warnings, or everything that is wrong with it.
struct Read {
    config: Option<Config>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

fn read(file: &std::path::Path) -> Read {
    let loaded = config::load(file, &SystemSources);
    Read { config: loaded.config, problems: loaded.problems, warnings: loaded.warnings }
}

fn print_problems(problems: &[Problem], warnings: &[Problem]) {
    for problem in problems {
        errln!("error: {problem}");
    }
    for warning in warnings {
        errln!("warning: {warning}");
    }
}
