//! Entering the sandbox, from inside: an ordered list of steps, each with its own error.
//!
//! The steps that the host must help with come as messages; see [`lighter::wire`].

mod covers;
mod credentials;
mod devices;
mod entrypoint;
mod mounts;
mod namespaces;
mod root;

use std::os::fd::OwnedFd;

use lighter::error::{Refusal, Result};
use lighter::hooks;
use lighter::plan::{Namespace, Root, Sandbox};
use lighter::trace::{self, Who};
use lighter::wire::{HookState, Peer, ToRunner, ToSupervisor};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::setup::{out_of_turn, receive, say};

pub(crate) use entrypoint::open_entrypoint;

/// The host's view of this process, to be kept across the change of root: code is mapped through it.
///
/// # Errors
/// When the host has no `/proc`.
pub(crate) fn host_process() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/proc/self", flags, Mode::empty())
        .map_err(|e| Refusal::system("open /proc/self", e))
}

/// Takes this process from the host into the container.
///
/// # Errors
/// Names the step that failed; the process is then of no further use.
pub(crate) fn enter(sandbox: &Sandbox, cwd: &str, state: &HookState, peer: &Peer) -> Result<()> {
    match &sandbox.root {
        Some(root) => make(sandbox, root, cwd, state, peer)?,
        // All of it is in the namespaces of the container's first process.
        None => namespaces::join(&sandbox.namespaces)?,
    }

    trace::step(Who::Runner, "root entered");

    // Limits, user, no capabilities, no new privileges.
    credentials::limit(&sandbox.rlimits)?;
    credentials::become_user(&sandbox.user)?;

    // As the user, so that a directory closed to it is not entered.
    rustix::process::chdir(cwd).map_err(|e| Refusal::system(format!("process.cwd {cwd:?}"), e))
}

/// Makes the container's world, and moves there.
fn make(sandbox: &Sandbox, plan: &Root, cwd: &str, state: &HookState, peer: &Peer) -> Result<()> {
    // Existing namespaces first: a new user namespace would take away the right to join them.
    namespaces::join(&sandbox.namespaces)?;

    // A user namespace of its own, in which the remaining ones are then made.
    if sandbox.namespaces.has_new(Namespace::User) {
        namespaces::enter_user(&sandbox.namespaces)?;
        ask(peer, &ToSupervisor::NeedsIdMaps)?;
        namespaces::become_root()?;
    }

    // The other new namespaces. The pid namespace is not among them: we were born in it.
    namespaces::unshare(&sandbox.namespaces)?;

    trace::step(Who::Runner, "namespaces entered");

    // Hooks of the host, which find the namespaces by our pid: network setup is one.
    let hooks = &sandbox.hooks;
    if !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty()) {
        ask(peer, &ToSupervisor::NamespacesReady)?;
    }

    // Names and kernel parameters, while the host's /proc is in reach.
    namespaces::name(sandbox)?;
    lighter::sysctl::set(&sandbox.sysctl)?;

    // The container's tree of mounts.
    let root = root::attach(plan)?;
    trace::step(Who::Runner, "root attached");
    for (number, mount) in sandbox.mounts.iter().enumerate() {
        let made = if mount.is_id_mapped() { Some(ask_for_mount(peer, number)?) } else { None };
        mounts::mount(&root, mount, made)?;
    }
    for device in &sandbox.devices {
        devices::make(&root, device)?;
    }
    root::make_directory(&root, cwd)?;
    for path in &sandbox.read_only_paths {
        covers::make_read_only(&root, path)?;
    }
    for path in &sandbox.masked_paths {
        covers::mask(&root, path, sandbox.mask_label.as_deref())?;
    }

    trace::step(Who::Runner, "mounts and devices made");

    // Hooks in the container's namespaces that still see the host's files.
    hooks::run("createContainer", &hooks.create_container, state, "creating")?;

    // No way back: the host's tree is gone after this.
    root::pivot(&root, plan)
}

/// Has the supervisor make a mount for which this process may not have the rights.
fn ask_for_mount(peer: &Peer, number: usize) -> Result<OwnedFd> {
    say(peer, &ToSupervisor::NeedsMount(number), None)?;
    match receive(peer)? {
        (ToRunner::Mount, Some(mount)) => Ok(mount.into()),
        (other, _) => Err(out_of_turn(&other)),
    }
}

/// Asks the supervisor for something and waits until it is done.
fn ask(peer: &Peer, question: &ToSupervisor) -> Result<()> {
    say(peer, question, None)?;
    match receive(peer)? {
        (ToRunner::Proceed, _) => Ok(()),
        (other, _) => Err(out_of_turn(&other)),
    }
}
