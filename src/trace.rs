//! What a start spends its time on: with [`VARIABLE`] in its environment, each program on the way of a container's start appends
//! a line to the file named there for each step that is done. For those who make starts faster; `make bench QUESTIONS=timeline`
//! reads it. Without the variable a step costs one load from memory.
//!
//! A line is the nanoseconds of `CLOCK_MONOTONIC`, which is the same in all processes, who has done the step, and the step.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// The environment variable that names the file.
pub const VARIABLE: &str = "LIGHTER_TRACE";

/// Set once, at the start of the program.
static FILE: OnceLock<File> = OnceLock::new();

/// Who starts a container, and says how far it is.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    /// The shim that containerd executes for each start.
    Start,
    /// The shim's server, or `lighter`.
    Supervisor,
    /// The process of the guest.
    Runner,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Supervisor => "supervisor",
            Self::Runner => "runner",
        }
    }
}

/// Opens the file, if there is to be one. It stays open until the process ends.
pub fn begin() {
    if let Some(path) = std::env::var_os(VARIABLE)
        && let Ok(file) = File::options().append(true).create(true).open(path)
    {
        let _ = FILE.set(file);
    }
}

/// Notes that `who` has done `step`.
pub fn step(who: Who, step: &str) {
    let Some(mut file) = FILE.get() else { return };
    let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC) else { return };
    let nanoseconds = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    // One write, so that lines of two processes do not mix; one that fails is missed by nobody else.
    let _ = file.write_all(format!("{nanoseconds} {} {step}\n", who.name()).as_bytes());
}

/// The environment of a program whose steps are to be noted, too: empty unless ours are.
pub fn environment() -> Vec<CString> {
    let Some(path) = FILE.get().and_then(|_| std::env::var_os(VARIABLE)) else { return Vec::new() };
    let variable = [VARIABLE.as_bytes(), b"=", path.as_bytes()].concat();
    CString::new(variable).ok().into_iter().collect()
}
