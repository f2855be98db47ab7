//! The container's terminal, copied to and from the one that this command was called at.

use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// The container's terminal from outside.
#[derive(Debug)]
pub(super) struct Terminal {
    console: OwnedFd,
    /// How ours was, if keys are passed on from it.
    before: Option<Termios>,
    /// Keys are passed on.
    reads: bool,
    /// Keys that it has not taken yet.
    keys: Vec<u8>,
}

/// The size of our own terminal, if there is one.
pub(super) fn size() -> Option<Winsize> {
    [stdout(), stdin()].into_iter().find_map(|fd| tcgetwinsize(fd).ok())
}

impl Terminal {
    /// Passes keys on if `interactive`.
    pub(super) fn open(console: OwnedFd, interactive: bool) -> Result<Self> {
        fcntl_getfl(&console)
            .and_then(|flags| fcntl_setfl(&console, flags | OFlags::NONBLOCK))
            .context("the container's terminal")?;
        let before = match interactive && stdin().is_terminal() {
            true => {
                let before = tcgetattr(stdin()).context("this terminal's modes")?;
                let mut raw = before.clone();
                raw.make_raw();
                tcsetattr(stdin(), OptionalActions::Now, &raw).context("this terminal's modes")?;
                Some(before)
            }
            false => None,
        };
        Ok(Self { console, before, reads: interactive, keys: Vec::new() })
    }

    /// Gives it the size that ours has now.
    pub(super) fn resize(&self) {
        if let Some(size) = size() {
            let _ = tcsetwinsize(&self.console, size);
        }
    }

    /// What there may be to copy.
    pub(super) fn waits_for<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        let room = if self.keys.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        fds.push(PollFd::new(&self.console, PollFlags::IN | room));
        if self.reads && self.keys.is_empty() {
            fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
    }

    /// Copies what there is, and waits for nothing but room where it goes.
    pub(super) fn copy(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.console, &mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(&buffer[..read]).and_then(|()| out.flush()).context("standard output")?;
                }
                Err(Errno::INTR) => {}
                // Nothing yet, or the other side is closed.
                Err(_) => break,
            }
        }
        if self.reads && self.keys.is_empty() && is_readable() {
            match rustix::io::read(stdin(), &mut buffer) {
                Ok(0) | Err(_) => self.reads = false,
                Ok(read) => self.keys.extend_from_slice(&buffer[..read]),
            }
        }
        if !self.keys.is_empty()
            && let Ok(taken) = rustix::io::write(&self.console, &self.keys)
        {
            self.keys.drain(..taken);
        }
        Ok(())
    }
}

fn is_readable() -> bool {
    let now = rustix::event::Timespec::default();
    rustix::event::poll(&mut [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)], Some(&now)) == Ok(1)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
