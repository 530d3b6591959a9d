//! Watching the files of the configuration. They are read and compared, off the threads that serve: files are small, and
//! nothing about links, mounts or editors can be misunderstood.

use std::sync::Arc;

use tokio::time::sleep;

use crate::gateway::live::Live;

/// Returns once a file that the configuration was read from has changed, and all of them have then been still for one period;
/// never where the configuration asks for no watch. What the last reload saw, refused or not, is no change.
pub(super) async fn changed(live: Arc<Live>) {
    let Some(period) = live.operation().watch else { return std::future::pending().await };
    let mut before = None;
    loop {
        sleep(period).await;
        let looking = Arc::clone(&live);
        let now = match tokio::task::spawn_blocking(move || looking.changed_files()).await {
            Ok(now) => now,
            Err(error) => {
                tracing::error!(%error, "the files cannot be looked at");
                continue;
            }
        };
        if now.is_some() && now == before {
            return;
        }
        before = now;
    }
}
