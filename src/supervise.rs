//! Vital tasks: those without which the process would look alive and not be. A panic in one of them is a fault of ours like
//! any other (it is counted and logged), but it must not end the task.
//!
//! Which tasks are vital is said where they are begun. What a task keeps between two of its rounds is its own business: it is
//! made anew, and begins as at the start.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long a task that broke off is left alone. A fault that comes back at once must not take a core.
const PAUSE: Duration = Duration::from_millis(500);

/// Does what `task` makes until it ends by itself, and returns what it ended with. Each time it panics it is made anew after
/// half a second. Dropping this ends it. Must be called within a tokio runtime.
pub async fn keep_up<F>(name: &'static str, mut task: impl FnMut() -> F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    loop {
        // Dropped with us, unlike a task that was only spawned.
        let mut running = JoinSet::new();
        running.spawn(task());
        match running.join_next().await {
            Some(Ok(ended)) => return ended,
            Some(Err(error)) if error.is_panic() => broke_off(name),
            // The runtime ends, and we do with it.
            Some(Err(_)) | None => return pending().await,
        }
        sleep(PAUSE).await;
    }
}

/// The same on this thread: does `work` until it returns, and again each time it panics.
pub fn keep_up_thread(name: &'static str, mut work: impl FnMut()) {
    // What `work` has changed when it breaks off is what it finds at its next beginning: locks of ours do not poison.
    while catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
        broke_off(name);
        thread::sleep(PAUSE);
    }
}

fn broke_off(task: &str) {
    tracing::error!(task, "a vital task broke off by a fault of ours; it is begun anew");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    // Part 4, item 27.
    #[tokio::test]
    async fn a_task_that_panics_is_made_anew_and_one_that_ends_is_not() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let ended = keep_up("test", move || {
            let time = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(time >= 2, "a fault");
                time
            }
        });
        assert_eq!(ended.await, 2);
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_task_ends_with_whoever_keeps_it_up() {
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        let mut held = Some(held);
        let keeping = tokio::spawn(keep_up("test", move || {
            let held = held.take();
            async move {
                let _held = held;
                pending::<()>().await;
            }
        }));
        tokio::task::yield_now().await;
        keeping.abort();
        assert!(ended.await.is_err(), "what the task held is gone");
    }

    #[test]
    fn a_thread_goes_on_after_a_panic() {
        let mut begun = 0;
        keep_up_thread("test", || {
            begun += 1;
            assert!(begun > 1, "a fault");
        });
        assert_eq!(begun, 2);
    }
}
