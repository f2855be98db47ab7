//! The life of one container: create, start, kill, reap, delete.
//!
//! The shim (over ttrpc) and the command line (over argv) are two front ends of this.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::Config;
use crate::error::Result;
use crate::metrics::Usage;
use crate::programs::Programs;

/// What it takes to create a container.
pub struct CreateRequest {
    /// The container's id.
    pub id: String,
    /// The bundle's directory, with `config.json` in it and its root filesystem mounted.
    pub bundle: PathBuf,
    /// What becomes the container's descriptors 0, 1 and 2.
    pub stdio: Stdio,
    /// This node's configuration.
    pub config: Config,
    /// Where Lighter's other programs are.
    pub programs: Programs,
}

/// The container's descriptors 0, 1 and 2.
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit status as shells and containerd count: 0–255, 128 + signal for a killed process.
    pub status: u32,
    /// When it ended.
    pub at: SystemTime,
}

/// A created container. Dropping it changes nothing; [`Container::delete`] does.
#[derive(Debug)]
pub struct Container {
    pid: u32,
    pidfd: OwnedFd,
}

impl Container {
    /// Creates a container: blocks until its guest is loaded and waits to be started, or is refused.
    /// Nothing is left behind by a refusal.
    ///
    /// # Errors
    /// Says what is wrong with the bundle, the module or this node.
    pub fn create(request: CreateRequest) -> Result<Self> {
        todo!()
    }

    /// The process id of the container's first process, in the caller's namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A pidfd of the container's first process: readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Lets the guest run. Runs the hooks that belong here.
    ///
    /// # Errors
    /// When the container ended in the meantime, or a hook failed (the container is then killed).
    pub fn start(&self) -> Result<()> {
        todo!()
    }

    /// Sends `signal` to the first process, or to every process of the container.
    ///
    /// # Errors
    /// [`crate::error::Cause::NotFound`] when it has already ended.
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        todo!()
    }

    /// Collects the exit of the ended process; to be called once [`Self::pidfd`] is readable.
    /// Also ends whatever else runs in the container. A second call is an error.
    ///
    /// # Errors
    /// When there is no exit to collect.
    pub fn reap(&self) -> Result<Exit> {
        todo!()
    }

    /// The ids of all processes of the container, in the caller's pid namespace.
    ///
    /// # Errors
    /// When the container's cgroup cannot be read.
    pub fn pids(&self) -> Result<Vec<u32>> {
        todo!()
    }

    /// What the container uses now.
    ///
    /// # Errors
    /// When the container's cgroup cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        todo!()
    }

    /// Removes what is left: processes, cgroup, state; runs `poststop` hooks. Goes on past errors.
    ///
    /// # Errors
    /// All that went wrong, in one sentence.
    pub fn delete(&self) -> Result<()> {
        todo!()
    }

    /// Cleans up after a supervisor that died: kills what still runs of the container recorded in
    /// `bundle`, removes its cgroup, runs `poststop` hooks. Idempotent; `None` if nothing was recorded.
    /// Does not unmount the root filesystem, which its mounter does.
    ///
    /// # Errors
    /// All that went wrong, in one sentence.
    pub fn clean_up(bundle: &Path) -> Result<Option<u32>> {
        todo!()
    }
}
