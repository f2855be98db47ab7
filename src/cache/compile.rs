//! Compiling in a child process with limits, seen from the parent.
//!
//! The child is `lighter compile --child ORDER`. It has three descriptors: 0 is the WebAssembly, 1 takes
//! the code, 2 takes words: the [`Report`] as the last line if it succeeds, else what is wrong. Code and words
//! go to memory files, so that nobody needs to read while the child writes. The child limits itself before it
//! reads the first byte; wall-clock time is up to the parent.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use serde::{Deserialize, Serialize};

use crate::child::{self, Birthplace, Child, Spawn};
use crate::config::CompileConfig;
use crate::engine::{Settings, WASMTIME_VERSION};
use crate::error::{Refusal, Result};
use crate::sys::NOT_ADMITTED;

use super::Kind;
use super::digest::Digest;
use super::source::{self, Wasm};

/// Address space that each of the compiler's threads may need.
const BYTES_PER_THREAD: u64 = 256 << 20;

/// What to do where the container's own limits do not suffice.
const REMEDY: &str = "compile it beforehand with `lighter cache warm`, give the container more, or set \
    compile.in_container to false in the node's configuration";

/// What the child says is read up to here.
const MAX_WORDS: u64 = 64 << 10;

/// What the child shall do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Name of the module, for whoever looks at the list of processes.
    pub name: String,
    /// How to compile.
    pub settings: Settings,
    /// What it may cost.
    pub limits: CompileConfig,
    /// What the module was when its name in the store was determined. Not checked if `None`.
    pub digest: Option<Digest>,
}

/// Who pays for a compilation, in memory and processor time: the control group that the child is born in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Payer {
    /// The caller's.
    #[default]
    Caller,
    /// That of version 2 with this directory.
    Group(PathBuf),
    /// That of version 1 with these files `tasks`, as far as they are there.
    Tasks(Vec<PathBuf>),
}

impl Payer {
    /// Where the child is born. Only now, as most code is in the store.
    fn birthplace(&self) -> io::Result<Option<Birthplace>> {
        match self {
            Self::Caller => Ok(None),
            Self::Group(directory) => {
                Ok(Some(Birthplace::Directory(File::open(directory)?.into())))
            }
            Self::Tasks(files) => {
                let open = |file| File::options().write(true).open(file).map(OwnedFd::from);
                let there = |opened: &io::Result<_>| {
                    !opened.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
                };
                let tasks = files.iter().map(open).filter(there).collect::<io::Result<Vec<_>>>()?;
                match tasks.is_empty() {
                    true => Err(io::ErrorKind::NotFound.into()),
                    false => Ok(Some(Birthplace::Tasks(tasks))),
                }
            }
        }
    }
}

/// Why nothing was compiled.
#[derive(Debug)]
pub(super) struct Failure {
    /// The reason.
    pub(super) refusal: Refusal,
    /// It is the module's fault: whoever tries again fails again.
    pub(super) of_module: bool,
}

/// What the child has done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Module or component.
    pub kind: Kind,
    /// SHA-256 of what it read.
    pub digest: Digest,
    /// Bytes of what it read.
    pub wasm_bytes: u64,
    /// Wasmtime's own hash of what compiled code depends on.
    pub compatibility: String,
    /// The child's Wasmtime release.
    pub wasmtime: String,
    /// Milliseconds that it took.
    pub compile_ms: u64,
    /// Bytes of its largest resident set.
    pub peak_bytes: u64,
}

/// How the child ends; everything else is a crash.
pub mod exit {
    /// The module is not valid.
    pub const INVALID: u8 = 1;
    /// The order was not understood: the child is of another release.
    pub const USAGE: u8 = 2;
    /// Something failed that is not the module's fault.
    pub const SYSTEM: u8 = 3;
    /// The module is no longer what was ordered.
    pub const CHANGED: u8 = 4;
}

/// Code fresh from the compiler: a memory file that nobody can write any more.
#[derive(Debug)]
pub struct Compiled {
    /// The code, opened for reading.
    pub file: File,
    /// About it.
    pub report: Report,
}

/// Compiles `wasm` with `program`, the `lighter` command, within `limits`.
///
/// Blocks until the child has ended. The child is reaped here, so nobody may wait for just any child of this process
/// meanwhile; and it is killed when the calling thread ends.
///
/// # Errors
/// Says what is wrong with the module, or which limit was reached.
pub fn compile(
    program: &Path,
    limits: &CompileConfig,
    wasm: &Wasm<'_>,
    settings: &Settings,
) -> Result<Compiled> {
    source::check(wasm, limits)?;
    let order = Order {
        name: wasm.name.to_owned(),
        settings: settings.clone(),
        limits: limits.clone(),
        digest: None,
    };
    carry_out(program, &order, &Payer::Caller, wasm).map_err(|failure| failure.refusal)
}

/// Has the child do what `order` says with `wasm`, which has been checked, at the cost of `payer`.
pub(super) fn carry_out(
    program: &Path,
    order: &Order,
    payer: &Payer,
    wasm: &Wasm<'_>,
) -> Result<Compiled, Failure> {
    let limits = &order.limits;
    let here = |refusal| Failure { refusal, of_module: false };
    let failed = |e: io::Error| here(Refusal::system(format!("compile {:?}", wasm.name), e));
    let code = memory_file("lighter-code").map_err(failed)?;
    let words = memory_file("lighter-words").map_err(failed)?;
    let text = serde_json::to_string(order).map_err(|e| failed(e.into()))?;
    let args = [OsStr::new("lighter"), "compile".as_ref(), "--child".as_ref(), text.as_ref()];
    let args = args.map(c_string).into_iter().collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let threads = format!("RAYON_NUM_THREADS={}", threads(limits));
    let birthplace = payer.birthplace().map_err(|e| {
        here(Refusal::system(format!("compile {:?}: open {payer:?}", wasm.name), e))
    })?;
    let child = child::spawn(&Spawn {
        program: &c_string(program.as_os_str()).map_err(failed)?,
        args: &args,
        environment: &[c_string(threads.as_ref()).map_err(failed)?],
        descriptors: &[wasm.file.as_fd(), code.as_fd(), words.as_fd()],
        new_pid_namespace: false,
        cgroup: birthplace.as_ref(),
    })
    .map_err(|e| match e.kind() {
        // It is one process too many already.
        io::ErrorKind::WouldBlock if *payer != Payer::Caller => here(too_few_processes(wasm.name)),
        _ => here(Refusal::system(format!("start the compiler {}", program.display()), e)),
    })?;
    let ended = wait(&child, limits.timeout()).map_err(failed)?;

    let words = read_words(words).map_err(failed)?;
    let Some(status) = ended else {
        let refusal = Refusal::invalid(format!(
            "{:?}: compiling takes longer than compile.timeout_seconds ({}) allows",
            wasm.name, limits.timeout_seconds
        ));
        // A payer with a small share of a processor is no measure for others.
        return Err(Failure { refusal, of_module: *payer == Payer::Caller });
    };
    if !status.success() {
        return Err(judge(order, payer, status, words.trim()));
    }
    let last = words.lines().last().unwrap_or_default();
    let report: Report = serde_json::from_str(last).map_err(|_| here(foreign(program, last)))?;
    if report.wasmtime != WASMTIME_VERSION {
        return Err(here(foreign(program, &format!("Wasmtime {}", report.wasmtime))));
    }
    Ok(Compiled { file: seal(code).map_err(failed)?, report })
}

/// Why the compiler ended without success.
fn judge(order: &Order, payer: &Payer, status: ExitStatus, words: &str) -> Failure {
    let Order { name, limits, .. } = order;
    let pays_itself = *payer == Payer::Caller;
    let out_of_memory = ["memory allocation of", "Cannot allocate memory", "os error 12"]
        .iter()
        .any(|sign| words.contains(sign));
    let no_thread =
        status.code() == Some(101) && words.contains("Resource temporarily unavailable");
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let system = |error: &str| Refusal::system(format!("compile {name:?}"), error);
    let of_module = |refusal| Failure { refusal, of_module: true };
    let here = |refusal| Failure { refusal, of_module: false };
    // Without a payer a thread that cannot be started means no room for its stack.
    if out_of_memory || (no_thread && pays_itself) {
        return of_module(Refusal::invalid(format!(
            "{name:?}: compiling needs more memory than compile.max_memory_bytes ({}) allows",
            limits.max_memory_bytes
        )));
    }
    match (code, status.signal()) {
        (Some(exit::INVALID), _) => of_module(Refusal::invalid(format!("{name:?}: {words}"))),
        (Some(exit::CHANGED), _) => of_module(Refusal::invalid(format!(
            "{name:?}: the file changed while it was being read"
        ))),
        (Some(exit::USAGE), _) => {
            here(system(&format!("the compiler is of another release than this program: {words}")))
        }
        (_, Some(libc_signal::XCPU)) => of_module(Refusal::invalid(format!(
            "{name:?}: compiling takes more processor time than compile.cpu_seconds ({}) allows",
            limits.cpu_seconds
        ))),
        (_, Some(libc_signal::KILL)) if !pays_itself => here(Refusal::invalid(format!(
            "{name:?}: compiling it was ended by the kernel (SIGKILL), most likely because it needs more memory \
             than the container may use (linux.resources.memory.limit); {REMEDY}"
        ))),
        (_, Some(libc_signal::KILL)) => here(system(
            "the compiler was killed (SIGKILL), most likely because the node is short of memory",
        )),
        (Some(code), _) if i32::from(code) == NOT_ADMITTED => {
            here(system("it cannot enter the control group that pays"))
        }
        _ if no_thread => here(too_few_processes(name)),
        _ => here(system(&format!("the compiler ended with {status}: {words}"))),
    }
}

/// What pays for the compiler of `name` may have no more processes.
fn too_few_processes(name: &str) -> Refusal {
    Refusal::invalid(format!(
        "{name:?}: compiling it needs more threads than the container may have \
         (linux.resources.pids.limit); {REMEDY}"
    ))
}

/// The signals that mean something here, as numbers.
mod libc_signal {
    use super::Signal;
    pub(super) const XCPU: i32 = Signal::XCPU.as_raw();
    pub(super) const KILL: i32 = Signal::KILL.as_raw();
}

fn foreign(program: &Path, what: &str) -> Refusal {
    Refusal::system(
        format!("compile with {}", program.display()),
        format_args!(
            "it is not of the same release as this program, which expects Wasmtime {WASMTIME_VERSION}: {what}"
        ),
    )
}

/// As many threads as there are processors for and room in memory.
fn threads(limits: &CompileConfig) -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    processors.min(limits.max_memory_bytes / BYTES_PER_THREAD).max(1)
}

/// Waits for the child's end; kills it if that takes too long, and then returns `None`.
fn wait(child: &Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let ended = wait_by_descriptor(child, timeout);
    if !matches!(ended, Ok(true)) {
        let _ = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
        reap(child)?;
        return ended.map(|_| None);
    }
    reap(child).map(Some)
}

/// Waits for the child, and lets it go.
fn reap(child: &Child) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether the child ends within `timeout`.
fn wait_by_descriptor(child: &Child, timeout: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::from_borrowed_fd(child.pidfd.as_fd(), PollFlags::IN)], Some(&left))
        {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

fn memory_file(name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

fn read_words(words: OwnedFd) -> io::Result<String> {
    let mut file = File::from(words);
    io::Seek::rewind(&mut file)?;
    let mut text = Vec::new();
    file.take(MAX_WORDS).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Closes the code to all writers, and opens it for reading.
fn seal(code: OwnedFd) -> io::Result<File> {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&code, seals)?;
    use std::os::fd::AsRawFd;
    File::open(format!("/proc/self/fd/{}", code.as_raw_fd()))
}
