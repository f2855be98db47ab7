//! How a guest's end becomes an exit status and, where it failed, words on its standard error.
//!
//! | the guest | status |
//! |---|---|
//! | returns | 0 |
//! | exits with `n` | the low eight bits of `n`, as for any process |
//! | returns an error from `wasi:cli/run` | 1 |
//! | traps, or runs out of fuel or stack | 134, as a program that aborts (128 + SIGABRT) |
//! | ends for want of memory that its limit refused | 137, as what the kernel kills for that (128 + SIGKILL) |
//! | is beyond its timeout, or its processor time | 124, 152; see [`crate::limits`] |
//! | cannot be instantiated, or the host fails under it | 125, as container tools report their own failures |
//!
//! The first line is a sentence of its own: Kubernetes and others show it as the termination message.

use lighter::plan::LimitKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::last_words::LastWords;
use crate::limits::{Limiter, Report};

/// 128 + SIGABRT.
const TRAPPED: u8 = 134;
/// 128 + SIGKILL.
const OUT_OF_MEMORY: u8 = 137;
/// What Docker and Podman exit with when it is they who failed.
pub(crate) const HOST_FAILED: u8 = 125;

/// How a guest that was not stopped from outside ended.
pub(crate) type Outcome = wasmtime::Result<Ended>;

/// A guest that came to its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It returned, or said that all went well.
    Well,
    /// `wasi:cli/run` returned an error.
    Badly,
}

/// Where it is left how the guest ended, beside its standard error.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    /// For the supervisor.
    pub(crate) report: Report,
    /// For whoever looks after containers.
    pub(crate) last_words: Option<LastWords>,
}

/// The exit status of `outcome`; says on standard error what went wrong, if the guest could not.
///
/// Leaves in `ends` which of the guest's limits ended it, if one did, and the first line of what went wrong.
pub(crate) fn report(outcome: Outcome, limiter: &Limiter, ends: Ends) -> u8 {
    let error = match outcome {
        Ok(Ended::Well) => return 0,
        Ok(Ended::Badly) => return 1,
        Err(error) => error,
    };
    if let Some(I32Exit(status)) = error.downcast_ref() {
        // Linux keeps the low eight bits of what a program passes to exit.
        return status.to_le_bytes()[0];
    }
    let limit = limiter.blame(&error);
    if let Some(limit) = limit {
        // Before the message, which may have to wait for its reader.
        ends.report.note(limit);
    }
    let (status, message) = describe(&error, limit.map(|limit| (limit, limiter.verdict(limit))));
    if let Some(last_words) = ends.last_words {
        last_words.say(&message);
    }
    complain(&message);
    status
}

/// What went wrong, as [`report`] says it, for a guest that is not the whole process.
pub(crate) fn explain(error: &Error, limiter: &Limiter) -> String {
    let limit = limiter.blame(error);
    let (_, message) = describe(error, limit.map(|limit| (limit, limiter.verdict(limit))));
    message.strip_prefix("lighter: ").map(str::to_owned).unwrap_or(message)
}

/// Where the guest was when `error` came up, in lines of its own; nothing if that is not known.
pub(crate) fn backtrace(error: &Error) -> String {
    let mut text = String::new();
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        append(&mut text, backtrace);
    }
    text
}

/// Writes `message` to standard error if that takes it at once: not worth waiting for.
pub(crate) fn mention(message: &str) {
    let stderr = rustix::stdio::stderr();
    let mut fds = [PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
    if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1) {
        let _ = rustix::io::write(stderr, message.as_bytes());
    }
}

/// Writes `message` to standard error; that it cannot be written changes nothing any more.
pub(crate) fn complain(message: &str) {
    let mut rest = message.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// The status and the message, of which `limit` has the first line.
fn describe(error: &Error, limit: Option<(LimitKind, String)>) -> (u8, String) {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let trap = error.downcast_ref::<Trap>();
    let (status, mut text) = if let Some((kind, verdict)) = limit {
        let status = match kind {
            LimitKind::Memory => OUT_OF_MEMORY,
            _ if trap.is_some() => TRAPPED,
            _ => HOST_FAILED,
        };
        (status, format!("lighter: {verdict}"))
    } else if let Some(&trap) = trap {
        (TRAPPED, format!("lighter: guest trapped: {}", words(trap)))
    } else if backtrace.is_some() {
        // The host's side of a call refused what the guest asked for.
        (TRAPPED, format!("lighter: guest trapped: {}", causes(error)))
    } else {
        (HOST_FAILED, format!("lighter: cannot run the guest: {}", causes(error)))
    };
    if let Some(fault) = trap.and_then(|_| fault(error)) {
        text = format!("{text} ({fault})");
    }
    text.push('\n');
    if let Some(backtrace) = backtrace {
        append(&mut text, backtrace);
    }
    (status, text)
}

/// The engine's name of the trap, or a clearer one.
fn words(trap: Trap) -> String {
    match trap {
        Trap::UnreachableCodeReached => "it reached an `unreachable` instruction".into(),
        Trap::StackOverflow => "call stack exhausted (it recursed too deeply)".into(),
        other => {
            let text = other.to_string();
            text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
        }
    }
}

/// Which address was out of bounds, and of how large a memory.
fn fault(error: &Error) -> Option<String> {
    error.chain().map(ToString::to_string).find(|message| message.starts_with("memory fault"))
}

/// The messages of `error` and its causes, without the backtrace, which is one of its contexts.
fn causes(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let message = cause.to_string();
        if message.starts_with("error while executing at wasm backtrace") {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&message);
    }
    text
}

/// The frames, innermost first, with the source line where the module has one.
fn append(text: &mut String, backtrace: &WasmBacktrace) {
    // The engine's own rendering has the names demangled and inlined functions resolved; only its headline
    // is not wanted here.
    let rendered = backtrace.to_string();
    let frames = rendered.split_once('\n').map_or("", |(_, frames)| frames);
    if !frames.is_empty() {
        text.push_str("backtrace, innermost call first:\n");
        text.push_str(frames);
        text.push('\n');
    }
}
