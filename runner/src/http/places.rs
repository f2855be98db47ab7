//! How many connections are open at the same time; further ones wait with the kernel until there is a place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// A connection that has been silent for this long, with no request of it running, makes room where there is none.
pub(super) const LEISURE: Duration = Duration::from_secs(1);

/// Places for connections.
pub(super) struct Places {
    free: Arc<Semaphore>,
    wanted: watch::Sender<()>,
}

impl Places {
    /// `most`, or half of the descriptors that the process may have if that is less: requests need some, too.
    pub(super) fn new(most: u64) -> Self {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = descriptors.map_or(u64::MAX, |most| (most / 2).max(1));
        let most = usize::try_from(most.min(half)).unwrap_or(usize::MAX);
        Self {
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            wanted: watch::Sender::new(()),
        }
    }

    /// Changes when somebody waits for a place, each [`LEISURE`].
    pub(super) fn wanted(&self) -> watch::Receiver<()> {
        self.wanted.subscribe()
    }

    /// Waits for a place.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
                return place;
            }
            self.wanted.send_replace(());
            if let Ok(Ok(place)) = timeout(LEISURE, Arc::clone(&self.free).acquire_owned()).await {
                return place;
            }
        }
    }
}
