//! Which clients each node has in its configuration, so that one that was taken out and comes back, and may be another's by then,
//! does not revive what was issued before.
//!
//! A node takes a client out by itself: it compares the clients of its file with those that it had when it was last seen, and
//! what it has no longer is revoked in the same transaction, whether it was running meanwhile or not. A node is known again by
//! its host's name and the place of its file. A node that never had a client says nothing about it by that: during a change
//! that goes from node to node, some do not have it yet.
//!
//! Where hosts have another name each time, as in containers, nobody remembers. So whoever brings a client that it did not
//! have before looks at the others: the client *comes back*, and what was issued before is revoked, if every node that had it
//! is gone, and another was seen without it since. While a node that has it runs, or as long as none has run without it, it
//! is the same client.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::Store;
use super::StoreError;
use super::engine::Engine;
use super::revocations::{self, Entry, LONGEST_FAMILY, Revocation, from_sql, to_sql};
use super::writer::Write;
use crate::clock::Timestamp;
use crate::oauth::client::ClientId;
use crate::oauth::subject::Subject;

/// A node that was not seen for so long is gone. Each is seen every minute.
const GONE: Duration = Duration::from_secs(180);

/// The clients of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// The place of its configuration file.
    file: String,
    clients: BTreeSet<ClientId>,
}

impl Roster {
    /// Of the node with this configuration file.
    pub fn new<'a>(file: &Path, clients: impl IntoIterator<Item = &'a ClientId>) -> Self {
        // Not where links lead to: Kubernetes changes that with each change of a file.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let clients = clients.into_iter().cloned().collect();
        Self { file: file.display().to_string(), clients }
    }

    /// The name of the node. A SQLite file is on one machine, whatever that is called.
    fn node(&self, engine: Engine) -> String {
        match engine {
            Engine::Sqlite => self.file.clone(),
            Engine::Postgres => {
                let system = rustix::system::uname();
                format!("{}:{}", system.nodename().to_string_lossy(), self.file)
            }
        }
    }
}

impl Store {
    /// The same store, for a node that has these clients.
    #[must_use]
    pub fn with_roster(self, roster: Roster) -> Self {
        *self.roster().write() = Some(roster);
        self
    }

    /// From now on the node has these clients. [`Store::keep_roster`] writes it down.
    pub fn set_clients<'a>(&self, clients: impl IntoIterator<Item = &'a ClientId>) {
        if let Some(roster) = &mut *self.roster().write() {
            roster.clients = clients.into_iter().cloned().collect();
        }
    }

    /// Writes down which clients this node has now, and revokes what was issued to those that it has no longer, and to those
    /// that come back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_roster(&self) -> Result<(), StoreError> {
        let roster = self.roster().read().clone();
        match roster {
            Some(roster) => self.write(Write::Roster(roster)).await.map(|_| ()),
            None => Ok(()),
        }
    }
}

/// What stands in the store of a node.
#[derive(Debug)]
struct Row {
    clients: BTreeSet<String>,
    seen_at: Timestamp,
}

impl Row {
    fn has(&self, client: &ClientId) -> bool {
        self.clients.contains(client.as_str())
    }
}

/// Writes the clients of a node down, and revokes what is to be revoked.
pub(super) async fn keep(
    connection: &mut AnyConnection,
    engine: Engine,
    roster: &Roster,
    now: Timestamp,
) -> Result<Vec<Entry>, sqlx::Error> {
    // Nodes that start at once come one after the other.
    let lock = "UPDATE feed SET seq = seq WHERE name = 'revocations'";
    sqlx::query(lock).execute(&mut *connection).await?;
    let node = roster.node(engine);
    let (mut own, mut others) = (None, Vec::new());
    let select = "SELECT node, clients, seen_at FROM node_clients";
    for row in sqlx::query(select).fetch_all(&mut *connection).await? {
        let (name, clients): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let clients = clients.split(' ').filter(|id| !id.is_empty()).map(str::to_owned).collect();
        let row = Row { clients, seen_at: from_sql(row.try_get(2)?) };
        if name == node {
            own = Some(row);
        } else {
            others.push(row);
        }
    }
    let ended = ended(own.as_ref(), &others, &roster.clients, now);
    let ids: Vec<&str> = roster.clients.iter().map(ClientId::as_str).collect();
    let put = "INSERT INTO node_clients (node, clients, seen_at) VALUES ($1, $2, $3) \
               ON CONFLICT (node) DO UPDATE SET clients = excluded.clients, seen_at = excluded.seen_at";
    let put = sqlx::query(put).bind(node).bind(ids.join(" ")).bind(to_sql(now));
    put.execute(&mut *connection).await?;
    // Nothing of that time lives any more.
    let forget = sqlx::query("DELETE FROM node_clients WHERE seen_at < $1")
        .bind(to_sql(now.minus(LONGEST_FAMILY)));
    forget.execute(&mut *connection).await?;
    let mut entries = Vec::new();
    for (client, why) in ended {
        let Ok(subject) = Subject::client(&client) else { continue };
        let revocation = Revocation::Subject { subject };
        entries.push(revocations::record(&mut *connection, &revocation, now).await?);
        tracing::info!(client_id = %client, why, "what was issued to this client before is revoked");
    }
    Ok(entries)
}

/// The clients of whom everything up to now is over, and why.
fn ended(
    own: Option<&Row>,
    others: &[Row],
    clients: &BTreeSet<ClientId>,
    now: Timestamp,
) -> Vec<(ClientId, &'static str)> {
    let had = own.into_iter().flat_map(|row| row.clients.iter());
    let removed = had.filter(|id| !clients.contains(id.as_str()));
    let removed = removed.filter_map(|id| ClientId::parse(id).ok()).map(|id| (id, "removed"));
    let new = clients.iter().filter(|client| own.is_none_or(|row| !row.has(client)));
    let back = new.filter(|client| {
        let had = others.iter().filter(|row| row.has(client)).map(|row| row.seen_at).max();
        let Some(last) = had.filter(|last| last.plus(GONE) < now) else { return false };
        own.into_iter().chain(others).any(|row| !row.has(client) && row.seen_at > last)
    });
    removed.chain(back.map(|id| (id.clone(), "it comes back"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn row(clients: &[&str], ago: u64) -> Row {
        let clients = clients.iter().map(|id| (*id).to_owned()).collect();
        Row { clients, seen_at: NOW.minus(Duration::from_secs(ago)) }
    }

    fn ends(own: Option<Row>, others: &[Row], now: &[&str]) -> Vec<String> {
        let clients = now.iter().map(|id| ClientId::parse(id).unwrap()).collect();
        let ended = ended(own.as_ref(), others, &clients, NOW);
        ended.into_iter().map(|(id, why)| format!("{id}: {why}")).collect()
    }

    const NOBODY: [String; 0] = [];

    // Part 4, item 25d.
    #[test]
    fn what_a_node_had_and_has_no_longer_is_removed_whoever_has_it_still() {
        let before = || Some(row(&["web", "x"], 5));
        assert_eq!(ends(before(), &[], &["web"]), ["x: removed"]);
        assert_eq!(ends(before(), &[row(&["web", "x"], 1)], &["web"]), ["x: removed"]);
        assert_eq!(ends(before(), &[], &["web", "x"]), NOBODY);
        // However long nobody ran.
        assert_eq!(ends(Some(row(&["web"], 9_000_000)), &[], &["web"]), NOBODY);
    }

    // Part 4, item 25d.
    #[test]
    fn a_node_that_never_had_a_client_says_nothing_of_it() {
        let others = [row(&["web", "x"], 1)];
        assert_eq!(ends(None, &others, &["web"]), NOBODY);
        assert_eq!(ends(Some(row(&["web"], 5)), &others, &["web"]), NOBODY);
        // And may come to have it.
        assert_eq!(ends(Some(row(&["web"], 5)), &others, &["web", "x"]), NOBODY);
        assert_eq!(ends(None, &others, &["web", "x"]), NOBODY);
        assert_eq!(ends(None, &[], &["web", "x"]), NOBODY, "the first of all");
    }

    // Part 4, item 25d.
    #[test]
    fn a_client_comes_back_if_one_was_seen_without_it_since_all_that_had_it_are_gone() {
        let gone = || row(&["web", "x"], 600);
        assert_eq!(ends(None, &[gone(), row(&["web"], 1)], &["web", "x"]), ["x: it comes back"]);
        assert_eq!(ends(None, &[gone(), row(&["web"], 300)], &["web", "x"]), ["x: it comes back"]);
        assert_eq!(ends(Some(row(&["web"], 1)), &[gone()], &["web", "x"]), ["x: it comes back"]);
        // Nobody ran without it since: the fleet was down, or each start has another name.
        assert_eq!(ends(None, &[gone()], &["web", "x"]), NOBODY);
        assert_eq!(ends(None, &[gone(), row(&["web"], 601)], &["web", "x"]), NOBODY);
        // One that has it runs still, or this node itself had it all along.
        let running = row(&["web", "x"], 100);
        assert_eq!(ends(None, &[gone(), row(&["web"], 1), running], &["web", "x"]), NOBODY);
        assert_eq!(ends(Some(gone()), &[row(&["web"], 1)], &["web", "x"]), NOBODY);
    }
}
