//! What an ended container leaves, and who removes it: its supervisor, or another one that finds it recorded.

use std::os::fd::AsFd;

use super::{KILL_TIMEOUT, SIGKILL};
use crate::container::{ended, send_signal};
use crate::error::{Refusal, Result};
use crate::hooks;
use crate::plan::Hook;
use crate::record::Record;
use crate::state::State;
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

/// Ends and removes the container of `state`, in place of its supervisor.
pub(in crate::container) fn clean_up(state: &State, record: &Record) -> Result<()> {
    let killed = kill_recorded(state);
    all([killed].into_iter().chain(remove_each(state, record)))
}

fn kill_recorded(state: &State) -> Result<()> {
    let Some(pidfd) = state.process() else { return Ok(()) };
    let _ = send_signal(pidfd.as_fd(), SIGKILL);
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
