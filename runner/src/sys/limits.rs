//! Limits: timers that end the process, and the memory in which the reason is left.

use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::OnceLock;

use lighter::plan::LimitKind;
use lighter::report::{Page, SIZE};
use rustix::mm::{MapFlags, ProtFlags};

use crate::exit::Ends;

/// What is done when a timer's signal comes.
pub(crate) struct Alarm {
    /// The signal of the timer: SIGALRM or SIGXCPU.
    pub(crate) signal: libc::c_int,
    /// What is written to standard error, if that takes it at once.
    pub(crate) sentence: String,
    /// What the process exits with.
    pub(crate) status: u8,
    /// The limit that the timer is for.
    pub(crate) kind: LimitKind,
    /// Where that is left.
    pub(crate) ends: Ends,
}

/// For the handler, which has nothing but these; each is set once, before its signal can come.
static ALARMS: [OnceLock<Alarm>; 2] = [const { OnceLock::new() }; 2];

fn place(signal: libc::c_int) -> &'static OnceLock<Alarm> {
    &ALARMS[usize::from(signal == libc::SIGXCPU)]
}

/// Makes a timer's signal end the process as `alarm` says. The same signal from anywhere else ends it with 128 + its
/// number.
///
/// # Errors
/// When the signal cannot be handled, or is already used for another alarm.
pub(crate) fn on_timer(alarm: Alarm) -> io::Result<()> {
    let signal = alarm.signal;
    place(signal).set(alarm).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    // SAFETY: `sigaction` is plain data for which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void) = expired;
    action.sa_sigaction = handler as libc::sighandler_t;
    // On a stack of its own: the guest's may be full.
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART | libc::SA_SIGINFO;
    // SAFETY: `action` is fully initialised, and its handler takes three arguments, as `SA_SIGINFO` wants, and makes
    // only async-signal-safe calls.
    match unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn expired(signal: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    // SAFETY: the kernel passes valid information with `SA_SIGINFO`.
    let from_timer = unsafe { (*info).si_code } == libc::SI_TIMER;
    // An atomic load; nothing that the interrupted code could hold.
    let status = match place(signal).get().filter(|_| from_timer) {
        Some(alarm) => {
            alarm.ends.report.note(alarm.kind);
            if let Some(last_words) = alarm.ends.last_words {
                last_words.say(&alarm.sentence);
            }
            let mut stderr =
                libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
            let sentence = alarm.sentence.as_bytes();
            // SAFETY: one valid `pollfd`; poll is async-signal-safe.
            if unsafe { libc::poll(&raw mut stderr, 1, 0) } == 1 {
                // Less than `PIPE_BUF`: a pipe that has room takes all of it. That it fails changes nothing.
                // SAFETY: a valid buffer of that length; write is async-signal-safe.
                let _ = unsafe {
                    libc::write(libc::STDERR_FILENO, sentence.as_ptr().cast(), sentence.len())
                };
            }
            alarm.status.into()
        }
        None => 128 + signal,
    };
    // SAFETY: `_exit` is async-signal-safe and takes any status.
    unsafe { libc::_exit(status) }
}

/// Maps `memory`, shared and for good, and closes it.
///
/// # Errors
/// When it is shorter than a [`Page`], or cannot be mapped.
pub(crate) fn map_report(memory: File) -> io::Result<&'static Page> {
    if memory.metadata()?.len() < SIZE as u64 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // Populated, so that there is memory for it when there is none any more.
    let flags = MapFlags::SHARED | MapFlags::POPULATE;
    // SAFETY: the kernel chooses the address, so that no existing mapping is touched.
    let start = unsafe { rustix::mm::mmap(ptr::null_mut(), SIZE, protection, flags, &memory, 0)? };
    // SAFETY: a mapping that is never unmapped, of a file that is longer than a `Page` and that its only other holder, the
    // supervisor, has sealed against being shortened. It is aligned to a page of the kernel's. A `Page` is of atomics
    // only, for which all bytes are valid and which may be shared, beside padding that nobody reads.
    Ok(unsafe { &*start.cast::<Page>() })
}

/// Whether descriptor `fd` is open.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: asking for a descriptor's flags changes nothing, whether it is open or not.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}
