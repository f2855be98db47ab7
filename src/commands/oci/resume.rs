//! `lighter resume`: lets a paused container go on.

use std::process::ExitCode;

use lighter::container::Status;
use lighter::error::Refusal;

use super::{Globals, Outcome, find_and_lock};

/// Let a paused container go on
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let (container, _lock) = find_and_lock(globals, &args.id)?;
    match container.status()? {
        Status::Paused => {}
        status => {
            let message = format!(
                "cannot resume container {:?}: it is {status}, and only a paused one can be resumed",
                args.id
            );
            return Err(Refusal::invalid(message).into());
        }
    }
    container.container()?.resume()?;
    Ok(ExitCode::SUCCESS)
}
