//! `lighter run`: a WebAssembly file or an image as a container, without a daemon.
//!
//! A front end, which makes a bundle of what was typed and hands it to the library. The data flows one way: [`args`]
//! (what was typed) and [`program`] (what there is to run) make a bundle's [`spec`], in a [`place`] of its own; what runs
//! there is then attended to by [`attend`], or left to itself.

mod amount;
mod args;
mod attend;
mod environment;
mod keys;
mod mount;
mod place;
mod port;
mod program;
mod rootless;
mod signals;
mod spec;
mod ulimit;
mod user;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use lighter::cgroup::CgroupManager;
use lighter::config::Config;
use lighter::container::{Container, CreateRequest, Stdio, Streams};
use lighter::error::{Cause, Refusal};
use lighter::programs::Programs;

pub(crate) use args::Args;
use args::Network;
use place::Place;
use signals::Signals;

/// What this command itself ends with, as those of Docker and Podman do.
const FAILED: u8 = 125;
/// The program is there, and cannot be run.
const CANNOT_RUN: u8 = 126;
/// The program is not there.
const NOT_FOUND: u8 = 127;

/// Runs a container below the state directory `root`.
pub(crate) fn run(args: Args, root: Option<PathBuf>) -> ExitCode {
    run_to_its_end(&args, root).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "lighter: {error:#}");
        ExitCode::from(status(&error))
    })
}

fn status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Refusal>().map(|refusal| refusal.cause) {
        Some(Cause::NotFound) => NOT_FOUND,
        Some(Cause::Denied) => CANNOT_RUN,
        Some(Cause::Invalid | Cause::System) | None => FAILED,
    }
}

fn run_to_its_end(args: &Args, root: Option<PathBuf>) -> Result<ExitCode> {
    args.check()?;
    let user = rootless::User::of_this_process()?;
    let root = root.unwrap_or_else(|| user.state_directory());
    let config = user.configuration(args.config.load()?);
    // Before there is a second thread, which the kernel wants for it.
    user.enter(args.needs_mounts())?;
    let program = program::find(args, &config)?;
    let spec = spec::spec(args, &program, &user)?;
    let programs = Programs::locate()?;

    // From here on there is something to clean up, and signals come when we look for them.
    let signals = Signals::block()?;
    place::sweep(&root, &programs);
    let place = Place::make(&root, args.name.as_deref(), !args.detach)?;
    let ended = in_place(args, &place, spec, &program, config, programs, &signals);
    match args.detach && ended.is_ok() {
        true => place.leave(),
        false => place.remove(),
    }
    ended
}

fn in_place(
    args: &Args,
    place: &Place,
    mut spec: spec::Wanted,
    program: &program::Program,
    config: Config,
    programs: Programs,
    signals: &Signals,
) -> Result<ExitCode> {
    place.furnish(program)?;
    spec.name(&place.id);
    place.write(&spec.into_spec(&place.id)?)?;
    let request = CreateRequest {
        id: place.id.clone(),
        bundle: place.bundle(),
        record: place.record.clone(),
        streams: streams(args)?,
        cgroups: CgroupManager::of(config.systemd_cgroup),
        config,
        programs,
        content: None,
    };
    let container = signals.watch_while(|| Container::create(request))?;
    let started = container.start();
    if args.detach && started.is_ok() {
        super::say(&place.id)?;
        return Ok(ExitCode::SUCCESS);
    }
    let exit = match started {
        Ok(()) => attend::attend(&container, args, program.stop_signal(args)?, signals),
        Err(refusal) => Err(refusal.into()),
    };
    if exit.is_err() {
        let _ = container.kill(libc::SIGKILL, false);
        let _ = container.reap();
    }
    container.delete().context("clean up")?;
    exit
}

/// Where the container's standard streams lead.
fn streams(args: &Args) -> Result<Streams> {
    if args.tty {
        return Ok(Streams::Terminal);
    }
    let null = || OpenOptions::new().read(true).write(true).open("/dev/null").context("/dev/null");
    let stdin = match args.interactive {
        true => rustix::io::dup(rustix::stdio::stdin()).context("standard input")?,
        false => null()?.into(),
    };
    let (stdout, stderr) = match (&args.output, args.detach) {
        (Some(path), _) => {
            let open = OpenOptions::new().append(true).create(true).open(path);
            let file: File = open.with_context(|| format!("--output {}", path.display()))?;
            (file.try_clone()?.into(), file.into())
        }
        (None, true) => (null()?.into(), null()?.into()),
        (None, false) => (
            rustix::io::dup(rustix::stdio::stdout()).context("standard output")?,
            rustix::io::dup(rustix::stdio::stderr()).context("standard error")?,
        ),
    };
    Ok(Streams::Given(Stdio { stdin, stdout, stderr }))
}
