//! Which key sets are kept fresh: those of the snapshot in force. It outlives reloads, and so do the sets in it.

use std::sync::Arc;

use tokio::sync::watch;

use super::{IssuerKeys, KeySource};

/// The key sets in force, and word of it when they change.
#[derive(Debug)]
pub struct KeyRegistry(watch::Sender<Arc<[Arc<IssuerKeys>]>>);

impl Default for KeyRegistry {
    fn default() -> Self {
        Self(watch::Sender::new(Arc::from([])))
    }
}

impl KeyRegistry {
    /// The set of this source: the one in force, when its definition is exactly the same, or a new one without keys. A new one
    /// is not in force before [`KeyRegistry::install`], so that a configuration that is rejected leaves nothing behind.
    #[must_use]
    pub fn find(&self, source: KeySource) -> Arc<IssuerKeys> {
        let known = match &source {
            KeySource::Url(plan) => {
                let kept = self.0.borrow();
                kept.iter().find(|keys| keys.plan() == Some(plan)).map(Arc::clone)
            }
            KeySource::File(_) => None,
        };
        known.unwrap_or_else(|| Arc::new(IssuerKeys::new(source)))
    }

    /// Puts these sets into force, and no others.
    pub fn install(&self, keys: impl IntoIterator<Item = Arc<IssuerKeys>>) {
        self.0.send_replace(keys.into_iter().collect());
    }

    /// The sets in force.
    #[must_use]
    pub fn current(&self) -> Arc<[Arc<IssuerKeys>]> {
        Arc::clone(&self.0.borrow())
    }

    #[cfg(feature = "proxy")]
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<[Arc<IssuerKeys>]>> {
        self.0.subscribe()
    }
}
