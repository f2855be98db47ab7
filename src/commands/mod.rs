//! The verbs of the `lighter` command.

pub(crate) mod linux;

/// WebAssembly containers on Wasmtime.
#[derive(clap::Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Runs Linux (ELF) containers; for Lighter's own use.
    #[command(hide = true)]
    Linux(linux::Linux),
}
