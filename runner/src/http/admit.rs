//! How many requests run at the same time, and how many wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Whether a request runs now, later or not at all.
pub(super) struct Admission {
    running: Arc<Semaphore>,
    most_running: usize,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// One of those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(super) fn new(running: usize, most_waiting: usize) -> Self {
        let most_running = running;
        let running = Arc::new(Semaphore::new(running));
        Self { running, most_running, waiting: 0.into(), most_waiting }
    }

    /// How many run now, and how many wait.
    pub(super) fn now(&self) -> (usize, usize) {
        let running = self.most_running.saturating_sub(self.running.available_permits());
        (running, self.waiting.load(Ordering::Relaxed))
    }

    /// Waits until another request may run; `None` if too many wait already, or it is not to be before `deadline`.
    pub(super) async fn admit(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Some(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.most_waiting {
            return None;
        }
        let permit = Arc::clone(&self.running).acquire_owned();
        timeout_at(deadline, permit).await.ok()?.ok()
    }
}
