//! One task's state, and what may be done in it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use lighter::container::{Container, Exit};
use lighter::error::{Cause, Refusal};
use tokio::sync::watch;

use crate::stdio::{Held, Paths, Rest};

/// What sort of answer an error is; the service maps it to a status code of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    Unimplemented,
    Unknown,
}

/// Why a request is not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    /// What sort of answer this is.
    pub(crate) code: Code,
    /// One sentence.
    pub(crate) message: String,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn unknown_task(id: &str) -> Self {
        Self::new(Code::NotFound, format!("task {id:?} not found"))
    }

    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new(Code::Unimplemented, format!("{what} is not supported by {}", crate::RUNTIME))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        // NOT_FOUND means "no such task" to containerd, so a missing entrypoint must not say it.
        let code = match refusal.cause {
            Cause::Invalid => Code::InvalidArgument,
            Cause::NotFound | Cause::Denied | Cause::System => Code::Unknown,
        };
        Self::new(code, refusal.message)
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Being created.
    Creating,
    /// Created, not started.
    Created,
    /// Being started.
    Starting,
    /// Running.
    Running,
    /// Running, and stopped where it is.
    Paused,
    /// Ended.
    Stopped(Exit),
    /// Being deleted, having ended like this.
    Deleting(Exit),
}

/// What is asked of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Start,
    Kill,
    Delete,
    Pause,
    Resume,
    /// Its processes, or what it uses.
    Look,
}

impl Phase {
    /// Whether `request` may be fulfilled in this phase of the task `id`.
    pub(crate) fn permit(self, request: Request, id: &str) -> Result<(), Error> {
        use Request::{Delete, Kill, Look, Pause, Resume, Start};
        let refuse = |code, state: &str| Err(Error::new(code, format!("task {id:?} {state}")));
        match (self, request) {
            (Self::Deleting(_), _) => Err(Error::unknown_task(id)),
            (Self::Creating, Delete | Start | Pause | Resume) => {
                refuse(Code::FailedPrecondition, "is still being created")
            }
            (Self::Creating, Kill | Look) => refuse(Code::NotFound, "is still being created"),
            (Self::Created, Start | Kill | Delete | Look)
            | (Self::Starting | Self::Running | Self::Paused, Kill | Look)
            | (Self::Running, Pause)
            | (Self::Paused, Resume)
            | (Self::Stopped(_), Delete | Look) => Ok(()),
            (Self::Created | Self::Starting, Pause | Resume) => {
                refuse(Code::FailedPrecondition, "has not been started")
            }
            (Self::Starting | Self::Running | Self::Paused, Start) => {
                refuse(Code::FailedPrecondition, "has already been started")
            }
            (Self::Starting | Self::Running, Delete) => {
                refuse(Code::FailedPrecondition, "is running")
            }
            (Self::Running, Resume) => refuse(Code::FailedPrecondition, "is not paused"),
            (Self::Paused, Delete | Pause) => refuse(Code::FailedPrecondition, "is paused"),
            (Self::Stopped(_), Start | Pause | Resume) => {
                refuse(Code::FailedPrecondition, "has already ended")
            }
            // The one answer that makes Kubernetes stop trying.
            (Self::Stopped(_), Kill) => Err(Error::new(Code::NotFound, "process already finished")),
        }
    }
}

/// One task: a container and what we hold for it.
pub(crate) struct Task {
    /// The container's id.
    pub(crate) id: String,
    /// The container's bundle.
    pub(crate) bundle: PathBuf,
    /// Where its streams go.
    pub(crate) paths: Paths,
    state: Mutex<State>,
    /// Set when it has ended.
    pub(crate) exit: watch::Sender<Option<Exit>>,
    /// Held while the container starts, and to collect its exit: the one is over before the other begins.
    pub(crate) step: tokio::sync::Mutex<()>,
}

/// The part of a task that changes.
pub(crate) struct State {
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// The container, once created.
    pub(crate) container: Option<Arc<Container>>,
    /// Our ends of its streams, while it lives.
    pub(crate) held: Option<Held>,
    /// What is left of its output, once it has ended.
    pub(crate) output: Option<Rest>,
}

impl Task {
    pub(crate) fn new(id: String, bundle: PathBuf, paths: Paths) -> Self {
        let state = State { phase: Phase::Creating, container: None, held: None, output: None };
        Self {
            id,
            bundle,
            paths,
            state: Mutex::new(state),
            exit: watch::Sender::new(None),
            step: tokio::sync::Mutex::new(()),
        }
    }

    /// The changing part; never held across a wait.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The container, if `request` may be fulfilled now.
    pub(crate) fn container_for(&self, request: Request) -> Result<Arc<Container>, Error> {
        let state = self.state();
        state.phase.permit(request, &self.id)?;
        state.container.clone().ok_or_else(|| Error::unknown_task(&self.id))
    }

    /// The container's first process; 0 until it is created.
    pub(crate) fn pid(&self) -> u32 {
        self.state().container.as_ref().map_or(0, |container| container.pid())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const EXIT: Exit = Exit { status: 0, at: UNIX_EPOCH, oom: false, limit: None };

    #[test]
    fn what_each_phase_permits() {
        use Code::{FailedPrecondition as No, NotFound as Gone};
        use Request::{Delete, Kill, Look, Pause, Resume, Start};
        let requests = [Start, Kill, Delete, Look, Pause, Resume];
        let table = [
            (Phase::Creating, [Some(No), Some(Gone), Some(No), Some(Gone), Some(No), Some(No)]),
            (Phase::Created, [None, None, None, None, Some(No), Some(No)]),
            (Phase::Starting, [Some(No), None, Some(No), None, Some(No), Some(No)]),
            (Phase::Running, [Some(No), None, Some(No), None, None, Some(No)]),
            (Phase::Paused, [Some(No), None, Some(No), None, Some(No), None]),
            (Phase::Stopped(EXIT), [Some(No), Some(Gone), None, None, Some(No), Some(No)]),
            (Phase::Deleting(EXIT), [Some(Gone); 6]),
        ];
        for (phase, row) in table {
            for (request, code) in requests.into_iter().zip(row) {
                let answer = phase.permit(request, "x").err().map(|error| error.code);
                assert_eq!(answer, code, "{request:?} when {phase:?}");
            }
        }
    }

    #[test]
    fn a_missing_entrypoint_is_not_a_missing_task() {
        assert_eq!(Error::from(Refusal::not_found("no such file: /app.wasm")).code, Code::Unknown);
        assert_eq!(
            Error::from(Refusal::invalid("process.args is empty")).code,
            Code::InvalidArgument
        );
    }
}
