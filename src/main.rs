//! The `lighter` command.

mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::Cli::parse().command {
        commands::Command::Linux(linux) => commands::linux::run(linux),
    }
}
