//! `lighter`: the node operator's command, and what the shim starts to compile.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod commands;

/// Runs WebAssembly containers on Wasmtime.
#[derive(Parser)]
#[command(name = "lighter", version = VERSION, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (Wasmtime 48.0.8)");

#[derive(Subcommand)]
enum Verb {
    Build(Box<commands::build::Args>),
    Compile(commands::compile::Args),
    Cache(commands::cache::Args),
    Completions(commands::completions::Args),
    Doctor(commands::doctor::Args),
    Inspect(commands::inspect::Args),
    Layers(commands::layers::Args),
    Man(commands::man::Args),
    Pull(commands::pull::Args),
    /// Runs Linux (ELF) containers; for Lighter's own use.
    #[command(hide = true)]
    Linux(commands::linux::Linux),
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    // Standard error is the container's there.
    if !matches!(verb, Verb::Linux(_)) {
        log_to_stderr();
    }
    let result = match verb {
        Verb::Compile(args) => commands::compile::run(args),
        Verb::Build(args) => commands::build::run(args),
        Verb::Cache(args) => commands::cache::run(args),
        Verb::Completions(args) => commands::completions::run(args, &Cli::command()),
        Verb::Doctor(args) => commands::doctor::run(args),
        Verb::Inspect(args) => commands::inspect::run(args),
        Verb::Layers(args) => commands::layers::run(args),
        Verb::Man(args) => commands::man::run(args, &Cli::command()),
        Verb::Pull(args) => commands::pull::run(args),
        Verb::Linux(args) => return commands::linux::run(args),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "lighter: {error:#}");
        ExitCode::FAILURE
    })
}

/// Shows the library's warnings to the person at the terminal.
fn log_to_stderr() {
    struct Stderr;
    impl log::Log for Stderr {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let level = record.level().as_str().to_lowercase();
            let _ = writeln!(std::io::stderr(), "lighter: {level}: {}", record.args());
        }
        fn flush(&self) {}
    }
    if log::set_logger(&Stderr).is_ok() {
        let debug = std::env::var_os("LIGHTER_DEBUG").is_some_and(|value| !value.is_empty());
        log::set_max_level(if debug { log::LevelFilter::Debug } else { log::LevelFilter::Warn });
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
        assert!(super::VERSION.contains(lighter::engine::WASMTIME_VERSION));
    }
}
