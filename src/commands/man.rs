//! `lighter man DIR`: manual pages of all verbs, for packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

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
        .date(date())
        .manual("Lighter")
        .source(concat!("Lighter ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = tidied(&String::from_utf8(text)?);
    let file = dir.join(format!("{name}.1"));
    fs::write(&file, text).with_context(|| file.display().to_string())
}

/// Without breaks of lines beside breaks of paragraphs, which `mandoc -T lint` complains of.
fn tidied(text: &str) -> String {
    // An empty line is one, too.
    let lines: Vec<&str> =
        text.lines().map(|line| if line.is_empty() { ".sp" } else { line }).collect();
    let is_paragraph = |at: Option<usize>| {
        at.and_then(|at| lines.get(at)).is_some_and(|line| line.starts_with(".sp"))
    };
    let kept = lines.iter().enumerate().filter(|(at, line)| {
        **line != ".br" || !(is_paragraph(at.checked_sub(1)) || is_paragraph(Some(at + 1)))
    });
    kept.flat_map(|(_, line)| [*line, "\n"]).collect()
}

/// The day of `$SOURCE_DATE_EPOCH`, where whoever packages wants the same bytes each time; else today.
fn date() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    day(given.unwrap_or_else(|| now.map_or(0, |now| now.as_secs())))
}

/// A day of the Gregorian calendar, of seconds since 1970.
fn day(seconds: u64) -> String {
    // Years begin in March here, so that a leap day is the last of its year; there are 146097 days in 400 years.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_709_251_200, "2024-03-01"),
            (4_102_444_799, "2099-12-31"),
        ] {
            assert_eq!(day(seconds), expected);
        }
    }

    #[test]
    fn breaks_beside_paragraphs_go() {
        assert_eq!(tidied("a\n.br\n\n.br\nb\n.br\nc\n"), "a\n.sp\nb\n.br\nc\n");
    }
}
