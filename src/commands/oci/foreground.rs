//! Staying with a process until it ends: its signals, and its terminal.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{
    OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// As much as a pipe that can be written to takes without waiting.
const CHUNK: usize = 4096;

/// Signals that came to this process and are meant for another.
pub(crate) type Signals = SignalFd;

/// From here on signals wait to be passed on. Not those by which a shell stops and continues its jobs, or that tell of a
/// mistake of this process's own.
pub(super) fn catch_signals() -> io::Result<Signals> {
    use Signal::*;
    let mut caught = SigSet::all();
    for left in [
        SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGSTOP, SIGKILL, SIGSEGV, SIGBUS, SIGFPE, SIGILL,
        SIGTRAP, SIGSYS, SIGABRT, SIGPIPE,
    ] {
        caught.remove(left);
    }
    caught.thread_block()?;
    Ok(SignalFd::with_flags(&caught, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// What becomes of what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// The process gets it.
    PassedOn,
    /// It is left to whoever reads this terminal next.
    Left,
}

/// Waits for the process of `pidfd` to end, passes signals on by `kill`, and carries what is typed and written between its
/// terminal and ours.
///
/// # Errors
/// When the terminal cannot be set up, or waited for.
pub(crate) fn attend<E: std::fmt::Display>(
    pidfd: BorrowedFd<'_>,
    kill: impl Fn(i32) -> Result<(), E>,
    console: Option<OwnedFd>,
    keys: Keys,
    signals: Signals,
) -> io::Result<()> {
    let mut relay = console.map(|console| Relay::new(console, keys)).transpose()?;
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        if let Some(relay) = &relay {
            fds.extend(relay.waits_for());
        }
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            ready => ready?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        while let Some(info) = signals.read_signal()? {
            let signal = info.ssi_signo as i32;
            match (Signal::try_from(signal), &relay) {
                (Ok(Signal::SIGCHLD | Signal::SIGURG), _) => {}
                (Ok(Signal::SIGWINCH), Some(relay)) => follow_size(&relay.master),
                _ => {
                    if let Err(error) = kill(signal) {
                        log::debug!("pass signal {signal} on: {error}");
                    }
                }
            }
        }
        if let Some(relay) = &mut relay {
            relay.carry()?;
        }
        if ready[0] {
            return relay.map_or(Ok(()), |mut relay| relay.carry_the_rest());
        }
    }
}

/// Has a process's terminal be as large as ours, if we have one.
pub(super) fn follow_size(master: impl AsFd) {
    if let Some(size) = winsize() {
        let _ = tcsetwinsize(master, size);
    }
}

/// The size of our terminal: width and height in characters.
pub(super) fn size() -> Option<(u16, u16)> {
    let size = winsize()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

fn winsize() -> Option<Winsize> {
    tcgetwinsize(io::stdin()).or_else(|_| tcgetwinsize(io::stdout())).ok()
}

/// Two directions between a process's terminal and our standard streams.
struct Relay {
    master: File,
    typed: Vec<u8>,
    written: Vec<u8>,
    stdin_open: bool,
    /// Until the last who has the process's side of it is gone.
    master_open: bool,
    _raw: Option<Raw>,
}

impl Relay {
    fn new(master: OwnedFd, keys: Keys) -> io::Result<Self> {
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let relay = Self {
            master: File::from(master),
            typed: Vec::new(),
            written: Vec::new(),
            stdin_open: keys == Keys::PassedOn,
            master_open: true,
            _raw: if keys == Keys::PassedOn { Raw::enter()? } else { None },
        };
        follow_size(&relay.master);
        Ok(relay)
    }

    fn waits_for(&self) -> Vec<PollFd<'_>> {
        let mut fds = Vec::new();
        if self.stdin_open && self.typed.is_empty() {
            // Standard input is open for as long as this process is.
            fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
        }
        if !self.written.is_empty() {
            fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT));
        }
        let mut of_master = PollFlags::empty();
        of_master.set(PollFlags::IN, self.written.is_empty());
        of_master.set(PollFlags::OUT, !self.typed.is_empty());
        if self.master_open && !of_master.is_empty() {
            fds.push(PollFd::new(&self.master, of_master));
        }
        fds
    }

    /// Carries what there is, and waits for nobody.
    fn carry(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        if self.stdin_open
            && self.typed.is_empty()
            && is_ready(rustix::stdio::stdin(), PollFlags::IN)
        {
            match rustix::io::read(rustix::stdio::stdin(), &mut chunk) {
                Ok(0) => self.stdin_open = false,
                Ok(read) => self.typed.extend(&chunk[..read]),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(_) => self.stdin_open = false,
            }
        }
        if !self.typed.is_empty() {
            match self.master.write(&self.typed) {
                Ok(taken) => drop(self.typed.drain(..taken)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.typed.clear(),
            }
        }
        if self.master_open && self.written.is_empty() {
            match self.master.read(&mut chunk) {
                Ok(read @ 1..) => self.written.extend(&chunk[..read]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // EIO once nobody has the other side.
                Ok(0) | Err(_) => self.master_open = false,
            }
        }
        if !self.written.is_empty() && is_ready(rustix::stdio::stdout(), PollFlags::OUT) {
            match rustix::io::write(rustix::stdio::stdout(), &self.written) {
                Ok(taken) => drop(self.written.drain(..taken)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                // Nobody reads any more.
                Err(_) => self.written.clear(),
            }
        }
        Ok(())
    }

    /// What the process wrote before it ended.
    fn carry_the_rest(&mut self) -> io::Result<()> {
        self.stdin_open = false;
        let mut chunk = [0; CHUNK];
        let mut out = io::stdout().lock();
        let _ = out.write_all(&self.written);
        while let Ok(read @ 1..) = self.master.read(&mut chunk) {
            if out.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        let _ = out.flush();
        Ok(())
    }
}

fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Our terminal hands on each key as it is typed, until this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin().as_fd(), OptionalActions::Drain, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Drain, &self.before);
    }
}
