//! The library's unsafe code: one system call per function, and the conditions that make it sound.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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

/// Sends a signal, also one of those that have no name, to the process of `pidfd`; 0 only asks whether it may be sent.
///
/// # Errors
/// As pidfd_send_signal(2) has them.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let details = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without details the kernel reads no memory of ours.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, details, 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
    /// The control group that it is born in; `None`: the caller's.
    pub cgroup: Option<&'a Birthplace>,
}

/// A control group that a process is to be born in.
#[derive(Debug)]
pub enum Birthplace {
    /// The directory of one of version 2.
    Directory(OwnedFd),
    /// The files `tasks` of one of version 1, one in each of its hierarchies: it moves itself before it becomes the program.
    Tasks(Vec<OwnedFd>),
}

/// The exit status of a process that could not move into its control group.
pub(crate) const NOT_ADMITTED: i32 = 126;

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
/// When the process cannot be made. A failing exec is seen as exit status 127, and a group of version 1 that it cannot move into
/// as [`NOT_ADMITTED`].
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

    let (group, tasks) = match spawn.cgroup {
        Some(Birthplace::Directory(group)) => (Some(group.as_fd()), Vec::new()),
        Some(Birthplace::Tasks(tasks)) => (None, tasks.iter().map(AsRawFd::as_raw_fd).collect()),
        None => (None, Vec::new()),
    };
    let new = if spawn.new_pid_namespace { libc::CLONE_NEWPID } else { 0 };
    // SAFETY: the child makes only async-signal-safe calls on values prepared above (no allocation, no lock)
    // and never returns from `exec`.
    match unsafe { clone3(new, group) }? {
        Some(child) => Ok(child),
        None => exec(spawn.program, &tasks, &sources_raw, &argv, &envp),
    }
}

/// Makes a child process with namespaces of its own (`CLONE_NEW…`), born in the control group `cgroup` if there is one:
/// `None` in the child, which has a copy of all memory, as after fork(2), and one thread.
///
/// # Safety
/// Until it execs or exits, the child may make only async-signal-safe calls and touch only memory prepared before.
///
/// # Errors
/// When the process or a namespace of its cannot be made.
unsafe fn clone3(new: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain data for which zero is "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_PIDFD | new) as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: the arguments outlive the call and have the size given; the caller sees to what the child does.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => {
            // SAFETY: the kernel stored a new descriptor of ours here.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Some(Child { pid: pid as u32, pidfd }))
        }
    }
}

/// Makes a process that only waits to be killed, in a new user namespace without id maps.
///
/// # Errors
/// When the process or its namespace cannot be made.
pub(crate) fn hold_user_namespace() -> io::Result<Child> {
    // SAFETY: `wait_to_be_killed` makes only system calls.
    match unsafe { clone3(libc::CLONE_NEWUSER, None) }? {
        Some(child) => Ok(child),
        None => wait_to_be_killed(),
    }
}

/// Makes a process that only waits to be killed, in the namespaces `join` (a user namespace first, as its root) and in new
/// ones (`CLONE_NEW…`) that belong to them. In a new pid namespace it is process 1, and collects whoever is left to it. As
/// others may see it there, it has an empty root, no descriptors and no capabilities. It ends with the calling thread.
///
/// # Errors
/// When it cannot be made, or cannot join one of the namespaces.
pub(crate) fn hold_namespaces(
    join: &[BorrowedFd<'_>],
    new: libc::c_int,
) -> io::Result<rustix::process::Pid> {
    let join: Vec<RawFd> = join.iter().map(AsRawFd::as_raw_fd).collect();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // A child that joins, and makes the holder its sibling: only what is made after a user namespace was joined belongs to it,
    // and only a child can be process 1.
    let (go, let_go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes only system calls, on memory prepared above.
    let Some(joiner) = (unsafe { clone3(0, None) })? else {
        join_and_hold(&join, new, write.as_raw_fd(), (go.as_raw_fd(), let_go.as_raw_fd()));
    };
    drop((write, go, let_go));
    // Its id, a byte once it is set up, and the end when it has closed the last of its descriptors.
    let mut told = [0; 5];
    let mut read = std::fs::File::from(read);
    let read = read.read_exact(&mut told).and_then(|()| read.read(&mut [0]).map(drop));
    let ended = rustix::process::waitid(
        rustix::process::WaitId::PidFd(joiner.pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    )?;
    match ended.and_then(|status| status.exit_status()) {
        Some(0) => read?,
        Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
        None => return Err(io::Error::other("the process that was to make it was killed")),
    }
    let [a, b, c, d, _] = told;
    rustix::process::Pid::from_raw(i32::from_ne_bytes([a, b, c, d]))
        .ok_or_else(|| io::Error::other("it has no process id"))
}

/// The child's half of [`hold_namespaces`]; its exit status is an error number.
fn join_and_hold(join: &[RawFd], new: libc::c_int, tell: RawFd, (go, let_go): (RawFd, RawFd)) -> ! {
    // SAFETY: all of these are async-signal-safe system calls; the pointers are to variables that live through the calls.
    // The raw clone is of a process with one thread.
    unsafe {
        let failed = || libc::_exit(*libc::__errno_location());
        for namespace in join {
            if libc::setns(*namespace, 0) < 0 {
                failed();
            }
        }
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = (libc::CLONE_PARENT | libc::CLONE_NEWNS | new) as u64;
        match libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) {
            -1 => failed(),
            0 => {
                // Its maker tells its id first.
                if libc::read(go, (&raw mut args).cast(), 1) == 1 && give_up_everything() {
                    // All but the one that tells, which goes next and so says that this is done.
                    libc::syscall(libc::SYS_close_range, tell + 1, u32::MAX, 0);
                    libc::syscall(libc::SYS_close_range, 0, tell - 1, 0);
                    libc::write(tell, c"!".as_ptr().cast(), 1);
                    wait_to_be_killed()
                }
                libc::_exit(1)
            }
            pid => {
                let pid = pid as i32;
                let length = size_of::<i32>();
                let told = libc::write(tell, (&raw const pid).cast(), length) == length as isize
                    && libc::write(let_go, c"!".as_ptr().cast(), 1) == 1;
                libc::_exit(if told { 0 } else { libc::EPIPE })
            }
        }
    }
}

/// Has a process with one thread, in a mount namespace of its own, keep nothing but its namespaces; whether it could.
///
/// # Safety
/// Nothing of the process's is of use to it any more.
unsafe fn give_up_everything() -> bool {
    const HEADER: [u32; 2] = [0x2008_0522, 0]; // version 3; this process
    const NO_CAPABILITIES: [u32; 6] = [0; 6];
    let (none, here) = (std::ptr::null::<libc::c_char>(), c".".as_ptr());
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: all of these are async-signal-safe system calls; the pointers are to constants, or null where that is allowed.
    unsafe {
        // Of the user namespace, if one was joined: not the host's root any more.
        libc::syscall(libc::SYS_setgroups, 0, none);
        libc::syscall(libc::SYS_setresgid, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0
            && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) == 0
            // On any directory that is there.
            && libc::mount(c"none".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), flags, none.cast()) == 0
            && libc::chdir(c"/proc".as_ptr()) == 0
            && libc::syscall(libc::SYS_pivot_root, here, here) == 0
            && libc::umount2(here, libc::MNT_DETACH) == 0
            && libc::chdir(c"/".as_ptr()) == 0
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_capset, HEADER.as_ptr(), NO_CAPABILITIES.as_ptr()) == 0
            && libc::prctl(libc::PR_SET_NAME, c"lighter-pod".as_ptr()) == 0
            // Its memory is a copy of the supervisor's.
            && libc::prctl(libc::PR_SET_DUMPABLE, 0) == 0
            && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
            // The kernel collects the children of who ignores their ends.
            && libc::signal(libc::SIGCHLD, libc::SIG_IGN) != libc::SIG_ERR
    }
}

/// The rest of a child's life that is there only for its namespaces.
fn wait_to_be_killed() -> ! {
    loop {
        // SAFETY: closing what it has copies of, so that nothing waits for it, and pause(2) are
        // async-signal-safe system calls.
        unsafe {
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            libc::pause();
        }
    }
}

/// The user namespace that the namespace `of` belongs to.
///
/// # Errors
/// As ioctl_nsfs(2) has them.
pub(crate) fn owning_user_namespace(of: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the call takes no argument.
    let fd = unsafe { libc::ioctl(of.as_raw_fd(), NS_GET_USERNS) };
    match fd {
        ..0 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel made a new descriptor of ours.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
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

/// Makes `mount`, which is attached nowhere yet, read-only.
///
/// # Errors
/// As mount_setattr(2) has them.
pub fn make_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attr_set = libc::MOUNT_ATTR_RDONLY;
    let attributes = libc::mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    set_mount_attributes(mount, &attributes, false)
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
    tasks: &[RawFd],
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
        for file in tasks {
            if libc::write(*file, c"0".as_ptr().cast(), 1) != 1 {
                libc::_exit(NOT_ADMITTED);
            }
        }
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
