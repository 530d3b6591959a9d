//! A thread for what must be answered however busy the others are.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime of one thread. Whatever still runs on it ends when this is dropped.
#[derive(Debug)]
pub(super) struct OwnThread(Option<Runtime>, Handle);

impl OwnThread {
    /// Starts it under this name.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.1
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        // Waiting for the thread is forbidden where other tasks run, and there is nothing to wait for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
