//! `lighter start`: lets a created container run.

use lighter::container::{Container, Status};

use super::{Globals, Outcome, change};

/// Let a created container run
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let rule = ("start", &[Status::Created][..], "only a created one can be started");
    change(globals, &args.id, rule, Container::start)
}
