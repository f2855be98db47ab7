//! A runner as its supervisor holds it, from its launch to the guest's first instruction.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::unexpected;
use crate::container::KILL_TIMEOUT;
use crate::container::{ended, reap};
use crate::error::{Refusal, Result};
use crate::host::Host;
use crate::plan::{LimitKind, Plan};
use crate::report::Report;
use crate::seccomp;
use crate::sys;
use crate::wire::{Peer, SeccompFilter, ToRunner, ToSupervisor};

/// A runner. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    pub(super) report: Arc<Report>,
    /// The bundle has a filter of system calls of its own.
    pub(super) profiled: bool,
}

/// Takes the bundle's profile out of the plan: the runner gets it ready-made, and no names of system calls.
pub(super) fn filters(plan: &mut Plan, host: &Host) -> Result<(Vec<SeccompFilter>, bool)> {
    let profile = plan.confinement.seccomp.take();
    let filters = match host.seccomp {
        true => seccomp::filters(profile.as_ref())?,
        false => Vec::new(),
    };
    Ok((filters, profile.is_some()))
}

impl Runner {
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Which of the engine's limits ended the guest, if one did.
    pub(super) fn limit(&self) -> Option<LimitKind> {
        self.report.read()
    }

    /// Lets the guest run.
    pub(super) fn start(&self, peer: &Peer) -> Result<()> {
        let ended = || Refusal::not_found("the container ended before it was started");
        peer.send(&ToRunner::Start, None).map_err(|_| ended())?;
        match peer.receive::<ToSupervisor>() {
            Ok(Some((ToSupervisor::Started, _))) => Ok(()),
            Ok(Some((ToSupervisor::Refused(refusal), _))) => Err(refusal),
            Ok(Some((other, _))) => Err(unexpected(&other)),
            // It was started, and its time was up before it could say so.
            Ok(None) | Err(_) if self.limit().is_some() => Ok(()),
            // Its last word comes from behind the filters.
            Ok(None) | Err(_) if self.profiled => Err(Refusal::system(
                "linux.seccomp",
                "the container ended before its guest began; the profile must allow what every \
                 runner needs",
            )),
            Ok(None) | Err(_) => Err(ended()),
        }
    }

    /// The runner closed its socket without a word: its exit says why.
    pub(super) fn ended_early(&self) -> Refusal {
        if !ended(self.pidfd(), KILL_TIMEOUT) {
            return Refusal::system(
                "lighter-runner",
                "closed its socket before the guest was ready",
            );
        }
        let why = match reap(self.pidfd()).map(|exit| exit.status) {
            Ok(status) if status == sys::NOT_ADMITTED as u32 => {
                "could not move into its control group".to_owned()
            }
            Ok(127) => "could not be executed".to_owned(),
            Ok(status @ 129..) => format!(
                "was killed by signal {} before the guest was ready{}",
                status - 128,
                if status == 137 { " (the container's memory limit?)" } else { "" }
            ),
            Ok(status) => format!("ended with status {status} before the guest was ready"),
            Err(e) => e.message,
        };
        Refusal::system("lighter-runner", why)
    }
}
