//! The system calls that a runner may make once its guest is loaded. All others fail with `EPERM`, those that the kernel
//! may not know with `ENOSYS`; calls through the interface of another processor end the process.
//!
//! What stands here must be needed: by the engine, the event loop, WASI's files, clocks, random numbers and sockets, name
//! lookup in the C library, threads of these, or the end of the process. Everything before the guest's first
//! instruction (namespaces, mounts, mapping code) is done when the filter goes on.

use crate::plan::{SeccompAction, SeccompComparison, SeccompCondition};

/// A system call and what becomes of it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    /// It is allowed if all conditions of one of these hold.
    pub(super) when: &'static [&'static [SeccompCondition]],
    /// What becomes of it otherwise, and so always if there are no conditions.
    pub(super) otherwise: SeccompAction,
}

/// Stands for the runner's own process id, which is known only when the filter goes on. No process has it.
pub(super) const OWN_PID: u32 = i32::MAX as u32;

/// What becomes of calls that are not in the list.
pub(super) const DENIED: SeccompAction = SeccompAction::Errno(libc::EPERM as u16);
/// As on a kernel without the call: for those that programs know to do without.
pub(super) const MISSING: SeccompAction = SeccompAction::Errno(libc::ENOSYS as u16);

pub(super) const CALLS: &[Call] = &[
    // Standard streams and files: WASI's reads, writes and positions, with and without an offset of their own.
    allow("read"),
    allow("write"),
    allow("readv"),
    allow("writev"),
    allow("pread64"),
    allow("pwrite64"),
    allow("preadv"),
    allow("pwritev"),
    // What libraries make of the former where they can.
    allow("preadv2"),
    allow("pwritev2"),
    allow("lseek"),
    allow("close"),
    // WASI opens below its directories only, which the kernel checks by `openat2`; `openat` is for kernels and
    // steps without it, and for the C library's /etc/hosts and /etc/resolv.conf.
    allow("openat"),
    allow("openat2"),
    // path_filestat_get, fd_filestat_get, and what kind of file was opened.
    allow("newfstatat"),
    allow("fstat"),
    allow("statx"),
    // Whether a file can be reached, in place of opening it.
    allow("faccessat"),
    allow("faccessat2"),
    // path_readlink, and links on the way to a file.
    allow("readlinkat"),
    // fd_readdir.
    allow("getdents64"),
    // path_create_directory, path_unlink_file and path_remove_directory, path_rename, path_link, path_symlink.
    allow("mkdirat"),
    allow("unlinkat"),
    allow("renameat"),
    allow("renameat2"),
    allow("linkat"),
    allow("symlinkat"),
    // fd_filestat_set_times and path_filestat_set_times.
    allow("utimensat"),
    // fd_filestat_set_size, fd_allocate, fd_advise.
    allow("ftruncate"),
    allow("fallocate"),
    allow("fadvise64"),
    // fd_sync, fd_datasync.
    allow("fsync"),
    allow("fdatasync"),
    // A file's flags, and another descriptor for it: not who gets its signals, no locks and leases.
    allow_if(
        "fcntl",
        &[
            &[is(1, libc::F_GETFD as u32)],
            &[is(1, libc::F_SETFD as u32)],
            &[is(1, libc::F_GETFL as u32)],
            &[is(1, libc::F_SETFL as u32)],
            &[is(1, libc::F_DUPFD_CLOEXEC as u32)],
        ],
    ),
    // How much there is to read, blocking or not, and whether it is a terminal, which a guest may ask about its streams.
    allow_if(
        "ioctl",
        &[
            &[is(1, libc::FIONREAD as u32)],
            &[is(1, libc::FIONBIO as u32)],
            &[is(1, libc::TCGETS as u32)],
            // The same, as glibc asks from 2.42 on.
            &[is(1, libc::TCGETS2 as u32)],
            &[is(1, libc::TIOCGWINSZ as u32)],
        ],
    ),
    // The event loop, which is made after the filter went on, and its way to be woken by another thread.
    allow("epoll_create1"),
    allow("epoll_ctl"),
    allow("epoll_pwait"),
    allow("eventfd2"),
    // Waiting for one stream, and the C library for a name server.
    allow("ppoll"),
    // Locks between threads.
    allow("futex"),
    // Clocks, and poll_oneoff with nothing but a clock.
    allow("clock_gettime"),
    allow("clock_getres"),
    allow("clock_nanosleep"),
    allow("nanosleep"),
    allow("gettimeofday"),
    // A sleep that a signal has interrupted; made by the kernel on return.
    allow("restart_syscall"),
    // random_get.
    allow("getrandom"),
    // Memory for guests, stacks and the allocator: any but such that can be executed. The compiled code is mapped.
    allow_if("mmap", &[&[without(2, libc::PROT_EXEC as u64)]]),
    allow_if("mprotect", &[&[without(2, libc::PROT_EXEC as u64)]]),
    allow("munmap"),
    allow("mremap"),
    allow("madvise"),
    allow("brk"),
    // The engine makes an image of a guest's memory with it, and does without it if there is no such call.
    refuse("memfd_create", MISSING),
    // Threads, for name lookup: exactly the flags of a thread as the C libraries have them (musl adds one without
    // meaning), and so neither a process nor a namespace. What `clone3` wants cannot be seen: without it, `clone` is used.
    allow_if("clone", &[&[bits(0, !(libc::CLONE_DETACHED as u64), THREAD)]]),
    refuse("clone3", MISSING),
    // A thread's beginning: its list of locks, restartable sequences, its name; how large its stack may be, of this
    // process alone, and which processors it may use.
    allow("set_robust_list"),
    allow("rseq"),
    allow_if("prctl", &[&[is(0, libc::PR_SET_NAME as u32)]]),
    allow_if("prlimit64", &[&[is(0, 0), same(2, 0)]]),
    allow("sched_getaffinity"),
    allow("gettid"),
    allow("getpid"),
    allow("sched_yield"),
    // Traps of guests and the runner's handlers of signals: their masks, their stack, the way back from them.
    allow("rt_sigaction"),
    allow("rt_sigprocmask"),
    allow("rt_sigreturn"),
    allow("sigaltstack"),
    // abort() signals its own thread; no other process.
    allow_if("tgkill", &[&[is(0, OWN_PID)]]),
    // Internet sockets of wasi:sockets and of name lookup. To the C library's asking for a name service daemon, and for
    // the kernel's routes, the answer is that there are no such sockets.
    Call {
        name: "socket",
        when: &[
            &[is(0, libc::AF_INET as u32), kind(libc::SOCK_STREAM)],
            &[is(0, libc::AF_INET as u32), kind(libc::SOCK_DGRAM)],
            &[is(0, libc::AF_INET6 as u32), kind(libc::SOCK_STREAM)],
            &[is(0, libc::AF_INET6 as u32), kind(libc::SOCK_DGRAM)],
        ],
        otherwise: SeccompAction::Errno(libc::EAFNOSUPPORT as u16),
    },
    allow("bind"),
    allow("listen"),
    allow("accept"),
    allow("accept4"),
    allow("connect"),
    allow("shutdown"),
    allow("getsockname"),
    allow("getpeername"),
    allow("sendto"),
    allow("recvfrom"),
    // The first of these and `sendto` also tell the supervisor, over a socket that is then closed, that the guest begins.
    allow("sendmsg"),
    allow("recvmsg"),
    // Two questions at once to a name server.
    allow("sendmmsg"),
    // What wasi:sockets can set, and errors of packets that the C library wants to hear of: no filters, no protocols
    // on top, no groups. A server turns new connections away before it closes its socket.
    allow_if(
        "setsockopt",
        &[
            &option(libc::SOL_SOCKET, libc::SO_REUSEADDR),
            &option(libc::SOL_SOCKET, libc::SO_KEEPALIVE),
            &option(libc::SOL_SOCKET, libc::SO_RCVBUF),
            &option(libc::SOL_SOCKET, libc::SO_SNDBUF),
            &option(libc::SOL_SOCKET, libc::SO_LINGER),
            &option(libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX),
            &option(libc::IPPROTO_TCP, libc::TCP_NODELAY),
            &option(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
            &option(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
            &option(libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
            &option(libc::IPPROTO_IP, libc::IP_TTL),
            &option(libc::IPPROTO_IP, libc::IP_RECVERR),
            &option(libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
            &option(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
            &option(libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        ],
    ),
    allow_if(
        "getsockopt",
        &[
            &[is(1, libc::SOL_SOCKET as u32)],
            &[is(1, libc::IPPROTO_TCP as u32)],
            &[is(1, libc::IPPROTO_IP as u32)],
            &[is(1, libc::IPPROTO_IPV6 as u32)],
        ],
    ),
    // The resolver's search domain, where resolv.conf names none, is that of the host's name.
    allow("uname"),
    // The end.
    allow("exit"),
    allow("exit_group"),
];

/// Calls that newer processors were never given, with the same reasons.
pub(super) const CALLS_OF_X86_64: &[Call] = &[
    // The event loop's wait, and `ppoll`, as the C library makes them here.
    allow("epoll_wait"),
    allow("poll"),
    // /etc/resolv.conf, in C libraries before glibc 2.33.
    allow("stat"),
    // A clock, where the kernel's page of them cannot be used.
    allow("time"),
];

/// Flags of a thread: memory, files, signals and all else in common, and nothing new.
const THREAD: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;

const fn allow(name: &'static str) -> Call {
    Call { name, when: &[], otherwise: SeccompAction::Allow }
}

const fn allow_if(name: &'static str, when: &'static [&'static [SeccompCondition]]) -> Call {
    Call { name, when, otherwise: DENIED }
}

const fn refuse(name: &'static str, with: SeccompAction) -> Call {
    Call { name, when: &[], otherwise: with }
}

/// The argument, of 32 bits in the kernel, is `value`; whatever the upper ones are.
const fn is(argument: u8, value: u32) -> SeccompCondition {
    bits(argument, u32::MAX as u64, value as u64)
}

/// The argument is `value` in the bits of `mask`.
const fn bits(argument: u8, mask: u64, value: u64) -> SeccompCondition {
    SeccompCondition { argument, is: SeccompComparison::EqualIn(mask), value }
}

/// The argument has none of `flags`.
const fn without(argument: u8, flags: u64) -> SeccompCondition {
    bits(argument, flags, 0)
}

/// All 64 bits of the argument are `value`.
const fn same(argument: u8, value: u64) -> SeccompCondition {
    SeccompCondition { argument, is: SeccompComparison::Equal, value }
}

/// The kind of a socket, with or without flags for its descriptor.
const fn kind(kind: i32) -> SeccompCondition {
    let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32;
    bits(1, !flags as u64, kind as u64)
}

/// An option of a socket, of some level.
const fn option(level: i32, option: i32) -> [SeccompCondition; 2] {
    [is(1, level as u32), is(2, option as u32)]
}
