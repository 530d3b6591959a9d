//! Registered clients, and how one proves that it is one (RFC 6749 sections 2.3 and 3.2.1).
//!
//! At most one method of authentication per request. A request that names no client is the one marked `default`, if there is
//! one; a request that names a client never falls back to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::oauth::basic::{Basic, BasicCredential};
use crate::oauth::client::ClientId;
use crate::oauth::form::Form;
use crate::oauth::scope::Scope;
use crate::secret::Secret;
use crate::throttle::{Account, Attempt, Origin, Wait};
use crate::users::{Asker, HashError, HashPool, MAX_PASSWORD_BYTES, PasswordHash};

/// A grant that a client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantType {
    /// Resource owner password credentials (RFC 6749 section 4.3).
    Password,
    /// A refresh token (RFC 6749 section 6).
    RefreshToken,
    /// Client credentials (RFC 6749 section 4.4).
    ClientCredentials,
}

impl GrantType {
    /// Every grant, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Password, Self::RefreshToken, Self::ClientCredentials];

    /// Reads a `grant_type`: exact and case-sensitive.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }

    /// The name on the wire and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// How a client proves that it is itself.
#[derive(Debug, Clone)]
pub enum ClientSecret {
    /// Not at all: a public client (RFC 6749 section 2.1).
    Public,
    /// With a generated secret of 256 bits, of which only the SHA-256 is stored.
    Sha256([u8; 32]),
    /// With a chosen secret, which costs a password hash to check.
    Hash(Arc<PasswordHash>),
}

/// One registered client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// Whether a request that names no client means this one.
    pub default: bool,
    /// How it proves itself.
    pub secret: ClientSecret,
    /// What it may use.
    pub grants: Vec<GrantType>,
    /// The most that tokens issued through it may have.
    pub scope: Scope,
    /// Whether it may introspect the tokens of other clients.
    pub introspect: bool,
    /// The only networks that it may ask from; anywhere when there is no such list.
    pub networks: Option<Vec<IpNet>>,
}

impl Client {
    /// Whether it may ask from this address. An IPv4 address in IPv6 clothes is compared as what it is.
    #[must_use]
    pub fn is_at_home(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let Some(networks) = &self.networks else { return true };
        networks.iter().any(|network| network.contains(&address))
    }
}

impl Client {
    /// Whether it has a secret, which can be guessed at (RFC 6749 section 2.1).
    #[must_use]
    pub const fn is_confidential(&self) -> bool {
        !matches!(self.secret, ClientSecret::Public)
    }
}

/// All clients.
#[derive(Debug, Clone, Default)]
pub struct ClientRegistry {
    clients: HashMap<ClientId, Client>,
    default: Option<ClientId>,
}

impl ClientRegistry {
    /// Takes the clients.
    ///
    /// # Errors
    /// [`ClientRegistryError`] for two of one id, two defaults, or a default that has a secret.
    pub fn new(clients: Vec<Client>) -> Result<Self, ClientRegistryError> {
        let mut registry = Self::default();
        for client in clients {
            if client.default {
                if client.is_confidential() {
                    return Err(ClientRegistryError::SecretDefault(client.id));
                }
                if let Some(first) = registry.default.replace(client.id.clone()) {
                    return Err(ClientRegistryError::Defaults(first, client.id));
                }
            }
            if let Some(twice) = registry.clients.insert(client.id.clone(), client) {
                return Err(ClientRegistryError::Repeated(twice.id));
            }
        }
        Ok(registry)
    }

    /// The client of this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Client> {
        self.clients.get(id)
    }

    /// The client that a request without one means.
    #[must_use]
    pub fn default_client(&self) -> Option<&Client> {
        self.default.as_ref().and_then(|id| self.clients.get(id))
    }

    /// All clients, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.clients.values()
    }
}

/// Why clients are no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientRegistryError {
    /// Two of one id.
    #[error("the client `{0}` is there twice")]
    Repeated(ClientId),
    /// Two defaults.
    #[error("both `{0}` and `{1}` are marked default")]
    Defaults(ClientId, ClientId),
    /// A default with a secret: nobody could ever be it.
    #[error("the default client `{0}` has a secret, but who names no client sends none")]
    SecretDefault(ClientId),
}

/// Parameters with which a client proves itself in a way that is not done here (RFC 7521 section 4.2). One without a value counts
/// as left out (RFC 6749 section 3.2).
const ASSERTION: [&str; 2] = ["client_assertion", "client_assertion_type"];

/// Finds out which client asks.
///
/// A request with any sign of an authentication that is not done here is refused, whatever else it has: the proof was not looked
/// at, so it can mean nobody, least of all the default client.
///
/// A public client may send an empty secret; one that sends another is mistaken about what it is, and is refused. Equal work
/// is done for a wrong secret and a right one; ids are no secrets, so unknown ones are answered at once, and so is a client
/// that asks from outside its networks. Guesses at a secret are counted here, so that every endpoint that asks for one has
/// that protection.
///
/// # Errors
/// [`ClientError`].
pub async fn authenticate<'a>(
    clients: &'a ClientRegistry,
    basic: Basic,
    form: &Form,
    hashes: &HashPool,
    origin: Origin<'_>,
) -> Result<&'a Client, ClientError> {
    let default = || {
        let client = clients.default_client().ok_or(ClientError::Unknown)?;
        if client.is_at_home(origin.address()) { Ok(client) } else { Err(ClientError::Network) }
    };
    if ASSERTION.iter().any(|name| form.value(name).is_some()) {
        return Err(ClientError::Unsupported);
    }
    let posted = form.names("client_secret") || form.names("client_id");
    let readings = match basic {
        Basic::OtherScheme => return Err(ClientError::Unsupported),
        Basic::Malformed => return Err(ClientError::Unknown),
        Basic::Credentials(readings) => {
            if form.value("client_secret").is_some() {
                return Err(ClientError::TwoMethods);
            }
            // RFC 6749 section 3.2.1 lets a client repeat its id in the body; only that client is then asked for.
            match form.value("client_id") {
                None => readings,
                Some(id) => {
                    let same: Vec<_> =
                        readings.into_iter().filter(|reading| reading.id == id).collect();
                    if same.is_empty() {
                        return Err(ClientError::TwoMethods);
                    }
                    same
                }
            }
        }
        Basic::Absent if posted => match (form.value("client_id"), form.value("client_secret")) {
            (Some(id), secret) => {
                let secret = Secret::from(secret.unwrap_or_default());
                vec![BasicCredential { id: id.to_owned(), secret }]
            }
            (None, Some(_)) => return Err(ClientError::Unknown),
            (None, None) => return default(),
        },
        Basic::Absent => return default(),
    };
    let mut refusal = ClientError::Unknown;
    let mut attempts: Vec<(&ClientId, Attempt<'_>)> = Vec::new();
    let mut proved = None;
    for reading in &readings {
        let Some(client) = clients.find(&reading.id) else { continue };
        if !client.is_at_home(origin.address()) {
            refusal = ClientError::Network;
            continue;
        }
        // Two readings of one credential are one attempt.
        let account = Account::client(client.id.as_str());
        let asker = origin.asker(&account);
        if client.is_confidential() && attempts.iter().all(|(id, _)| *id != &client.id) {
            attempts.push((&client.id, origin.check(account)?));
        }
        if proves(client, &reading.secret, asker, hashes).await? {
            proved = Some(client);
            break;
        }
    }
    for (id, attempt) in attempts {
        match proved {
            Some(client) if client.id == *id => attempt.succeeded()?,
            Some(_) | None => attempt.failed()?,
        }
    }
    proved.ok_or(refusal)
}

/// The client that a request names, or the default where it names none: before it has proved anything.
#[must_use]
pub fn named<'a>(clients: &'a ClientRegistry, basic: &Basic, form: &Form) -> Option<&'a Client> {
    match (basic, form.value("client_id")) {
        (Basic::OtherScheme | Basic::Malformed, _) => None,
        (Basic::Credentials(readings), _) => {
            readings.iter().find_map(|reading| clients.find(&reading.id))
        }
        (Basic::Absent, Some(id)) => clients.find(id),
        (Basic::Absent, None) if form.value("client_secret").is_some() => None,
        (Basic::Absent, None) if ASSERTION.iter().any(|name| form.value(name).is_some()) => None,
        (Basic::Absent, None) => clients.default_client(),
    }
}

async fn proves(
    client: &Client,
    secret: &Secret,
    asker: Asker,
    hashes: &HashPool,
) -> Result<bool, ClientError> {
    match &client.secret {
        ClientSecret::Public => Ok(secret.is_empty()),
        ClientSecret::Sha256(stored) => {
            Ok(bool::from(Sha256::digest(secret.expose()).as_slice().ct_eq(stored)))
        }
        ClientSecret::Hash(_) if secret.len() > MAX_PASSWORD_BYTES => Ok(false),
        ClientSecret::Hash(stored) => {
            Ok(hashes.verify(asker, secret.clone(), Arc::clone(stored)).await?)
        }
    }
}

/// Why no client is known to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// None is named and none is the default; or the one named is unknown, or did not prove itself.
    #[error("the client is unknown or did not prove itself")]
    Unknown,
    /// It asks from outside its networks. It is told that it is unknown.
    #[error("the client asks from outside its networks")]
    Network,
    /// It proves itself in a way that is not done here (RFC 6749 section 5.2: `invalid_client`).
    #[error("the client authenticates in a way that is not done here")]
    Unsupported,
    /// More than one way of proving it in one request (RFC 6749 section 2.3).
    #[error("the client authenticates in more than one way")]
    TwoMethods,
    /// Too many secrets were wrong before.
    #[error(transparent)]
    Throttled(#[from] Wait),
    /// The secret could not be checked now.
    #[error(transparent)]
    Hash(#[from] HashError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: &str, default: bool, secret: ClientSecret) -> Client {
        let (id, scope) = (ClientId::parse(id).unwrap(), Scope::default());
        let grants = vec![GrantType::Password];
        Client { id, default, secret, grants, scope, introspect: false, networks: None }
    }

    #[test]
    fn a9_grant_types_are_exact() {
        for grant in GrantType::ALL {
            assert_eq!(GrantType::parse(grant.name()), Some(grant));
        }
        for bad in ["client-credentials", "Password", "password ", "", "refresh-token"] {
            assert_eq!(GrantType::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_registry_has_one_client_per_id_and_one_default_without_a_secret() {
        let public = |id, default| client(id, default, ClientSecret::Public);
        assert!(ClientRegistry::new(vec![public("a", true), public("b", false)]).is_ok());
        assert!(ClientRegistry::new(vec![public("a", false), public("a", false)]).is_err());
        assert!(ClientRegistry::new(vec![public("a", true), public("b", true)]).is_err());
        assert!(
            ClientRegistry::new(vec![client("a", true, ClientSecret::Sha256([0; 32]))]).is_err()
        );
    }

    #[test]
    fn a_client_is_at_home_only_in_its_networks() {
        let mut nightly = client("nightly", false, ClientSecret::Sha256([0; 32]));
        assert!(nightly.is_at_home([203, 0, 113, 9].into()), "without a list, anywhere");
        let networks = ["10.20.0.0/16", "fd00::/8"].map(|text| text.parse().unwrap());
        nightly.networks = Some(networks.to_vec());
        for (address, at_home) in [
            ("10.20.255.1", true),
            ("10.21.0.1", false),
            ("::ffff:10.20.0.1", true),
            ("::ffff:10.21.0.1", false),
            ("::10.20.0.1", false),
            ("fd00::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(nightly.is_at_home(address.parse().unwrap()), at_home, "{address}");
        }
    }
}
