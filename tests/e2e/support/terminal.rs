//! A program at a terminal, as somebody types there: `ctr run --tty` wants one.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::command::ended_within;
use super::containerd::LIMIT;

/// A program whose standard streams are a pty, and the pty's other side. The program is killed when this is dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    master: OwnedFd,
    /// What it has written that was not yet looked for.
    unread: Vec<u8>,
}

impl Session {
    /// Starts `command` at a new terminal, of 80 times 24 characters.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("open a pty");
        unlockpt(&master).expect("unlock a pty");
        set_size(&master, 80, 24);
        let side = ioctl_tiocgptpeer(&master, flags).expect("open a pty's other side");
        // What the terminal inside makes two characters of shall not be three.
        let mut modes = tcgetattr(&side).expect("a terminal has modes");
        modes.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&side, OptionalActions::Now, &modes).expect("set a terminal's modes");
        let side = || Stdio::from(side.try_clone().unwrap());
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        // The command keeps its copies for the next start.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child, master, unread: Vec::new() }
    }

    /// Presses keys.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let written = rustix::io::write(&self.master, keys.as_bytes()).expect("write to a pty");
        assert_eq!(written, keys.len());
    }

    /// Changes the size of the window; the program is told.
    #[track_caller]
    pub fn resize(&self, width: u16, height: u16) {
        set_size(&self.master, width, height);
        // To those in its foreground the kernel would tell it, but it has none: nobody is in its session.
        kill_process(Pid::from_child(&self.child), Signal::WINCH).expect("tell of the size");
    }

    /// Waits until the program writes `text`; returns what it wrote up to and with it.
    ///
    /// # Panics
    /// When it has not in a generous time.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let begin = Instant::now();
        loop {
            let found = self.unread.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(at) = found {
                let seen = self.unread.drain(..at + text.len()).collect();
                return String::from_utf8(seen).expect("text");
            }
            let seen = String::from_utf8_lossy(&self.unread).into_owned();
            assert!(begin.elapsed() < LIMIT, "not seen: {text:?}; seen: {seen:?}");
            assert!(self.read(), "it ended without {text:?}; seen: {seen:?}");
        }
    }

    /// Waits for the program's end; returns all it wrote until then, and its status.
    #[track_caller]
    pub fn end(&mut self) -> (Vec<u8>, i32) {
        let begin = Instant::now();
        while self.read() {
            assert!(begin.elapsed() < LIMIT, "it goes on");
        }
        assert!(ended_within(&self.child, LIMIT), "it goes on");
        let status = self.child.wait().unwrap().code().expect("an exit status");
        (std::mem::take(&mut self.unread), status)
    }

    /// Takes what there is within a moment; `false` at the end.
    fn read(&mut self) -> bool {
        let moment = Timespec::try_from(Duration::from_millis(200)).unwrap();
        if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&moment)) == Ok(0) {
            return true;
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(0) | Err(Errno::IO) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            Err(Errno::INTR) => true,
            Err(error) => panic!("read a pty: {error}"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(master: &OwnedFd, width: u16, height: u16) {
    let size = Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).expect("set a terminal's size");
}
