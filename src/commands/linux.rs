//! `lighter linux`: one step in the life of a Linux (ELF) container: the pause image, a sidecar.
//!
//! This is a program of its own, and not a part of the shim, because libcontainer forks: it may only
//! do so in a process with a single thread. `container/linux.rs` of the library is the caller.

mod exec;
mod failure;
mod id_mapped;
mod loopback;
mod payload;
mod protect;
mod scope;
mod sys;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::signal::Signal;
use libcontainer::syscall::syscall::SyscallType;
use lighter::record::lock_directory;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::fs::{FlockOperation, flock};
use scope::Scope;

/// How long the processes of a container that could not be created may take to end.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the state of a container may be half written.
const LOAD_TIMEOUT: Duration = Duration::from_millis(500);

/// Arguments of `lighter linux`.
#[derive(clap::Args)]
pub(crate) struct Linux {
    /// Directory for the state of containers.
    #[arg(long)]
    root: PathBuf,
    /// Where to write what went wrong, as one sentence; standard error if not given.
    #[arg(long)]
    error_file: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Creates a container, whose standard streams are this process's.
    Create(Create),
    /// Lets a created container run.
    Start { id: String },
    /// Sends a signal to a container.
    Kill {
        /// To all of its processes.
        #[arg(long)]
        all: bool,
        id: String,
        /// The signal's name or number.
        signal: String,
    },
    /// Waits for its parent to end; see [`scope`].
    #[command(hide = true)]
    Hold { parent: i32 },
    /// Becomes a program beside a container's first; started by the supervisor.
    #[command(hide = true)]
    Exec(exec::Exec),
    /// Removes a container.
    Delete {
        /// Even if it runs.
        #[arg(long)]
        force: bool,
        id: String,
    },
}

impl Verb {
    /// Whether it did what it should although something failed: a hook after the deletion, or another has deleted it.
    fn is_done(&self, root: &Path) -> bool {
        matches!(self, Self::Delete { id, .. } if !root.join(id).exists())
    }
}

#[derive(clap::Args)]
struct Create {
    /// Directory with `config.json`.
    #[arg(long)]
    bundle: PathBuf,
    /// Where to write the id of the container's first process.
    #[arg(long)]
    pid_file: PathBuf,
    /// Socket that receives the terminal's descriptor.
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// Let systemd make the cgroup, as a scope without limits (on a pure cgroup v2 host).
    #[arg(long)]
    systemd_cgroup: bool,
    id: String,
}

/// Runs one verb; the exit code is 0, or the one that [`failure::code`] documents.
pub(crate) fn run(linux: Linux) -> ExitCode {
    // Only these put a process of ours into a container.
    let enters = matches!(linux.verb, Verb::Create(_) | Verb::Exec(_));
    if enters && let Err(error) = protect::program() {
        failure::write(&format!("{error:#}"), linux.error_file.as_deref());
        return ExitCode::FAILURE;
    }
    if !matches!(linux.verb, Verb::Exec(_)) {
        // A caller's caller may have left something open, which is not for a process that is about to be a container's.
        sys::close_inherited();
    }
    // Before a descriptor of ours can be in the place of the one that it is given.
    let socket = matches!(linux.verb, Verb::Exec(_)).then(sys::inherited_socket);
    let details = failure::Details::collect();
    if let (Verb::Exec(request), Some(socket)) = (&linux.verb, socket) {
        return exec::run(request, socket, &details);
    }
    match execute(&linux) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let sentence = details.sentence(&error);
            failure::write(&sentence, linux.error_file.as_deref());
            match linux.verb.is_done(&linux.root) {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(failure::code(&sentence)),
            }
        }
    }
}

fn execute(linux: &Linux) -> Result<()> {
    let root = linux.root.as_path();
    match &linux.verb {
        Verb::Create(request) => create(root, request),
        Verb::Hold { parent } => scope::hold(*parent),
        Verb::Exec(_) => bail!("linux exec needs its caller's socket"),
        Verb::Start { id } => Ok(load(root, id)?.start()?),
        Verb::Kill { all, id, signal } => {
            let signal = Signal::try_from(signal.as_str())?;
            Ok(load(root, id)?.kill(signal, *all)?)
        }
        Verb::Delete { force, id } => delete(root, id, *force),
    }
}

fn load(root: &Path, id: &str) -> Result<Container> {
    let dir = root.join(id);
    if !dir.exists() {
        bail!("container {id:?} does not exist in {}", root.display());
    }
    // It is not written in one go, and whoever writes may have been left by a supervisor that was killed.
    let deadline = Instant::now() + LOAD_TIMEOUT;
    loop {
        match Container::load(dir.clone()) {
            Err(_) if dir.exists() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            loaded => {
                return loaded.with_context(|| format!("read the state in {}", dir.display()));
            }
        }
    }
}

fn create(root: &Path, request: &Create) -> Result<()> {
    // Holds off whoever would clean up, who waits for us; one who already does has made us too late.
    let lock = lock_directory(root)
        .with_context(|| format!("lock {}", root.display()))?
        .with_context(|| format!("{} is not there", root.display()))?;
    let created = create_locked(root, request);
    // The container's first process may have a copy of the descriptor, until it becomes its program.
    let _ = flock(&lock, FlockOperation::Unlock);
    created
}

fn create_locked(root: &Path, request: &Create) -> Result<()> {
    let bundle = std::path::absolute(&request.bundle)
        .with_context(|| format!("find bundle {}", request.bundle.display()))?;
    let make_scope = || Scope::make(&bundle, root, &request.id);
    let scope = request.systemd_cgroup.then(make_scope).transpose()?;
    let changed = scope.as_ref().map_or(bundle.as_path(), |scope| scope.bundle.as_path());
    id_mapped::attach(&bundle, &changed.join("config.json"), root)?;
    let bundle = changed;
    let built = ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_executor(payload::Payload)
        .with_root_path(root)?
        .with_pid_file(Some(&request.pid_file))?
        .with_console_socket(request.console_socket.as_ref())
        .validate_id()?
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build();
    let created = built.map_err(anyhow::Error::from).and_then(|container| {
        let init = container.pid().context("the container has no process")?;
        loopback::bring_up(bundle, init)
    });
    // Ends the holder, which is a child of ours as well.
    drop(scope);
    if created.is_err() {
        end_half_created(&request.pid_file);
        // What went wrong first is what is told.
        let _ = scope::remove(root);
    }
    created
}

/// Ends and reaps the processes of a container that could not be created, so that the subreaper above
/// us does not inherit what it never heard of.
fn end_half_created(pid_file: &Path) {
    let init = fs::read_to_string(pid_file).ok().and_then(|pid| pid.parse().ok());
    if let Some(init) = init {
        // Still our child, and so still the same process.
        let _ = nix::sys::signal::kill(Pid::from_raw(init), nix::sys::signal::Signal::SIGKILL);
    }
    let deadline = Instant::now() + REAP_TIMEOUT;
    while Instant::now() < deadline {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(nix::sys::wait::WaitStatus::StillAlive) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(_) => {}
            Err(_no_children_left) => break,
        }
    }
    let _ = fs::remove_file(pid_file);
}

fn delete(root: &Path, id: &str, force: bool) -> Result<()> {
    let dir = root.join(id);
    let deleted = if dir.exists() && !dir.join("state.json").exists() {
        // Its creator was killed before it wrote the state: there is nothing but the directory.
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
    } else {
        load(root, id).and_then(|mut container| match container.delete(force) {
            // The last thing but one: only the directory is left.
            Err(failed @ LibcontainerError::Hook(_)) => {
                fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
                Err(failed.into())
            }
            deleted => Ok(deleted?),
        })
    };
    let removed = scope::remove(root);
    deleted.and(removed)
}
