//! System calls with arguments that do no harm, whoever makes them: null pointers, descriptors that are not open,
//! processes that are not there, combinations of flags that do not exist.
#![allow(unsafe_code)]

use std::io;

/// A system call to try.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its name in the kernel, and after a dash what is special about its arguments.
    pub(crate) name: &'static str,
    number: i64,
    args: [i64; 6],
}

/// No descriptor, no process, no id.
const NONE: i64 = -1;
const ROOM: i64 = 4096;

macro_rules! calls {
    ($($(#[$attribute:meta])* $name:literal $number:ident($($arg:expr),* $(,)?);)*) => {
        &[$($(#[$attribute])* Call {
            name: $name,
            number: libc::$number as i64,
            args: padded(&[$($arg as i64),*]),
        }),*]
    };
}

const fn padded(args: &[i64]) -> [i64; 6] {
    let mut padded = [0; 6];
    let mut i = 0;
    while i < args.len() {
        padded[i] = args[i];
        i += 1;
    }
    padded
}

/// Calls that a runner needs, for its engine, for WASI or in the C library.
pub(crate) const NEEDED: &[Call] = calls! {
    // Files.
    "read" SYS_read(NONE, 0, 0);
    "write" SYS_write(NONE, 0, 0);
    "readv" SYS_readv(NONE, 0, 0);
    "writev" SYS_writev(NONE, 0, 0);
    "pread64" SYS_pread64(NONE, 0, 0, 0);
    "pwrite64" SYS_pwrite64(NONE, 0, 0, 0);
    "preadv" SYS_preadv(NONE, 0, 0, 0);
    "pwritev" SYS_pwritev(NONE, 0, 0, 0);
    "preadv2" SYS_preadv2(NONE, 0, 0, 0, 0, 0);
    "pwritev2" SYS_pwritev2(NONE, 0, 0, 0, 0, 0);
    "lseek" SYS_lseek(NONE, 0, 0);
    "close" SYS_close(NONE);
    "fcntl-getfd" SYS_fcntl(NONE, libc::F_GETFD);
    "fcntl-dupfd" SYS_fcntl(NONE, libc::F_DUPFD_CLOEXEC, 0);
    "openat" SYS_openat(NONE, 0, 0, 0);
    "openat2" SYS_openat2(NONE, 0, 0, 24);
    "newfstatat" SYS_newfstatat(NONE, 0, 0, 0);
    "fstat" SYS_fstat(NONE, 0);
    "statx" SYS_statx(NONE, 0, 0, 0, 0);
    "faccessat2" SYS_faccessat2(NONE, 0, 0, 0);
    "readlinkat" SYS_readlinkat(NONE, 0, 0, 0);
    "getdents64" SYS_getdents64(NONE, 0, 0);
    "mkdirat" SYS_mkdirat(NONE, 0, 0);
    "unlinkat" SYS_unlinkat(NONE, 0, 0);
    "renameat" SYS_renameat(NONE, 0, NONE, 0);
    "renameat2" SYS_renameat2(NONE, 0, NONE, 0, 0);
    "linkat" SYS_linkat(NONE, 0, NONE, 0, 0);
    "symlinkat" SYS_symlinkat(0, NONE, 0);
    "utimensat" SYS_utimensat(NONE, 0, 0, 0);
    "ftruncate" SYS_ftruncate(NONE, 0);
    "fallocate" SYS_fallocate(NONE, 0, 0, 0);
    "fadvise64" SYS_fadvise64(NONE, 0, 0, 0);
    "fsync" SYS_fsync(NONE);
    "fdatasync" SYS_fdatasync(NONE);
    "ioctl-fionread" SYS_ioctl(NONE, libc::FIONREAD, 0);
    "ioctl-fionbio" SYS_ioctl(NONE, libc::FIONBIO, 0);
    "ioctl-tcgets" SYS_ioctl(NONE, libc::TCGETS, 0);
    // Waiting.
    "epoll_create1" SYS_epoll_create1(NONE);
    "epoll_ctl" SYS_epoll_ctl(NONE, 0, NONE, 0);
    "epoll_pwait" SYS_epoll_pwait(NONE, 0, 1, 0, 0, 8);
    "eventfd2" SYS_eventfd2(0, NONE);
    "ppoll" SYS_ppoll(0, NONE, 0, 0, NONE);
    "futex" SYS_futex(0, libc::FUTEX_WAKE, 1);
    "nanosleep" SYS_nanosleep(0, 0);
    "clock_nanosleep" SYS_clock_nanosleep(libc::CLOCK_MONOTONIC, 0, 0, 0);
    "clock_gettime" SYS_clock_gettime(libc::CLOCK_REALTIME, 0);
    "clock_getres" SYS_clock_getres(libc::CLOCK_MONOTONIC, 0);
    "sched_yield" SYS_sched_yield();
    // Memory, threads, signals.
    "mmap" SYS_mmap(0, ROOM, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, NONE, 0);
    "mprotect" SYS_mprotect(ROOM, 0, libc::PROT_READ);
    "munmap" SYS_munmap(1, 0);
    "mremap" SYS_mremap(1, 0, 0, 0);
    "madvise" SYS_madvise(1, 0, 0);
    "brk" SYS_brk(0);
    "getrandom" SYS_getrandom(0, 0, 0);
    "gettid" SYS_gettid();
    "getpid" SYS_getpid();
    "set_robust_list" SYS_set_robust_list(0, 0);
    "rt_sigaction" SYS_rt_sigaction(libc::SIGUSR1, 0, 0, 8);
    "rt_sigprocmask" SYS_rt_sigprocmask(0, 0, 0, 8);
    "sigaltstack" SYS_sigaltstack(0, 0);
    "sched_getaffinity" SYS_sched_getaffinity(0, 0, 0);
    "prctl-set-name" SYS_prctl(libc::PR_SET_NAME, 0);
    // Network.
    "socket-tcp" SYS_socket(libc::AF_INET, libc::SOCK_STREAM, NONE);
    "socket-udp6" SYS_socket(libc::AF_INET6, libc::SOCK_DGRAM, NONE);
    "bind" SYS_bind(NONE, 0, 0);
    "listen" SYS_listen(NONE, 0);
    "accept4" SYS_accept4(NONE, 0, 0, 0);
    "connect" SYS_connect(NONE, 0, 0);
    "sendto" SYS_sendto(NONE, 0, 0, 0, 0, 0);
    "recvfrom" SYS_recvfrom(NONE, 0, 0, 0, 0, 0);
    "sendmsg" SYS_sendmsg(NONE, 0, 0);
    "recvmsg" SYS_recvmsg(NONE, 0, 0);
    "sendmmsg" SYS_sendmmsg(NONE, 0, 0, 0);
    "shutdown" SYS_shutdown(NONE, 0);
    "getsockname" SYS_getsockname(NONE, 0, 0);
    "getpeername" SYS_getpeername(NONE, 0, 0);
    "setsockopt" SYS_setsockopt(NONE, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 0, 0);
    "getsockopt" SYS_getsockopt(NONE, libc::SOL_SOCKET, 0, 0, 0);
};

/// Calls that it does not, and that would be of use to whoever took it over.
pub(crate) const OTHERS: &[Call] = calls! {
    // Other programs and processes.
    "execve" SYS_execve(0, 0, 0);
    "execveat" SYS_execveat(NONE, 0, 0, 0, 0);
    "ptrace" SYS_ptrace(libc::PTRACE_ATTACH, NONE, 0, 0);
    "process_vm_readv" SYS_process_vm_readv(NONE, 0, 0, 0, 0, 0);
    "process_vm_writev" SYS_process_vm_writev(NONE, 0, 0, 0, 0, 0);
    "process_madvise" SYS_process_madvise(NONE, 0, 0, 0, 0);
    "kcmp" SYS_kcmp(NONE, NONE, 0, 0, 0);
    "pidfd_open" SYS_pidfd_open(NONE, 0);
    "pidfd_getfd" SYS_pidfd_getfd(NONE, 0, 0);
    "pidfd_send_signal" SYS_pidfd_send_signal(NONE, 0, 0, 0);
    "kill-none" SYS_kill(libc::pid_t::MAX, 0);
    "tkill" SYS_tkill(libc::pid_t::MAX, 0);
    "tgkill-other" SYS_tgkill(libc::pid_t::MAX, libc::pid_t::MAX, 0);
    "rt_sigqueueinfo" SYS_rt_sigqueueinfo(libc::pid_t::MAX, 0, 0);
    "clone-process" SYS_clone(libc::CLONE_FS | libc::CLONE_NEWNS, 0, 0, 0, 0);
    "clone-newuser" SYS_clone(libc::CLONE_FS | libc::CLONE_NEWUSER, 0, 0, 0, 0);
    "clone-thread-newpid" SYS_clone(THREAD | libc::CLONE_NEWPID, 0, 0, 0, 0);
    "clone3" SYS_clone3(0, 0);
    "wait4" SYS_wait4(NONE, 0, libc::WNOHANG, 0);
    "setpgid" SYS_setpgid(NONE, NONE);
    "prlimit64-other" SYS_prlimit64(libc::pid_t::MAX, libc::RLIMIT_CORE, 0, 0);
    "setpriority" SYS_setpriority(libc::PRIO_PROCESS, libc::pid_t::MAX, 0);
    "sched_setscheduler" SYS_sched_setscheduler(libc::pid_t::MAX, 0, 0);
    "sched_setaffinity" SYS_sched_setaffinity(libc::pid_t::MAX, 0, 0);
    "ioprio_set" SYS_ioprio_set(NONE, 0, 0);
    "process_mrelease" SYS_process_mrelease(NONE, 0);
    // Namespaces, mounts, roots.
    "unshare" SYS_unshare(libc::SIGCHLD);
    "setns" SYS_setns(NONE, 0);
    "mount" SYS_mount(0, 0, 0, 0, 0);
    "umount2" SYS_umount2(0, 0);
    "pivot_root" SYS_pivot_root(0, 0);
    "chroot" SYS_chroot(0);
    "open_tree" SYS_open_tree(NONE, 0, 0);
    "move_mount" SYS_move_mount(NONE, 0, NONE, 0, 0);
    "fsopen" SYS_fsopen(0, 0);
    "fsconfig" SYS_fsconfig(NONE, 0, 0, 0, 0);
    "fsmount" SYS_fsmount(NONE, 0, 0);
    "fspick" SYS_fspick(NONE, 0, 0);
    "mount_setattr" SYS_mount_setattr(NONE, 0, 0, 0, 0);
    "open_by_handle_at" SYS_open_by_handle_at(NONE, 0, 0);
    "name_to_handle_at" SYS_name_to_handle_at(NONE, 0, 0, 0, 0);
    "swapon" SYS_swapon(0, 0);
    "swapoff" SYS_swapoff(0);
    "quotactl" SYS_quotactl(NONE, 0, 0, 0);
    "statfs" SYS_statfs(0, 0);
    "mknodat" SYS_mknodat(NONE, 0, 0, 0);
    "fchmodat" SYS_fchmodat(NONE, 0, 0);
    "fchownat" SYS_fchownat(NONE, 0, 0, 0, 0);
    "setxattr" SYS_setxattr(0, 0, 0, 0, 0);
    "fanotify_init" SYS_fanotify_init(NONE, 0);
    "inotify_init1" SYS_inotify_init1(NONE);
    // The kernel.
    "bpf" SYS_bpf(NONE, 0, 0);
    "perf_event_open" SYS_perf_event_open(0, 0, 0, 0, 0);
    "userfaultfd" SYS_userfaultfd(NONE);
    "io_uring_setup" SYS_io_uring_setup(1, 0);
    "io_uring_enter" SYS_io_uring_enter(NONE, 0, 0, 0, 0, 0);
    "io_uring_register" SYS_io_uring_register(NONE, 0, 0, 0);
    "io_setup" SYS_io_setup(0, 0);
    "memfd_create" SYS_memfd_create(0, NONE);
    "memfd_secret" SYS_memfd_secret(NONE);
    "init_module" SYS_init_module(0, 0, 0);
    "finit_module" SYS_finit_module(NONE, 0, NONE);
    "delete_module" SYS_delete_module(0, 0);
    "kexec_load" SYS_kexec_load(0, 0, 0, NONE);
    "reboot" SYS_reboot(0, 0, 0, 0);
    "syslog" SYS_syslog(NONE, 0, 0);
    "acct" SYS_acct(1);
    "settimeofday" SYS_settimeofday(1, 0);
    "clock_settime" SYS_clock_settime(NONE, 0);
    "clock_adjtime" SYS_clock_adjtime(NONE, 0);
    "adjtimex" SYS_adjtimex(0);
    "sethostname" SYS_sethostname(0, NONE);
    "setdomainname" SYS_setdomainname(0, NONE);
    "add_key" SYS_add_key(0, 0, 0, 0, 0);
    "request_key" SYS_request_key(0, 0, 0, 0);
    "keyctl" SYS_keyctl(NONE, 0, 0, 0, 0);
    "personality" SYS_personality(0xffff_ffff_u32);
    "seccomp" SYS_seccomp(NONE, 0, 0);
    "prctl-get-securebits" SYS_prctl(libc::PR_GET_SECUREBITS);
    "prctl-set-mm" SYS_prctl(libc::PR_SET_MM, 0, 0, 0, 1);
    "prctl-set-seccomp" SYS_prctl(libc::PR_SET_SECCOMP, NONE, 0);
    "landlock_create_ruleset" SYS_landlock_create_ruleset(1, 1, NONE);
    "pkey_alloc" SYS_pkey_alloc(NONE, 0);
    "mlockall" SYS_mlockall(NONE);
    "mbind" SYS_mbind(1, 0, NONE, 0, 0, 0);
    "move_pages" SYS_move_pages(NONE, 0, 0, 0, 0, NONE);
    "vmsplice" SYS_vmsplice(NONE, 0, 0, NONE);
    // Who we are.
    "getuid" SYS_getuid();
    "setuid" SYS_setuid(NONE);
    "setgid" SYS_setgid(NONE);
    "setreuid" SYS_setreuid(NONE, NONE);
    "setresuid" SYS_setresuid(NONE, NONE, NONE);
    "setresgid" SYS_setresgid(NONE, NONE, NONE);
    "setfsuid" SYS_setfsuid(NONE);
    "setgroups" SYS_setgroups(NONE, 0);
    "capset" SYS_capset(0, 0);
    // Of no use, or used before the walls are up.
    "timer_create" SYS_timer_create(NONE, 0, 0);
    "timer_settime" SYS_timer_settime(NONE, 0, 0, 0);
    "timer_delete" SYS_timer_delete(NONE);
    "dup" SYS_dup(NONE);
    "dup3" SYS_dup3(NONE, NONE, 0);
    // Needed ones, with arguments that are not.
    "mmap-exec" SYS_mmap(
        0, ROOM, libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, NONE, 0
    );
    "mprotect-exec" SYS_mprotect(ROOM, 0, libc::PROT_READ | libc::PROT_EXEC);
    "pkey_mprotect-exec" SYS_pkey_mprotect(ROOM, 0, libc::PROT_EXEC, NONE);
    "socket-unix" SYS_socket(libc::AF_UNIX, libc::SOCK_STREAM, NONE);
    "socket-netlink" SYS_socket(libc::AF_NETLINK, libc::SOCK_RAW, NONE);
    "socket-packet" SYS_socket(libc::AF_PACKET, libc::SOCK_DGRAM, NONE);
    "socket-vsock" SYS_socket(libc::AF_VSOCK, libc::SOCK_STREAM, NONE);
    "socket-alg" SYS_socket(libc::AF_ALG, libc::SOCK_SEQPACKET, NONE);
    "socket-raw" SYS_socket(libc::AF_INET, libc::SOCK_RAW, NONE);
    "socketpair" SYS_socketpair(libc::AF_UNIX, libc::SOCK_RAW + 10, 0, 0);
    "ioctl-tiocsti" SYS_ioctl(NONE, libc::TIOCSTI, 0);
    "ioctl-tiocsti-high" SYS_ioctl(NONE, libc::TIOCSTI as i64 | 1 << 32, 0);
    "ioctl-siocgifconf" SYS_ioctl(NONE, libc::SIOCGIFCONF, 0);
    "setsockopt-filter" SYS_setsockopt(NONE, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, 0, 0);
    "setsockopt-ulp" SYS_setsockopt(NONE, libc::IPPROTO_TCP, libc::TCP_ULP, 0, 0);
    "setsockopt-netfilter" SYS_setsockopt(NONE, libc::IPPROTO_IP, 64, 0, 0);
    "fcntl-setown" SYS_fcntl(NONE, libc::F_SETOWN, 0);
    "fcntl-notify" SYS_fcntl(NONE, libc::F_NOTIFY, 0);
    #[cfg(target_arch = "x86_64")]
    "open" SYS_open(0, 0, 0);
    #[cfg(target_arch = "x86_64")]
    "modify_ldt" SYS_modify_ldt(NONE, 0, 0);
    #[cfg(target_arch = "x86_64")]
    "iopl" SYS_iopl(NONE);
    #[cfg(target_arch = "x86_64")]
    "ioperm" SYS_ioperm(NONE, NONE, 0);
    #[cfg(target_arch = "x86_64")]
    "arch_prctl-set-fs" SYS_arch_prctl(NONE, 0);
    #[cfg(target_arch = "x86_64")]
    "uselib" SYS_uselib(0);
};

const THREAD: i32 = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;

/// The call of this name.
///
/// # Errors
/// When there is none.
pub(crate) fn call(name: &str) -> io::Result<&'static Call> {
    let found = NEEDED.iter().chain(OTHERS).find(|call| call.name == name);
    found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOEXEC))
}

impl Call {
    /// Makes it; the answer is `ok` or the error's name.
    pub(crate) fn make(&self) -> String {
        self.result().map_or_else(|error| name_of(&error), |_| "ok".to_owned())
    }

    /// Makes it; the result is what the kernel returned.
    pub(crate) fn result(&self) -> io::Result<i64> {
        let [a, b, c, d, e, f] = self.args;
        // SAFETY: none of the calls in these tables writes to memory: their pointers are null, or point into the first
        // page, which is never mapped. `mmap` adds a mapping of the kernel's choice, and nothing starts a process
        // or a thread, as the flags of each `clone` contradict each other.
        match unsafe { libc::syscall(self.number, a, b, c, d, e, f) } {
            -1 => Err(io::Error::last_os_error()),
            result => Ok(result),
        }
    }
}

/// Makes a harmless call through the kernel's interface for 32-bit programs.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_as_32_bit() -> i64 {
    const GETPID: i32 = 20;
    let result: i32;
    // SAFETY: getpid takes no arguments and touches no memory; the kernel keeps all registers but the result's, and
    // those that this interface zeroes are named.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("eax") GETPID => result,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    result.into()
}

/// Makes a harmless call through the kernel's x32 interface.
///
/// # Errors
/// Kernels mostly have none.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_as_x32() -> io::Result<i64> {
    const BIT: i64 = 0x4000_0000;
    Call { name: "x32", number: BIT | libc::SYS_getpid, args: [0; 6] }.result()
}

/// Sends `signal`.
///
/// # Errors
/// As kill(2) has them.
pub(crate) fn signal(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes any numbers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Uses up the stack, which ends the process.
pub(crate) fn overflow_stack() -> ! {
    #[allow(unconditional_recursion, reason = "what is tried")]
    fn deeper(depth: u64) -> u64 {
        std::hint::black_box(deeper(std::hint::black_box(depth + 1))) + 1
    }
    deeper(0);
    unreachable!("the stack has no end")
}

/// The error's name in errno(3).
pub(crate) fn name_of(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    let name = NAMES.iter().find(|(value, _)| *value == number);
    name.map_or_else(|| format!("errno {number}"), |(_, name)| (*name).to_owned())
}

macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

const NAMES: &[(i32, &str)] = names! {
    E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EBADF EBUSY ECHILD ECONNREFUSED EDOM EEXIST EFAULT
    EINVAL EIO EISDIR ELOOP EMFILE EMSGSIZE ENAMETOOLONG ENETUNREACH ENODEV ENOENT ENOEXEC ENOMEM ENOPROTOOPT ENOSPC
    ENOSYS ENOTCONN ENOTDIR ENOTEMPTY ENOTSOCK ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EPERM EPIPE EPROTONOSUPPORT
    EPROTOTYPE ERANGE EROFS ESOCKTNOSUPPORT ESPIPE ESRCH ETIMEDOUT ETXTBSY EUSERS EXDEV EDQUOT ENOTBLK
    ENOKEY EPROTO EDESTADDRREQ
};
