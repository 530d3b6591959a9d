//! What happens to the store when a part of it breaks off by a fault of ours. Part 4, item 27.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[tokio::test]
async fn a_writer_that_panics_goes_on_with_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let mirror = Arc::new(Mirror::new(Arc::clone(&clock), DAY, true));
    let place = Place::Sqlite(directory.path().join("state.db"));
    let fault = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&fault);
    let observer = Arc::new(move |_| assert!(!armed.swap(false, Ordering::SeqCst), "a fault"));
    let store = Store::open(&place, clock, mirror, Some(observer)).unwrap();
    store.prepare().await.unwrap();
    let revoke = || store.revoke(Revocation::Subject { subject: alice() });
    revoke().await.unwrap();
    fault.store(true, Ordering::SeqCst);
    assert!(revoke().await.is_err(), "what became of the one that met the fault is not known");
    revoke().await.unwrap();
}
