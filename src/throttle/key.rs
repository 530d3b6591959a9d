//! What failures are counted by: whose secret is guessed at, and from where.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Where attempts come from: one IPv4 address, or the /64 of an IPv6 address, which is what one customer has at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// The network of an address; an IPv4 address in IPv6 clothes is the IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            four @ IpAddr::V4(_) => Self(IpNet::from(four)),
            six @ IpAddr::V6(_) => Self(IpNet::new_assert(six, 64).trunc()),
        }
    }

    /// The network as such.
    #[must_use]
    pub const fn as_net(&self) -> IpNet {
        self.0
    }

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// [`KeyError`] for anything else, such as a network of another size.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let network: IpNet = text.parse().map_err(|_| KeyError)?;
        let own = Self::of(network.addr());
        if own.0 == network { Ok(own) } else { Err(KeyError) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Whose secret an attempt is about. The name is the one that was sent: whether there is anybody of that name makes no
/// difference here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// A user's password.
    User(Arc<str>),
    /// A confidential client's secret.
    Client(Arc<str>),
}

impl Account {
    /// The account of a user.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::User(Arc::from(name))
    }

    /// The account of a client.
    #[must_use]
    pub fn client(id: &str) -> Self {
        Self::Client(Arc::from(id))
    }

    /// Reads what [`Account::stored`] writes.
    ///
    /// # Errors
    /// [`KeyError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        match text.split_once(':') {
            Some(("user", name)) => Ok(Self::user(name)),
            Some(("client", id)) => Ok(Self::client(id)),
            _ => Err(KeyError),
        }
    }

    /// The text in the store: `user:NAME` or `client:ID`.
    #[must_use]
    pub fn stored(&self) -> String {
        match self {
            Self::User(name) => format!("user:{name}"),
            Self::Client(id) => format!("client:{id}"),
        }
    }
}

impl fmt::Display for Account {
    /// For logs and terminals: pure ASCII, whatever a client called itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {}", name.escape_default()),
            Self::Client(id) => write!(f, "client {}", id.escape_default()),
        }
    }
}

/// What one entry is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Failures of one account from one network; too many are a ban.
    Pair(Account, Network),
    /// Failures from one network; too many are a ban.
    Network(Network),
    /// Failures of one account from everywhere; too many slow networks that are not known.
    Account(Account),
    /// Refresh tokens from one network that we never made; too many are a ban, of refresh tokens alone.
    Tokens(Network),
    /// No failures: this account was proved from this network.
    Known(Account, Network),
}

impl Key {
    /// The kind, for the store and the log.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Pair(..) => "pair",
            Self::Network(_) => "network",
            Self::Account(_) => "account",
            Self::Tokens(_) => "tokens",
            Self::Known(..) => "known",
        }
    }

    /// The account, where the key has one.
    #[must_use]
    pub const fn account(&self) -> Option<&Account> {
        match self {
            Self::Pair(account, _) | Self::Account(account) | Self::Known(account, _) => {
                Some(account)
            }
            Self::Network(_) | Self::Tokens(_) => None,
        }
    }

    /// The network, where the key has one.
    #[must_use]
    pub const fn network(&self) -> Option<Network> {
        match self {
            Self::Pair(_, network)
            | Self::Network(network)
            | Self::Tokens(network)
            | Self::Known(_, network) => Some(*network),
            Self::Account(_) => None,
        }
    }

    /// The three columns of the store: kind, account, network. What a key does not have is the empty text.
    #[must_use]
    pub fn columns(&self) -> (&'static str, String, String) {
        let account = self.account().map_or_else(String::new, Account::stored);
        let network = self.network().map_or_else(String::new, |network| network.to_string());
        (self.kind(), account, network)
    }

    /// Reads what [`Key::columns`] writes.
    ///
    /// # Errors
    /// [`KeyError`] for anything else.
    pub fn parse(kind: &str, account: &str, network: &str) -> Result<Self, KeyError> {
        match (kind, account, network) {
            ("pair", account, network) => {
                Ok(Self::Pair(Account::parse(account)?, Network::parse(network)?))
            }
            ("network", "", network) => Ok(Self::Network(Network::parse(network)?)),
            ("tokens", "", network) => Ok(Self::Tokens(Network::parse(network)?)),
            ("account", account, "") => Ok(Self::Account(Account::parse(account)?)),
            ("known", account, network) => {
                Ok(Self::Known(Account::parse(account)?, Network::parse(network)?))
            }
            _ => Err(KeyError),
        }
    }
}

/// A row of the store names no key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no account or network of ours")]
pub struct KeyError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_by_its_network() {
        for (address, network) in [
            ("203.0.113.9", "203.0.113.9/32"),
            ("::ffff:203.0.113.9", "203.0.113.9/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ] {
            let found = Network::of(address.parse().unwrap());
            assert_eq!(found.to_string(), network, "{address}");
            assert_eq!(Network::parse(network), Ok(found));
        }
        for bad in ["203.0.113.9", "203.0.113.0/24", "2001:db8::1/64", "2001:db8::/48", "", "x/32"]
        {
            assert_eq!(Network::parse(bad), Err(KeyError), "{bad}");
        }
    }

    #[test]
    fn the_columns_of_a_key_lead_back_to_it() {
        let (net, alice) = (Network::of([192, 0, 2, 1].into()), Account::user("a:b \u{202e}"));
        for key in [
            Key::Pair(alice.clone(), net),
            Key::Network(net),
            Key::Account(Account::client("nightly")),
            Key::Known(alice, net),
        ] {
            let (kind, account, network) = key.columns();
            assert_eq!(Key::parse(kind, &account, &network), Ok(key));
        }
        for (kind, account, network) in
            [("network", "user:a", "192.0.2.1/32"), ("account", "user:a", "192.0.2.1/32")]
        {
            assert_eq!(Key::parse(kind, account, network), Err(KeyError));
        }
    }

    #[test]
    fn a_name_cannot_break_a_log_or_pose_as_another_kind() {
        let evil = Account::user("a\n\u{1b}[2J\u{202e}é");
        assert!(evil.to_string().bytes().all(|b| matches!(b, b' '..=b'~')), "{evil}");
        assert_ne!(Account::user("client:web").stored(), Account::client("web").stored());
    }
}
