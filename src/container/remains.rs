//! What an ended container leaves, and who removes it: its supervisor, or another one that finds it recorded.

use std::os::fd::AsFd;

use super::linux::LinuxContainer;
use super::{KILL_TIMEOUT, ended, send_signal};
use crate::error::{Refusal, Result};
use crate::hooks;
use crate::plan::Hook;
use crate::programs::Programs;
use crate::record::Record;
use crate::state::{Program, State};
use crate::wire::HookState;

/// Removes what the ended container of `state` leaves, and the record of it.
pub(super) fn remove(state: &State, record: &Record) -> Result<()> {
    all(remove_each(state, record))
}

fn remove_each(state: &State, record: &Record) -> [Result<()>; 2] {
    let removed = state.cgroup.remove();
    run_poststop(&state.poststop, &state.hook_state);
    [removed, record.remove()]
}

/// See [`super::Container::clean_up`].
pub(super) fn clean_up(record: &Record, programs: &Result<Programs>) -> Result<Option<u32>> {
    let Some(state) = State::read(record)? else {
        // Its creator did not get far.
        record.remove()?;
        return Ok(None);
    };
    match state.program {
        Program::Wasm => by_force(&state, record).map(|()| Some(state.pid)),
        // The process may have been there before it was recorded.
        Program::Linux => {
            let cleaned = LinuxContainer::clean_up(record, programs);
            if cleaned.is_ok() && state.process().is_none() {
                return cleaned.map(Some);
            }
            // Whoever wrote libcontainer's own record was killed while it did.
            for pid in state.cgroup.pids().unwrap_or_default() {
                let pid = nix::unistd::Pid::from_raw(pid as i32);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
            match (by_force(&state, record), cleaned) {
                (Ok(()), Err(refusal)) => {
                    log::warn!("container {:?}: {refusal}", state.hook_state.id)
                }
                (forced, cleaned) => cleaned.and(forced)?,
            }
            Ok(Some(state.pid))
        }
    }
}

/// By what is recorded, whatever kind of container it is.
fn by_force(state: &State, record: &Record) -> Result<()> {
    let killed = kill_recorded(state);
    all([killed].into_iter().chain(remove_each(state, record)))
}

fn kill_recorded(state: &State) -> Result<()> {
    let Some(pidfd) = state.process() else { return Ok(()) };
    let _ = send_signal(pidfd.as_fd(), libc::SIGKILL);
    state.cgroup.let_the_killed_go();
    match ended(pidfd.as_fd(), KILL_TIMEOUT) {
        true => Ok(()),
        false => {
            Err(Refusal::system("kill the container", format!("process {} remains", state.pid)))
        }
    }
}

/// Each one runs, whatever became of those before it; the specification wants no more than a warning of one that fails.
fn run_poststop(poststop: &[Hook], state: &HookState) {
    for hook in poststop {
        if let Err(refusal) = hooks::run("poststop", std::slice::from_ref(hook), state, "stopped") {
            log::warn!("container {:?}: {refusal}", state.id);
        }
    }
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
