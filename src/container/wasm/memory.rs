//! The guests' own limit on memory, which follows their group's while they run.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use oci_spec::runtime::LinuxResources;

use super::WasmContainer;
use crate::error::Result;
use crate::plan::{LimitKind, Limits, MemoryChange, MemoryRule};
use crate::report::Report;
use crate::state::{GuestState, State};

/// What the guests of a container may have now, each by itself, and how that is decided.
#[derive(Debug)]
pub(super) struct GuestMemory {
    rule: MemoryRule,
    now: MemoryChange,
    /// How often it was changed.
    changes: u64,
    /// Where each of their runners hears of it.
    reports: Vec<Weak<Report>>,
}

impl GuestMemory {
    /// That of a container whose first guest has `limits` and hears by `report`.
    pub(super) fn new(rule: MemoryRule, limits: &Limits, report: &Arc<Report>) -> Self {
        let limit = limits.each.get(&LimitKind::Memory).cloned();
        let reports = vec![Arc::downgrade(report)];
        Self { rule, now: MemoryChange { limit }, changes: 0, reports }
    }

    /// As another supervisor recorded it.
    pub(super) fn recalled(guest: &GuestState, report: &Arc<Report>) -> Self {
        Self {
            rule: guest.memory_rule.clone(),
            now: guest.memory.clone(),
            changes: guest.memory_changes,
            reports: vec![Arc::downgrade(report)],
        }
    }

    /// What another supervisor needs to know.
    pub(super) fn recorded(&self, profiled: bool) -> GuestState {
        GuestState {
            profiled,
            memory_rule: self.rule.clone(),
            memory: self.now.clone(),
            memory_changes: self.changes,
        }
    }

    /// The guests may have `change` from their next growth on.
    fn tell(&mut self, change: &MemoryChange) -> Result<()> {
        self.changes += 1;
        self.reports.retain(|report| report.strong_count() > 0);
        for report in self.reports.iter().filter_map(Weak::upgrade) {
            report.change_memory(change, self.changes)?;
        }
        Ok(())
    }
}

impl WasmContainer {
    fn memory(&self) -> MutexGuard<'_, GuestMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a guest that is about to run beside the first have as much as that has now.
    pub(super) fn limit_as_now(&self, report: &Arc<Report>) -> Result<()> {
        let mut memory = self.memory();
        memory.reports.push(Arc::downgrade(report));
        match memory.changes {
            0 => Ok(()),
            changes => report.change_memory(&memory.now, changes),
        }
    }

    /// Limits the group by `limit_group`, and the guests within it. Guests beside the first that another supervisor
    /// started keep what they have.
    pub(in crate::container) fn update(
        &self,
        resources: &LinuxResources,
        limit_group: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut memory = self.memory();
        let Some(next) = memory.rule.after(resources)? else { return limit_group() };
        // At no time may a guest have more than its group.
        let amount = |change: &MemoryChange| change.limit.as_ref().map_or(u64::MAX, |l| l.value);
        if amount(&next) < amount(&memory.now) {
            memory.tell(&next)?;
        }
        let limited = limit_group();
        let now = match limited {
            Ok(()) => next,
            Err(_) => memory.now.clone(),
        };
        memory.now = now.clone();
        memory.tell(&now)?;
        if self.record.is_left() {
            let guest = Some(memory.recorded(self.runner.profiled));
            State { guest, ..self.state.clone() }.write(&self.record)?;
        }
        limited
    }
}
