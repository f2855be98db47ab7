//! Processes that are there only for the namespaces that they are in.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::process::{
    PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::error::{Refusal, Result};
use crate::sys;

/// Which namespaces a process is to hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hold<'a> {
    /// The network namespace to join.
    pub network: Option<&'a Path>,
    /// Join the user namespace that the network namespace belongs to first, so that all that is new belongs to it, too.
    pub user: bool,
    /// A new pid namespace, with itself as process 1.
    pub pid: bool,
    /// A new IPC namespace.
    pub ipc: bool,
    /// A new UTS namespace.
    pub uts: bool,
}

/// A process that only waits to be killed, in some namespaces. It ends with the thread that made it.
#[derive(Debug)]
pub struct Held {
    /// Its id, in the caller's pid namespace.
    pub pid: u32,
    pidfd: OwnedFd,
}

impl Hold<'_> {
    /// Makes the process.
    ///
    /// # Errors
    /// Names the namespace that cannot be joined, and what the kernel says.
    pub fn start(&self) -> Result<Held> {
        let network = self.network.map(|path| {
            File::open(path).map_err(|e| {
                Refusal::system(format!("open network namespace {}", path.display()), e)
            })
        });
        let network = network.transpose()?;
        let user = match (&network, self.user) {
            (Some(network), true) => {
                Some(sys::owning_user_namespace(network.as_fd()).map_err(|e| {
                    Refusal::system("find the user namespace of the network namespace", e)
                })?)
            }
            (None, true) => {
                return Err(Refusal::invalid(
                    "a user namespace for a pod needs a network namespace that belongs to it",
                ));
            }
            (_, false) => None,
        };
        let join: Vec<BorrowedFd<'_>> =
            user.iter().map(AsFd::as_fd).chain(network.iter().map(AsFd::as_fd)).collect();
        let new = [
            (self.pid, libc::CLONE_NEWPID),
            (self.ipc, libc::CLONE_NEWIPC),
            (self.uts, libc::CLONE_NEWUTS),
        ];
        let new = new.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag);
        let held = |e| Refusal::system("make a process that holds a pod's namespaces", e);
        let pid = sys::hold_namespaces(&join, new).map_err(held)?;
        // Our child, which nobody else collects this soon: still the same process.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| held(e.into()))?;
        Ok(Held { pid: pid.as_raw_nonzero().get().unsigned_abs(), pidfd })
    }
}

impl Held {
    /// A pidfd of it: readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends it, and with it all in a pid namespace that it made.
    pub fn end(&self) {
        // Both fail only where it has ended, and was collected by whoever collects orphans.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}
