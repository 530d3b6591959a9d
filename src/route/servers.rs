//! The servers of an upstream, and which of them a request tries next.
//!
//! A request tries every address at most once. Addresses whose last requests failed are left out while others are there, and
//! are tried last when there are none ([`crate::route::health`]). The addresses of one name belong to one server, which has
//! one turn however many they are.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::route::health::{Health, Observed};

/// Every server of an upstream.
#[derive(Debug, Default)]
pub struct Servers {
    servers: Vec<Server>,
    turn: AtomicUsize,
}

/// One server: every address of its name.
#[derive(Debug)]
struct Server(Vec<Address>);

#[derive(Debug)]
struct Address {
    socket: SocketAddr,
    health: OnceLock<Arc<Health>>,
}

/// What one request has tried so far.
#[derive(Debug, Default)]
pub struct Tried {
    /// Drawn with the first attempt.
    turn: Option<usize>,
    failed: Vec<Place>,
}

/// One attempt of a request.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Where to connect to.
    pub address: SocketAddr,
    place: Place,
    observed: Observed,
    /// Its failure is no news: the address was ejected when it was chosen, for want of another.
    is_last_resort: bool,
}

/// Where an address stands: which server, and which of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    server: usize,
    address: usize,
}

impl Address {
    fn health(&self) -> &Arc<Health> {
        self.health.get_or_init(Arc::default)
    }
}

impl Servers {
    /// Servers by the addresses of each. What has no address is no server.
    #[must_use]
    pub fn new(servers: impl IntoIterator<Item = Vec<SocketAddr>>) -> Self {
        let address = |socket| Address { socket, health: OnceLock::new() };
        let servers = servers.into_iter().filter(|addresses| !addresses.is_empty());
        let servers = servers.map(|addresses| Server(addresses.into_iter().map(address).collect()));
        Self { servers: servers.collect(), turn: AtomicUsize::new(0) }
    }

    /// How many servers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// Every address of every server.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().flat_map(|server| server.0.iter().map(|address| address.socket))
    }

    /// How many servers are ejected now: each of their addresses is.
    #[must_use]
    pub fn ejected(&self, now: Instant) -> usize {
        let is_ejected =
            |server: &&Server| server.0.iter().all(|address| !address.health().is_available(now));
        self.servers.iter().filter(is_ejected).count()
    }

    /// Takes over what another set remembers about the addresses that both have. It must not have been used yet.
    pub fn inherit(&self, from: &Self) {
        for address in self.servers.iter().flat_map(|server| &server.0) {
            let former = from.servers.iter().flat_map(|server| &server.0);
            if let Some(former) = former.into_iter().find(|other| other.socket == address.socket) {
                // Where it is set, it was in use; what it remembers is as good.
                drop(address.health.set(Arc::clone(former.health())));
            }
        }
    }

    /// The address to try next: the other addresses of the server that was tried last, then those of the servers whose turn
    /// it is. Only when all that is left is ejected, an ejected address: the one whose ejection ends first. `patience` is how
    /// long a probe may keep others away. `None` once every address was tried.
    #[must_use]
    pub fn next(&self, tried: &mut Tried, now: Instant, patience: Duration) -> Option<Attempt> {
        let turn = *tried.turn.get_or_insert_with(|| self.turn.fetch_add(1, Ordering::Relaxed));
        // Another request may claim what looked available; then there is one less.
        while let Some(place) = self.available(tried, turn, now) {
            let address = self.at(place)?;
            if let Some(observed) = address.health().claim(now, patience) {
                let is_last_resort = false;
                return Some(Attempt { address: address.socket, place, observed, is_last_resort });
            }
        }
        let ejected = self.untried(tried).min_by_key(|(_, address)| address.health().ends());
        ejected.map(|(place, address)| Attempt {
            address: address.socket,
            place,
            observed: address.health().observe(),
            is_last_resort: true,
        })
    }

    fn available(&self, tried: &Tried, turn: usize, now: Instant) -> Option<Place> {
        let last = tried.failed.last().map(|place| place.server);
        let usable = |server: usize| self.first(server, tried, turn, now);
        if let Some(place) = last.and_then(usable) {
            return Some(place);
        }
        let count = (0..self.count()).filter(|server| usable(*server).is_some()).count();
        (0..self.count()).filter_map(usable).nth(turn.checked_rem(count)?)
    }

    /// The first available address of a server. Its addresses take turns, too.
    fn first(&self, server: usize, tried: &Tried, turn: usize, now: Instant) -> Option<Place> {
        let addresses = &self.servers.get(server)?.0;
        let start = turn.checked_div(self.count())?;
        (0..addresses.len()).find_map(|step| {
            let address = start.wrapping_add(step).checked_rem(addresses.len())?;
            let place = Place { server, address };
            let is_available = addresses.get(address)?.health().is_available(now);
            (is_available && !tried.failed.contains(&place)).then_some(place)
        })
    }

    fn untried<'a>(&'a self, tried: &'a Tried) -> impl Iterator<Item = (Place, &'a Address)> {
        let all = self.servers.iter().enumerate().flat_map(|(server, Server(addresses))| {
            let addresses = addresses.iter().enumerate();
            addresses.map(move |(address, known)| (Place { server, address }, known))
        });
        all.filter(|(place, _)| !tried.failed.contains(place))
    }

    fn at(&self, place: Place) -> Option<&Address> {
        self.servers.get(place.server)?.0.get(place.address)
    }

    /// Notes that an attempt failed, so that the request does not repeat it. Whether this ejected a healthy address.
    pub fn failed(&self, tried: &mut Tried, attempt: &Attempt, now: Instant) -> bool {
        tried.failed.push(attempt.place);
        let address = self.at(attempt.place).filter(|_| !attempt.is_last_resort);
        address.is_some_and(|address| address.health().failed(attempt.observed, now))
    }

    /// Whether there is an address that the request has not tried.
    #[must_use]
    pub fn has_another(&self, tried: &Tried) -> bool {
        self.untried(tried).next().is_some()
    }

    /// Notes that an attempt was answered. Whether this ended an ejection.
    pub fn answered(&self, attempt: &Attempt) -> bool {
        let address = self.at(attempt.place);
        address.is_some_and(|address| address.health().answered(attempt.observed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const PATIENCE: Duration = Duration::from_secs(3);

    fn servers(all: &[&[u16]]) -> Servers {
        let socket = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        Servers::new(all.iter().map(|ports| ports.iter().map(socket).collect()))
    }

    fn port(attempt: Option<Attempt>) -> Option<u16> {
        attempt.map(|attempt| attempt.address.port())
    }

    fn first(servers: &Servers, now: Instant) -> u16 {
        port(servers.next(&mut Tried::default(), now, PATIENCE)).unwrap()
    }

    /// Fails wherever it gets to, and says where that was.
    fn fails(servers: &Servers, now: Instant) -> Vec<u16> {
        let mut tried = Tried::default();
        let mut ports = Vec::new();
        while let Some(attempt) = servers.next(&mut tried, now, PATIENCE) {
            ports.push(attempt.address.port());
            servers.failed(&mut tried, &attempt, now);
            assert_eq!(servers.has_another(&tried), ports.len() < servers.addresses().count());
        }
        ports
    }

    #[test]
    fn servers_take_turns_and_the_addresses_of_a_server_within_its_turn() {
        let now = SystemClock.instant();
        let all = servers(&[&[1], &[2, 3], &[]]);
        assert_eq!((all.count(), all.addresses().count()), (2, 3));
        let seen: Vec<_> = (0..8).map(|_| first(&all, now)).collect();
        assert_eq!(seen, [1, 2, 1, 3, 1, 2, 1, 3]);
        assert_eq!(port(servers(&[]).next(&mut Tried::default(), now, PATIENCE)), None);
    }

    #[test]
    fn a_request_tries_each_address_once_and_those_of_a_server_together() {
        let now = SystemClock.instant();
        let all = servers(&[&[1, 2, 3], &[4, 5], &[6]]);
        assert_eq!(fails(&all, now), [1, 2, 3, 4, 5, 6]);
        assert_eq!(all.ejected(now), 3);
        // All are ejected, and all are tried all the same.
        let mut ports = fails(&all, now);
        ports.sort_unstable();
        assert_eq!(ports, [1, 2, 3, 4, 5, 6]);
        // Those last tries changed nothing.
        assert_eq!(all.ejected(now + Duration::from_secs(1)), 0);
    }

    #[test]
    fn what_has_failed_is_left_out_and_the_rest_shares_its_turns_evenly() {
        let now = SystemClock.instant();
        let all = servers(&[&[1], &[2], &[3]]);
        let mut tried = Tried::default();
        let dead = all.next(&mut tried, now, PATIENCE).unwrap();
        assert!(all.failed(&mut tried, &dead, now));
        assert_eq!(all.ejected(now), 1);
        let seen: Vec<_> = (0..4).map(|_| first(&all, now)).collect();
        assert!(seen == [2, 3, 2, 3] || seen == [3, 2, 3, 2], "{seen:?}");
        // One request probes; the others do not wait for it.
        let later = now + Duration::from_secs(1);
        let mut probes: Vec<_> = (0..9).map(|_| first(&all, later)).collect();
        probes.retain(|port| *port == 1);
        assert_eq!(probes, [1]);
    }

    #[test]
    fn a_recovered_server_has_its_turns_again() {
        let now = SystemClock.instant();
        let all = servers(&[&[1], &[2]]);
        let mut tried = Tried::default();
        let dead = all.next(&mut tried, now, PATIENCE).unwrap();
        all.failed(&mut tried, &dead, now);
        let later = now + Duration::from_secs(1);
        let probe = (0..2).find_map(|_| {
            let attempt = all.next(&mut Tried::default(), later, PATIENCE);
            attempt.filter(|attempt| attempt.address == dead.address)
        });
        assert!(all.answered(&probe.unwrap()));
        assert_eq!(all.ejected(later), 0);
        let mut seen: Vec<_> = (0..4).map(|_| first(&all, later)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 1, 2, 2]);
    }

    #[test]
    fn a_new_set_inherits_what_is_known_of_the_same_addresses() {
        let now = SystemClock.instant();
        let old = servers(&[&[1], &[2]]);
        fails(&old, now);
        let new = servers(&[&[2], &[3]]);
        new.inherit(&old);
        assert_eq!(new.ejected(now), 1);
        assert_eq!([first(&new, now), first(&new, now)], [3, 3]);
    }
}
