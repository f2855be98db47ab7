//! The calls that no safe interface offers. All of this crate's unsafe code is here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Which of the two processes this is, after [`fork`].
pub(crate) enum Fork {
    /// The one that called.
    Parent,
    /// The new one.
    Child,
}

/// Splits this process in two. Only for a process with a single thread.
///
/// # Errors
/// The kernel's, when it has no room for another process.
#[allow(clippy::disallowed_methods, reason = "there is a single thread: see below")]
pub(crate) fn fork() -> io::Result<Fork> {
    debug_assert_eq!(std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(1), 1);
    // SAFETY: fork's hazard is a lock held by another thread at that moment; `start` runs before any thread
    // is made, so the child may go on using everything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent),
    }
}

/// Keeps the allocator to one heap: short-lived threads must not each leave one behind.
pub(crate) fn use_one_heap() {
    // SAFETY: mallopt takes two integers and may be called at any time.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Lets the runtime tell when `fd` becomes readable.
///
/// # Errors
/// The kernel's, when it cannot be watched.
pub(crate) fn watch_for_reading(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch(fd, Interest::READABLE)
}

/// Lets the runtime tell when `fd` becomes ready in a way that is of `interest`.
///
/// # Errors
/// The kernel's, when it cannot be watched.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay open and the same for as long as it is registered: an `OwnedFd` names one
    // descriptor for all its life, and the `AsyncFd` owns it and takes it off the list before it closes it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(io::Error::from)
}
