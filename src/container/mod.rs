//! The life of one container: create, start, kill, reap, delete.
//!
//! The shim (over ttrpc) and the command line (over argv) are two front ends of this.

mod handler;
mod layers;
mod linux;
mod process;
mod recorded;
mod remains;
mod resources;
mod terminal;
mod wasm;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupManager};
use crate::config::Config;
use crate::error::{Cause, Refusal, Result};
use crate::host::Host;
use crate::layers::ContentStore;
use crate::metrics::{IoUsage, Usage};
use crate::plan::LimitKind;
use crate::programs::Programs;
use crate::record::Record;
use crate::state::{Program, State};
use crate::sys;
use crate::trace::{self, Who};

use linux::LinuxContainer;
use terminal::Wanted;
use wasm::{Waiting, WasmContainer};

pub use layers::add_layers;
pub use process::{ExecRequest, ExecSpec, Process};
pub use recorded::{Recorded, Status};
pub use resources::Resources;

/// How long a killed process may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(4);

/// Whether the bundle's program is WebAssembly, which the runner runs.
///
/// # Errors
/// When there is no entrypoint.
pub fn is_wasm(bundle: &Bundle) -> Result<bool> {
    handler::program(bundle).map(|program| program == Program::Wasm)
}

/// What it takes to create a container.
#[derive(Debug)]
pub struct CreateRequest {
    /// The container's id.
    pub id: String,
    /// The bundle's directory, with `config.json` in it.
    pub bundle: PathBuf,
    /// Where it is recorded, which also says whether its supervisor stays with it.
    pub record: Record,
    /// Who makes control groups (`SystemdCgroup` of the runtime's options).
    pub cgroups: CgroupManager,
    /// This node's configuration.
    pub config: Config,
    /// Where Lighter's other programs are.
    pub programs: Programs,
    /// Who has the layers of its image, if anybody does: for images whose WebAssembly is not a file.
    pub content: Option<ContentStore>,
}

/// Where a process's descriptors 0, 1 and 2 lead.
#[derive(Debug)]
pub enum Streams {
    /// To these.
    Given(Stdio),
    /// To a new terminal, whose other side the supervisor gets.
    Terminal,
}

/// A process's descriptors 0, 1 and 2.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit status as shells and containerd count: 0–255, 128 + signal for a killed process.
    pub status: u32,
    /// When it was noticed that it ended.
    pub at: SystemTime,
    /// It ended for want of memory: the kernel killed a process of it, or the guest could not do without what
    /// its limit refused.
    pub oom: bool,
    /// Which of the engine's limits ended the guest, if one did.
    pub limit: Option<LimitKind>,
}

/// The supervisor's side of a terminal, until it is taken.
type Console = Mutex<Option<OwnedFd>>;

/// A created container. Dropping it changes nothing; [`Container::delete`] does.
#[derive(Debug)]
pub struct Container {
    kind: Kind,
    cgroup: Cgroup,
    bundle: PathBuf,
    record: Record,
}

#[derive(Debug)]
enum Kind {
    Wasm(Box<WasmContainer>),
    Linux(LinuxContainer),
}

/// A container on its way, whose runner may be there already. Dropping it changes nothing: it is to be finished or abandoned.
#[derive(Debug)]
#[must_use]
pub struct Begun {
    request: CreateRequest,
    bundle: Bundle,
    host: Host,
    cgroup: Cgroup,
    next: Next,
}

/// What there is of a container that was begun.
#[derive(Debug)]
enum Next {
    /// Its runner, if it could be launched.
    Runner(Box<Result<Waiting>>),
    /// Nothing: its files say what it is.
    Look(Streams, Option<Wanted>),
}

impl Container {
    /// Creates a container whose root filesystem is mounted, with its descriptors 0, 1 and 2 leading to `streams`: blocks until its
    /// guest is loaded and waits to be started, or is refused. Nothing is left behind by a refusal, and so no record.
    ///
    /// # Errors
    /// Says what is wrong with the bundle, the module or this node.
    pub fn create(request: CreateRequest, streams: Streams) -> Result<Self> {
        Self::begin(request, streams)?.finish()
    }

    /// The part of [`Container::create`] that does not need the root filesystem: has the process of the container's guest start, so
    /// that it does while that is mounted.
    ///
    /// # Errors
    /// Says what is wrong with the bundle.
    pub fn begin(request: CreateRequest, streams: Streams) -> Result<Begun> {
        let record = request.record.clone();
        Begun::begin(request, streams).inspect_err(|_| remove_record(&record))
    }

    /// The process id of the container's first process, in the caller's namespace.
    pub fn pid(&self) -> u32 {
        match &self.kind {
            Kind::Wasm(container) => container.pid(),
            Kind::Linux(container) => container.pid(),
        }
    }

    /// A pidfd of the container's first process: readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Wasm(container) => container.pidfd(),
            Kind::Linux(container) => container.pidfd(),
        }
    }

    /// The supervisor's side of the terminal of the container's first process, if it has one: for whoever asks first. Once
    /// it is closed the process is told so by SIGHUP, and has no terminal any more.
    pub fn take_console(&self) -> Option<OwnedFd> {
        let console = match &self.kind {
            Kind::Wasm(container) => container.console(),
            Kind::Linux(container) => container.console(),
        };
        console.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// Lets the guest run. Runs the hooks that belong here.
    ///
    /// # Errors
    /// When the container ended in the meantime, or a hook failed (the container is then killed).
    pub fn start(&self) -> Result<()> {
        match &self.kind {
            Kind::Wasm(container) => container.start(),
            Kind::Linux(container) => container.start(),
        }
    }

    /// Runs a process beside the first: blocks until it runs, or is refused. Nothing is left behind by a refusal.
    ///
    /// # Errors
    /// Says what is wrong with the process, the module or this node; that the first process has ended.
    pub fn exec(&self, request: ExecRequest) -> Result<Process> {
        let bundle = Bundle::load(&self.bundle)?;
        // Whoever asks for it decides: it may have been described before that was known.
        let mut request = request;
        request.spec.0.set_terminal(Some(matches!(request.streams, Streams::Terminal)));
        let started = match &self.kind {
            Kind::Wasm(container) => container.exec(request, &bundle, &self.cgroup),
            Kind::Linux(container) => container.exec(request, &bundle, &self.cgroup),
        };
        // What it says of namespaces and groups that are not there any more tells nobody anything.
        started.map_err(|refusal| match ended(self.pidfd(), Duration::ZERO) {
            true => Refusal::not_found("the container's first process has ended"),
            false => refusal,
        })
    }

    /// Sends `signal` to the first process, or to every process of the container.
    ///
    /// # Errors
    /// [`crate::error::Cause::NotFound`] when it has already ended.
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        let sent = self.send(signal, all);
        if signal == libc::SIGKILL {
            self.cgroup.let_the_killed_go();
        }
        sent
    }

    fn send(&self, signal: i32, all: bool) -> Result<()> {
        if all && signal != PROBE {
            for pid in self.pids()? {
                let process = Pid::from_raw(pid as i32).map(|p| pidfd_open(p, PidfdFlags::empty()));
                match process {
                    Some(Ok(pidfd)) => match send_signal(pidfd.as_fd(), signal) {
                        Err(refusal) if refusal.cause == Cause::NotFound => {}
                        sent => sent?,
                    },
                    None | Some(Err(rustix::io::Errno::SRCH)) => {}
                    Some(Err(e)) => {
                        return Err(Refusal::system(format!("signal {signal} to {pid}"), e));
                    }
                }
            }
            return Ok(());
        }
        send_signal(self.pidfd(), signal)
    }

    /// Stops all of its processes where they are; returns once they have stopped.
    ///
    /// # Errors
    /// When its cgroup cannot be frozen.
    pub fn pause(&self) -> Result<()> {
        self.cgroup.freeze()
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When its cgroup cannot be thawed.
    pub fn resume(&self) -> Result<()> {
        self.cgroup.thaw()
    }

    /// Changes the limits that `resources` gives, and leaves the others as they are. A guest's own limit on memory
    /// follows that of its group, from its next growth on.
    ///
    /// # Errors
    /// Names the field that cannot be honoured; what was written before it stays written.
    pub fn update(&self, Resources(resources): &Resources) -> Result<()> {
        let limit_group = || self.cgroup.update(resources);
        match &self.kind {
            Kind::Wasm(container) => container.update(resources, limit_group),
            Kind::Linux(_) => limit_group(),
        }
    }

    /// Waits for the first process to end and collects its exit. A second call is an error.
    ///
    /// # Errors
    /// When there is no exit to collect.
    pub fn reap(&self) -> Result<Exit> {
        let exit = reap(self.pidfd())?;
        let limit = match &self.kind {
            Kind::Wasm(container) => container.limit(),
            Kind::Linux(_) => None,
        };
        let oom = self.cgroup.ran_out_of_memory() || limit == Some(LimitKind::Memory);
        Ok(Exit { oom, limit, ..exit })
    }

    /// The ids of all processes of the container, in the caller's pid namespace.
    ///
    /// # Errors
    /// When the container's cgroup cannot be read.
    pub fn pids(&self) -> Result<Vec<u32>> {
        match self.cgroup.is_closed() {
            // The one that is known; what a Linux container has started beside it is not.
            true => Ok(vec![self.pid()]),
            false => self.cgroup.pids(),
        }
    }

    /// What the container uses now.
    ///
    /// # Errors
    /// When the container's cgroup cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        self.cgroup.usage()
    }

    /// What the container has read from and written to devices, by device.
    pub fn io(&self) -> Vec<IoUsage> {
        self.cgroup.io()
    }

    /// Whether the kernel has killed a process of it for want of memory.
    pub fn ran_out_of_memory(&self) -> bool {
        self.cgroup.ran_out_of_memory()
    }

    /// Removes what is left: processes, cgroup, state; runs `poststop` hooks. Goes on past errors.
    ///
    /// # Errors
    /// All that went wrong, in one sentence.
    pub fn delete(&self) -> Result<()> {
        match &self.kind {
            Kind::Wasm(container) => container.delete(),
            Kind::Linux(container) => container.delete().and_then(|()| self.record.remove()),
        }
    }

    /// Cleans up in place of a supervisor that died or left: kills what still runs of the container of `record`,
    /// removes its cgroup, runs `poststop` hooks. Idempotent; `None` if nothing was recorded,
    /// else the id of the container's first process. Does not unmount the root filesystem, which its
    /// mounter does.
    ///
    /// # Errors
    /// All that went wrong, in one sentence; that there are no `programs`, if a Linux container needs them.
    pub fn clean_up(record: &Record, programs: &Result<Programs>) -> Result<Option<u32>> {
        remains::clean_up(record, programs)
    }
}

impl Begun {
    fn begin(request: CreateRequest, streams: Streams) -> Result<Self> {
        let bundle = Bundle::load(&request.bundle)?;
        trace::step(Who::Supervisor, "bundle read");
        let terminal = match bundle.spec.process() {
            Some(process) => Wanted::by(process, &bundle.spec, &streams)?,
            None => None,
        };
        let host = Host::detect();
        let path = bundle.spec.linux().as_ref().and_then(|l| l.cgroups_path().as_ref());
        let cgroup = Cgroup::of(path, request.cgroups, &request.id, host.cgroups).within_rights();
        let next = match handler::is_wasm_by_name(&bundle) {
            true => {
                let cgroup = cgroup.clone();
                let waiting = Waiting::launch(&request, streams, terminal, &bundle, &host, cgroup);
                Next::Runner(Box::new(waiting))
            }
            false => Next::Look(streams, terminal),
        };
        Ok(Self { request, bundle, host, cgroup, next })
    }

    /// The rest of [`Container::create`]; the root filesystem is mounted now.
    ///
    /// # Errors
    /// As that has them.
    pub fn finish(self) -> Result<Container> {
        let record = self.request.record.clone();
        self.create().inspect_err(|_| remove_record(&record))
    }

    /// Undoes what was begun.
    pub fn abandon(self) {
        self.next.abandon();
        remove_record(&self.request.record);
    }

    fn create(self) -> Result<Container> {
        let Self { request, mut bundle, host, cgroup, next } = self;
        let record = request.record.clone();
        let next = match layers::provide(&mut bundle, &request) {
            Ok(()) => next,
            Err(refusal) => {
                next.abandon();
                return Err(refusal);
            }
        };
        let waiting = match next {
            Next::Runner(waiting) => *waiting,
            Next::Look(streams, terminal) => match handler::program(&bundle)? {
                Program::Wasm => {
                    Waiting::launch(&request, streams, terminal, &bundle, &host, cgroup.clone())
                }
                Program::Linux => {
                    let kind = create_linux(request, streams, &bundle, &cgroup, terminal)?;
                    return Ok(Container { kind, cgroup, bundle: bundle.path, record });
                }
            },
        };
        let container = WasmContainer::create(request, &bundle, &host, waiting)?;
        let kind = Kind::Wasm(Box::new(container));
        Ok(Container { kind, cgroup, bundle: bundle.path, record })
    }
}

impl Next {
    fn abandon(self) {
        if let Self::Runner(waiting) = self
            && let Ok(waiting) = *waiting
        {
            waiting.abandon();
        }
    }
}

fn create_linux(
    request: CreateRequest,
    streams: Streams,
    bundle: &Bundle,
    cgroup: &Cgroup,
    terminal: Option<Wanted>,
) -> Result<Kind> {
    if cgroup.is_closed() {
        return Err(Refusal::invalid(
            "linux.cgroupsPath: a Linux container needs a control group, and none is delegated to this user \
             namespace: have one delegated (systemd: Delegate=yes for user@.service, on cgroup v2)",
        ));
    }
    let record = request.record.clone();
    let resources = bundle.spec.linux().as_ref().and_then(|l| l.resources().as_ref());
    cgroup.check(resources)?;
    let mut state = State::of_planned(&request.id, bundle, cgroup.clone(), Program::Linux);
    // Before there is anything to clean up, so that whoever cleans up knows of it.
    state.write(&record)?;
    let is_scope = cgroup.is_made_by_systemd();
    let container = LinuxContainer::create(request, streams, is_scope, terminal)?;
    let limit = || if is_scope { cgroup.limit_scope(resources) } else { Ok(()) };
    state.has_process(container.pid());
    if let Err(refusal) = limit().and_then(|()| state.write(&record)) {
        container.abandon();
        return Err(refusal);
    }
    Ok(Kind::Linux(container))
}

fn remove_record(record: &Record) {
    if let Err(left) = record.remove() {
        log::warn!("after a refused create: {left}");
    }
}

/// The signal that is none, and tells whether there is somebody to get one.
const PROBE: i32 = 0;

fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    if signal != PROBE && !(1..=libc::SIGRTMAX()).contains(&signal) {
        return Err(Refusal::invalid(format!("signal {signal}: no such signal")));
    }
    let gone = || Refusal::not_found("the process has already ended");
    // One that has ended and is not yet collected would still take signals.
    if ended(pidfd, Duration::ZERO) {
        return Err(gone());
    }
    match sys::send_signal(pidfd, signal) {
        Ok(()) => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(gone()),
        Err(e) => Err(Refusal::system(format!("signal {signal}"), e)),
    }
}

/// Waits for a child of ours to end and collects how it did.
fn reap(pidfd: BorrowedFd<'_>) -> Result<Exit> {
    let status = loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Refusal::system("collect the exit", e)),
            Ok(None) => return Err(Refusal::system("collect the exit", "there is none")),
            Ok(Some(status)) => break status,
        }
    };
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    let status = status.exit_status().or(signalled).unwrap_or(255);
    Ok(Exit { status: status.unsigned_abs(), at: SystemTime::now(), oom: false, limit: None })
}

/// Waits up to `timeout` for a process, child of ours or not, to end; tells whether it did.
fn ended(pidfd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return matches!(outcome, Ok(1..)),
        }
    }
}
