//! The conversation with the supervisor, and what happens on its way: from the plan to a guest that may run.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use lighter::error::{Refusal, Result};
use lighter::hooks;
use lighter::plan::Plan;
use lighter::trace::{self, Who};
use lighter::wire::{Peer, Setup, ToRunner, ToSupervisor};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::engine::{self, LoadError, Loaded};
use crate::exit::Ends;
use crate::last_words::LastWords;
use crate::limits::{self, Report};
use crate::{confine, enter, signals};

/// What waits for the guest's first instruction.
#[allow(dead_code, reason = "of the runner and the probe, both made of this, neither needs all")]
pub(crate) struct Ready {
    /// The guest, which may run.
    pub(crate) guest: Loaded,
    /// What it was made of.
    pub(crate) plan: Plan,
    /// Where it is said how it ended.
    pub(crate) ends: Ends,
}

/// Everything up to the guest's first instruction.
///
/// # Errors
/// Names the step that failed; the supervisor is to be told.
pub(crate) fn set_up(peer: &mut Peer) -> Result<Ready> {
    let (Setup { plan, state, filters }, report) = match receive(peer)? {
        (ToRunner::Setup(setup), Some(report)) => (*setup, Report::of(report)?),
        (other, _) => return Err(out_of_turn(&other)),
    };
    trace::step(Who::Runner, "plan received");
    // Before it is closed to others: after that it belongs to the host's root. Without it a server is slower.
    let pagemap = File::open("/proc/self/pagemap").ok();
    // This program is a file of the host's, and others in a shared pid namespace could get hold of it by `/proc/<pid>/exe`.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| Refusal::system("close this process to others", e))?;
    signals::install().map_err(|e| Refusal::system("install signal handlers", e))?;
    if plan.sandbox.terminal.is_some() {
        // The supervisor has started this process in a session of its own. From here on Ctrl-C, and the terminal's end,
        // come as signals.
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .map_err(|e| Refusal::system("process.terminal: take the terminal", e))?;
    }
    let host_process = enter::host_process()?;
    enter::enter(&plan.sandbox, &plan.guest.cwd, &state, peer)?;
    trace::step(Who::Runner, "privileges dropped");
    let last_words = plan.guest.termination_message.as_deref().and_then(LastWords::open);
    let ends = Ends { report, last_words };
    let (path, module) = enter::open_entrypoint(&plan.guest.entrypoint)?;
    say(peer, &ToSupervisor::Entrypoint(path), Some(&module))?;
    drop(module);
    trace::step(Who::Runner, "entrypoint opened");
    let guest = loop {
        let code = match receive(peer)? {
            (ToRunner::Code, Some(code)) => code,
            (other, _) => return Err(out_of_turn(&other)),
        };
        trace::step(Who::Runner, "code received");
        let proc_self = Some(host_process.as_fd());
        let pagemap = pagemap.as_ref().map(AsFd::as_fd);
        let roots = || ask_for_roots(peer);
        let Plan { engine, guest, limits, .. } = &plan;
        match engine::load(engine, guest, limits, code, proc_self, pagemap, roots) {
            Ok(guest) => break guest,
            Err(LoadError::Stale(reason)) => say(peer, &ToSupervisor::Stale(reason), None)?,
            Err(LoadError::Refused(refusal)) => return Err(refusal),
        }
    };
    let labels = confine::Labels::open(&plan.confinement, host_process.as_fd())?;
    drop((host_process, pagemap));
    trace::step(Who::Runner, "ready");
    say(peer, &ToSupervisor::Ready, None)?;
    match receive(peer)? {
        (ToRunner::Start, _) => {}
        (ToRunner::WaitAt, Some(door)) => wait_at(door, peer)?,
        (other, _) => return Err(out_of_turn(&other)),
    }
    trace::step(Who::Runner, "Start received");
    hooks::run("startContainer", &plan.sandbox.hooks.start_container, &state, "created")?;
    // After the hooks, which are programs of the operator's, and neither limited nor confined.
    limits::arm(&plan.limits, ends, Some(peer.as_fd()), guest.serves())?;
    confine::confine(&plan, labels, filters)?;
    trace::step(Who::Runner, "confined");
    say(peer, &ToSupervisor::Started, None)?;
    Ok(Ready { guest, plan, ends })
}

/// The host's certificates, for a guest that has none.
fn ask_for_roots(peer: &Peer) -> Result<Option<File>> {
    say(peer, &ToSupervisor::NeedsRoots, None)?;
    match receive(peer)? {
        (ToRunner::Roots, roots) => Ok(roots),
        (other, _) => Err(out_of_turn(&other)),
    }
}

/// Waits at the listening socket `door` for a supervisor that says to start; the one that left it is let go.
fn wait_at(door: File, peer: &mut Peer) -> Result<()> {
    let door = UnixListener::from(OwnedFd::from(door));
    loop {
        let (next, _) = door.accept().map_err(|e| Refusal::system("wait to be started", e))?;
        let next = Peer::from(next);
        // Another one may have looked, or died before it spoke.
        if let Ok(Some((ToRunner::Start, _))) = next.receive() {
            *peer = next;
            return Ok(());
        }
    }
}

/// Waits for the supervisor. One that is gone before the guest was started takes the runner with it.
pub(crate) fn receive(peer: &Peer) -> Result<(ToRunner, Option<File>)> {
    match peer.receive() {
        Ok(Some((message, fd))) => Ok((message, fd.map(File::from))),
        Ok(None) => Err(Refusal::system("hear from the supervisor", "it is gone")),
        Err(e) => Err(Refusal::system("hear from the supervisor", e)),
    }
}

/// Tells the supervisor.
pub(crate) fn say(peer: &Peer, message: &ToSupervisor, fd: Option<&File>) -> Result<()> {
    peer.send(message, fd.map(AsFd::as_fd)).map_err(|e| Refusal::system("tell the supervisor", e))
}

/// What a message that was not to come now is answered with.
pub(crate) fn out_of_turn(message: &ToRunner) -> Refusal {
    Refusal::system("lighter-runner", format!("was told {message:?} out of turn"))
}
