//! A container whose first process is a runner.

mod conversation;
mod create;
mod remains;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::{Console, send_signal};
use crate::error::{Refusal, Result};
use crate::hooks;
use crate::plan::{Hooks, LimitKind};
use crate::report::Report;
use crate::state::State;
use crate::wire::{Peer, ToRunner, ToSupervisor};

pub(super) use remains::clean_up;

const SIGKILL: i32 = libc::SIGKILL;

/// How long a killed process may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(4);

/// A created container. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct WasmContainer {
    pidfd: OwnedFd,
    /// Until the guest has been started.
    peer: Mutex<Option<Peer>>,
    bundle: PathBuf,
    /// As it is in the bundle.
    state: State,
    hooks: Hooks,
    report: Report,
    /// The bundle has a filter of system calls of its own.
    profiled: bool,
    console: Console,
}

impl WasmContainer {
    pub(super) fn pid(&self) -> u32 {
        self.state.pid
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(super) fn console(&self) -> &Console {
        &self.console
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
        let state = &self.state.hook_state;
        hooks::run("poststart", &self.hooks.poststart, state, "running").inspect_err(|_| {
            let _ = send_signal(self.pidfd(), SIGKILL);
        })
    }

    /// Removes what the exited or killed container leaves.
    pub(super) fn delete(&self) -> Result<()> {
        remains::remove(&self.state, &self.bundle)
    }
}

fn unexpected(message: &ToSupervisor) -> Refusal {
    Refusal::system("lighter-runner", format!("said {message:?} out of turn"))
}
