//! `lighter state`: the state of a container, as the runtime specification has it.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use lighter::record::Record;

use super::show::Shown;
use super::{Globals, Outcome, open};

/// Show a container's state as JSON
///
/// The status is one of creating, created, running, paused and stopped.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let shown = shown(&Record::find(&globals.root(), &args.id)?)?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &shown)?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

/// The container of `record`, and whose the record is.
pub(super) fn shown(record: &Record) -> lighter::error::Result<Shown> {
    let container = open(record)?;
    let owner = std::fs::metadata(record.dir()).map_or(0, |found| found.uid());
    Shown::of(&container, owner)
}
