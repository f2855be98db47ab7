//! The calls of `lighter linux` that no safe interface offers.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use lighter::wire::RUNNER_SOCKET;

/// Undoes what a program inherits from Rust's runtime: SIGPIPE ignored. No signal is blocked, either.
pub(super) fn undo_signals() {
    use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
    // SAFETY: the default action is no function that could be unsound to call.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = SigSet::empty().thread_set_mask();
}

/// Closes all descriptors beside the first three.
pub(super) fn close_inherited() {
    // SAFETY: called before anything is opened, so that nothing in this process uses them.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

/// Takes over the socket that the caller left at descriptor 3.
///
/// # Errors
/// When there is none.
pub(super) fn inherited_socket() -> io::Result<OwnedFd> {
    // SAFETY: nothing else in this process uses the descriptor: it is taken once, by the only verb that has it, before
    // anything is opened; and if it is not open the first use of it below fails.
    let socket = unsafe { OwnedFd::from_raw_fd(RUNNER_SOCKET) };
    let usable = rustix::net::sockopt::socket_type(&socket)
        .and_then(|_| rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC));
    match usable {
        Ok(()) => Ok(socket),
        Err(e) => {
            // Not ours to close.
            std::mem::forget(socket);
            Err(e.into())
        }
    }
}
