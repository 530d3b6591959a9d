//! A bounded map of entries. When it is full, the entry that fades first makes room: one without a ban before one with, and
//! of those the older first. So a flood of invented names pushes out invented names.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::clock::Timestamp;
use crate::throttle::Key;
use crate::throttle::entry::Entry;
use crate::throttle::row::Change;

/// When an entry fades, and which of those that fade together was touched first.
type Rank = (Timestamp, u64);

/// The entries of one kind of key.
#[derive(Debug)]
pub(super) struct Table {
    capacity: usize,
    entries: HashMap<Key, (Rank, Entry)>,
    order: BTreeMap<Rank, Key>,
    /// The keys that the store must hear about.
    unsent: HashSet<Key>,
    touches: u64,
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: HashMap::new(),
            order: BTreeMap::new(),
            unsent: HashSet::new(),
            touches: 0,
        }
    }

    /// The entry of a key. It may have faded.
    pub(super) fn find(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key).map(|(_, entry)| entry)
    }

    /// All entries, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter().map(|(key, (_, entry))| (key, entry))
    }

    /// Changes the entry of a key, which is made when there is none.
    pub(super) fn touch<R>(
        &mut self,
        key: &Key,
        now: Timestamp,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> R {
        let mut entry = match self.entries.remove(key) {
            Some((rank, entry)) => {
                self.order.remove(&rank);
                entry
            }
            None => {
                self.make_room(now);
                Entry::default()
            }
        };
        let outcome = change(&mut entry);
        if entry.is_unsent() {
            self.unsent.insert(key.clone());
        } else {
            self.unsent.remove(key);
        }
        self.touches += 1;
        let rank = (entry.fades_at, self.touches);
        self.order.insert(rank, key.clone());
        self.entries.insert(key.clone(), (rank, entry));
        outcome
    }

    /// Drops two faded entries, so that a table at rest shrinks faster than it grows; and one more when all places are taken.
    fn make_room(&mut self, now: Timestamp) {
        for _ in 0..2 {
            if self.order.first_key_value().is_some_and(|((fades_at, _), _)| *fades_at <= now) {
                self.drop_first();
            }
        }
        if self.entries.len() >= self.capacity {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.entries.remove(&key);
            self.unsent.remove(&key);
        }
    }

    /// Everything that the store has not been told; it is taken as told.
    pub(super) fn drain(&mut self, now: Timestamp) -> Vec<Change> {
        let keys = std::mem::take(&mut self.unsent);
        let entries = &mut self.entries;
        let drained = keys.iter().filter_map(|key| {
            let (_, entry) = entries.get_mut(key)?;
            Some(entry.drain(key, now))
        });
        drained.collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        assert!(self.unsent.len() <= self.entries.len());
        self.entries.len()
    }
}
