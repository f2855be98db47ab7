//! `lighter pause`: stops all processes of a container where they are.

use std::process::ExitCode;

use lighter::container::Status;
use lighter::error::Refusal;

use super::{Globals, Outcome, find_and_lock};

/// Stop all processes of a container where they are
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let (container, _lock) = find_and_lock(globals, &args.id)?;
    match container.status()? {
        Status::Created | Status::Running => {}
        status => {
            let message = format!(
                "cannot pause container {:?}: it is {status}, and only a running one can be paused",
                args.id
            );
            return Err(Refusal::invalid(message).into());
        }
    }
    container.container()?.pause()?;
    Ok(ExitCode::SUCCESS)
}
