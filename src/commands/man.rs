//! `lighter man DIR`: manual pages of all verbs, for packages.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;

use super::completions::visible;

/// Write the manual pages of all commands to a directory; for packages
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The directory, which is made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: Args, command: &Command) -> Result<ExitCode> {
    let about = || args.dir.display().to_string();
    fs::create_dir_all(&args.dir).with_context(about)?;
    let mut command = visible(command);
    command.build();
    write(&command, &args.dir).with_context(about)?;
    Ok(ExitCode::SUCCESS)
}

/// A page of its own for each verb, and for each verb of a verb.
fn write(command: &Command, dir: &Path) -> Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write(verb, dir)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let page = Man::new(command.clone())
        .title(name.to_uppercase())
        .manual("Lighter")
        .source(concat!("Lighter ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render(&mut text)?;
    let file = dir.join(format!("{name}.1"));
    File::create(&file)
        .and_then(|mut file| file.write_all(&text))
        .with_context(|| file.display().to_string())
}
