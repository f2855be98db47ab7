//! Signals that this command gets: passed on to the container, or, before there is one, its end.

use std::fs;
use std::os::fd::AsFd;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, kill_process};

/// Those that are meant for the container.
const PASSED_ON: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Signals that come when they are looked for.
#[derive(Debug)]
pub(super) struct Signals {
    waiting: SignalFd,
    early: Mutex<Option<i32>>,
}

/// This command was ended by a signal before there was a container.
#[derive(Debug, thiserror::Error)]
#[error("ended by signal {0} before the container was started")]
pub(super) struct Ended(pub(super) i32);

impl Signals {
    /// Has them wait from now on, except those that whoever started this command has it ignore, as nohup(1) does.
    pub(super) fn block() -> Result<Self> {
        let ignored = ignored();
        let is_ignored = |signal: Signal| ignored >> (signal as u32 - 1) & 1 == 1;
        let mut set: SigSet = PASSED_ON.into_iter().filter(|signal| !is_ignored(*signal)).collect();
        set.add(Signal::SIGWINCH);
        set.thread_block().context("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let waiting = SignalFd::with_flags(&set, flags).context("make a descriptor of signals")?;
        Ok(Self { waiting, early: Mutex::default() })
    }

    /// The descriptor of those to come.
    pub(super) fn into_fd(self) -> SignalFd {
        self.waiting
    }

    /// The next one, if there is one.
    fn next(&self) -> Option<i32> {
        self.waiting
            .read_signal()
            .ok()
            .flatten()
            .and_then(|info| i32::try_from(info.ssi_signo).ok())
    }

    /// Does `work`, which waits for programs that it starts. A signal that comes meanwhile ends these, and the work with them.
    pub(super) fn watch_while<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let Ok((done, tell)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else {
            return work();
        };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let is_done = |moment: &Timespec| {
                    poll(&mut [PollFd::new(&done, PollFlags::IN)], Some(moment)) != Ok(0)
                };
                loop {
                    let mut fds = [&done.as_fd(), &self.waiting.as_fd()]
                        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN));
                    let _ = poll(&mut fds, None);
                    if is_done(&Timespec::default()) {
                        return;
                    }
                    if let Some(signal) = self.next().filter(|signal| *signal != libc::SIGWINCH) {
                        *self.early.lock().unwrap_or_else(|e| e.into_inner()) = Some(signal);
                        break;
                    }
                }
                // Whatever is started next ends as well.
                while !is_done(&MOMENT) {
                    kill_children();
                }
            });
            let worked = work();
            drop(tell);
            worked
        })
    }

    /// That a signal came while [`Signals::watch_while`] watched.
    pub(super) fn came_early(&self) -> Result<()> {
        match *self.early.lock().unwrap_or_else(|e| e.into_inner()) {
            Some(signal) => bail!(Ended(signal)),
            None => Ok(()),
        }
    }
}

const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The set of signals that this process ignores, see proc(5).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

fn kill_children() {
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            let _ = kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The number of the signal that `text` names: `TERM`, `SIGTERM` or `15`.
pub(super) fn number(text: &str) -> Result<i32> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    let named = text.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    match named.or_else(|| name.parse().ok()) {
        Some(signal) => Ok(signal as i32),
        None => bail!("{text:?} is not a signal such as TERM or 15"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "sigterm", "SIGTERM", "15"] {
            assert_eq!(number(text).unwrap(), 15, "{text}");
        }
        for text in ["", "STOPP", "0", "99", "-1"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
