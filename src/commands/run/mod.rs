//! `lighter run`: a WebAssembly file or an image as a container, without a daemon.
//!
//! A front end, which makes a bundle of what was typed and hands it to the library. The data flows one way: [`args`]
//! (what was typed) and [`program`] (what there is to run) make a bundle's [`spec`], in a [`place`] of its own; what runs
//! there is then attended to by [`attend`], or left to itself.

mod amount;
mod args;
mod attend;
mod environment;
mod mount;
mod overlay;
mod place;
mod port;
mod program;
mod rootless;
mod signals;
mod spec;
mod terminal;
mod ulimit;
mod unpacked;
mod user;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use lighter::annotations::Requests;
use lighter::bundle::Bundle;
use lighter::cgroup::CgroupManager;
use lighter::config::Config;
use lighter::container::{Container, CreateRequest, Stdio, Streams, add_layers};
use lighter::error::{Cause, Refusal};
use lighter::programs::Programs;
use lighter::record::Lock;

pub(crate) use args::Args;
use place::Place;
use program::Program;
use rootless::Caller;
use signals::{Ended, Signals};
use spec::Wanted;

/// What this command itself ends with, as those of Docker and Podman do.
const FAILED: u8 = 125;
/// The program is there, and cannot be run.
const CANNOT_RUN: u8 = 126;
/// The program is not there.
const NOT_FOUND: u8 = 127;

/// Runs a container, recorded below the state directory `root`, by default this user's own.
pub(crate) fn run(args: &Args, root: Option<PathBuf>) -> ExitCode {
    run_to_its_end(args, root).unwrap_or_else(|error| {
        if let Some(Ended(signal)) = error.downcast_ref() {
            return ExitCode::from(u8::try_from(128 + signal).unwrap_or(FAILED));
        }
        let _ = writeln!(std::io::stderr(), "lighter: {error:#}");
        ExitCode::from(match error.downcast_ref::<Refusal>().map(|refusal| refusal.cause) {
            Some(Cause::NotFound) => NOT_FOUND,
            Some(Cause::Denied) => CANNOT_RUN,
            Some(Cause::Invalid | Cause::System) | None => FAILED,
        })
    })
}

fn run_to_its_end(args: &Args, root: Option<PathBuf>) -> Result<ExitCode> {
    args.check()?;
    let caller = Caller::of_this_process();
    let root = match root {
        Some(root) => std::path::absolute(root)?,
        None => caller.state_directory()?,
    };
    let config = caller.configuration(args.config.load()?)?;
    let program = program::find(args, &config)?;
    let wanted = spec::wanted(args, &program, caller)?;
    let programs = Programs::locate()?;
    caller.enter(program.is_image())?;

    // From here on there is something to clean up, and signals come when we look for them.
    let signals = Signals::block()?;
    place::sweep(&root, &programs);
    let (place, lock) = Place::make(&root, args.name.as_deref(), !args.detach)?;
    let job = Job { args, program: &program, place: &place, signals: &signals };
    let ended = job.run(wanted, lock, config, programs.clone());
    if !args.detach || ended.is_err() {
        place.remove(&programs)?;
    }
    ended
}

/// A container in the making.
struct Job<'a> {
    args: &'a Args,
    program: &'a Program,
    place: &'a Place,
    signals: &'a Signals,
}

impl Job<'_> {
    fn run(&self, wanted: Wanted, lock: Lock, config: Config, programs: Programs) -> Result<ExitCode> {
        let Self { args, program, place, signals } = self;
        self.write_bundle(wanted)?;
        let cgroups = CgroupManager::of(config.systemd_cgroup);
        let request = CreateRequest {
            id: place.id.clone(),
            bundle: place.bundle().to_owned(),
            record: place.record.clone(),
            streams: streams(args)?,
            cgroups,
            config,
            programs,
            content: None,
        };
        let stop_signal = program.stop_signal(args)?;
        let created = signals.watch_while(|| Container::create(request));
        signals.came_early()?;
        let container = created?;
        container.start()?;
        drop(lock);
        if args.detach {
            super::say(&place.id)?;
            return Ok(ExitCode::SUCCESS);
        }
        attend::attend(&container, args, stop_signal, signals)
    }

    fn write_bundle(&self, wanted: Wanted) -> Result<()> {
        let Self { program, place, .. } = self;
        if let Some(image) = program.root() {
            overlay::mount(image, place.bundle(), &place.root())?;
        }
        let spec = wanted.into_spec(&place.id)?;
        let mut bundle =
            Bundle { path: place.bundle().to_owned(), spec, requests: Requests::default() };
        add_layers(&mut bundle, || Ok(program.layers().to_vec()))?;
        place.write(&bundle.spec)
    }
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
