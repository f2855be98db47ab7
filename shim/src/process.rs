//! One process of a task, and what may be done in which phase of its life.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use lighter::container::Exit;
use tokio::sync::watch;

use crate::stdio::{Held, Paths, Rest};
use crate::task::{Code, Error};

/// Which process of a task, and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The first, which has the task's.
    Task(String),
    /// One beside it.
    Exec(String),
}

impl Name {
    /// The id in events and answers.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Task(id) | Self::Exec(id) => id,
        }
    }

    fn unknown(&self) -> Error {
        match self {
            Self::Task(id) => Error::unknown_task(id),
            Self::Exec(id) => Error::unknown_exec(id),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => write!(f, "task {id:?}"),
            Self::Exec(id) => write!(f, "process {id:?}"),
        }
    }
}

/// Where a process is in its life. Only a task's first is ever being created, or paused.
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

/// What is asked of a task, or of one of its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Start,
    Kill,
    Delete,
    Pause,
    Resume,
    /// Other limits.
    Update,
    /// To run another beside it.
    Exec,
    /// Its processes, or what it uses.
    Look,
}

impl Phase {
    /// Whether `request` may be fulfilled in this phase of the process `name`.
    fn permit(self, request: Request, name: &Name) -> Result<(), Error> {
        use Request::{Delete, Exec, Kill, Look, Pause, Resume, Start, Update};
        let refuse = |code, state: &str| Err(Error::new(code, format!("{name} {state}")));
        match (self, request) {
            (Self::Deleting(_), _) => Err(name.unknown()),
            (Self::Creating, Delete | Start | Pause | Resume | Exec | Update) => {
                refuse(Code::FailedPrecondition, "is still being created")
            }
            (Self::Creating, Kill | Look) => refuse(Code::NotFound, "is still being created"),
            // There is no process yet, while a task's first is there once it is created.
            (Self::Created | Self::Starting, Kill) if matches!(name, Name::Exec(_)) => {
                refuse(Code::FailedPrecondition, "has not been started")
            }
            (Self::Created, Start | Kill | Delete | Look | Exec | Update)
            | (Self::Starting | Self::Running | Self::Paused, Kill | Look | Update)
            | (Self::Starting, Exec)
            | (Self::Running, Pause | Exec)
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
            (Self::Paused, Delete | Pause | Exec) => refuse(Code::FailedPrecondition, "is paused"),
            (Self::Stopped(_), Start | Pause | Resume | Exec | Update) => {
                refuse(Code::FailedPrecondition, "has already ended")
            }
            // The one answer that makes Kubernetes stop trying.
            (Self::Stopped(_), Kill) => Err(Error::new(Code::NotFound, "process already finished")),
        }
    }
}

/// What is true of any process of a task.
pub(crate) struct Process {
    /// Which one it is.
    pub(crate) name: Name,
    /// Where its streams go.
    pub(crate) paths: Paths,
    state: Mutex<State>,
    /// Set when it has ended and containerd has been told.
    pub(crate) exit: watch::Sender<Option<Exit>>,
    /// Held while it starts, and to collect its exit: the one is over before the other begins.
    pub(crate) step: tokio::sync::Mutex<()>,
}

/// The part of a process that changes.
pub(crate) struct State {
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// Our ends of its streams, while it lives.
    pub(crate) held: Option<Held>,
    /// What is left of its output, once it has ended.
    pub(crate) output: Option<Rest>,
}

impl Process {
    pub(crate) fn new(name: Name, phase: Phase, paths: Paths) -> Self {
        Self {
            name,
            paths,
            state: Mutex::new(State { phase, held: None, output: None }),
            exit: watch::Sender::new(None),
            step: tokio::sync::Mutex::new(()),
        }
    }

    /// The changing part; never held across a wait.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether `request` may be fulfilled now.
    pub(crate) fn permit(&self, request: Request) -> Result<(), Error> {
        self.state().phase.permit(request, &self.name)
    }

    /// How it ended, once it has; `None` if it is forgotten before. Does not keep it from being forgotten.
    pub(crate) fn ended(&self) -> impl Future<Output = Option<Exit>> + Send + use<> {
        let mut exit = self.exit.subscribe();
        async move { exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit) }
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
        use Request::{Delete, Exec, Kill, Look, Pause, Resume, Start, Update};
        let requests = [Start, Kill, Delete, Look, Pause, Resume, Exec, Update];
        let (no, gone) = (Some(No), Some(Gone));
        let table = [
            (Phase::Creating, [no, gone, no, gone, no, no, no, no]),
            (Phase::Created, [None, None, None, None, no, no, None, None]),
            (Phase::Starting, [no, None, no, None, no, no, None, None]),
            (Phase::Running, [no, None, no, None, None, no, None, None]),
            (Phase::Paused, [no, None, no, None, no, None, no, None]),
            (Phase::Stopped(EXIT), [no, gone, None, None, no, no, no, no]),
            (Phase::Deleting(EXIT), [gone; 8]),
        ];
        for (phase, row) in table {
            for (request, code) in requests.into_iter().zip(row) {
                let name = Name::Task("x".into());
                let answer = phase.permit(request, &name).err().map(|error| error.code);
                assert_eq!(answer, code, "{request:?} when {phase:?}");
            }
        }
    }

    #[test]
    fn a_process_that_was_not_started_cannot_be_killed() {
        let name = Name::Exec("x".into());
        for (phase, expected) in [
            (Phase::Created, Some(Code::FailedPrecondition)),
            (Phase::Starting, Some(Code::FailedPrecondition)),
            (Phase::Running, None),
            (Phase::Stopped(EXIT), Some(Code::NotFound)),
        ] {
            let answer = phase.permit(Request::Kill, &name).err().map(|error| error.code);
            assert_eq!(answer, expected, "{phase:?}");
        }
    }
}
