//! `lighter checkpoint` and `lighter restore`, which there are not.

use anyhow::bail;

use super::Outcome;

/// Arguments of runc and crun, which would not help
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<String>,
}

pub(crate) fn run(verb: &str, _: Args) -> Outcome {
    bail!(
        "{verb}: not supported: a WebAssembly guest cannot be written down and continued elsewhere"
    )
}
