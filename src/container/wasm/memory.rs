//! The guest's own limit on memory, which follows its group's while it runs.

use oci_spec::runtime::LinuxResources;

use super::WasmContainer;
use crate::error::Result;
use crate::plan::{LimitKind, Limits, MemoryChange, MemoryRule};

/// What the guest may have now, and how that is decided.
#[derive(Debug)]
pub(super) struct GuestMemory {
    rule: MemoryRule,
    now: MemoryChange,
    /// How often the runner was told.
    told: u64,
}

impl GuestMemory {
    pub(super) fn new(rule: MemoryRule, limits: &Limits) -> Self {
        let limit = limits.each.get(&LimitKind::Memory).cloned();
        Self { rule, now: MemoryChange { limit }, told: 0 }
    }
}

impl WasmContainer {
    /// Limits the group by `limit_group`, and the guest within it.
    pub(in crate::container) fn update(
        &self,
        resources: &LinuxResources,
        limit_group: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut memory = self.memory.lock().unwrap_or_else(|e| e.into_inner());
        let Some(next) = memory.rule.after(resources)? else { return limit_group() };
        // At no time may the guest have more than its group.
        let amount = |change: &MemoryChange| change.limit.as_ref().map_or(u64::MAX, |l| l.value);
        if amount(&next) < amount(&memory.now) {
            self.tell(&mut memory, &next)?;
        }
        match limit_group() {
            Ok(()) => {
                memory.now = next.clone();
                self.tell(&mut memory, &next)
            }
            Err(refusal) => {
                let now = memory.now.clone();
                self.tell(&mut memory, &now).and(Err(refusal))
            }
        }
    }

    fn tell(&self, memory: &mut GuestMemory, change: &MemoryChange) -> Result<()> {
        memory.told += 1;
        self.report.change_memory(change, memory.told)
    }
}
