//! What is counted, and the rules: when an attempt may be made, when its outcome may be told, and what a failure leads to.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::throttle::entry::Entry;
use crate::throttle::row::Ban;
use crate::throttle::table::Table;
use crate::throttle::turns::{Turn, Turns};
use crate::throttle::{Account, Key, Limit, Limits, Network, Wait};

/// A success in a known place is noted again after so long.
const NOTED_EVERY: Duration = Duration::from_hours(1);

/// The counts, and the limits that they are held against.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) limits: Limits,
    pub(super) pairs: Table,
    pub(super) networks: Table,
    pub(super) accounts: Table,
    pub(super) tokens: Table,
    pub(super) known: Table,
    turns: Turns,
}

impl Counts {
    pub(super) fn new(limits: Limits, places: usize, accounts: usize) -> Self {
        Self {
            limits,
            pairs: Table::new(places),
            networks: Table::new(places),
            accounts: Table::new(accounts),
            tokens: Table::new(places),
            known: Table::new(places),
            turns: Turns::new(accounts),
        }
    }

    pub(super) fn limit(&self, key: &Key) -> Option<Limit> {
        match key {
            Key::Pair(..) => self.limits.per_user,
            Key::Network(_) => self.limits.per_address,
            Key::Account(_) => self.limits.per_user.map(Limit::for_account),
            Key::Tokens(_) => self.limits.per_address.map(Limit::for_tokens),
            Key::Known(..) => None,
        }
    }

    const fn table(&self, key: &Key) -> &Table {
        match key {
            Key::Pair(..) => &self.pairs,
            Key::Network(_) => &self.networks,
            Key::Account(_) => &self.accounts,
            Key::Tokens(_) => &self.tokens,
            Key::Known(..) => &self.known,
        }
    }

    pub(super) const fn table_mut(&mut self, key: &Key) -> &mut Table {
        match key {
            Key::Pair(..) => &mut self.pairs,
            Key::Network(_) => &mut self.networks,
            Key::Account(_) => &mut self.accounts,
            Key::Tokens(_) => &mut self.tokens,
            Key::Known(..) => &mut self.known,
        }
    }

    pub(super) const fn tables_mut(&mut self) -> [&mut Table; 5] {
        let Self { pairs, networks, accounts, tokens, known, .. } = self;
        [pairs, networks, accounts, tokens, known]
    }

    /// Whether a refresh token that may be invented may be presented from here.
    pub(super) fn check_tokens(&self, network: Network, now: Timestamp) -> Result<(), Wait> {
        let key = Key::Tokens(network);
        let limited = self.limit(&key).and_then(|_| self.tokens.find(&key));
        limited.and_then(|entry| entry.wait(now)).map_or(Ok(()), Err)
    }

    /// Counts an invented refresh token; true when it is one too many, which bans.
    pub(super) fn count_token(&mut self, network: Network, now: Timestamp) -> Vec<Key> {
        let key = Key::Tokens(network);
        let Some(limit) = self.limit(&key) else { return Vec::new() };
        let banned = self.tokens.touch(&key, now, |entry| entry.fail(&limit, now));
        if banned { vec![key] } else { Vec::new() }
    }

    /// Whether an attempt may be made, and with which turn at an account that is slowed.
    pub(super) fn check(
        &mut self,
        account: &Account,
        network: Network,
        now: Timestamp,
    ) -> Result<Option<Turn>, Wait> {
        self.is_free(account, network, now)?;
        let Some(slowed) = self.slowed(account, network, now) else { return Ok(None) };
        let before = slowed.next_slot();
        self.turns.ask(account, network, before, now)?;
        self.accounts.touch(&Key::Account(account.clone()), now, |entry| entry.take_slot(now));
        Ok(Some(Turn { before, taken_at: now }))
    }

    /// Makes the next attempt at a slowed account due again, unless another was made since.
    pub(super) fn give_turn_back(&mut self, account: &Account, turn: Turn, now: Timestamp) {
        let key = Key::Account(account.clone());
        if self.accounts.find(&key).is_some() {
            self.accounts
                .touch(&key, now, |entry| entry.give_slot_back(turn.before, turn.taken_at));
        }
    }

    /// Whether the outcome of an attempt may be told.
    pub(super) fn may_tell(
        &self,
        account: &Account,
        network: Network,
        in_turn: bool,
        now: Timestamp,
    ) -> Result<(), Wait> {
        self.is_free(account, network, now)?;
        match self.slowed(account, network, now) {
            Some(slowed) if !in_turn => {
                let soon = Wait { retry_after: Duration::from_secs(1) };
                Err(slowed.wait_for_slot(now).unwrap_or(soon))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Neither the network nor the pair is banned.
    fn is_free(&self, account: &Account, network: Network, now: Timestamp) -> Result<(), Wait> {
        let keys = [Key::Network(network), Key::Pair(account.clone(), network)];
        let waits = keys.iter().filter(|key| self.limit(key).is_some()).filter_map(|key| {
            let entry = self.table(key).find(key)?;
            entry.wait(now)
        });
        waits.max_by_key(|wait| wait.retry_after).map_or(Ok(()), Err)
    }

    /// The entry of an account that is guessed at from everywhere, unless the account is known in this network.
    fn slowed(&self, account: &Account, network: Network, now: Timestamp) -> Option<&Entry> {
        self.limits.per_user?;
        let entry = self.accounts.find(&Key::Account(account.clone()))?;
        entry.banned_until(now)?;
        let known = self.known.find(&Key::Known(account.clone(), network));
        known.is_none_or(|known| known.fades_at <= now).then_some(entry)
    }

    /// Counts a failure everywhere; returns what is banned by it.
    pub(super) fn fail(&mut self, account: &Account, network: Network, now: Timestamp) -> Vec<Key> {
        let mut bans = Vec::new();
        let pair = Key::Pair(account.clone(), network);
        for key in [Key::Network(network), pair, Key::Account(account.clone())] {
            let Some(limit) = self.limit(&key) else { continue };
            if self.table_mut(&key).touch(&key, now, |entry| entry.fail(&limit, now)) {
                bans.push(key);
            }
        }
        bans
    }

    pub(super) fn succeed(&mut self, account: Account, network: Network, now: Timestamp) {
        let pair = Key::Pair(account.clone(), network);
        if self.pairs.find(&pair).is_some_and(|entry| entry.failures > 0) {
            self.pairs.touch(&pair, now, |entry| entry.clear(now));
        }
        let known = Key::Known(account, network);
        let noted = self.known.find(&known).map(Entry::learned_at);
        if noted.is_none_or(|noted| noted.plus(NOTED_EVERY) <= now) {
            self.known.touch(&known, now, |entry| entry.learn(now));
        }
    }

    pub(super) fn describe(&self, keys: &[Key], now: Timestamp) -> Vec<Ban> {
        keys.iter().filter_map(|key| ban(key, self.table(key).find(key)?, now)).collect()
    }
}

/// The ban of an entry, when it holds.
pub(super) fn ban(key: &Key, entry: &Entry, now: Timestamp) -> Option<Ban> {
    let until = entry.banned_until(now)?;
    Some(Ban { key: key.clone(), until, level: entry.level })
}
