//! The thread by which others find a pod's namespaces.
//!
//! What `/proc/PID/ns` shows of a process is where its first thread is. So the server's own work is done by another thread,
//! which stays in the host's namespaces, as do all that it starts: the first one does nothing but be in those of the pod.

use std::sync::mpsc::{Receiver, Sender, channel};

use lighter::error::{Refusal, Result};
use tokio::sync::oneshot;

type Order = Box<dyn FnOnce() + Send>;

/// A handle on the first thread.
#[derive(Clone)]
pub(crate) struct Anchor(Sender<Order>);

/// What the first thread is told to do.
pub(crate) struct Orders(Receiver<Order>);

impl Anchor {
    /// The two ends.
    pub(crate) fn new() -> (Self, Orders) {
        let (sender, receiver) = channel();
        (Self(sender), Orders(receiver))
    }

    /// Has the first thread do `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = oneshot::channel();
        let gone = |_| Refusal::system("enter a pod's namespaces", "the first thread has ended");
        self.0
            .send(Box::new(move || {
                let _ = done.send(work());
            }))
            .map_err(|e| gone(e.to_string()))?;
        result.await.map_err(|e| gone(e.to_string()))?
    }
}

impl Orders {
    /// Carries them out, for as long as there may be more.
    pub(crate) fn carry_out(self) {
        for order in self.0 {
            order();
        }
    }
}
