//! `lighter run`: a WebAssembly file or an image as a container, without a daemon.
//!
//! A front end, which makes a bundle of what was typed and hands it to the library. The data flows one way: [`args`]
//! (what was typed) and [`program`] (what there is to run) make a bundle's [`spec`], in a [`place`] of its own; what runs
//! there is then attended to, or left to itself. A bundle that somebody else has made is [`oci`]'s.

mod amount;
mod args;
mod environment;
mod mount;
mod overlay;
mod place;
mod port;
mod program;
mod rootless;
mod signals;
mod spec;
mod ulimit;
mod user;

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lighter::annotations::Requests;
use lighter::bundle::Bundle;
use lighter::container::{Container, CreateRequest, Stdio, Streams, add_layers};
use lighter::error::{Cause, Refusal};
use lighter::programs::Programs;
use lighter::record::Lock;

pub(crate) use args::Args;
use place::Place;
pub(crate) use place::forget;
use program::Program;
use rootless::Caller;
use signals::{Ended, Signals};
use spec::Wanted;

use super::oci::foreground::{self, Keys};
use super::oci::{self, Globals, Outcome};

/// What this command itself ends with, as those of Docker and Podman do.
pub(crate) const FAILED: u8 = 125;
/// The program is there, and cannot be run.
const CANNOT_RUN: u8 = 126;
/// The program is not there.
const NOT_FOUND: u8 = 127;

/// How many requests to end are passed on; the next one ends it for sure.
const PATIENCE: u32 = 2;

/// Runs what was typed to its end, or leaves it to itself.
pub(crate) fn run(globals: &Globals, args: &Args) -> Outcome {
    if let Some(options) = args.of_bundle() {
        let (id, rest) = args.command.split_first().context("the container's id is missing")?;
        if let Some(word) = rest.first() {
            bail!(
                "run --bundle: {word:?}: a bundle's config.json has its arguments; only the id follows"
            );
        }
        return oci::run::run(globals, &options?, id);
    }
    Ok(run_to_its_end(globals, args).unwrap_or_else(|error| {
        if let Some(Ended(signal)) = error.downcast_ref() {
            return ExitCode::from(u8::try_from(128 + signal).unwrap_or(FAILED));
        }
        let _ = writeln!(std::io::stderr(), "lighter: {error:#}");
        ExitCode::from(match error.downcast_ref::<Refusal>().map(|refusal| refusal.cause) {
            Some(Cause::NotFound) => NOT_FOUND,
            Some(Cause::Denied) => CANNOT_RUN,
            Some(Cause::Invalid | Cause::System) | None => FAILED,
        })
    }))
}

fn run_to_its_end(globals: &Globals, args: &Args) -> Result<ExitCode> {
    args.check()?;
    let caller = Caller::of_this_process();
    // As the caller's, before this becomes another user's process.
    let root = std::path::absolute(globals.root())?;
    caller.check_state_directory(&root)?;
    let config = args.config.load()?;
    caller.check_cache(&config)?;
    let cgroups = globals.cgroups(&config);
    let program = program::find(args, &config)?;
    let wanted = spec::wanted(args, &program, caller)?;
    let programs = Programs::locate()?;
    caller.enter(program.is_image())?;

    // From here on there is something to clean up, and signals come when we look for them.
    let signals = Signals::block()?;
    place::sweep(&root, &programs);
    let (place, lock) = Place::make(&root, args.name.as_deref(), !args.detach)?;
    let job = Job { args, program: &program, place: &place };
    let ended = job.write_bundle(wanted).and_then(|()| {
        let request = CreateRequest {
            id: place.id.clone(),
            bundle: place.bundle().to_owned(),
            record: place.record.clone(),
            cgroups,
            config,
            programs: programs.clone(),
            content: None,
        };
        job.run(request, streams(args)?, lock, signals)
    });
    if !args.detach || ended.is_err() {
        // What the guest ended with, or why it could not begin, is what the caller wants to know.
        if let Err(left) = place.remove(&programs) {
            let _ = writeln!(std::io::stderr(), "lighter: clean up after {}: {left:#}", place.id);
        }
    }
    ended
}

/// A container in the making.
struct Job<'a> {
    args: &'a Args,
    program: &'a Program,
    place: &'a Place,
}

impl Job<'_> {
    /// Creates and starts it, and stays with it unless it is to be left.
    fn run(
        &self,
        request: CreateRequest,
        streams: Streams,
        lock: Lock,
        signals: Signals,
    ) -> Result<ExitCode> {
        let Self { args, program, place } = self;
        let stop_signal = program.stop_signal(args)?;
        let created = signals.watch_while(|| Container::create(request, streams));
        signals.came_early()?;
        let container = created?;
        container.start()?;
        drop(lock);
        if args.detach {
            super::say(&place.id)?;
            return Ok(ExitCode::SUCCESS);
        }
        let asked = Cell::new(0);
        let kill = |signal| {
            asked.set(asked.get() + u32::from(matches!(signal, libc::SIGINT | libc::SIGTERM)));
            container.kill(
                match signal {
                    libc::SIGINT | libc::SIGTERM if asked.get() > PATIENCE => libc::SIGKILL,
                    libc::SIGTERM => stop_signal,
                    signal => signal,
                },
                false,
            )
        };
        let keys = if args.interactive { Keys::PassedOn } else { Keys::Left };
        let console = container.take_console();
        foreground::attend(container.pidfd(), kill, console, keys, signals.into_fd())?;
        let exit = container.reap()?;
        if exit.oom && exit.limit.is_none() {
            let said = "lighter: the container was killed for want of memory: what --memory gives it is used up";
            let _ = writeln!(std::io::stderr(), "{said}");
        }
        Ok(ExitCode::from(u8::try_from(exit.status).unwrap_or(u8::MAX)))
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
