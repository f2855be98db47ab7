//! Changing the limits of a group whose processes run: what is given changes, and the rest stays as it is.

use oci_spec::runtime::LinuxResources;

use super::{Cgroup, read, resources, scope, systemd};
use crate::error::{Refusal, Result};
use crate::host::Cgroups;

impl Cgroup {
    /// Limits the group anew. Rules about devices are left out, as runc leaves them: they hold from the beginning.
    ///
    /// # Errors
    /// When a value is refused, by us or by the kernel: those written before it stay, and which those are is the
    /// kernel's order of controllers.
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<()> {
        let mut resources = resources.clone();
        if self.hierarchy == Cgroups::V2 {
            let usage = read::usage(self.hierarchy, &self.directories());
            let limit = usage.map_or(u64::MAX, |usage| usage.memory.limit);
            resources::complete_memory(&mut resources, limit);
        }
        let Some(mut resources) = self.adapted(Some(&resources))? else { return Ok(()) };
        if self.is_closed() {
            return Ok(());
        }
        self.refuse_what_is_used(&resources)?;
        resources.set_devices(None);
        if self.hierarchy == Cgroups::V2 {
            let (quota, period) = read::quota_and_period(&self.directories());
            resources::complete_cpu(&mut resources, quota, period);
        }
        if self.systemd {
            let limits = systemd::Limits::changing(&resources)?;
            let (_, unit) = scope::slice_and_unit(&self.directory)?;
            systemd::limit(unit, &limits).map_err(|e| self.refusal("limit", e))?;
        }
        self.limit_in_order(&resources)
    }

    /// `checkBeforeUpdate`: rather no change than one that makes the kernel kill.
    fn refuse_what_is_used(&self, resources: &LinuxResources) -> Result<()> {
        let Some(memory) = resources.memory() else { return Ok(()) };
        if memory.check_before_update() != Some(true) {
            return Ok(());
        }
        let used = self.usage()?.memory.usage;
        for (field, limit) in [("limit", memory.limit()), ("swap", memory.swap())] {
            let limit = limit.and_then(|limit| u64::try_from(limit).ok()).filter(|l| *l > 0);
            if let Some(limit) = limit.filter(|limit| *limit <= used) {
                return Err(Refusal::invalid(format!(
                    "linux.resources.memory.{field} {limit}: the container uses {used} bytes, and \
                     checkBeforeUpdate is set"
                )));
            }
        }
        Ok(())
    }

    /// Where a group above has a quota, a shorter period is refused beside the old quota, and a larger quota beside the old
    /// period: version 1 has a file for each.
    fn limit_in_order(&self, resources: &LinuxResources) -> Result<()> {
        let limited = self.limit(Some(resources));
        match resources.cpu().as_ref().map(|cpu| (cpu.quota(), cpu.period())) {
            Some((Some(_), Some(_))) if self.hierarchy == Cgroups::V1 && limited.is_err() => {
                let mut quota_alone = resources.clone();
                if let Some(cpu) = quota_alone.cpu_mut() {
                    cpu.set_period(None);
                }
                self.limit(Some(&quota_alone)).and_then(|()| self.limit(Some(resources)))
            }
            _ => limited,
        }
    }
}
