//! System calls of entering the sandbox that have no safe wrapper.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use lighter::wire::RUNNER_SOCKET;
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// Takes over the socket that the supervisor left at descriptor 3.
///
/// # Errors
/// When there is none: the runner was started by hand.
pub(crate) fn inherited_socket() -> io::Result<OwnedFd> {
    // SAFETY: nothing else in this process uses the descriptor; it is at most taken once, at the start
    // of `main`, and if it is not open the first use of it below fails.
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

/// unshare(2).
///
/// # Errors
/// As the kernel has them.
pub(crate) fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: the danger is in taking the descriptor table or file system attributes from under other
    // threads; entering the sandbox happens on the process's only thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// mount_setattr(2) on the mount that `mount` is open on: sets and clears `MOUNT_ATTR_*` bits, changes
/// the propagation unless it is 0 (an `MS_*` flag), of it alone or of all below it, too.
///
/// # Errors
/// As the kernel has them.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
) -> Result<(), Errno> {
    // The access time policy is a number, not a bit: changing it means clearing the whole field.
    let policy =
        libc::MOUNT_ATTR_RELATIME | libc::MOUNT_ATTR_NOATIME | libc::MOUNT_ATTR_STRICTATIME;
    let changed = (set | clear) & policy != 0;
    let mut clear = clear & !set & !policy;
    if changed {
        clear |= libc::MOUNT_ATTR__ATIME;
    }
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty null-terminated string, the attributes live through the call and
    // have the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Brings the network interface `name` up, netdevice(7), through any socket of its namespace.
///
/// # Errors
/// As the kernel has them.
pub(crate) fn set_interface_up(socket: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain data, for which all zeroes is an empty request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is of the type that SIOCSIFFLAGS reads and lives through the call; its name
    // is null-terminated, for the last byte is never written.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Adds a filter of system calls, seccomp(2), to this thread. Each number is the bytes of one `sock_filter`.
///
/// # Errors
/// As the kernel has them.
pub(crate) fn filter_system_calls(program: &[u64], flags: u32) -> Result<(), Errno> {
    const { assert!(size_of::<libc::sock_filter>() == size_of::<u64>()) };
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel reads `len` instructions of 8 bytes each, which is what `program` borrows, copies and checks
    // them. What this process may no longer do is an error of the call that tries it.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
