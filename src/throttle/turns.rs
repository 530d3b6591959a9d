//! Whose turn it is at an account that is slowed: drawn among the networks that asked while no attempt was due yet.
//!
//! Whoever is told to wait takes part in the next draw, once for each network, however often it asks. The one that is drawn has
//! the turn for a moment; if it does not come back for it, the turn is anybody's. So somebody who asks once and comes back when
//! told to has the same chance as a bot that never stops asking. Memory is bounded.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::random::Draw;
use crate::throttle::{Account, Network, Wait};

/// How long a turn is kept for the network that was drawn.
const KEPT: Duration = Duration::from_secs(3);
/// How many networks take part in one draw. Further ones take the place of one of them by lot.
const NETWORKS: usize = 64;

/// A turn that was taken, so that it can be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// When it was due.
    pub(super) before: Timestamp,
    /// When it was taken.
    pub(super) taken_at: Timestamp,
}

/// The draws of all accounts that are slowed.
#[derive(Debug)]
pub(super) struct Turns {
    of: HashMap<Account, Asked>,
    accounts: usize,
    draw: Draw,
}

/// Who has asked for the next turn at one account.
#[derive(Debug, Default)]
struct Asked {
    /// When that turn is due.
    due: Timestamp,
    networks: Vec<Network>,
    /// How many have asked, also those that are not remembered.
    count: usize,
    drawn: Option<Network>,
}

impl Turns {
    /// No draws, for at most so many accounts at once.
    pub(super) fn new(accounts: usize) -> Self {
        Self { of: HashMap::new(), accounts, draw: Draw::default() }
    }

    /// Asks for the turn at an account that is due at this time.
    ///
    /// # Errors
    /// [`Wait`] when it is not due yet, or is kept for another network; the asker then takes part in the next draw.
    pub(super) fn ask(
        &mut self,
        account: &Account,
        network: Network,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<(), Wait> {
        if !self.of.contains_key(account) && self.of.len() >= self.accounts {
            // What is over interests nobody; if all go on, one more is not kept.
            self.of.retain(|_, asked| now < asked.due.plus(KEPT));
            if self.of.len() >= self.accounts {
                return Wait::until(due, now).map_or(Ok(()), Err);
            }
        }
        let asked = self.of.entry(account.clone()).or_default();
        if asked.due != due {
            *asked = Asked { due, ..Asked::default() };
        }
        if let Some(wait) = Wait::until(due, now) {
            asked.note(network, &mut self.draw);
            return Err(wait);
        }
        let kept_until = due.plus(KEPT);
        if asked.drawn.is_none() && now < kept_until {
            let lot = self.draw.below(asked.networks.len());
            asked.drawn = asked.networks.get(lot).copied();
        }
        match (asked.drawn, Wait::until(kept_until, now)) {
            (Some(drawn), Some(wait)) if drawn != network => Err(wait),
            _ => Ok(()),
        }
    }
}

impl Asked {
    fn note(&mut self, network: Network, draw: &mut Draw) {
        if self.networks.contains(&network) {
            return;
        }
        self.count += 1;
        if self.networks.len() < NETWORKS {
            self.networks.push(network);
        } else if let Some(place) = self.networks.get_mut(draw.below(self.count)) {
            *place = network;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u8) -> Network {
        Network::of([192, 0, 2, number].into())
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    /// How many of a hundred turns, ten seconds apart, the owner gets, who asks when told to, while these bots ask all the time.
    fn turns_of_the_owner(bots: u8) -> usize {
        let (mut turns, account) = (Turns::new(4), Account::user("alice"));
        let (mut due, mut owner_asks_at, mut won) = (10, 1, 0);
        let mut taken = 0;
        for second in 0.. {
            if taken == 100 {
                break;
            }
            let mut taker = None;
            for bot in 1..=bots {
                for _ in 0..3 {
                    if taker.is_none()
                        && turns.ask(&account, network(bot), at(due), at(second)).is_ok()
                    {
                        taker = Some(bot);
                    }
                }
            }
            if taker.is_none() && second >= owner_asks_at {
                match turns.ask(&account, network(200), at(due), at(second)) {
                    Ok(()) => taker = Some(200),
                    Err(wait) => owner_asks_at = second + wait.retry_after.as_secs(),
                }
            }
            if let Some(taker) = taker {
                (taken, due) = (taken + 1, second + 10);
                won += usize::from(taker == 200);
            }
        }
        won
    }

    // Part 4, item 19.
    #[test]
    fn a_bot_that_asks_all_the_time_has_no_better_chance_than_who_comes_when_told_to() {
        let against_one = turns_of_the_owner(1);
        assert!((25..75).contains(&against_one), "{against_one} of 100 turns");
        let against_nine = turns_of_the_owner(9);
        assert!((2..30).contains(&against_nine), "{against_nine} of 100 turns");
    }

    #[test]
    fn a_turn_that_nobody_comes_for_is_anybodys() {
        let (mut turns, account) = (Turns::new(1), Account::user("alice"));
        let mut ask = |number, now| {
            turns
                .ask(&account, network(number), at(10), at(now))
                .map_err(|wait| wait.retry_after.as_secs())
        };
        assert_eq!(ask(1, 4), Err(6));
        assert_eq!((ask(2, 10), ask(2, 12)), (Err(3), Err(1)), "it is kept for who asked before");
        assert_eq!(ask(2, 13), Ok(()));
        assert_eq!(ask(1, 10), Ok(()));
        // Beyond what is remembered there is no draw.
        assert_eq!(turns.ask(&Account::user("bob"), network(1), at(10), at(11)), Ok(()));
        assert!(turns.ask(&Account::user("bob"), network(1), at(20), at(11)).is_err());
    }
}
