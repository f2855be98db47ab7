//! Loads compiled code, links it with WASI, and runs it.
//!
//! Everything that can be wrong with a program is found by [`load`], before its container counts as created;
//! [`Loaded::run`] is the first to execute any of its instructions.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use lighter::engine::{Settings, is_server, is_server_3};
use lighter::error::Refusal;
use lighter::plan::{Guest, HttpSetting, LimitKind, Limits};
use lighter::trace::{self, Who};
use rustix::fs::{Mode, OFlags};
use tokio::runtime::Runtime;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Precompiled, ResourcesRequired, Store};

use crate::exit::{self, Ends, Outcome};
use crate::http::{self, Server};
use crate::limits::{Limiter, request_limits};
use crate::stdio::BrokenPipe;
use crate::sys;
use crate::wasi::Host;

mod command;
mod module;
mod three;

/// Bytes of stack for the host's functions, beyond WebAssembly's: as much as Wasmtime leaves by default.
const HOST_STACK: usize = 1536 << 10;

/// How many events of a guest's sockets and streams are taken from the kernel at once.
const EVENTS: usize = 64;

/// What a component imports that makes requests: of WASI 0.2, and of 0.3.
const REQUESTS: [&str; 2] = ["wasi:http/outgoing-handler@", "wasi:http/client@"];

/// Why a guest was not loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The compiled code is not of this engine (another release, settings or processor), or damaged: compile
    /// the program again.
    Stale(String),
    /// The program cannot run here, however it is compiled.
    Refused(Refusal),
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A guest that is ready to run.
pub(crate) enum Loaded {
    /// It runs from its start to its end.
    Program(Box<Program>),
    /// It answers requests.
    Server(Box<Server>),
}

/// What runs once.
pub(crate) struct Program {
    entry: Entry,
    store: Store<Host>,
    runtime: Runtime,
}

enum Entry {
    Module(module::Entry),
    Component(command::Entry),
}

/// Maps the compiled `code`, links it and finds the function to run.
///
/// `proc_self` is this process's directory in a proc file system, for when `/proc` is not mounted: the engine
/// opens a component by a path only, so it gets that of our descriptor. The file is thereby opened anew, and
/// the process's user must be allowed to read it. The host's certificates of authorities are asked for if the guest
/// makes requests, and its image has none. `pagemap` is this process's, for servers.
///
/// # Errors
/// [`LoadError::Stale`] if `code` must be compiled anew; a refusal that names what is wrong with the program
/// or with the directories that it gets.
pub(crate) fn load(
    settings: &Settings,
    guest: &Guest,
    limits: &Limits,
    code: File,
    proc_self: Option<BorrowedFd<'_>>,
    pagemap: Option<BorrowedFd<'_>>,
    ask_for_roots: impl FnOnce() -> Result<Option<File>, Refusal>,
) -> Result<Loaded, LoadError> {
    let engine = engine(&config(settings, limits))?;
    trace::step(Who::Runner, "engine made");
    let kind = sys::kind_of(&code).map_err(|e| Refusal::system("map the compiled code", e))?;
    match kind {
        Some(Precompiled::Module) => {
            let module = sys::map_module(&engine, code).map_err(mapping_failed)?;
            trace::step(Who::Runner, "code mapped");
            check(guest, limits, Some(&module.resources_required()))?;
            let host = Host::new(guest, limits, BrokenPipe::IsAnError, None)?;
            trace::step(Who::Runner, "directories opened");
            let mut store = store(&engine, limits, host)?;
            let entry = Entry::Module(module::link(&mut store, &module, guest)?);
            let runtime = runtime(limits)?;
            Ok(Loaded::Program(Box::new(Program { entry, store, runtime })))
        }
        Some(Precompiled::Component) => {
            let (settings, engine, component) =
                map_as_compiled(settings, limits, engine, &code, proc_self)?;
            let is_entry = guest.entrypoint.export.is_none();
            if settings.concurrent {
                three::check(&engine, &component, guest)?;
            }
            if is_entry && serves(&engine, &component) {
                if !settings.epochs {
                    return Err(LoadError::Stale("a server was compiled without epochs".into()));
                }
                let required = component.resources_required();
                let roots = roots(&engine, &component, guest, ask_for_roots)?;
                let pagemap = pagemap.and_then(|map| map.try_clone_to_owned().ok());
                return server(&settings, guest, limits, required, roots, pagemap, |engine| {
                    map_component(engine, &code, proc_self)
                });
            }
            let entry = command::link(&engine, &component, guest)?;
            check(guest, limits, component.resources_required().as_ref())?;
            let roots = roots(&engine, &component, guest, ask_for_roots)?;
            let host = Host::new(guest, limits, BrokenPipe::Closes, roots)?;
            let mut store = store(&engine, limits, host)?;
            limit_calls(&mut store, limits);
            let entry = Entry::Component(entry);
            let runtime = runtime(limits)?;
            Ok(Loaded::Program(Box::new(Program { entry, store, runtime })))
        }
        None => Err(LoadError::Stale("it is not compiled code".into())),
    }
}

/// Maps the component, and with it what it was compiled for: the compiler has servers check epochs, and copy their data if they have
/// little; what is of WASI 0.3 has the component model's asynchronous functions; and nothing tells which code does but trying.
fn map_as_compiled(
    settings: &Settings,
    limits: &Limits,
    engine: Engine,
    code: &File,
    proc_self: Option<BorrowedFd<'_>>,
) -> Result<(Settings, Engine, Component), LoadError> {
    let mut failed = match map_component(&engine, code, proc_self) {
        Ok(component) => return Ok((settings.clone(), engine, component)),
        Err(failed) => failed,
    };
    let tries =
        [(true, true, false), (true, false, false), (true, false, true), (false, false, true)];
    for (epochs, copies, concurrent) in tries {
        let tried = Settings { epochs, copies, concurrent, ..settings.clone() };
        if !matches!(failed, LoadError::Stale(_)) || tried == *settings {
            continue;
        }
        let engine = self::engine(&config(&tried, limits))?;
        failed = match map_component(&engine, code, proc_self) {
            Ok(component) => return Ok((tried, engine, component)),
            // What is wrong with code that fits none of them is what was wrong at first.
            Err(LoadError::Stale(_)) => failed,
            Err(other) => other,
        };
    }
    Err(failed)
}

fn serves(engine: &Engine, component: &Component) -> bool {
    let ty = component.component_type();
    let exports = || ty.exports(engine).map(|(export, _)| export);
    is_server(exports()) || is_server_3(exports())
}

/// The host's certificates, if the component makes requests and would have none.
fn roots(
    engine: &Engine,
    component: &Component,
    guest: &Guest,
    ask: impl FnOnce() -> Result<Option<File>, Refusal>,
) -> Result<Option<File>, Refusal> {
    let ty = component.component_type();
    let makes_requests = ty
        .imports(engine)
        .any(|(import, _)| REQUESTS.iter().any(|requests| import.starts_with(requests)));
    match makes_requests && !http::are_in_image(&guest.env) {
        true => ask(),
        false => Ok(None),
    }
}

/// Loads a server into an engine that gets memory for its instances as is best for the component, which `required` this.
fn server(
    settings: &Settings,
    guest: &Guest,
    limits: &Limits,
    required: Option<ResourcesRequired>,
    roots: Option<File>,
    pagemap: Option<OwnedFd>,
    map: impl FnOnce(&Engine) -> Result<Component, LoadError>,
) -> Result<Loaded, LoadError> {
    let each = guest.http.get(HttpSetting::Memory);
    check(guest, &request_limits(limits, each), required.as_ref())?;
    let mut config = config(settings, limits);
    let mut areas = None;
    match required {
        Some(required) if settings.copies => {
            areas = Some(http::areas(&mut config, guest, &required, pagemap));
        }
        Some(required) => http::pool(&mut config, guest, limits, &required)?,
        None => {}
    }
    let engine = engine(&config)?;
    let component = map(&engine)?;
    let linked = command::provide(&engine, &component, guest, settings.concurrent)?;
    let server = Server::new(linked, settings.concurrent, guest, limits, roots, areas)?;
    Ok(Loaded::Server(Box::new(server)))
}

impl Loaded {
    /// Whether it answers requests.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// Runs the guest to its end and returns the exit status; see [`exit`] for which it is. What went wrong is
    /// then said on standard error.
    ///
    /// The process is expected to end now: neither the guest's memory nor its open files are given back.
    pub(crate) fn run(self, ends: Ends) -> u8 {
        match self {
            Self::Program(program) => program.run(ends),
            Self::Server(server) => server.run(ends),
        }
    }
}

impl Program {
    fn run(self, ends: Ends) -> u8 {
        let Self { entry, mut store, runtime } = self;
        store.data_mut().limiter.follow(ends.report);
        let outcome: Outcome = runtime.block_on(async {
            match &entry {
                Entry::Module(entry) => entry.run(&mut store).await,
                Entry::Component(entry) => entry.run(&mut store).await,
            }
        });
        let status = exit::report(outcome, &store.data().limiter, ends);
        // The kernel frees it all at once; a name lookup under way would keep the runtime from being dropped.
        std::mem::forget((entry, store, runtime));
        status
    }
}

fn engine(config: &Config) -> Result<Engine, Refusal> {
    Engine::new(config).map_err(|e| Refusal::system("configure the engine", format!("{e:#}")))
}

/// What a component hands over is copied; a module's buffers are used where they are.
pub(crate) fn limit_calls(store: &mut Store<Host>, limits: &Limits) {
    if let Some(bytes) = limits.call_bytes {
        store.set_hostcall_fuel(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

fn config(settings: &Settings, limits: &Limits) -> Config {
    let mut config = settings.to_config();
    if let Some(stack) = limits.get(LimitKind::Stack) {
        let stack = usize::try_from(stack).unwrap_or(usize::MAX);
        config.max_wasm_stack(stack);
        // What the host's side of a call may take where WebAssembly has used up its own.
        config.async_stack_size(stack.saturating_add(HOST_STACK));
    }
    config
}

/// What is known to be too much before anything is instantiated.
fn check(
    guest: &Guest,
    limits: &Limits,
    required: Option<&ResourcesRequired>,
) -> Result<(), Refusal> {
    match required.and_then(|required| Limiter::refuses(limits, required)) {
        None => Ok(()),
        Some(why) => {
            Err(Refusal::invalid(format!("process.args[0] {:?}: {why}", guest.entrypoint.name)))
        }
    }
}

pub(crate) fn store(engine: &Engine, limits: &Limits, host: Host) -> Result<Store<Host>, Refusal> {
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.limiter);
    // Without effect on code that checks none; a function that is called by name runs as long as it likes.
    store.set_epoch_deadline(u64::MAX / 2);
    if let Some(fuel) = limits.get(LimitKind::Fuel) {
        store.set_fuel(fuel).map_err(|e| Refusal::system("fuel the guest", e))?;
    }
    Ok(store)
}

fn runtime(limits: &Limits) -> Result<Runtime, Refusal> {
    let threads = limits.get(LimitKind::Threads).unwrap_or(1);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The place for events is made at once, and by default one of a thousand. Few of a guest's happen at the same time.
        .max_io_events_per_tick(EVENTS)
        // It cannot be told that there are none.
        .max_blocking_threads(usize::try_from(threads).unwrap_or(usize::MAX).max(1))
        .build()
        .map_err(|e| Refusal::system("make the event loop", e))
}

fn map_component(
    engine: &Engine,
    code: &File,
    proc_self: Option<BorrowedFd<'_>>,
) -> Result<Component, LoadError> {
    let fd = code.as_raw_fd();
    let Some(proc_self) = proc_self else {
        let path = format!("/proc/self/fd/{fd}");
        return sys::map_component(engine, Path::new(&path)).map_err(mapping_failed);
    };
    let step = |step: &'static str| move |e: rustix::io::Errno| Refusal::system(step, e);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let here =
        rustix::fs::open(".", flags, Mode::empty()).map_err(step("open the working directory"))?;
    rustix::process::fchdir(proc_self).map_err(step("enter the proc directory"))?;
    let component = sys::map_component(engine, Path::new(&format!("fd/{fd}")));
    rustix::process::fchdir(&here).map_err(step("return to the working directory"))?;
    component.map_err(mapping_failed)
}

/// Compiling anew helps against code that does not fit, not against a file that cannot be mapped.
fn mapping_failed(error: wasmtime::Error) -> LoadError {
    let from_system = error.downcast_ref::<io::Error>().is_some()
        || error.downcast_ref::<rustix::io::Errno>().is_some();
    if from_system {
        Refusal::system("map the compiled code", format!("{error:#}")).into()
    } else {
        LoadError::Stale(format!("{error:#}"))
    }
}

/// `names` in a sentence: at most a screenful of them.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 24;
    let names: Vec<_> = names.map(|name| format!("{name:?}")).collect();
    match names.len() {
        0 => "nothing".into(),
        n if n > MOST => format!("{} and {} more", names[..MOST].join(", "), n - MOST),
        _ => names.join(", "),
    }
}
