//! `lighter run --bundle DIR ID`: create and start, and, unless detached, wait, pass signals on, and delete.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use lighter::container::Container;
use lighter::error::{Cause, Result};
use lighter::record::Record;

use super::create::{self, Created};
use super::foreground;
use super::{Failure, Globals, Outcome};

/// What `run` takes of a bundle, beside the id: the options of runc and crun.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How it is made.
    pub(crate) create: create::Options,

    /// Leave the container to itself once it runs
    pub(crate) detach: bool,

    /// Do not delete the container when it has ended
    pub(crate) keep: bool,
}

/// Runs the container `id` of a bundle; ends as it does, unless detached.
pub(crate) fn run(globals: &Globals, options: &Options, id: &str) -> Outcome {
    if !options.detach {
        // A Linux container's first process becomes a child of this one, which is there to await it.
        let here = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(here))?;
    }
    let Created { container, record, console, lock } =
        create::create(globals, &options.create, id, options.detach)?;
    let signals = (!options.detach).then(foreground::catch_signals).transpose()?;
    if let Some(console) = console.as_ref().filter(|_| !options.detach) {
        // Before the program can ask for it.
        foreground::follow_size(console);
    }
    if let Err(refusal) = container.start() {
        drop(lock);
        let _ = container.kill(libc::SIGKILL, false);
        let _ = end(&container, &record);
        return Err(Failure::of_process(refusal, 1).into());
    }
    drop(lock);
    match signals {
        None => Ok(ExitCode::SUCCESS),
        Some(signals) => attend(&container, &record, options.keep, console, signals),
    }
}

/// Stays with the container until it ends.
fn attend(
    container: &Container,
    record: &Record,
    keep: bool,
    console: Option<OwnedFd>,
    signals: foreground::Signals,
) -> Outcome {
    let kill = |signal| container.kill(signal, false);
    foreground::attend(container.pidfd(), kill, console, foreground::Keys::PassedOn, signals)?;
    let exit = container.reap()?;
    if let Some(limit) = exit.limit {
        log::warn!("the container reached its limit on {limit}");
    }
    if !keep {
        end(container, record)?;
    }
    Ok(ExitCode::from(exit.status as u8))
}

/// Deletes the container, unless somebody else has.
fn end(container: &Container, record: &Record) -> Result<()> {
    let _lock = match record.lock() {
        Err(refusal) if refusal.cause == Cause::NotFound => return Ok(()),
        lock => lock?,
    };
    container.delete()
}
