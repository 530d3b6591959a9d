//! Who waits for a hashing thread, and who is next.
//!
//! Neither the order of arrival nor the number of requests gives a right to anything: a place in the queue and the next turn are
//! shared out between the networks and the accounts that wait, whether their logins succeed or not. One network with many
//! logins, and one account that is used from many networks, each get one share. What is too much for the queue goes at the cost
//! of whoever has most of it. When a job is too old, and what it is, is for `hasher` to say.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use ipnet::IpNet;

use crate::random::Draw;

/// On whose behalf something is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Where the request came from: an IPv4 address, or the /64 of an IPv6 address.
    pub network: IpNet,
    /// Whose password or secret it is about, whether or not there is such an account.
    pub account: Arc<str>,
}

/// A bounded queue of jobs.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    capacity: usize,
    waiting: Vec<Waiting<T>>,
    arrivals: u64,
    draw: Draw,
    /// Whose turn was the last.
    last: Option<Asker>,
}

#[derive(Debug)]
struct Waiting<T> {
    asker: Asker,
    arrival: u64,
    job: T,
}

/// What became of a job that was to be queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued<T> {
    /// It waits.
    Waits,
    /// It waits in the place of this one, whose network or account had more places than any other.
    Instead(T),
    /// It does not wait: nobody has more places than its own network and account.
    Refused(T),
}

impl<T> FairQueue<T> {
    /// An empty queue of so many places, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let (capacity, waiting) = (capacity.max(1), Vec::new());
        Self { capacity, waiting, arrivals: 0, draw: Draw::default(), last: None }
    }

    /// Takes out the jobs that are over: nobody waits for them any more, or they have waited for too long.
    pub(super) fn forget(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<T> {
        let over = self.waiting.extract_if(.., |waiting| is_over(&waiting.job));
        over.map(|waiting| waiting.job).collect()
    }

    /// Whether every place is taken.
    pub(super) const fn is_full(&self) -> bool {
        self.waiting.len() >= self.capacity
    }

    /// Queues a job.
    pub(super) fn push(&mut self, asker: Asker, job: T) -> Queued<T> {
        let instead = if self.is_full() {
            let Some(at) = self.dispensable(&asker) else { return Queued::Refused(job) };
            Some(self.waiting.swap_remove(at).job)
        } else {
            None
        };
        self.arrivals += 1;
        self.waiting.push(Waiting { asker, arrival: self.arrivals, job });
        instead.map_or(Queued::Waits, Queued::Instead)
    }

    /// Takes the next job: of a network that is drawn, and there of an account that is drawn; every other time, on average, the
    /// other way round. Of one account from one network, the oldest.
    pub(super) fn pop(&mut self) -> Option<T> {
        let all: Vec<&Asker> = self.waiting.iter().map(|waiting| &waiting.asker).collect();
        let (draw, last) = (&mut self.draw, self.last.as_ref());
        let (last_network, last_account) =
            (last.map(|own| own.network), last.map(|own| Arc::clone(&own.account)));
        let asker = if draw.below(2) == 0 {
            let network = pick(draw, all.iter().map(|own| own.network), last_network)?;
            let there = all.iter().filter(|own| own.network == network);
            let account = pick(draw, there.map(|own| Arc::clone(&own.account)), last_account)?;
            Asker { network, account }
        } else {
            let account = pick(draw, all.iter().map(|own| Arc::clone(&own.account)), last_account)?;
            let its = all.iter().filter(|own| own.account == account);
            let network = pick(draw, its.map(|own| own.network), last_network)?;
            Asker { network, account }
        };
        let waiting = self.waiting.iter().enumerate().filter(|(_, own)| own.asker == asker);
        let (at, _) = waiting.min_by_key(|(_, own)| own.arrival)?;
        self.last = Some(asker);
        Some(self.waiting.swap_remove(at).job)
    }

    /// Which job goes for the sake of one of this asker: the last one of the network, else of the account, that has most places,
    /// if it would still have as many as the asker's.
    fn dispensable(&self, asker: &Asker) -> Option<usize> {
        let networks = self.places(|own| own.network);
        let accounts = self.places(|own| Arc::clone(&own.account));
        let pairs = self.places(Asker::clone_pair);
        let last = |is_its: &dyn Fn(&Asker) -> bool| {
            let its = self.waiting.iter().enumerate().filter(|(_, own)| is_its(&own.asker));
            let most = its.max_by_key(|(_, own)| {
                (pairs.get(&own.asker.clone_pair()).copied().unwrap_or_default(), own.arrival)
            });
            most.map(|(at, _)| at)
        };
        let own = networks.get(&asker.network).copied().unwrap_or_default();
        let largest = networks.iter().max_by_key(|(_, places)| **places);
        if let Some((network, _)) = largest.filter(|(_, places)| **places > own + 1) {
            return last(&|of| of.network == *network);
        }
        let own = accounts.get(&asker.account).copied().unwrap_or_default();
        let largest = accounts.iter().max_by_key(|(_, places)| **places);
        let (account, _) = largest.filter(|(_, places)| **places > own + 1)?;
        last(&|of| of.account == *account)
    }

    /// How many places each has.
    fn places<K: Eq + Hash>(&self, key: impl Fn(&Asker) -> K) -> HashMap<K, usize> {
        let mut places = HashMap::new();
        for waiting in &self.waiting {
            *places.entry(key(&waiting.asker)).or_default() += 1;
        }
        places
    }
}

impl Asker {
    fn clone_pair(&self) -> (IpNet, Arc<str>) {
        (self.network, Arc::clone(&self.account))
    }
}

/// One of those that are there, each with the same chance, however often it is; but not the last one again while there are others.
fn pick<K: Ord>(draw: &mut Draw, among: impl Iterator<Item = K>, last: Option<K>) -> Option<K> {
    let mut different: Vec<K> = among.collect();
    different.sort_unstable();
    different.dedup();
    if let (Some(last), true) = (last, different.len() > 1) {
        different.retain(|own| *own != last);
    }
    if different.is_empty() {
        return None;
    }
    let at = draw.below(different.len());
    Some(different.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asker(network: u8, account: &str) -> Asker {
        Asker {
            network: IpNet::from(std::net::IpAddr::from([192, 0, 2, network])),
            account: account.into(),
        }
    }

    /// Fills the queue with what a flood of `count` others asks, then lets bob ask as often as there is a turn. Returns how many
    /// turns it took to serve him so often.
    fn turns_until_served(flood: impl Fn(u64) -> Asker, bob: &Asker, served: usize) -> usize {
        let mut queue = FairQueue::new(64);
        let (mut turns, mut done, mut number) = (0, 0, 0);
        let mut waits = false;
        while done < served {
            for _ in 0..100 {
                number += 1;
                assert_ne!(queue.push(flood(number), false), Queued::Instead(true));
            }
            if !waits {
                assert!(
                    !matches!(queue.push(bob.clone(), true), Queued::Refused(_)),
                    "turn {turns}"
                );
                waits = true;
            }
            // None of the flood that comes later takes his place.
            for _ in 0..100 {
                number += 1;
                assert_ne!(queue.push(flood(number), false), Queued::Instead(true));
            }
            turns += 1;
            if queue.pop() == Some(true) {
                (done, waits) = (done + 1, false);
            }
        }
        turns
    }

    // Part 4, item 19.
    #[test]
    fn no_flood_keeps_an_honest_user_from_a_place_and_from_a_turn() {
        let bob = asker(1, "user:bob");
        for (what, turns) in [
            (
                "one account from another address",
                turns_until_served(|_| asker(9, "user:alice"), &bob, 100),
            ),
            (
                "one account from his address",
                turns_until_served(|_| asker(1, "user:alice"), &bob, 100),
            ),
            (
                "one account from everywhere",
                turns_until_served(|n| asker((n % 200) as u8 + 9, "user:alice"), &bob, 100),
            ),
            (
                "invented names from one address",
                turns_until_served(|n| asker(9, &format!("user:{n}")), &bob, 100),
            ),
        ] {
            // A fair share is every second turn against one, and every fourth where one of the two draws is against him.
            assert!((100..700).contains(&turns), "{what}: {turns} turns for 100 logins");
        }
    }

    #[test]
    fn who_is_alone_has_the_whole_queue_and_is_served_in_order() {
        let mut queue = FairQueue::new(64);
        for number in 0..64 {
            assert_eq!(queue.push(asker(1, "user:alice"), number), Queued::Waits);
        }
        assert_eq!(queue.push(asker(1, "user:alice"), 64), Queued::Refused(64));
        // The last one of her goes first.
        assert_eq!(queue.push(asker(2, "user:bob"), 100), Queued::Instead(63));
        assert_eq!(queue.push(asker(1, "user:carol"), 101), Queued::Instead(62));
        let hers: Vec<_> =
            std::iter::from_fn(|| queue.pop()).filter(|number| *number < 64).collect();
        assert_eq!(hers, (0..62).collect::<Vec<_>>());
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn what_nobody_waits_for_makes_room() {
        let mut queue = FairQueue::new(2);
        for number in 0..2 {
            assert_eq!(queue.push(asker(1, "user:alice"), number), Queued::Waits);
        }
        assert!(queue.is_full());
        assert_eq!(queue.forget(|number| *number == 0), [0]);
        assert_eq!(queue.push(asker(1, "user:alice"), 2), Queued::Waits);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(1), Some(2), None]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nobody_is_displaced_by_who_has_more(
            asks in prop::collection::vec((0_u8..6, 0_u8..6, any::<bool>()), 1..200),
            capacity in 1_usize..12,
        ) {
            let mut queue = FairQueue::new(capacity);
            let mut inside = std::collections::BTreeMap::new();
            for (number, (network, account, takes)) in asks.into_iter().enumerate() {
                if takes {
                    let next = queue.pop();
                    prop_assert_eq!(next.is_some(), !inside.is_empty());
                    if let Some(next) = next {
                        prop_assert!(inside.remove(&next).is_some());
                    }
                }
                let places = |of: &dyn Fn(&(u8, u8)) -> bool| inside.values().filter(|own| of(own)).count();
                let own = (places(&|own| own.0 == network), places(&|own| own.1 == account));
                match queue.push(asker(network, &account.to_string()), number) {
                    Queued::Waits => prop_assert!(inside.len() < capacity),
                    Queued::Refused(job) => {
                        prop_assert_eq!((job, inside.len()), (number, capacity));
                        for other in 0..6 {
                            prop_assert!(places(&|own| own.0 == other) <= own.0 + 1);
                            prop_assert!(places(&|own| own.1 == other) <= own.1 + 1);
                        }
                        continue;
                    }
                    Queued::Instead(job) => {
                        let gone = inside[&job];
                        let theirs = (places(&|own| own.0 == gone.0), places(&|own| own.1 == gone.1));
                        prop_assert!(theirs.0 > own.0 + 1 || theirs.1 > own.1 + 1);
                        inside.remove(&job);
                    }
                }
                inside.insert(number, (network, account));
                prop_assert!(inside.len() <= capacity);
            }
        }
    }
}
