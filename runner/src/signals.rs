//! Signals that end a container.
//!
//! A guest has no way to handle a signal, so what would end a native program ends the guest: at once, with
//! 128 + the signal's number. That takes a handler even where the default action would do, because the
//! first process of a pid namespace does not get default actions, and because a shell's status is wanted.

use std::io;

use crate::sys;

/// Signals whose default action ends a process and that users send to containers.
///
/// SIGXCPU is the kernel's: of a soft `RLIMIT_CPU`, which the first process of a pid namespace would outlive.
const ENDING: [libc::c_int; 8] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGXCPU,
];

/// Makes signals end this process with 128 + their number, also as the first process of a pid namespace.
///
/// A broken pipe is reported to the guest as an error of its write, and does not end it.
///
/// # Errors
/// When the kernel refuses a handler.
pub(crate) fn install() -> io::Result<()> {
    sys::exit_on(&ENDING)?;
    sys::ignore(libc::SIGPIPE)
}
