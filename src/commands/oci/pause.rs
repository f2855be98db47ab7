//! `lighter pause`: stops all processes of a container where they are.

use lighter::container::{Container, Status};

use super::{Globals, Outcome, change};

/// Stop all processes of a container where they are
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let rule =
        ("pause", &[Status::Created, Status::Running][..], "only a running one can be paused");
    change(globals, &args.id, rule, Container::pause)
}
