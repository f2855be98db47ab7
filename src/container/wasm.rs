//! A container whose first process is a runner.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{CreateRequest, ended, reap, send_signal};
use crate::bundle::Bundle;
use crate::cache::{Artifact, Cache, Payer, Wasm};
use crate::cgroup::Cgroup;
use crate::error::{Refusal, Result};
use crate::hooks;
use crate::host::Host;
use crate::plan::{Hook, Hooks, LimitKind, Missing, Plan, plan};
use crate::report::Report;
use crate::sandbox::{self, Launched};
use crate::seccomp;
use crate::state::{State, start_time};
use crate::wire::{HookState, Peer, SeccompFilter, Setup, ToRunner, ToSupervisor};

const SIGKILL: i32 = libc::SIGKILL;

/// How long a killed process may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(4);

/// A created container. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct WasmContainer {
    pid: u32,
    pidfd: OwnedFd,
    /// Until the guest has been started.
    peer: Mutex<Option<Peer>>,
    bundle: PathBuf,
    cgroup: Cgroup,
    hooks: Hooks,
    state: HookState,
    report: Report,
    /// The bundle has a filter of system calls of its own.
    profiled: bool,
}

impl WasmContainer {
    /// Plans, launches and sets up; whatever fails, nothing is left.
    pub(super) fn create(
        request: CreateRequest,
        bundle: &Bundle,
        host: &Host,
        cgroup: Cgroup,
    ) -> Result<Self> {
        let mut plan = plan(&request.id, bundle, host, &request.config)?;
        // The runner gets the bundle's profile ready-made, and no names of system calls.
        let profile = plan.confinement.seccomp.take();
        let filters = match host.seccomp {
            true => seccomp::filters(profile.as_ref())?,
            false => Vec::new(),
        };
        let resources = bundle.spec.linux().as_ref().and_then(|l| l.resources().as_ref());
        let report = Report::new()?;
        let launched = cgroup.prepare(resources).and_then(|group| {
            let namespaces = &plan.sandbox.namespaces;
            let (programs, id) = (&request.programs, &request.id);
            sandbox::launch(programs, id, request.stdio, namespaces, group.as_ref())
                .map(|launched| (launched, group.is_some()))
        });
        let (Launched { pid, pidfd, peer }, born_in_group) = match launched {
            Ok(launched) => launched,
            Err(refusal) => {
                if let Err(left) = cgroup.remove() {
                    log::warn!("after a refused create of {}: {left}", request.id);
                }
                return Err(refusal);
            }
        };
        let missing = plan.confinement.missing.clone();
        let container = Self {
            pid,
            pidfd,
            peer: Mutex::new(None),
            bundle: bundle.path.clone(),
            cgroup,
            hooks: plan.sandbox.hooks.clone(),
            state: hook_state(&request.id, pid, bundle),
            report,
            profiled: profile.is_some(),
        };
        let admit = || match born_in_group {
            true => Ok(()),
            false => container.cgroup.admit(pid, resources),
        };
        let set_up = container
            .record(&missing)
            .and_then(|()| admit())
            .and_then(|()| sandbox::set_oom_score(pid, plan.sandbox.oom_score_adj))
            .and_then(|()| {
                let payer = match request.config.compile.in_container {
                    true => Payer { entrances: container.cgroup.entrances() },
                    false => Payer::default(),
                };
                let cache = Cache::open(&request.config, &request.programs).paid_by(payer);
                container.converse(&peer, plan, filters, &cache)
            });
        match set_up {
            Ok(()) => {
                for wall in &missing {
                    log::warn!("container {} runs without a wall, {wall}", request.id);
                }
                *container.peer.lock().unwrap_or_else(|e| e.into_inner()) = Some(peer);
                Ok(container)
            }
            Err(refusal) => {
                if let Err(left) = container.tear_down() {
                    log::warn!("after a refused create of {}: {left}", request.id);
                }
                Err(refusal)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Which of the engine's limits ended the guest, if one did.
    pub(super) fn limit(&self) -> Option<LimitKind> {
        self.report.read()
    }

    /// Lets the guest run.
    pub(super) fn start(&self) -> Result<()> {
        let peer = self.peer.lock().unwrap_or_else(|e| e.into_inner()).take();
        let peer =
            peer.ok_or_else(|| Refusal::invalid("the container has already been started"))?;
        let ended = || Refusal::not_found("the container ended before it was started");
        peer.send(&ToRunner::Start, None).map_err(|_| ended())?;
        match peer.receive::<ToSupervisor>() {
            Ok(Some((ToSupervisor::Started, _))) => {}
            Ok(Some((ToSupervisor::Refused(refusal), _))) => return Err(refusal),
            Ok(Some((other, _))) => return Err(unexpected(&other)),
            // It was started, and its time was up before it could say so.
            Ok(None) | Err(_) if self.limit().is_some() => {}
            // Its last word comes from behind the filters.
            Ok(None) | Err(_) if self.profiled => {
                return Err(Refusal::system(
                    "linux.seccomp",
                    "the container ended before its guest began; the profile must allow what every \
                     runner needs",
                ));
            }
            Ok(None) | Err(_) => return Err(ended()),
        }
        hooks::run("poststart", &self.hooks.poststart, &self.state, "running").inspect_err(|_| {
            let _ = send_signal(self.pidfd(), SIGKILL);
        })
    }

    /// Removes what the exited or killed container leaves.
    pub(super) fn delete(&self) -> Result<()> {
        all([
            self.cgroup.remove(),
            run_poststop(&self.hooks.poststop, &self.state),
            State::remove(&self.bundle),
        ])
    }

    /// Answers the runner until its guest is ready.
    fn converse(
        &self,
        peer: &Peer,
        plan: Plan,
        filters: Vec<SeccompFilter>,
        cache: &Cache,
    ) -> Result<()> {
        let namespaces = plan.sandbox.namespaces.clone();
        let mounts = plan.sandbox.mounts.clone();
        let settings = plan.engine.clone();
        let root = PathBuf::from(&plan.sandbox.root.path);
        let setup = Setup { plan, state: self.state.clone(), filters };
        let gone = |_| self.ended_early();
        let report = Some(self.report.as_fd());
        peer.send(&ToRunner::Setup(Box::new(setup)), report).map_err(gone)?;
        let mut module: Option<(String, File)> = None;
        let mut artifact: Option<Artifact> = None;
        let mut stale = false;
        loop {
            let Some((message, fd)) = peer.receive::<ToSupervisor>().map_err(gone)? else {
                return Err(self.ended_early());
            };
            match message {
                ToSupervisor::NeedsIdMaps => {
                    sandbox::map_ids(self.pid, &namespaces)?;
                    peer.send(&ToRunner::Proceed, None).map_err(gone)?;
                }
                ToSupervisor::NamespacesReady => {
                    hooks::run("prestart", &self.hooks.prestart, &self.state, "creating")?;
                    let hooks = &self.hooks.create_runtime;
                    hooks::run("createRuntime", hooks, &self.state, "creating")?;
                    peer.send(&ToRunner::Proceed, None).map_err(gone)?;
                }
                ToSupervisor::NeedsMount(number) => {
                    let mount = mounts.get(number).ok_or_else(|| unexpected(&message))?;
                    let mount = sandbox::id_mapped(mount, self.pid)?;
                    peer.send(&ToRunner::Mount, Some(mount.as_fd())).map_err(gone)?;
                }
                ToSupervisor::Entrypoint(path) => {
                    let file =
                        fd.ok_or_else(|| Refusal::system("receive the entrypoint", &path))?;
                    let (path, file) = module.insert((path, File::from(file)));
                    let wasm = Wasm { file, name: path, root: Some(&root) };
                    let code = artifact.insert(cache.get(&wasm, &settings)?);
                    peer.send(&ToRunner::Code, Some(code.file.as_fd())).map_err(gone)?;
                }
                // Made by another release or on another processor: once more, from the source.
                ToSupervisor::Stale(reason) if !stale => {
                    stale = true;
                    log::info!("compiling anew: {reason}");
                    let (Some((path, file)), Some(old)) = (&module, artifact.take()) else {
                        return Err(unexpected(&ToSupervisor::Stale(reason)));
                    };
                    cache.forget(&old);
                    let wasm = Wasm { file, name: path, root: Some(&root) };
                    let code = artifact.insert(cache.get(&wasm, &settings)?);
                    peer.send(&ToRunner::Code, Some(code.file.as_fd())).map_err(gone)?;
                }
                ToSupervisor::Stale(reason) => {
                    return Err(Refusal::system(
                        "load code compiled just now (do lighter and lighter-runner belong together?)",
                        reason,
                    ));
                }
                ToSupervisor::Ready => return Ok(()),
                ToSupervisor::Refused(refusal) => return Err(refusal),
                ToSupervisor::Started => return Err(unexpected(&message)),
            }
        }
    }

    /// The runner closed its socket without a word: its exit says why.
    fn ended_early(&self) -> Refusal {
        if !ended(self.pidfd(), KILL_TIMEOUT) {
            return Refusal::system(
                "lighter-runner",
                "closed its socket before the guest was ready",
            );
        }
        let why = match reap(self.pidfd()).map(|exit| exit.status) {
            Ok(127) => "could not be executed".to_owned(),
            Ok(status @ 129..) => format!(
                "was killed by signal {} before the guest was ready{}",
                status - 128,
                if status == 137 { " (the container's memory limit?)" } else { "" }
            ),
            Ok(status) => format!("ended with status {status} before the guest was ready"),
            Err(e) => e.message,
        };
        Refusal::system("lighter-runner", why)
    }

    fn record(&self, missing: &[Missing]) -> Result<()> {
        let started = start_time(self.pid).unwrap_or(0);
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        State {
            pid: self.pid,
            started,
            cgroup: self.cgroup.clone(),
            poststop: self.hooks.poststop.clone(),
            hook_state: self.state.clone(),
            created: created.map_or(0, |since| since.as_secs()),
            missing: missing.to_vec(),
        }
        .write(&self.bundle)
    }

    /// Undoes a create that was refused on the way.
    fn tear_down(&self) -> Result<()> {
        let _ = send_signal(self.pidfd(), SIGKILL);
        // Already collected if it ended on its own.
        let _ = reap(self.pidfd());
        self.delete()
    }
}

/// Cleans up what is recorded in `bundle`, in place of its supervisor.
pub(super) fn clean_up(bundle: &Path) -> Result<Option<u32>> {
    let Some(state) = State::read(bundle)? else { return Ok(None) };
    let killed = kill_recorded(&state);
    all([
        killed,
        state.cgroup.remove(),
        run_poststop(&state.poststop, &state.hook_state),
        State::remove(bundle),
    ])?;
    Ok(Some(state.pid))
}

fn kill_recorded(state: &State) -> Result<()> {
    let Some(pid) = Pid::from_raw(state.pid as i32) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    // The pidfd holds whichever process has the id now; its start tells whether it is ours.
    if start_time(state.pid) != Some(state.started) {
        return Ok(());
    }
    let _ = send_signal(pidfd.as_fd(), SIGKILL);
    match ended(pidfd.as_fd(), KILL_TIMEOUT) {
        true => Ok(()),
        false => {
            Err(Refusal::system("kill the container", format!("process {} remains", state.pid)))
        }
    }
}

fn run_poststop(poststop: &[Hook], state: &HookState) -> Result<()> {
    // Each one runs, whatever became of those before it.
    all(poststop
        .iter()
        .map(|hook| hooks::run("poststop", std::slice::from_ref(hook), state, "stopped")))
}

/// All of the errors in one.
fn all(results: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let errors: Vec<String> =
        results.into_iter().filter_map(|r| r.err().map(|refusal| refusal.message)).collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Refusal::system("clean up", errors.join("; "))),
    }
}

fn hook_state(id: &str, pid: u32, bundle: &Bundle) -> HookState {
    HookState {
        oci_version: bundle.spec.version().clone(),
        id: id.to_owned(),
        status: "creating".to_owned(),
        pid,
        bundle: bundle.path.display().to_string(),
        annotations: bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect(),
    }
}

fn unexpected(message: &ToSupervisor) -> Refusal {
    Refusal::system("lighter-runner", format!("said {message:?} out of turn"))
}
