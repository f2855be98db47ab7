//! Running a program to its end: all its output, its status, how long it took, and never longer than allowed.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What a program did.
#[derive(Debug)]
pub struct Output {
    /// Exit status as shells count: 128 + signal for a killed program.
    pub status: i32,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// From just before it was started until it had ended.
    pub elapsed: Duration,
    /// The command, for messages.
    pub command: String,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Panics with all there is to know unless the status is `expected`.
    #[track_caller]
    pub fn expect_status(self, expected: i32) -> Self {
        assert_eq!(self.status, expected, "status of {self}");
        self
    }

    /// Panics with all there is to know unless the program succeeded.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        self.expect_status(0)
    }

    /// Panics with all there is to know if the program succeeded; returns its standard error.
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert_ne!(self.status, 0, "this should have failed: {self}");
        self.errors()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
            if bytes.len() > 4000 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
        };
        let Self { command, status, elapsed, .. } = self;
        let (stdout, stderr) = (shown(&self.stdout), shown(&self.stderr));
        writeln!(f, "`{command}` ended with {status} after {elapsed:.2?}")?;
        write!(f, "--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Runs `command` with `stdin` and collects what it does.
///
/// # Panics
/// When it cannot be started, or has not ended within `limit`; it is then killed.
#[track_caller]
pub fn run(command: &mut Command, stdin: &[u8], limit: Duration) -> Output {
    run_holding_stdin(command, stdin, limit, || true)
}

/// The same, but the end of `stdin` comes only once `may_end` is true, or the program has ended.
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_holding_stdin(
    command: &mut Command,
    stdin: &[u8],
    limit: Duration,
    may_end: impl Fn() -> bool + Send,
) -> Output {
    let name = describe(command);
    let begin = Instant::now();
    let mut child = command
        .stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start `{name}`: {error}"));

    let ended = AtomicBool::new(false);
    let (input, mut out, mut err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (stdout, stderr, end) = std::thread::scope(|scope| {
        if let Some(mut input) = input {
            let ended = &ended;
            scope.spawn(move || {
                // A program that does not read all of its input is no error of ours.
                let _ = input.write_all(stdin);
                eventually(limit, || ended.load(Ordering::Relaxed) || may_end());
            });
        }
        let stdout = scope.spawn(move || collect(out.as_mut()));
        let stderr = scope.spawn(move || collect(err.as_mut()));
        let in_time = ended_within(&child, limit);
        let end = begin.elapsed();
        ended.store(true, Ordering::Relaxed);
        if !in_time {
            let _ = child.kill();
        }
        (stdout.join().unwrap(), stderr.join().unwrap(), in_time.then_some(end))
    });
    let status = status_code(child.wait().expect("wait for a child"));
    let elapsed = end.unwrap_or(limit);
    let output = Output { status, stdout, stderr, elapsed, command: name };
    assert!(end.is_some(), "still running after {limit:?}, killed: {output}");
    output
}

/// Whether `child` ends before `limit` has passed.
pub fn ended_within(child: &Child, limit: Duration) -> bool {
    Process::open(child.id()).expect("a child of ours has a pidfd").ends_within(limit)
}

/// A process that need not be a child of ours, and stays the same one when its id is used again.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// The process that has the id `pid` now.
    pub fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(pid.cast_signed())?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Whether it ends before `limit` has passed, or has ended.
    pub fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("a limit of less than centuries");
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&limit)).expect("poll a pidfd") > 0
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Ends it with SIGKILL.
    pub fn kill9(&self) {
        pidfd_send_signal(&self.0, Signal::KILL).expect("kill a process");
    }
}

/// Calls `check` until it is true, for at most `limit`. Returns whether it ever was.
pub fn eventually(limit: Duration, mut check: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if check() {
            return true;
        }
        if begin.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn collect(pipe: Option<&mut impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}

pub fn status_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
