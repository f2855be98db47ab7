//! A container whose first process is a runner.

mod conversation;
mod create;
mod exec;
mod memory;
mod runner;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use super::{Console, remains, send_signal};
use crate::cache::Payer;
use crate::cgroup::Cgroup;
use crate::config::Config;
use crate::error::{Refusal, Result};
use crate::hooks;
use crate::plan::LimitKind;
use crate::record::Record;
use crate::report::Report;
use crate::state::State;
use crate::wire::{Peer, ToSupervisor};

use memory::GuestMemory;

use runner::Runner;

const SIGKILL: i32 = libc::SIGKILL;

/// A created container. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct WasmContainer {
    runner: Runner,
    /// Until the guest has been started, if its supervisor stays.
    peer: Mutex<Option<Peer>>,
    record: Record,
    /// As it was recorded when it was created.
    state: State,
    console: Console,
    memory: Mutex<GuestMemory>,
}

impl WasmContainer {
    /// The one that another supervisor created and left; `pidfd` is its first process.
    pub(super) fn open(record: &Record, state: &State, pidfd: OwnedFd) -> Result<Self> {
        let guest = state.guest.as_ref().ok_or_else(|| {
            Refusal::system(format!("read {}", record.state_file().display()), "guest: missing")
        })?;
        let report = Arc::new(Report::open(&record.report_file())?);
        let memory = Mutex::new(GuestMemory::recalled(guest, &report));
        Ok(Self {
            runner: Runner { pid: state.pid, pidfd, report, profiled: guest.profiled },
            peer: Mutex::new(None),
            record: record.clone(),
            state: state.clone(),
            console: Mutex::new(None),
            memory,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.runner.pid
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.runner.pidfd()
    }

    pub(super) fn console(&self) -> &Console {
        &self.console
    }

    /// Which of the engine's limits ended the guest, if one did.
    pub(super) fn limit(&self) -> Option<LimitKind> {
        self.runner.limit()
    }

    /// Lets the guest run.
    pub(super) fn start(&self) -> Result<()> {
        let peer = self.peer.lock().unwrap_or_else(|e| e.into_inner()).take();
        let peer = match self.record.is_left() {
            true => self.record.knock().ok().map(Peer::from),
            false => peer,
        };
        let peer =
            peer.ok_or_else(|| Refusal::invalid("the container has already been started"))?;
        self.runner.start(&peer)?;
        let state = &self.state;
        hooks::run("poststart", &state.poststart, &state.hook_state, "running").inspect_err(|_| {
            let _ = send_signal(self.pidfd(), SIGKILL);
        })
    }

    /// Removes what the exited or killed container leaves.
    pub(super) fn delete(&self) -> Result<()> {
        remains::remove(&self.state, &self.record)
    }
}

/// Who pays for what is compiled for the container in `cgroup`.
fn payer(cgroup: &Cgroup, config: &Config) -> Payer {
    match config.compile.in_container {
        true => cgroup.payer(),
        false => Payer::Caller,
    }
}

fn unexpected(message: &ToSupervisor) -> Refusal {
    Refusal::system("lighter-runner", format!("said {message:?} out of turn"))
}
