//! `lighter create`: a container that waits to be started, by whoever comes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use lighter::bundle::Bundle;
use lighter::config::Config;
use lighter::container::{Container, CreateRequest, Stdio, Streams};
use lighter::programs::Programs;
use lighter::record::{Lock, Record};

use super::{Failure, Globals, Outcome, console};

/// Create a container from a bundle; it waits for `lighter start`
///
/// A bundle is a directory with a config.json, as `lighter spec` writes it, and a root filesystem.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,

    /// The new container's id
    id: String,
}

/// How a container is made of a bundle: the options of runc and crun.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The bundle's directory [default: the current one]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,

    /// Where to write the id of the container's first process
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,

    /// Socket that gets the terminal, if config.json asks for one
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,

    /// Descriptors for the container beyond the first three; guests have no use for them
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub(crate) preserve_fds: u32,

    /// Taken from others: the root is always changed by pivot_root, which works on any file system of ours
    #[arg(long, hide = true)]
    no_pivot: bool,

    /// Taken from others: no session keyring is made
    #[arg(long, hide = true)]
    no_new_keyring: bool,

    /// Taken from others: Linux containers are always awaited
    #[arg(long, hide = true)]
    no_subreaper: bool,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    create(globals, &args.options, &args.id, true).map(|_| ExitCode::SUCCESS)
}

/// A container that waits to be started, and nobody else may touch until the lock is dropped.
pub(super) struct Created {
    pub(super) container: Container,
    pub(super) record: Record,
    /// The side of its terminal that is the caller's, if nobody else has got it.
    pub(super) console: Option<OwnedFd>,
    pub(super) lock: Lock,
}

/// Creates the container `id`. `detached`: nobody stays who could have its terminal.
pub(super) fn create(
    globals: &Globals,
    options: &Options,
    id: &str,
    detached: bool,
) -> anyhow::Result<Created> {
    let bundle = options.bundle.as_deref().unwrap_or(Path::new("."));
    let bundle = std::path::absolute(bundle).with_context(|| bundle.display().to_string())?;
    let terminal = Bundle::load(&bundle)?.wants_terminal();
    let socket = options.console_socket.as_deref();
    check_terminal(terminal, socket, detached)?;
    if options.preserve_fds > 0 {
        log::warn!("--preserve-fds {}: containers get no more than three", options.preserve_fds);
    }
    let config = Config::load(None)?;
    let programs = Programs::locate()?;
    let streams = if terminal { Streams::Terminal } else { Streams::Given(own_streams()?) };
    let (record, lock) = Record::make(&globals.root(), id)?;
    let request = CreateRequest {
        id: id.to_owned(),
        bundle,
        record: record.clone(),
        cgroups: globals.cgroups(&config),
        config,
        programs: programs.clone(),
        content: None,
    };
    let container = Container::create(request, streams).map_err(|r| Failure::of_process(r, 1))?;
    let hand_over = || {
        let console = hand_over_console(container.take_console(), socket)?;
        if let Some(file) = &options.pid_file {
            write_pid(file, container.pid())
                .with_context(|| format!("--pid-file {}", file.display()))?;
        }
        Ok(console)
    };
    match hand_over() {
        Ok(console) => Ok(Created { container, record, console, lock }),
        Err(error) => {
            if let Err(left) = Container::clean_up(&record, &Ok(programs)) {
                log::warn!("after a failed create: {left}");
            }
            Err(error)
        }
    }
}

/// Whoever leaves must say who gets the terminal.
pub(super) fn check_terminal(
    terminal: bool,
    socket: Option<&Path>,
    detached: bool,
) -> anyhow::Result<()> {
    match socket {
        None if terminal && detached => bail!(
            "process.terminal: true, but there is no --console-socket to send the terminal to"
        ),
        Some(path) if !terminal => {
            bail!("--console-socket {}: process.terminal is false", path.display())
        }
        _ => Ok(()),
    }
}

/// Sends the terminal to the socket; returns it if there is none.
pub(super) fn hand_over_console(
    console: Option<OwnedFd>,
    socket: Option<&Path>,
) -> anyhow::Result<Option<OwnedFd>> {
    match (console, socket) {
        (Some(console), Some(path)) => {
            console::send(console, path)
                .with_context(|| format!("--console-socket {}", path.display()))?;
            Ok(None)
        }
        (console, _) => Ok(console),
    }
}

/// Copies of this process's standard streams.
pub(super) fn own_streams() -> io::Result<Stdio> {
    Ok(Stdio {
        stdin: io::stdin().as_fd().try_clone_to_owned()?,
        stdout: io::stdout().as_fd().try_clone_to_owned()?,
        stderr: io::stderr().as_fd().try_clone_to_owned()?,
    })
}

/// Written aside and renamed: who waits for the file finds all of it.
pub(super) fn write_pid(file: &Path, pid: u32) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let aside = file.with_file_name(hidden);
    fs::write(&aside, pid.to_string())?;
    fs::rename(&aside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_goes_to_somebody() {
        let socket = Some(Path::new("/run/console.sock"));
        assert!(check_terminal(true, socket, true).is_ok());
        assert!(check_terminal(true, None, false).is_ok());
        assert!(check_terminal(false, None, true).is_ok());
        let error = check_terminal(true, None, true).unwrap_err().to_string();
        assert!(error.starts_with("process.terminal: true"), "{error}");
        let error = check_terminal(false, socket, true).unwrap_err().to_string();
        assert!(error.starts_with("--console-socket /run/console.sock"), "{error}");
    }

    #[test]
    fn a_pid_file_holds_a_number_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        write_pid(&file, 42).unwrap();
        write_pid(&file, 43).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "43");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_pid(&dir.path().join("none/pid"), 1).is_err());
    }
}
