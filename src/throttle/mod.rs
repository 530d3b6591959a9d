//! Guessing is slowed: who fails too often is told to wait, before anything is hashed.
//!
//! Failures are counted per (account, network) and per network; too many ban that pair or that network, each time for
//! longer. Failures of one account from everywhere ban nobody: they slow attempts from networks where the account was never
//! proved, so that neither a botnet nor an enemy can keep the owner out. Names are counted as they were sent, whether or not
//! there is anybody of that name. Memory is bounded; names that nobody has push out one another, and a network that
//! invents them runs into its own limit.
//!
//! Guesses in flight side by side gain nothing: an outcome is told only if, at that moment, the attempt would still be let
//! through ([`Attempt`]). An attempt that is dropped without an outcome (the client left, or the hashing threads are busy)
//! counts nothing, since nothing was learned; otherwise a flood of logins could get honest users banned. Nor does it use up a turn
//! at an account that is slowed: that goes back. The turn is drawn among the networks that asked while it was not yet due
//! (`turns`), so that no bot can take every one by asking more often.
//!
//! Refresh tokens that we never made are counted per network too ([`Origin::invented_a_token`]), by themselves: too many ban
//! refresh tokens from there, never logins. A token of ours never counts, however old it is.
//!
//! Who asks is decided by `access::forwarded`, what an outcome is by `grants`, what a client hears by `endpoints`, and where
//! the counts are shared by the store ([`row`]). Bans last in wall time, since nodes share them.

mod counts;
mod entry;
mod key;
mod limits;
pub mod row;
mod table;
#[cfg(test)]
mod tests;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::users::Asker;
use counts::{Counts, ban};
pub use key::{Account, Key, KeyError, Network};
pub use limits::{FORGET_AFTER, KNOWN_FOR, Limit, Limits, MAX_BAN};
use row::{Ban, Change, Row};
use table::Table;
use turns::Turn;

/// How many pairs, networks and known pairs are remembered, each.
const PLACES: usize = 65_536;
/// How many accounts are.
const ACCOUNTS: usize = 16_384;

/// An attempt that must wait. It says nothing about whose or why: that would tell which names exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failures; wait {} seconds", retry_after.as_secs())]
pub struct Wait {
    /// For how long; at least one second.
    pub retry_after: Duration,
}

impl Wait {
    fn until(end: Timestamp, now: Timestamp) -> Option<Self> {
        let seconds = end.as_secs().checked_sub(now.as_secs()).filter(|seconds| *seconds > 0)?;
        Some(Self { retry_after: Duration::from_secs(seconds) })
    }
}

/// The counts of this node. Cheap to ask; the lock is never held while anything is hashed.
#[derive(Debug)]
pub struct Throttle(Mutex<Counts>);

/// Whoever is at the door: a trusted address at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    throttle: &'a Throttle,
    address: IpAddr,
    network: Network,
    now: Timestamp,
}

/// An attempt that was let through. Its outcome must be settled before anybody is told of it.
#[derive(Debug)]
#[must_use = "an attempt whose outcome is not settled is a free guess"]
pub struct Attempt<'a> {
    origin: Origin<'a>,
    account: Account,
    /// Whose turn this was before, when it is this attempt's at an account that is slowed.
    turn: Option<Turn>,
    /// Its outcome was asked for.
    settled: bool,
}

impl Throttle {
    /// Counts nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Mutex::new(Counts::new(limits, PLACES, ACCOUNTS)))
    }

    /// Other limits from now on; bans that hold stay, unless their limit is off.
    pub fn set_limits(&self, limits: Limits) {
        self.0.lock().limits = limits;
    }

    /// Whoever asks from this address now.
    #[must_use]
    pub fn origin(&self, client: IpAddr, now: Timestamp) -> Origin<'_> {
        Origin { throttle: self, address: client, network: Network::of(client), now }
    }

    /// What has changed here since the last call, for the store.
    #[must_use]
    pub fn drain_changes(&self, now: Timestamp) -> Vec<Change> {
        let mut counts = self.0.lock();
        counts.tables_mut().into_iter().flat_map(|table| table.drain(now)).collect()
    }

    /// Takes back changes that could not be written; the next [`Throttle::drain_changes`] brings them again.
    pub fn give_back(&self, changes: &[Change]) {
        let mut counts = self.0.lock();
        for change in changes {
            let key = &change.row.key;
            let table = counts.table_mut(key);
            // Whatever was pushed out meanwhile is not worth telling.
            if table.find(key).is_some() {
                table.touch(key, change.row.updated_at, |entry| entry.give_back(change));
            }
        }
    }

    /// Takes over rows of the store. Counts of several nodes may be too many only together: then this bans.
    pub fn merge(&self, rows: &[Row], now: Timestamp) {
        let mut counts = self.0.lock();
        let mut bans = Vec::new();
        for row in rows.iter().filter(|row| now < row.fades_at) {
            let limit = counts.limit(&row.key);
            let table = counts.table_mut(&row.key);
            if table.touch(&row.key, now, |entry| entry.merge(row, limit.as_ref(), now)) {
                bans.push(row.key.clone());
            }
        }
        let bans = counts.describe(&bans, now);
        drop(counts);
        tell(&bans);
    }

    /// The bans that hold, the longest first.
    #[must_use]
    pub fn bans(&self, now: Timestamp) -> Vec<Ban> {
        let counts = self.0.lock();
        let tables = [&counts.networks, &counts.pairs, &counts.accounts, &counts.tokens];
        let entries = tables.map(Table::iter);
        let mut bans: Vec<Ban> =
            entries.into_iter().flatten().filter_map(|(key, entry)| ban(key, entry, now)).collect();
        drop(counts);
        bans.sort_by(|a, b| (b.until, &a.key).cmp(&(a.until, &b.key)));
        bans
    }

    /// Forgets the failures and bans that `selector` means. Returns how many bans ended.
    pub fn clear(&self, selector: &Selector, now: Timestamp) -> usize {
        let mut counts = self.0.lock();
        let mut ended = 0;
        for table in counts.tables_mut() {
            let keys: Vec<Key> = table
                .iter()
                .map(|(key, _)| key)
                .filter(|key| selector.covers(key))
                .cloned()
                .collect();
            for key in keys {
                ended += usize::from(table.find(&key).and_then(|e| e.banned_until(now)).is_some());
                table.touch(&key, now, |entry| entry.reset(now));
            }
        }
        ended
    }
}

impl<'a> Origin<'a> {
    /// When the origin came.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The trusted address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// On whose behalf a secret of this account is hashed.
    #[must_use]
    pub fn asker(&self, account: &Account) -> Asker {
        Asker { network: self.network.as_net(), account: Arc::from(account.stored()) }
    }

    /// Whether a refresh token that may be invented may be presented. To be asked before the store is.
    ///
    /// # Errors
    /// [`Wait`], when too many from here were.
    pub fn check_tokens(&self) -> Result<(), Wait> {
        self.throttle.0.lock().check_tokens(self.network, self.now)
    }

    /// A refresh token from here is one that we never made. Nobody is banned from logging in for that.
    pub fn invented_a_token(&self) {
        let mut counts = self.throttle.0.lock();
        // Those in flight when the ban came were let through before it, and are not another offence.
        if counts.check_tokens(self.network, self.now).is_err() {
            return;
        }
        let bans = counts.count_token(self.network, self.now);
        let bans = counts.describe(&bans, self.now);
        drop(counts);
        tell(&bans);
    }

    /// Whether an attempt at this account may be made. To be asked before anything is hashed.
    ///
    /// # Errors
    /// [`Wait`], the same for accounts that exist and those that do not.
    pub fn check(&self, account: Account) -> Result<Attempt<'a>, Wait> {
        let turn = self.throttle.0.lock().check(&account, self.network, self.now)?;
        Ok(Attempt { origin: *self, account, turn, settled: false })
    }
}

impl Attempt<'_> {
    /// On whose behalf its secret is hashed.
    #[must_use]
    pub fn asker(&self) -> Asker {
        self.origin.asker(&self.account)
    }

    /// The secret was wrong. The failure that is one too many is still told; the next attempt is not made.
    ///
    /// # Errors
    /// [`Wait`] when failures of others in flight got there first: then nobody may learn that it was wrong.
    pub fn failed(mut self) -> Result<(), Wait> {
        self.settled = true;
        let Origin { throttle, network, now, .. } = self.origin;
        let mut counts = throttle.0.lock();
        counts.may_tell(&self.account, network, self.turn.is_some(), now)?;
        let bans = counts.fail(&self.account, network, now);
        let bans = counts.describe(&bans, now);
        drop(counts);
        tell(&bans);
        Ok(())
    }

    /// The secret was right. Forgets the failures of the account from this network, not those of the network.
    ///
    /// # Errors
    /// [`Wait`] when failures of others in flight got there first: then nobody may learn that it was right.
    pub fn succeeded(mut self) -> Result<(), Wait> {
        self.settled = true;
        let Origin { throttle, network, now, .. } = self.origin;
        let mut counts = throttle.0.lock();
        counts.may_tell(&self.account, network, self.turn.is_some(), now)?;
        counts.succeed(self.account.clone(), network, now);
        Ok(())
    }
}

impl Drop for Attempt<'_> {
    /// Nothing was learned, since the hashing threads were busy or the client left: a turn at a slowed account goes back.
    fn drop(&mut self) {
        if let (Some(turn), false) = (self.turn, self.settled) {
            self.origin.throttle.0.lock().give_turn_back(&self.account, turn, self.origin.now);
        }
    }
}

/// Which bans an operator means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Those of this account; of any, and of networks as such, when left out.
    pub account: Option<Account>,
    /// Those from this network; from any, and of accounts from everywhere, when left out.
    pub network: Option<Network>,
}

impl Selector {
    /// Whether it means this key. What was proved is no ban.
    #[must_use]
    pub fn covers(&self, key: &Key) -> bool {
        let account = self.account.is_none() || self.account.as_ref() == key.account();
        let network = self.network.is_none() || self.network == key.network();
        account && network && !matches!(key, Key::Known(..))
    }
}

/// Tells the operator.
fn tell(bans: &[Ban]) {
    for Ban { key, until, level } in bans {
        let (kind, account, network) = key.columns();
        let account = account.escape_default();
        tracing::warn!(kind, %account, network, %until, level, "too many failed attempts");
    }
}
