//! The calls that no safe interface offers. All of this crate's unsafe code is here.
#![allow(unsafe_code)]

mod heap;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};
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

/// Keeps the C library's allocator to one heap: short-lived threads must not each leave one behind.
pub(crate) fn use_one_heap() {
    // SAFETY: mallopt takes two integers and may be called at any time.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives memory back to the kernel that is free in the heaps: in ours, and in that of the C library, which reads directories with it.
pub(crate) fn give_back_memory() {
    heap::trim();
    // SAFETY: malloc_trim takes no pointer, and may be called by any thread at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// For each signal, the descriptor that is told of it; -1 for none.
static TOLD: [AtomicI32; 32] = [const { AtomicI32::new(-1) }; 32];

/// What becomes readable, as an eventfd does, when `signal` comes; open until the process ends, since the signal's handler uses it.
///
/// # Errors
/// The kernel's, and for a number that is none of a signal that can be handled.
pub(crate) fn event_of(signal: libc::c_int) -> io::Result<BorrowedFd<'static>> {
    extern "C" fn tell(signal: libc::c_int) {
        let one = 1_u64;
        let told = usize::try_from(signal).ok().and_then(|at| TOLD.get(at));
        let fd = told.map_or(-1, |fd| fd.load(Ordering::Relaxed));
        // SAFETY: eight valid bytes, as an eventfd wants; write is async-signal-safe. It changes `errno`, which the
        // interrupted code may be about to look at: it is put back.
        unsafe {
            let errno = libc::__errno_location();
            let before = *errno;
            libc::write(fd, (&raw const one).cast(), size_of::<u64>());
            *errno = before;
        }
    }

    let told = usize::try_from(signal).ok().and_then(|at| TOLD.get(at));
    let told = told.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let event: &'static OwnedFd = Box::leak(Box::new(event));
    told.store(event.as_raw_fd(), Ordering::Relaxed);
    // SAFETY: `sigaction` is plain data for which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = tell as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is fully initialised, and its handler makes only async-signal-safe calls.
    match unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } {
        0 => Ok(event.as_fd()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the runtime tell when `fd` becomes readable.
///
/// # Errors
/// The kernel's, when it cannot be watched.
pub(crate) fn watch_for_reading(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch(fd, Interest::READABLE)
}

/// The same for a descriptor that is never closed.
///
/// # Errors
/// The kernel's, when it cannot be watched.
pub(crate) fn watch_for_ever(fd: BorrowedFd<'static>) -> io::Result<AsyncFd<BorrowedFd<'static>>> {
    // SAFETY: the descriptor must stay open and the same for as long as it is registered: it is borrowed for `'static`.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(io::Error::from)
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
