//! `lighter delete`: removes what a container leaves.

use std::process::ExitCode;

use lighter::container::{Container, Status};
use lighter::error::{Cause, Refusal, Result};
use lighter::programs::Programs;
use lighter::record::Record;

use super::{Globals, Outcome, open};

/// Delete a container that has ended, or was never started
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Even if it runs: it is killed; one that does not exist is as good as deleted
    #[arg(short, long)]
    force: bool,

    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    match delete(globals, &args) {
        Err(refusal) if refusal.cause == Cause::NotFound && args.force => Ok(ExitCode::SUCCESS),
        deleted => Ok(deleted.map(|()| ExitCode::SUCCESS)?),
    }
}

fn delete(globals: &Globals, args: &Args) -> Result<()> {
    let record = Record::find(&globals.root(), &args.id)?;
    let _lock = record.lock()?;
    let programs = Programs::locate();
    let container = match open(&record) {
        // Its creator was killed before it wrote down anything.
        Err(refusal) if refusal.cause == Cause::NotFound => {
            return Container::clean_up(&record, &programs).map(drop);
        }
        container => container?,
    };
    let status = container.status()?;
    if !args.force && matches!(status, Status::Running | Status::Paused) {
        return Err(Refusal::invalid(format!(
            "cannot delete container {:?} that is not stopped: it is {status}; stop it, or use --force",
            args.id
        )));
    }
    container.delete(args.force, &programs)?;
    // The bundle of one that `lighter run` made and left; others' are theirs.
    crate::commands::run::forget(&globals.root(), &args.id)
}
