//! `lighter completions SHELL`: what a shell needs to complete our command line.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// Write what a shell needs to complete command lines to standard output
///
/// bash reads it from ~/.local/share/bash-completion/completions/lighter, zsh from a file _lighter in a directory of $fpath,
/// fish from ~/.config/fish/completions/lighter.fish. Packages, and `make install`, have put it in place already.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

pub(crate) fn run(args: Args, command: &Command) -> anyhow::Result<ExitCode> {
    let mut command = visible(command);
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "lighter", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(ExitCode::SUCCESS)
}

/// The command without what nobody types.
pub(super) fn visible(command: &Command) -> Command {
    let mut shown = Command::new("lighter")
        .about(command.get_about().cloned().unwrap_or_default())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(command.is_disable_version_flag_set())
        .disable_help_subcommand(true)
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()));
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let verb = match verb.has_subcommands() {
            true => verb.clone().disable_help_subcommand(true),
            false => verb.clone(),
        };
        shown = shown.subcommand(verb);
    }
    shown
}
