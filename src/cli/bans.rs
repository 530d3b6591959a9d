//! `portcullis bans`: who has to wait for having failed to log in too often, and how that is ended. It counts as another node:
//! the running ones see it within two seconds.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::check::Format;
use crate::cli::output::out;
use crate::cli::{INVALID, print_problems, read, state};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::state::Store;
use crate::throttle::row::Ban;
use crate::throttle::{Account, Network, Selector};

/// Commands about bans.
#[derive(Debug, Subcommand)]
pub(super) enum Bans {
    /// Print the bans that hold, the longest first.
    List {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// How to print them.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// End bans, and forget the failures that led to them.
    Clear {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        which: Which,
    },
}

/// Which bans to end. An account together with an address means the one from the other.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Which {
    /// Those of this user.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["client", "all"])]
    user: Option<String>,
    /// Those of this client.
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    client: Option<String>,
    /// Those from this address, or from this network as `list` prints it.
    #[arg(long, value_name = "ADDRESS", value_parser = network, conflicts_with = "all")]
    address: Option<Network>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

impl Which {
    /// Without any of the others it is all.
    fn selector(&self) -> Selector {
        let user = self.user.as_deref().map(Account::user);
        let account = user.or_else(|| self.client.as_deref().map(Account::client));
        Selector { account, network: self.address }
    }
}

impl Bans {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { config, format } => within(&config, async |store, now| {
                let bans = store.bans(&Selector::default(), now).await?;
                Ok(match format {
                    Format::Text => bans.iter().map(|ban| format!("{ban}\n")).collect(),
                    Format::Json => document(&bans),
                })
            }),
            Self::Clear { config, which } => within(&config, async |store, now| {
                let ended = store.clear_bans(&which.selector(), now).await?;
                Ok(format!("{ended} {} ended\n", if ended == 1 { "ban" } else { "bans" }))
            }),
        }
    }
}

/// Does something with the store of a configuration, and prints what comes of it.
fn within(
    config: &Path,
    work: impl AsyncFnOnce(Store, Timestamp) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    let read = read(config);
    let Some(config) = read.config else {
        print_problems(&read.problems, &read.warnings);
        return Ok(ExitCode::from(INVALID));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = runtime.block_on(async {
        let store = state::open(&config).await?;
        work(store, SystemClock.now()).await
    })?;
    out(format_args!("{told}"));
    Ok(ExitCode::SUCCESS)
}

fn document(bans: &[Ban]) -> String {
    let bans: Vec<Value> = bans
        .iter()
        .map(|Ban { key, until, level }| {
            let (user, client) = match key.account() {
                Some(Account::User(name)) => (Some(&**name), None),
                Some(Account::Client(id)) => (None, Some(&**id)),
                None => (None, None),
            };
            json!({
                "kind": key.kind(),
                "user": user,
                "client": client,
                "network": key.network().map(|network| network.to_string()),
                "until": until.to_string(),
                "level": level,
            })
        })
        .collect();
    ascii(&format!("{:#}\n", json!({ "bans": bans })))
}

/// JSON with everything escaped that a terminal might not show as it is.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            ' '..='~' | '\n' => text.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

fn network(text: &str) -> Result<Network, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Network::of(address));
    }
    Network::parse(text).map_err(|_| {
        "neither an address nor a network as `bans list` prints it (/32, or /64 for IPv6)"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::Key;

    #[test]
    fn json_is_ascii_and_means_what_was_counted() {
        let name = "a\"\\\u{7f}\n\u{202e}é\u{1f600}";
        let network = network("2001:db8::7").unwrap();
        let key = Key::Pair(Account::user(name), network);
        let until = Timestamp::from_secs(1_800_000_000);
        let bans =
            [Ban { key, until, level: 2 }, Ban { key: Key::Network(network), until, level: 1 }];
        let text = document(&bans);
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text}");
        let told: Value = serde_json::from_str(&text).unwrap();
        let until = "2027-01-15T08:00:00Z";
        let network = "2001:db8::/64";
        let wanted = json!({ "bans": [
            { "kind": "pair", "user": name, "client": null, "network": network, "until": until, "level": 2 },
            { "kind": "network", "user": null, "client": null, "network": network, "until": until, "level": 1 },
        ] });
        assert_eq!(told, wanted);
    }

    #[test]
    fn an_address_is_its_network_and_a_wider_one_is_refused() {
        for (text, wanted) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/32", "192.0.2.7/32"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), wanted);
        }
        for bad in ["192.0.2.0/24", "2001:db8::/32", "alice", ""] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
