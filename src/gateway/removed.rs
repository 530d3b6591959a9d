//! Clients that a reload takes out of the configuration: what was issued to them ends for ever, so that a client of that name
//! that comes back later, which may be another's, does not revive it.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::Gateway;
use crate::oauth::client::ClientId;
use crate::oauth::subject::Subject;
use crate::state::Revocation;

/// How soon it is tried again while the store cannot be reached.
const AGAIN: Duration = Duration::from_secs(1);

/// Ends what was issued to the clients that the old snapshot has and the new one does not, beside the reload: they are refused
/// as unknown from the swap on, and a token that is issued before this is durable is older than it.
pub(super) fn end(old: &Gateway, new: &Gateway) {
    let Ok(runtime) = Handle::try_current() else { return };
    let Some(state) = &new.shared().state else { return };
    for client in old.clients.iter().filter(|client| new.clients.find(client.id.as_str()).is_none())
    {
        let Ok(subject) = Subject::client(&client.id) else { continue };
        runtime.spawn(revoke(state.store().clone(), subject, client.id.clone()));
    }
}

async fn revoke(store: crate::state::Store, subject: Subject, client_id: ClientId) {
    while let Err(error) = store.revoke(Revocation::Subject { subject: subject.clone() }).await {
        tracing::debug!(%error, %client_id, "a removed client's tokens cannot be revoked yet");
        sleep(AGAIN).await;
    }
    tracing::info!(%client_id, "the client was removed, and what was issued to it is revoked");
}
