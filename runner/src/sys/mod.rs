//! The unsafe parts of the runner's engine: mapping compiled code, signal handlers, the resolver's setup.
#![allow(unsafe_code)]

mod area;
mod limits;
mod memory;
mod pagemap;
mod sandbox;
mod stop;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

pub(crate) use area::Area;
pub(crate) use limits::{Alarm, is_open, map_report, on_timer};
pub(crate) use memory::Creator;
pub(crate) use pagemap::TABLE;
pub(crate) use sandbox::{
    filter_system_calls, inherited_socket, set_interface_up, set_mount_attributes, unshare,
};
pub(crate) use stop::{stop_by_signal, stop_event, stopped_by, turn_away};

/// Whether `code` is a compiled module, a compiled component or, with `None`, neither.
///
/// # Errors
/// When the file cannot be mapped.
pub(crate) fn kind_of(code: &File) -> io::Result<Option<Precompiled>> {
    let len = usize::try_from(code.metadata()?.len()).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel chooses the address, so that no existing mapping is touched.
    let start = unsafe {
        rustix::mm::mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, code, 0)?
    };
    // SAFETY: `start` is a readable mapping of `len` bytes that lives until it is unmapped below. The
    // file belongs to the node's cache, whose entries are never written after they are published.
    let kind = Engine::detect_precompiled(unsafe { std::slice::from_raw_parts(start.cast(), len) });
    // SAFETY: nothing borrows the mapping any more: `kind` is a plain value.
    unsafe { rustix::mm::munmap(start, len)? };
    Ok(kind)
}

/// Maps a compiled module.
///
/// # Errors
/// When the file cannot be mapped, or was compiled for another engine.
pub(crate) fn map_module(engine: &Engine, code: File) -> wasmtime::Result<Module> {
    // SAFETY: the supervisor hands over only artifacts that this node compiled itself, in files that
    // nobody writes again; compiled code from an image never gets here.
    unsafe { Module::deserialize_open_file(engine, code) }
}

/// Maps the compiled component at `path`.
///
/// # Errors
/// When the file cannot be opened or mapped, or was compiled for another engine.
pub(crate) fn map_component(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: as for `map_module`: `path` names a descriptor that the supervisor handed over.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Registers a standard stream with the running runtime; `None` if the kernel has no events for such a file.
pub(crate) fn watch(
    fd: BorrowedFd<'static>,
    interest: Interest,
) -> Option<AsyncFd<BorrowedFd<'static>>> {
    // SAFETY: `as_raw_fd` always returns the same descriptor, which stays open: it is borrowed for `'static`.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.ok()
}

/// Makes each of `signals` end the process with 128 + its number, and unblocks it.
///
/// # Errors
/// When a number is not that of a signal that can be handled.
pub(crate) fn exit_on(signals: &[libc::c_int]) -> io::Result<()> {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: `_exit` is async-signal-safe and takes any status.
        unsafe { libc::_exit(128 + signal) }
    }

    // SAFETY: `sigset_t` is plain data for which zeros are valid; it is initialised before use.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid place to write to.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: `sigaction` is plain data for which zeros are valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // The guest runs on a small stack of its own, which may be what has just overflowed.
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: `action` is fully initialised, and its handler is async-signal-safe.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `set` was initialised above.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: `set` is initialised; the old mask is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Ignores `signal`.
///
/// # Errors
/// When the number is not that of a signal that can be ignored.
pub(crate) fn ignore(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: ignoring a signal runs no handler.
    match unsafe { libc::signal(signal, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Tells the C library to look names up in `/etc/hosts` and by DNS whatever `/etc/nsswitch.conf` says,
/// so that it never loads a module named there. `false` if it refuses.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn fix_name_lookup() -> bool {
    unsafe extern "C" {
        fn __nss_configure_lookup(
            database: *const libc::c_char,
            services: *const libc::c_char,
        ) -> libc::c_int;
    }
    // SAFETY: both are NUL-terminated and not kept; no other thread looks names up yet.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) == 0 }
}

/// Other C libraries have no modules to load.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn fix_name_lookup() -> bool {
    true
}
