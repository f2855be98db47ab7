//! A container that this command stays with: signals are passed on to it, a terminal is copied to ours, and its end is awaited.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use lighter::container::Container;
use rustix::event::{PollFd, PollFlags, poll};

use super::args::Args;
use super::signals::Signals;
use super::terminal::Terminal;

/// How many requests to end are passed on; the next one ends it for sure.
const PATIENCE: u32 = 2;

/// Stays until `container` ends, which has been started; its exit status is ours.
pub(super) fn attend(
    container: &Container,
    args: &Args,
    stop_signal: i32,
    signals: &Signals,
) -> Result<ExitCode> {
    let console = container.take_console();
    let mut terminal = console.map(|console| Terminal::open(console, args.interactive)).transpose()?;
    let mut asked = 0;
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(container.pidfd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        if let Some(terminal) = &terminal {
            terminal.waits_for(&mut fds);
        }
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let has_ended = !fds[0].revents().is_empty();
        drop(fds);
        if let Some(terminal) = &mut terminal {
            terminal.copy()?;
        }
        if has_ended {
            break;
        }
        while let Some(signal) = signals.next() {
            if signal == libc::SIGWINCH {
                terminal.iter().for_each(Terminal::resize);
                continue;
            }
            asked += u32::from(matches!(signal, libc::SIGINT | libc::SIGTERM));
            let signal = match signal {
                libc::SIGINT | libc::SIGTERM if asked > PATIENCE => libc::SIGKILL,
                libc::SIGTERM => stop_signal,
                signal => signal,
            };
            // It may have ended.
            let _ = container.kill(signal, false);
        }
    }
    if let Some(terminal) = &mut terminal {
        terminal.copy()?;
    }
    drop(terminal);
    let exit = container.reap()?;
    if exit.oom && exit.limit.is_none() {
        let said = "lighter: the container was killed for want of memory: what --memory gives it is used up";
        let _ = writeln!(std::io::stderr(), "{said}");
    }
    Ok(ExitCode::from(u8::try_from(exit.status).unwrap_or(u8::MAX)))
}
