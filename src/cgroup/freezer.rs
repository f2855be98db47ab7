//! Stopping all processes of a group at once, and letting them go on: "cgroup.freeze" in cgroup-v2.rst, and
//! cgroup-v1/freezer-subsystem.rst of the kernel's documentation.

use libcgroups::common::{CgroupManager, FreezerState};

use super::Cgroup;
use crate::error::Result;
use crate::host::Cgroups;

impl Cgroup {
    /// Stops everything in it; returns once all of it has stopped.
    ///
    /// # Errors
    /// When there is no group, or it does not stop in time.
    pub(crate) fn freeze(&self) -> Result<()> {
        if self.is_closed() {
            return Err(self.refusal("freeze", "the container has none of its own"));
        }
        self.manager()?.freeze(FreezerState::Frozen).map_err(|e| self.refusal("freeze", e))
    }

    /// Lets it go on. One that was not stopped goes on as it did.
    ///
    /// # Errors
    /// When there is no group.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.manager()?.freeze(FreezerState::Thawed).map_err(|e| self.refusal("thaw", e))
    }

    /// Whether everything in it is stopped.
    pub(crate) fn is_frozen(&self) -> bool {
        !self.is_closed() && self.directories().are_frozen()
    }

    /// Lets processes that were killed come to their end: on version 1 a stopped one stays, killed or not.
    pub(crate) fn let_the_killed_go(&self) {
        if self.hierarchy == Cgroups::V1 {
            self.directories().let_go();
        }
    }
}
