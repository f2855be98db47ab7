//! Linux (ELF) containers under our runtime, as their supervisor sees them: the pause image, sidecars.
//!
//! Each step is a run of `lighter linux`, because libcontainer forks and a supervisor has threads. The
//! container's first process becomes a child of the supervisor (its nearest subreaper), and is
//! awaited and signalled through a pidfd. State is kept in the bundle, so that whoever
//! has the bundle can clean up.

mod exec;

use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::terminal::{ConsoleSocket, Wanted};
use super::{Console, CreateRequest, Streams, ended};
use crate::error::{Cause, Refusal, Result};
use crate::programs::Programs;
use crate::record::Record;
use crate::state::State;

/// Directory in the bundle that holds a Linux container's state.
pub(super) const STATE_DIR: &str = "lighter-linux";

/// Time for the steps that run the bundle's hooks, network setup among them.
const HOOKS_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the steps that are ours alone.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which libcontainer's record may be half written.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);
/// Time that a creator has to be done, once somebody cleans up.
const CREATOR_TIMEOUT: Duration = Duration::from_secs(2);
/// Time to clean up after a supervisor that died: containerd allows its caller 5 s in all.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_millis(4500);

/// A created Linux container. Dropping it changes nothing; [`LinuxContainer::delete`] does.
#[derive(Debug)]
pub(super) struct LinuxContainer {
    id: String,
    state: StateDir,
    pid: u32,
    pidfd: OwnedFd,
    console: Console,
}

impl LinuxContainer {
    /// Creates a container, in a scope of systemd's if `systemd_cgroup` says so: blocks until its first process waits to
    /// be started, or is refused. Nothing is left behind by a refusal.
    ///
    /// # Errors
    /// Says what is wrong with the bundle or this node: [`Cause::NotFound`] or [`Cause::Denied`] if the
    /// program to run is missing or may not be executed.
    pub(super) fn create(
        request: CreateRequest,
        streams: Streams,
        systemd_cgroup: bool,
        terminal: Option<Wanted>,
    ) -> Result<Self> {
        let CreateRequest { id, bundle, record, programs, .. } = request;
        let state = StateDir::of(&record, programs.lighter);
        state.make()?;
        let pid_file = state.pid_file();
        let mut command = state.command("create");
        command.arg("--bundle").arg(&bundle).arg("--pid-file").arg(&pid_file);
        if systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        // A terminal is one of the container's own, which is made inside and sent out.
        let terminal = match terminal {
            Some(wanted) => {
                let socket = ConsoleSocket::bind(&state.path, "console.sock");
                Some((wanted, socket.inspect_err(|_| drop(state.remove()))?))
            }
            None => None,
        };
        if let Some((_, socket)) = &terminal {
            command.arg("--console-socket").arg(socket.path());
        }
        command.arg("--").arg(&id);
        if let Streams::Given(stdio) = streams {
            command.stdin(stdio.stdin).stdout(stdio.stdout).stderr(stdio.stderr);
        }
        let created = state.run("create", &mut command, HOOKS_TIMEOUT).and_then(|()| {
            let pid = state.recorded_pid().ok_or_else(|| {
                Refusal::system(format!("read {}", pid_file.display()), "no process id in it")
            })?;
            let pidfd =
                open(pid).map_err(|e| Refusal::system(format!("open pidfd of {pid}"), e))?;
            let console = terminal.map(|(wanted, socket)| socket.receive(&wanted)).transpose()?;
            Ok((pid, pidfd, console))
        });
        // Our copies of the container's descriptors end here; its readers must see it end.
        drop(command);
        match created {
            Ok((pid, pidfd, console)) => {
                let pid = pid.as_raw_nonzero().get().unsigned_abs();
                Ok(Self { id, state, pid, pidfd, console: Mutex::new(console) })
            }
            Err(refusal) => {
                state.abandon(&id);
                Err(refusal)
            }
        }
    }

    /// The one that another supervisor created and left; `pidfd` is its first process.
    pub(super) fn open(
        record: &Record,
        recorded: &State,
        pidfd: OwnedFd,
        programs: &Programs,
    ) -> Self {
        Self {
            id: recorded.hook_state.id.clone(),
            state: StateDir::of(record, programs.lighter.clone()),
            pid: recorded.pid,
            pidfd,
            console: Mutex::new(None),
        }
    }

    /// Whether the program waits to be started.
    ///
    /// # Errors
    /// When libcontainer's record cannot be read.
    pub(super) fn waits(&self) -> Result<bool> {
        #[derive(serde::Deserialize)]
        struct Record {
            status: String,
        }
        let file = self.state.path.join(&self.id).join("state.json");
        let failed =
            |e: &dyn std::fmt::Display| Refusal::system(format!("read {}", file.display()), e);
        // libcontainer does not write it in one go.
        let deadline = Instant::now() + WRITE_TIMEOUT;
        loop {
            let text = fs::read(&file).map_err(|e| failed(&e))?;
            match serde_json::from_slice::<Record>(&text) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                record => return Ok(record.map_err(|e| failed(&e))?.status == "created"),
            }
        }
    }

    /// The process id of the container's first process, in the caller's namespace.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// A pidfd of the container's first process: readable once it has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(super) fn console(&self) -> &Console {
        &self.console
    }

    /// Lets the program run. Runs the hooks that belong here.
    ///
    /// # Errors
    /// When the container ended in the meantime, or a hook failed (the container is then killed).
    pub(super) fn start(&self) -> Result<()> {
        let started = self.step("start", HOOKS_TIMEOUT);
        if started.is_err() {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        started
    }

    /// Undoes a create that was refused in the end.
    pub(super) fn abandon(self) {
        self.state.abandon(&self.id);
    }

    /// Removes what is left: processes, cgroup, state; runs `poststop` hooks. Goes on past errors.
    ///
    /// # Errors
    /// All that went wrong, in one sentence.
    pub(super) fn delete(&self) -> Result<()> {
        self.state.delete(&self.id, HOOKS_TIMEOUT)
    }

    /// Cleans up in place of its supervisor: kills what still runs of the Linux container of `record`, removes its
    /// cgroup, runs `poststop` hooks. Idempotent. The process id of its first process; 0 if it did not get so far.
    ///
    /// # Errors
    /// All that went wrong, in one sentence.
    pub(super) fn clean_up(record: &Record, programs: &Result<Programs>) -> Result<u32> {
        let path = record.dir().join(STATE_DIR);
        if !path.exists() {
            return record.remove().map(|()| 0);
        }
        let lighter = programs.as_ref().map_err(Clone::clone)?.lighter.clone();
        let state = StateDir { path, lighter };
        let _made = state.wait_for_creator();
        let pid = state.recorded_pid().map_or(0, |p| p.as_raw_nonzero().get().unsigned_abs());
        // The container's own directory bears its id, which does not begin with a dot.
        let own = |entry: &fs::DirEntry| {
            entry.path().is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".")
        };
        let entries = fs::read_dir(&state.path)
            .map_err(|e| Refusal::system(format!("read {}", state.path.display()), e))?;
        let id = entries.flatten().find(own).map(|e| e.file_name());
        match id {
            Some(id) => state.delete(&id.to_string_lossy(), CLEAN_UP_TIMEOUT)?,
            None => state.remove()?,
        }
        record.remove()?;
        Ok(pid)
    }

    fn step(&self, verb: &'static str, timeout: Duration) -> Result<()> {
        let mut command = self.state.command(verb);
        command.arg("--").arg(&self.id);
        self.state.run(verb, &mut command, timeout)
    }
}

/// A Linux container's state directory, and the program that understands it.
#[derive(Debug)]
struct StateDir {
    path: PathBuf,
    lighter: PathBuf,
}

impl StateDir {
    fn of(record: &Record, lighter: PathBuf) -> Self {
        Self { path: record.dir().join(STATE_DIR), lighter }
    }

    /// Waits until the container is made, or half made and left: `lighter linux create` goes on when its caller is killed,
    /// and would make anew what is removed meanwhile. Nobody begins to make it while this is held.
    fn wait_for_creator(&self) -> Option<File> {
        let dir = File::open(&self.path).ok()?;
        let deadline = Instant::now() + CREATOR_TIMEOUT;
        loop {
            match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(dir),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => return None,
            }
        }
    }

    fn make(&self) -> Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|e| Refusal::system(format!("create {}", self.path.display()), e))
    }

    fn pid_file(&self) -> PathBuf {
        self.path.join("init.pid")
    }

    fn error_file(&self, verb: &str) -> PathBuf {
        self.path.join(format!("{verb}.error"))
    }

    fn recorded_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        Pid::from_raw(text.trim().parse().ok().filter(|pid| *pid > 0)?)
    }

    /// `lighter linux … verb`, its streams closed until the caller opens them.
    fn command(&self, verb: &'static str) -> Command {
        let mut command = Command::new(&self.lighter);
        command.arg("linux").arg("--root").arg(&self.path);
        command.arg("--error-file").arg(self.error_file(verb)).arg(verb);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn run(&self, verb: &'static str, command: &mut Command, timeout: Duration) -> Result<()> {
        let step = || format!("{verb} Linux container with {}", self.lighter.display());
        let child = command.spawn().map_err(|e| Refusal::system(step(), e))?;
        let status = wait(child, timeout).map_err(|e| Refusal::system(step(), e))?;
        let error_file = self.error_file(verb);
        let told = fs::read_to_string(&error_file).unwrap_or_default();
        let _ = fs::remove_file(&error_file);
        if status.success() {
            if !told.trim().is_empty() {
                log::warn!("{verb} Linux container: {}", told.trim());
            }
            return Ok(());
        }
        let message = match told.trim() {
            "" => format!("{}: it ended with {status}", step()),
            told => format!("{verb} Linux container: {told}"),
        };
        Err(match status.code() {
            Some(127) => Refusal::not_found(message),
            Some(126) => Refusal::denied(message),
            _ => Refusal { cause: Cause::System, message },
        })
    }

    /// Ends and forgets a container that could not be created.
    fn abandon(&self, id: &str) {
        // Left by a creator that was stopped in the middle, and now our child: reap it here, for no one
        // else knows of it.
        if let Some((pid, pidfd)) = self.recorded_pid().and_then(|p| Some((p, open(p).ok()?)))
            && waitid(
                WaitId::Pid(pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
            )
            .is_ok()
        {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            if ended(pidfd.as_fd(), STEP_TIMEOUT) {
                let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            }
        }
        let _ = self.delete(id, STEP_TIMEOUT);
    }

    fn delete(&self, id: &str, timeout: Duration) -> Result<()> {
        let deleted = if self.path.join(id).exists() {
            let mut command = self.command("delete");
            command.args(["--force", "--", id]);
            self.run("delete", &mut command, timeout)
        } else {
            Ok(())
        };
        let removed = self.remove();
        match (deleted, removed) {
            (Err(first), Err(second)) => {
                Err(Refusal { message: format!("{first}; {second}"), ..first })
            }
            (deleted, removed) => deleted.and(removed),
        }
    }

    fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Refusal::system(format!("remove {}", self.path.display()), e))
            }
            _ => Ok(()),
        }
    }
}

fn open(pid: Pid) -> rustix::io::Result<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty())
}

/// Waits for `child`, which is killed if it takes longer than `timeout`.
fn wait(mut child: Child, timeout: Duration) -> std::io::Result<ExitStatus> {
    let pidfd = open(Pid::from_child(&child))?;
    if !ended(pidfd.as_fd(), timeout) {
        child.kill()?;
        child.wait()?;
        return Err(std::io::Error::other(format!("it was not done after {timeout:?}")));
    }
    child.wait()
}
