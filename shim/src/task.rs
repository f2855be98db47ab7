//! One task: a container, its first process and those beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use lighter::config::Config;
use lighter::container::{self, Container, ExecSpec};
use lighter::error::{Cause, Refusal};

use crate::process::{Name, Phase, Process, Request};
use crate::stdio::Paths;

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

    pub(crate) fn unknown_exec(id: &str) -> Self {
        Self::new(Code::NotFound, format!("process {id:?} not found"))
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

/// One task: a container and what we hold for it.
pub(crate) struct Task {
    /// The container's id.
    pub(crate) id: String,
    /// The container's bundle.
    pub(crate) bundle: PathBuf,
    /// The configuration that it was created with.
    pub(crate) config: Config,
    /// The container's first process.
    pub(crate) first: Arc<Process>,
    /// Held by each who signals it, until there is an answer to give.
    pub(crate) kills: tokio::sync::RwLock<()>,
    container: OnceLock<Arc<Container>>,
    execs: Mutex<BTreeMap<String, Arc<Exec>>>,
}

/// A process beside a container's first.
pub(crate) struct Exec {
    /// What is true of any process.
    pub(crate) process: Arc<Process>,
    /// What shall run.
    pub(crate) spec: ExecSpec,
    /// It, once it runs.
    pub(crate) running: OnceLock<Arc<container::Process>>,
}

impl Exec {
    /// Its process id; 0 until it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.running.get().map_or(0, |running| running.pid())
    }
}

impl Task {
    pub(crate) fn new(id: String, bundle: PathBuf, config: Config, paths: Paths) -> Self {
        Self {
            bundle,
            config,
            first: Arc::new(Process::new(Name::Task(id.clone()), Phase::Creating, paths)),
            id,
            kills: tokio::sync::RwLock::default(),
            container: OnceLock::new(),
            execs: Mutex::default(),
        }
    }

    /// Says that the container has been created.
    pub(crate) fn created(&self, container: Container) {
        let first = self.container.set(Arc::new(container)).is_ok();
        debug_assert!(first, "a task is created once");
    }

    /// The container, once created.
    pub(crate) fn container(&self) -> Result<Arc<Container>, Error> {
        self.container.get().cloned().ok_or_else(|| Error::unknown_task(&self.id))
    }

    /// The container, if `request` may be fulfilled now.
    pub(crate) fn container_for(&self, request: Request) -> Result<Arc<Container>, Error> {
        self.first.permit(request)?;
        self.container()
    }

    /// The container's first process; 0 until it is created.
    pub(crate) fn pid(&self) -> u32 {
        self.container.get().map_or(0, |container| container.pid())
    }

    fn execs_by_id(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The processes beside the first.
    pub(crate) fn execs(&self) -> Vec<Arc<Exec>> {
        self.execs_by_id().values().cloned().collect()
    }

    /// The process `id` beside the first.
    pub(crate) fn exec(&self, id: &str) -> Result<Arc<Exec>, Error> {
        self.execs_by_id().get(id).cloned().ok_or_else(|| Error::unknown_exec(id))
    }

    /// The process `exec_id`, or without an id the first.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>, Error> {
        match exec_id {
            "" => Ok(self.first.clone()),
            exec_id => self.exec(exec_id).map(|exec| exec.process.clone()),
        }
    }

    /// Takes in a process that shall run beside the first.
    pub(crate) fn add_exec(&self, id: String, spec: ExecSpec, paths: Paths) -> Result<(), Error> {
        let mut execs = self.execs_by_id();
        // The container's own is taken, too: the exit of a process of that name would pass for the container's.
        if id == self.id || execs.contains_key(&id) {
            return Err(Error::new(Code::AlreadyExists, format!("process {id:?} already exists")));
        }
        let process = Arc::new(Process::new(Name::Exec(id.clone()), Phase::Created, paths));
        execs.insert(id, Arc::new(Exec { process, spec, running: OnceLock::new() }));
        Ok(())
    }

    /// Forgets the process `id`.
    pub(crate) fn remove_exec(&self, id: &str) {
        self.execs_by_id().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_entrypoint_is_not_a_missing_task() {
        assert_eq!(Error::from(Refusal::not_found("no such file: /app.wasm")).code, Code::Unknown);
        assert_eq!(
            Error::from(Refusal::invalid("process.args is empty")).code,
            Code::InvalidArgument
        );
    }

    #[test]
    fn no_two_processes_have_one_id() {
        let task = Task::new("c".into(), "/b".into(), Config::default(), Paths::default());
        let spec =
            ExecSpec::from_json(br#"{"user":{"uid":0,"gid":0},"cwd":"/"}"#).expect("a process");
        let add = |id: &str| task.add_exec(id.into(), spec.clone(), Paths::default());
        assert_eq!(add("x"), Ok(()));
        for taken in ["x", "c"] {
            assert_eq!(add(taken).expect_err("refused").code, Code::AlreadyExists, "{taken}");
        }
        assert!(task.exec("x").is_ok());
        task.remove_exec("x");
        assert_eq!(task.exec("x").map(drop).expect_err("gone").code, Code::NotFound);
        assert_eq!(add("x"), Ok(()));
    }
}
