//! `binary://`: a program of the operator's that logs the output, as containerd's runtimes start it.
//!
//! It reads the container's standard output from descriptor 3 and its standard error from 4, and says by closing 5, or
//! writing a byte there, that it is ready. Nothing is copied: the process has the other ends of these pipes. At the end
//! of its output the program ends.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lighter::child::{self, Child, Spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::uri::Program;
use super::{Identity, failed, fifo, file, ready};
use crate::sys;
use crate::task::Error;

/// How long a program may take to be ready.
const READY: Duration = Duration::from_secs(10);
/// How long it may take to end by itself once its input has ended, and once more after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// It ends at any moment.
const MOMENT: Duration = Duration::from_secs(1);

/// A running logging program.
#[derive(Debug)]
pub(super) struct Logger {
    program: PathBuf,
    pidfd: OwnedFd,
    watch: AbortHandle,
    /// What it reads from. (Nothing is read here.)
    pipes: [OwnedFd; 2],
}

/// What the process writes to, for the program to read.
pub(super) struct Inlets {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Logger {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be run, ends before it is ready, or takes too long.
    pub(super) fn start(
        uri: &str,
        program: &Program,
        identity: &Identity<'_>,
    ) -> Result<(Self, Inlets), Error> {
        let fail = |error: io::Error| failed(uri, &error);
        accessat(CWD, &program.path, Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|errno| fail(errno.into()))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| fail(errno.into()));
        let (stdout_reader, stdout) = pipe()?;
        let (stderr_reader, stderr) = pipe()?;
        let (ready, says_ready) = pipe()?;
        let null = file::null()?;
        let Child { pid, pidfd } = {
            let path = text(program.path.as_os_str()).map_err(fail)?;
            let args = program.args.iter().map(|arg| text(arg));
            let args: Vec<CString> = std::iter::once(Ok(path.clone()))
                .chain(args)
                .collect::<io::Result<_>>()
                .map_err(fail)?;
            // Nothing else: that is all that it gets from others, too.
            let environment = [
                format!("CONTAINER_ID={}", identity.id),
                format!("CONTAINER_NAMESPACE={}", identity.namespace),
            ];
            let environment = environment.iter().map(|variable| text(OsStr::new(variable)));
            let environment: Vec<CString> = environment.collect::<io::Result<_>>().map_err(fail)?;
            let descriptors = [&null, &null, &null, &stdout_reader, &stderr_reader, &says_ready]
                .map(|fd| fd.as_fd());
            child::spawn(&Spawn {
                program: &path,
                args: &args,
                environment: &environment,
                descriptors: &descriptors,
                new_pid_namespace: false,
                cgroup: None,
            })
            .map_err(fail)?
        };
        drop(says_ready);
        if let Err(error) = wait_until_ready(&ready, pid, &pidfd) {
            end(&pidfd, Signal::KILL);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            return Err(fail(error));
        }
        let spare = |reader: &OwnedFd| {
            fifo::reopen(reader, File::options().read(true).custom_flags(libc::O_NONBLOCK))
        };
        let logger = spare(&stdout_reader)
            .and_then(|stdout| Ok([stdout, spare(&stderr_reader)?]))
            .and_then(|pipes| Ok((pidfd.try_clone()?, pipes)))
            .map(|(ended, spare)| {
                let name = program.path.display().to_string();
                let watch = tokio::spawn(stand_in(ended, spare, name)).abort_handle();
                let pipes = [stdout_reader, stderr_reader];
                Self { program: program.path.clone(), pidfd, watch, pipes }
            });
        Ok((logger.map_err(fail)?, Inlets { stdout, stderr }))
    }

    /// What it reads from, to see how much is left there.
    pub(super) fn pipes(&self) -> io::Result<Vec<OwnedFd>> {
        self.pipes.iter().map(OwnedFd::try_clone).collect()
    }

    /// To be awaited when nobody can write any more: returns once the program has ended, if need be by force.
    pub(super) async fn finish(self) {
        for signal in [Signal::TERM, Signal::KILL] {
            if timeout(GRACE, ended(&self.pidfd)).await.is_ok() {
                break;
            }
            let program = self.program.display();
            log::warn!("{program} has read all of its input and does not end: sending {signal:?}");
            end(&self.pidfd, signal);
        }
        let _ = timeout(MOMENT, ended(&self.pidfd)).await;
        // Perhaps collected as an orphan.
        let collect = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), collect);
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.watch.abort();
        // Only of a container that has come to nothing does it still run.
        end(&self.pidfd, Signal::TERM);
    }
}

fn text(bytes: &OsStr) -> io::Result<CString> {
    CString::new(bytes.as_bytes()).map_err(io::Error::from)
}

fn end(pidfd: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(pidfd, signal);
}

async fn ended(pidfd: &OwnedFd) {
    if let Ok(pidfd) = pidfd.try_clone().and_then(sys::watch_for_reading) {
        let _ = pidfd.readable().await;
    }
}

fn wait_until_ready(ready: &OwnedFd, pid: u32, pidfd: &OwnedFd) -> io::Result<()> {
    if !readable_within(ready, READY) {
        return Err(io::Error::other(format!("it is not ready (descriptor 5) after {READY:?}")));
    }
    let said = loop {
        match rustix::io::read(ready, &mut [0; 1]) {
            Err(Errno::INTR) => {}
            said => break said?,
        }
    };
    // All descriptors are closed at the end of a process, too, and that has then begun.
    if said > 0 || !is_ending(pid) || !readable_within(pidfd, MOMENT) {
        return Ok(());
    }
    let status =
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let why = match status.map(|status| (status.exit_status(), status.terminating_signal())) {
        Some((Some(127), _)) => "it could not be executed".to_owned(),
        Some((Some(status), _)) => format!("it ended with status {status} before it was ready"),
        Some((_, Some(signal))) => format!("it was killed by signal {signal} before it was ready"),
        _ => "it ended before it was ready".to_owned(),
    };
    Err(io::Error::other(why))
}

fn readable_within(fd: &OwnedFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            polled => return matches!(polled, Ok(1..)),
        }
    }
}

/// Whether the process is on its way out, or a zombie already.
fn is_ending(pid: u32) -> bool {
    /// Of linux/sched.h.
    const PF_EXITING: u32 = 4;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, which may hold anything, is in parentheses. After it come state, five ids, and the flags.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let flags = fields.split_whitespace().nth(6).and_then(|flags| flags.parse::<u32>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// Once the program has ended, reads in its place, as long as anybody writes: what it would have logged is lost, but the
/// process neither waits for ever nor is killed by SIGPIPE.
async fn stand_in(pidfd: OwnedFd, pipes: [OwnedFd; 2], program: String) {
    ended(&pidfd).await;
    let [stdout, stderr] = pipes;
    if has_writer(&stdout) || has_writer(&stderr) {
        log::warn!(
            "{program} has ended before the container whose output it logs: the rest is lost"
        );
    }
    tokio::join!(discard(stdout), discard(stderr));
}

fn has_writer(reader: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(reader, PollFlags::IN)];
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    !fds[0].revents().contains(PollFlags::HUP)
}

async fn discard(pipe: OwnedFd) {
    let Ok(pipe) = sys::watch_for_reading(pipe) else { return };
    let mut buffer = vec![0; 4096];
    while let Ok(1..) = ready::read(&pipe, &mut buffer).await {}
}
