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
pub(crate) fn fork() -> io::Result<Fork> {
    debug_assert_eq!(
        std::fs::read_dir("/proc/self/task")
            .map(Iterator::count)
            .unwrap_or(1),
        1
    );
    // SAFETY: fork's hazard is a lock held by another thread at that moment; `start` runs before any thread
    // is made, so the child may go on using everything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent),
    }
}

/// Cuts the last `bytes` off this process's command line as `ps` shows it. Nothing depends on it.
pub(crate) fn shorten_command_line(bytes: u64) {
    const ARG_START: usize = 48;
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    // The second field is the name in parentheses, which may hold anything; the third starts behind the last one.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return;
    };
    let mut bounds = fields
        .split_whitespace()
        .skip(ARG_START - 3)
        .map_while(|f| f.parse::<u64>().ok());
    let (Some(start), Some(end)) = (bounds.next(), bounds.next()) else {
        return;
    };
    if end.saturating_sub(start) <= bytes {
        return;
    }
    // SAFETY: this only moves the bound up to which /proc/self/cmdline reads; nothing in the process uses it,
    // and the kernel checks that it stays within the mapping.
    unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_ARG_END, end - bytes, 0, 0) };
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
    // SAFETY: the descriptor must stay open and the same for as long as it is registered: an `OwnedFd` names one
    // descriptor for all its life, and the `AsyncFd` owns it and takes it off the list before it closes it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
