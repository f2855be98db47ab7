//! `lighter kill`: sends a signal.

use std::process::ExitCode;

use lighter::container::Status;
use lighter::error::{Cause, Refusal, Result};
use nix::sys::signal::Signal;

use super::{Globals, Outcome, find};

/// Send a signal to a container's first process, or to all of its processes
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// To all of its processes
    #[arg(short, long)]
    all: bool,

    /// The container
    id: String,

    /// The signal's name or number
    #[arg(default_value = "SIGTERM", value_parser = parse)]
    signal: i32,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let container = find(globals, &args.id)?;
    // dockerd and containerd know these words.
    let gone = || {
        Refusal::not_found(format!(
            "cannot send signal {} to container {:?}: container not running",
            args.signal, args.id
        ))
    };
    let send = || -> Result<()> {
        if container.status()? == Status::Stopped {
            return Err(gone());
        }
        container.container()?.kill(args.signal, args.all)
    };
    match send() {
        // Of all that are left, which are none.
        Err(refusal) if refusal.cause == Cause::NotFound && args.all => {}
        Err(refusal) if refusal.cause == Cause::NotFound => return Err(gone().into()),
        sent => sent?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `9`, `KILL`, `SIGKILL`, in small letters, too; `RTMIN+3`.
fn parse(text: &str) -> std::result::Result<i32, String> {
    let unknown = || format!("{text:?} is no signal");
    if let Ok(number) = text.parse::<i32>() {
        return (0..=libc::SIGRTMAX()).contains(&number).then_some(number).ok_or_else(unknown);
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some((base, offset)) = name.split_once(['+', '-']) {
        let offset: i32 = offset.parse().map_err(|_| unknown())?;
        return match base {
            "RTMIN" if name.contains('+') => Ok(libc::SIGRTMIN() + offset),
            "RTMAX" if name.contains('-') => Ok(libc::SIGRTMAX() - offset),
            _ => Err(unknown()),
        };
    }
    match name {
        "RTMIN" => Ok(libc::SIGRTMIN()),
        "RTMAX" => Ok(libc::SIGRTMAX()),
        name => format!("SIG{name}").parse::<Signal>().map(|s| s as i32).map_err(|_| unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, signal) in [
            ("9", 9),
            ("KILL", 9),
            ("sigkill", 9),
            ("SIGTERM", 15),
            ("0", 0),
            ("37", 37),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("Usr1", 10),
        ] {
            assert_eq!(parse(text), Ok(signal), "{text}");
        }
        for text in ["", "SIG", "65", "-1", "NONE", "RTMIN-1", "RTMIN+x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
