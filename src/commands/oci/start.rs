//! `lighter start`: lets a created container run.

use std::process::ExitCode;

use lighter::container::Status;
use lighter::error::Refusal;

use super::{Globals, Outcome, find_and_lock};

/// Let a created container run
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let (container, _lock) = find_and_lock(globals, &args.id)?;
    match container.status()? {
        Status::Created => {}
        status => {
            let message = format!(
                "cannot start container {:?}: it is {status}, and only a created one can be started",
                args.id
            );
            return Err(Refusal::invalid(message).into());
        }
    }
    container.container()?.start()?;
    Ok(ExitCode::SUCCESS)
}
