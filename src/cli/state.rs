//! The state store, opened by a command: to write something and be gone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::state::{Mirror, Store, StoreError};

/// How often the tables are tried: another node may be making them at this moment.
const ATTEMPTS: usize = 3;

/// Opens the store of a configuration. Must be called within a tokio runtime.
///
/// # Errors
/// When there is none, or it cannot be reached, or it is another issuer's.
pub(super) async fn open(config: &Config) -> anyhow::Result<Store> {
    let store = store(config)?.owned_by(&config.tokens.issuer);
    prepare(&store).await?;
    Ok(store)
}

/// The same, whosever it is.
///
/// # Errors
/// When there is none, or it cannot be reached.
pub(super) async fn open_any(config: &Config) -> anyhow::Result<Store> {
    let store = store(config)?;
    prepare(&store).await?;
    Ok(store)
}

fn store(config: &Config) -> anyhow::Result<Store> {
    let Some(state) = &config.state else {
        bail!("the configuration keeps no state; add `state: {{ sqlite: … }}`");
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mirror = Arc::new(Mirror::new(Arc::clone(&clock), Duration::ZERO, false));
    Ok(Store::open(&state.place, clock, mirror, None)?)
}

async fn prepare(store: &Store) -> anyhow::Result<()> {
    let mut attempts = 1;
    while let Err(error) = store.prepare().await {
        if attempts == ATTEMPTS || matches!(error, StoreError::Issuer { .. }) {
            return Err(error).context("the state store cannot be opened");
        }
        attempts += 1;
    }
    Ok(())
}
