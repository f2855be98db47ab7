//! What happens to tasks, in the order in which it happens.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use lighter::container::Exit;
use tokio::sync::mpsc::UnboundedSender;

use crate::mounts::Mount;
use crate::stdio::Paths;

/// Something that happened to a task.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A task was created.
    Create { id: String, bundle: String, rootfs: Vec<Mount>, stdio: Paths, pid: u32 },
    /// A task was started.
    Start { id: String, pid: u32 },
    /// A task was stopped where it is.
    Pause { id: String },
    /// A paused task goes on.
    Resume { id: String },
    /// A task ended for want of memory.
    OutOfMemory { id: String },
    /// A process was taken in that shall run beside a task's first.
    ExecAdded { container: String, id: String },
    /// It was started.
    ExecStarted { container: String, id: String, pid: u32 },
    /// A process of a task ended; the first has the container's id.
    Exit { container: String, id: String, pid: u32, exit: Exit },
    /// A task was deleted.
    Delete { id: String, pid: u32, exit: Exit },
}

/// An event and when it happened.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    /// What.
    pub(crate) event: Event,
    /// When.
    pub(crate) at: SystemTime,
}

/// Where events go in. They come out in the same order; sending never waits.
pub(crate) struct Events(Mutex<Option<UnboundedSender<Happened>>>);

impl Events {
    pub(crate) fn new(sender: UnboundedSender<Happened>) -> Self {
        Self(Mutex::new(Some(sender)))
    }

    /// Notes that `event` happened just now.
    pub(crate) fn publish(&self, event: Event) {
        if let Some(sender) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Refused only once the server is ending and nobody listens any more.
            let _ = sender.send(Happened { event, at: SystemTime::now() });
        }
    }

    /// Says that nothing more will happen.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
