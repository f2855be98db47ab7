//! `lighter resume`: lets a paused container go on.

use lighter::container::{Container, Status};

use super::{Globals, Outcome, change};

/// Let a paused container go on
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let rule = ("resume", &[Status::Paused][..], "only a paused one can be resumed");
    change(globals, &args.id, rule, Container::resume)
}
