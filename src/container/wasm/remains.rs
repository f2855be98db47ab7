//! What an ended container leaves, and who removes it: its supervisor, or another one that finds it recorded.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{KILL_TIMEOUT, SIGKILL};
use crate::container::{ended, send_signal};
use crate::error::{Refusal, Result};
use crate::hooks;
use crate::plan::Hook;
use crate::state::{State, start_time};
use crate::wire::HookState;

/// Removes what the ended container of `state` leaves, and the record of it.
pub(super) fn remove(state: &State, bundle: &Path) -> Result<()> {
    all(remove_each(state, bundle))
}

fn remove_each(state: &State, bundle: &Path) -> [Result<()>; 3] {
    [state.cgroup.remove(), run_poststop(&state.poststop, &state.hook_state), State::remove(bundle)]
}

/// Cleans up what is recorded in `bundle`, in place of its supervisor.
pub(in crate::container) fn clean_up(bundle: &Path) -> Result<Option<u32>> {
    let Some(state) = State::read(bundle)? else { return Ok(None) };
    let killed = kill_recorded(&state);
    all([killed].into_iter().chain(remove_each(&state, bundle)))?;
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
    state.cgroup.let_the_killed_go();
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
