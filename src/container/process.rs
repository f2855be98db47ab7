//! A process beside a container's first: containerd's "exec".

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use oci_spec::runtime;

use super::{Console, Exit, KILL_TIMEOUT, Streams, ended, reap, send_signal};
use crate::config::Config;
use crate::error::{Refusal, Result};
use crate::plan::LimitKind;
use crate::programs::Programs;
use crate::report::Report;

/// What shall run: `process` of the OCI runtime specification.
#[derive(Clone, Debug)]
pub struct ExecSpec(pub(super) runtime::Process);

impl ExecSpec {
    /// Reads it.
    ///
    /// # Errors
    /// Names the field that is missing or of another type.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let process = serde_path_to_error::deserialize(&mut json);
        process.map(Self).map_err(|e| {
            let field = match e.path().to_string() {
                field if field == "." => "process".to_owned(),
                field => format!("process.{field}"),
            };
            Refusal::invalid(format!("{field}: {}", e.inner()))
        })
    }
}

/// What it takes to run a process beside a container's first.
#[derive(Debug)]
pub struct ExecRequest {
    /// What shall run.
    pub spec: ExecSpec,
    /// Where its descriptors 0, 1 and 2 lead.
    pub streams: Streams,
    /// This node's configuration.
    pub config: Config,
    /// Where Lighter's other programs are.
    pub programs: Programs,
}

/// A process beside a container's first, which runs or has run. Dropping it changes nothing.
#[derive(Debug)]
pub struct Process {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// Of a guest: where it is said which limit ended it.
    pub(super) report: Option<Arc<Report>>,
    pub(super) console: Console,
}

impl Process {
    /// Its id in the caller's pid namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A pidfd of it: readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The supervisor's side of its terminal, if it has one: for whoever asks first.
    pub fn take_console(&self) -> Option<OwnedFd> {
        self.console.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// Sends it `signal`.
    ///
    /// # Errors
    /// [`crate::error::Cause::NotFound`] when it has already ended.
    pub fn kill(&self, signal: i32) -> Result<()> {
        send_signal(self.pidfd(), signal)
    }

    /// Waits for it to end and collects its exit. A second call is an error.
    ///
    /// # Errors
    /// When there is no exit to collect.
    pub fn reap(&self) -> Result<Exit> {
        let exit = reap(self.pidfd())?;
        let limit = self.report.as_ref().and_then(|report| report.read());
        Ok(Exit { oom: limit == Some(LimitKind::Memory), limit, ..exit })
    }

    /// Ends and collects one that came to nothing.
    pub(super) fn abandon(self) {
        let _ = self.kill(libc::SIGKILL);
        if ended(self.pidfd(), KILL_TIMEOUT) {
            // Already collected if somebody asked why it ended.
            let _ = reap(self.pidfd());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_process_is_named() {
        ExecSpec::from_json(br#"{"user":{"uid":0,"gid":0},"args":["/a.wasm"],"cwd":"/"}"#).unwrap();
        for (text, words) in [
            (
                &br#"{"user":{"uid":"root","gid":0},"args":["/a"],"cwd":"/"}"#[..],
                "process.user.uid",
            ),
            (b"[]", "process: "),
            (b"", "process: EOF"),
        ] {
            let refusal = ExecSpec::from_json(text).unwrap_err();
            assert!(refusal.message.starts_with(words), "{refusal}");
        }
    }
}
