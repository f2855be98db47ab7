//! Signals that ask a server to stop, before the next one ends it, and the end of its listening.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// The descriptor that is told, once there is one.
static EVENT: AtomicI32 = AtomicI32::new(-1);
/// The first signal that came; 0 for none.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// What becomes readable when the server is to stop; open until the process ends, since a signal's handler uses it.
///
/// # Errors
/// When too many files are open.
pub(crate) fn stop_event() -> io::Result<BorrowedFd<'static>> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let event: &'static OwnedFd = Box::leak(Box::new(event));
    Ok(event.as_fd())
}

/// The number of the signal that asked to stop; that of SIGTERM if none did.
pub(crate) fn stopped_by() -> u8 {
    match FIRST.load(Ordering::Relaxed) {
        0 => libc::SIGTERM as u8,
        signal => u8::try_from(signal).unwrap_or(libc::SIGTERM as u8),
    }
}

/// From now on the first SIGTERM or SIGINT makes `event` readable, and a second one ends the process.
pub(crate) fn stop_by_signal(event: BorrowedFd<'static>) {
    extern "C" fn stop(signal: libc::c_int) {
        if FIRST.swap(signal, Ordering::Relaxed) != 0 {
            // SAFETY: `_exit` is async-signal-safe and takes any status.
            unsafe { libc::_exit(128 + signal) }
        }
        let one = 1_u64;
        // SAFETY: eight valid bytes, as an eventfd wants; write is async-signal-safe. It changes `errno`, which the
        // interrupted code may be about to look at: it is put back.
        unsafe {
            let errno = libc::__errno_location();
            let before = *errno;
            libc::write(EVENT.load(Ordering::Relaxed), (&raw const one).cast(), size_of::<u64>());
            *errno = before;
        }
    }

    EVENT.store(event.as_raw_fd(), Ordering::Relaxed);
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: `sigaction` is plain data for which zeros are valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = stop as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // On a stack of its own: a guest's may be full.
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: `action` is fully initialised, and its handler makes only async-signal-safe calls.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    }
}

/// Has the kernel refuse all further connections to `listener`, which keeps those that it has or is making.
///
/// It listens at an interface that there is none of from then on. See SO_BINDTODEVICE in socket(7).
///
/// # Errors
/// From kernels before Linux 5.7, which want a capability for it.
pub(crate) fn turn_away(listener: BorrowedFd<'_>) -> io::Result<()> {
    let nowhere: libc::c_int = libc::c_int::MAX;
    // SAFETY: an open socket, and the option's value is the whole of a live integer, as it wants.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            (&raw const nowhere).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
