//! The command line of an OCI runtime: one file per verb, over the library that the shim uses as well.
//!
//! Podman, conmon, CRI-O, containerd's shim for runc and dockerd start this program once for each step of a container's
//! life, with the options of runc and crun. Nothing of it stays: what a later step needs is in the container's [`Record`].

pub(crate) mod checkpoint;
mod console;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod events;
pub(crate) mod exec;
mod failure;
pub(crate) mod features;
pub(crate) mod foreground;
mod globals;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod resume;
pub(crate) mod run;
mod show;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod update;

use std::process::ExitCode;

use lighter::container::{Container, Recorded, Status};
use lighter::error::{Refusal, Result};
use lighter::programs::Programs;
use lighter::record::{Lock, Record};

pub(crate) use failure::{Failure, Outcome, report};
pub(crate) use globals::Globals;

/// The version of the OCI runtime specification whose features are known here.
pub(crate) const SPEC_VERSION: &str = "1.2.1";

/// A container that somebody has created, to be looked at or sent a signal.
fn find(globals: &Globals, id: &str) -> Result<Recorded> {
    open(&Record::find(&globals.root(), id)?)
}

/// A container that somebody has created, to be changed: nobody else changes it until the lock is dropped.
fn find_and_lock(globals: &Globals, id: &str) -> Result<(Recorded, Lock)> {
    let record = Record::find(&globals.root(), id)?;
    let lock = record.lock()?;
    Ok((open(&record)?, lock))
}

/// Changes the container `id` by `act`, which it must be in one of the states `from` for; `rule` says that in words.
fn change(
    globals: &Globals,
    id: &str,
    (verb, from, rule): (&str, &[Status], &str),
    act: impl FnOnce(&Container) -> Result<()>,
) -> Outcome {
    let (container, _lock) = find_and_lock(globals, id)?;
    let status = container.status()?;
    if !from.contains(&status) {
        let message = format!("cannot {verb} container {id:?}: it is {status}, and {rule}");
        return Err(Refusal::invalid(message).into());
    }
    act(container.container()?)?;
    Ok(ExitCode::SUCCESS)
}

fn open(record: &Record) -> Result<Recorded> {
    Recorded::open(record, &Programs::locate())
}
