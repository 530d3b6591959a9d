//! Clients that a reload takes out of the configuration: what was issued to them ends for ever, so that a client of that name
//! that comes back later, which may be another's, does not revive it. `state` compares with what the node had before.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::Gateway;
use crate::oauth::client::ClientId;

/// How soon it is tried again while the store cannot be reached.
const AGAIN: Duration = Duration::from_secs(1);

/// Ends what was issued to the clients that the old snapshot has and the new one does not, beside the reload: they are refused
/// as unknown from the swap on, and a token that is issued before this is durable is older than it.
pub(super) fn end(old: &Gateway, new: &Gateway) {
    let Ok(runtime) = Handle::try_current() else { return };
    let Some(state) = &new.shared().state else { return };
    let ids = |of: &Gateway| -> BTreeSet<ClientId> {
        of.clients.iter().map(|client| client.id.clone()).collect()
    };
    let now = ids(new);
    if now == ids(old) {
        return;
    }
    state.store().set_clients(&now);
    let store = state.store().clone();
    runtime.spawn(async move {
        while let Err(error) = store.keep_roster().await {
            tracing::debug!(%error, "the clients of this node cannot be written down yet");
            sleep(AGAIN).await;
        }
    });
}
