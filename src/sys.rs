//! The library's unsafe code: one system call per function, and the conditions that make it sound.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Of linux/sched.h; the constant of `libc` is of a type too small for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// The version of the kernel's Landlock interface; 0 where it has none, or has it switched off.
pub(crate) fn landlock_version() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no attributes and makes nothing.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// How [`spawn`] starts a program.
pub struct Spawn<'a> {
    /// The program's path.
    pub program: &'a CStr,
    /// Its arguments, its own name first.
    pub args: &'a [CString],
    /// Its whole environment, each `NAME=value`.
    pub environment: &'a [CString],
    /// What becomes its descriptors 0, 1, 2, … in this order. It gets no others.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// It becomes process 1 of a new pid namespace.
    pub new_pid_namespace: bool,
    /// The directory of the control group (version 2) that it is born in; `None`: the caller's.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A child process: its pid here, and a pidfd of it.
pub struct Child {
    /// Its id.
    pub pid: u32,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
}

/// Starts a program as a child of this process, without the danger of a fork: between clone3(2) and
/// execve(2) the child makes only system calls and touches only memory prepared before.
///
/// # Errors
/// When the process cannot be made. A failing exec is seen as exit status 127.
pub fn spawn(spawn: &Spawn<'_>) -> io::Result<Child> {
    let mut argv: Vec<*const libc::c_char> = spawn.args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let mut envp: Vec<*const libc::c_char> =
        spawn.environment.iter().map(|variable| variable.as_ptr()).collect();
    envp.push(std::ptr::null());

    // Out of the way of the targets, so that no dup2 overwrites a source.
    let first_free = spawn.descriptors.len() as RawFd + 1;
    let lift = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, first_free);
    let sources = spawn.descriptors.iter().map(|fd| lift(*fd)).collect::<Result<Vec<_>, _>>()?;
    let sources_raw: Vec<RawFd> = sources.iter().map(|fd| fd.as_raw_fd()).collect();

    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain data for which zero is "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64;
    if spawn.new_pid_namespace {
        args.flags |= libc::CLONE_NEWPID as u64;
    }
    if let Some(cgroup) = spawn.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;

    // SAFETY: the arguments outlive the call and have the size given. Without CLONE_VM the child has
    // its own copy of memory, as after fork(2); it makes only async-signal-safe calls on values
    // prepared above (no allocation, no lock) and never returns from `exec`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => exec(spawn.program, &sources_raw, &argv, &envp),
        pid => {
            // SAFETY: the kernel stored a new descriptor of ours here.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: pid as u32, pidfd })
        }
    }
}

/// Makes a process that only waits to be killed, in a new user namespace without id maps.
///
/// # Errors
/// When the process or its namespace cannot be made.
pub(crate) fn hold_user_namespace() -> io::Result<Child> {
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain data for which zero is "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_PIDFD | libc::CLONE_NEWUSER) as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: as for `spawn`: the child has its own copy of memory and makes only system calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => loop {
            // SAFETY: closing what it has copies of, so that nothing waits for it, and pause(2) are
            // async-signal-safe system calls.
            unsafe {
                libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                libc::pause();
            }
        },
        pid => {
            // SAFETY: the kernel stored a new descriptor of ours here.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: pid as u32, pidfd })
        }
    }
}

/// Translates the owners of the files of `mount`, which is attached nowhere yet, as `user_namespace` maps ids; with
/// `recursive`, also of the mounts below.
///
/// # Errors
/// As mount_setattr(2) has them.
pub(crate) fn map_mount_ids(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd() as u64,
    };
    set_mount_attributes(mount, &attributes, recursive)
}

/// Makes `mount` and all below it slaves: what is mounted there does not spread to where it was copied from.
///
/// # Errors
/// As mount_setattr(2) has them.
pub(crate) fn make_slave(mount: BorrowedFd<'_>) -> io::Result<()> {
    let propagation = libc::MS_SLAVE;
    let attributes = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 };
    set_mount_attributes(mount, &attributes, true)
}

fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: &libc::mount_attr,
    recursive: bool,
) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty null-terminated string, the attributes live through the call and
    // have the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of_val(attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The child's half of [`spawn`].
fn exec(
    program: &CStr,
    sources: &[RawFd],
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
) -> ! {
    // SAFETY: all of these are async-signal-safe system calls; the pointers are to null-terminated
    // arrays of null-terminated strings that live in this process's copy of memory.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::setsid();
        for (target, source) in sources.iter().enumerate() {
            if libc::dup2(*source, target as RawFd) < 0 {
                libc::_exit(127);
            }
        }
        libc::syscall(libc::SYS_close_range, sources.len(), u32::MAX, 0);
        libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
        libc::_exit(127)
    }
}

/// Whether the kernel filters system calls, and can end a process whose call a filter does not like.
pub(crate) fn has_seccomp() -> bool {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the kernel reads one `u32`, which lives through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    result == 0
}
