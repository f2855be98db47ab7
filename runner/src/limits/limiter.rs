//! What a guest's store may hold: bytes of memories and tables, over all of its instances, and how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lighter::plan::{Limit, LimitKind, Limits, Origin};
use wasmtime::{Error, GcHeapOutOfMemory, ResourceLimiter, ResourcesRequired, Result, Trap};

use super::Report;
use crate::exit;
use crate::http::Areas;

/// Bytes of one element of a table.
const ELEMENT: u64 = size_of::<usize>() as u64;
/// Bytes of a page of WebAssembly's; custom page sizes are off.
const PAGE: u64 = 64 << 10;

/// Counts what a guest has, and refuses what would be too much.
pub(crate) struct Limiter {
    limits: Limits,
    /// Bytes of all memories and tables.
    bytes: u64,
    /// Elements of all tables.
    elements: u64,
    /// By how much a memory was allowed to grow last.
    granted: u64,
    /// What was refused last, if nothing was granted since.
    refused: Option<Refused>,
    /// What the guest's standard error has been told of.
    told: Vec<LimitKind>,
    /// The guest is instantiated: what grows now does so because it runs.
    running: bool,
    /// Where the limit on memory is changed, once the guest may run.
    changes: Option<Report>,
    /// What all of a server's requests have together.
    shared: Option<Arc<Shared>>,
}

/// The memory of a server, which its requests share.
pub(crate) struct Shared {
    /// The guest's limits; that on memory is of all requests together.
    limits: Limits,
    /// Bytes that a request may have of it.
    each: u64,
    used: AtomicU64,
    changes: Report,
    /// Where the memories come from that requests have, and that are kept for the next ones.
    areas: Option<Arc<Areas>>,
}

impl Shared {
    pub(crate) fn new(
        limits: &Limits,
        each: u64,
        changes: Report,
        areas: Option<Arc<Areas>>,
    ) -> Self {
        Self { limits: limits.clone(), each, used: AtomicU64::new(0), changes, areas }
    }

    /// Bytes that there may be now.
    fn most(&self) -> Option<u64> {
        match self.changes.memory() {
            Some(change) => change.limit.map(|limit| limit.value),
            None => self.limits.get(LimitKind::Memory),
        }
    }

    /// Takes `bytes`, if there are as many left.
    fn take(&self, bytes: u64) -> bool {
        let most = self.most().unwrap_or(u64::MAX);
        if let Some(areas) = &self.areas
            && self.used().saturating_add(bytes).saturating_add(areas.kept()) > most
        {
            areas.give_back();
        }
        let taken = |used: u64| used.checked_add(bytes).filter(|used| *used <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// Bytes that are taken now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one request of a server may have, of the memory at most `each`.
pub(crate) fn request_limits(limits: &Limits, each: u64) -> Limits {
    let mut limits = limits.clone();
    if each < limits.get(LimitKind::Memory).unwrap_or(u64::MAX) {
        let limit = Limit { value: each, origin: Origin::Request };
        limits.each.insert(LimitKind::Memory, limit);
    }
    limits
}

/// A memory or a table that could not be made or grow.
#[derive(Clone, Copy)]
struct Refused {
    kind: LimitKind,
    /// How much there would have been of it.
    wanted: u64,
    /// It was needed to begin with.
    initial: bool,
    /// It would have been within its limit, but other requests have the memory.
    crowded: bool,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            bytes: 0,
            elements: 0,
            granted: 0,
            refused: None,
            told: Vec::new(),
            running: false,
            changes: None,
            shared: None,
        }
    }

    /// Of one request of a server.
    pub(crate) fn of_request(shared: &Arc<Shared>) -> Self {
        let mut limiter = Self::new(&request_limits(&shared.limits, shared.each));
        limiter.shared = Some(Arc::clone(shared));
        limiter
    }

    /// Whether the guest was refused memory because other requests have it, and so might get it later.
    pub(crate) fn crowded_out(&self) -> bool {
        let refused = self.refused.filter(|refused| refused.kind == LimitKind::Memory);
        refused.is_some_and(|refused| refused.crowded)
    }

    /// Has the limit on memory follow what the supervisor says from now on.
    pub(crate) fn follow(&mut self, report: Report) {
        self.changes = Some(report);
    }

    /// Notes that the guest is instantiated: it can do without what was refused so far.
    pub(crate) fn runs(&mut self) {
        self.running = true;
        if let Some(refused) = &mut self.refused {
            refused.initial = false;
        }
    }

    /// Why a program that requires this at least cannot be instantiated, as half a sentence about it.
    pub(crate) fn refuses(limits: &Limits, required: &ResourcesRequired) -> Option<String> {
        let elements = required.max_initial_table_size.unwrap_or(0);
        let memory = required.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE);
        let needed = [
            (LimitKind::Memory, memory.saturating_add(elements.saturating_mul(ELEMENT))),
            (LimitKind::TableElements, elements),
            (LimitKind::Memories, required.num_memories.into()),
            (LimitKind::Tables, required.num_tables.into()),
        ];
        let exceeded = |(kind, needed): &(LimitKind, u64)| {
            limits.get(*kind).is_some_and(|most| *needed > most)
        };
        let (kind, needed) = needed.into_iter().find(exceeded)?;
        Some(needs(kind, &kind.show(needed), &limits.describe(kind)))
    }

    /// Which limit a failure of the guest comes from, if from one.
    ///
    /// A program that cannot go on without what was refused ends by `unreachable`: so do `abort` of C, and what
    /// Rust and others do when there is no memory.
    pub(crate) fn blame(&self, error: &Error) -> Option<LimitKind> {
        let blamed = match (error.downcast_ref::<Trap>(), self.refused) {
            (Some(Trap::OutOfFuel), _) => Some(LimitKind::Fuel),
            (Some(Trap::StackOverflow), _) => Some(LimitKind::Stack),
            (Some(Trap::UnreachableCodeReached), Some(refused)) => Some(refused.kind),
            (None, Some(refused)) if refused.initial || garbage_collector_is_full(error) => {
                Some(refused.kind)
            }
            (None, _) => count_exceeded(error),
            _ => None,
        };
        blamed.filter(|kind| self.limits.get(*kind).is_some())
    }

    /// What `kind`, which is to blame, did; without an end of the line.
    pub(crate) fn verdict(&self, kind: LimitKind) -> String {
        let may_have = match &self.shared {
            Some(shared) if self.crowded_out() => {
                format!("its part of {}, which other requests have", shared.limits.describe(kind))
            }
            _ => self.limits.describe(kind),
        };
        let refused = self.refused.map(|refused| (refused.initial, kind.show(refused.wanted)));
        match (kind, refused) {
            (LimitKind::Fuel, _) => {
                format!("guest trapped: its fuel is used up: it had {may_have}")
            }
            (LimitKind::Stack, _) => format!(
                "guest trapped: call stack exhausted (it recursed too deeply): it may have {may_have}"
            ),
            (_, Some((true, wanted))) => {
                format!("cannot run the guest: {}", needs(kind, &wanted, &may_have))
            }
            (LimitKind::Memory, Some((_, wanted))) => format!(
                "guest ran out of memory: it wanted a total of {wanted}, and may have {may_have}"
            ),
            (_, Some((_, wanted))) => format!(
                "guest ran out of {kind}: it wanted a total of {wanted}, and may have {may_have}"
            ),
            (_, None) => format!("cannot run the guest: it needs more {kind} than {may_have}"),
        }
    }

    /// Takes over the limit on memory that holds now.
    fn keep_up(&mut self) {
        let Some(change) = self.changes.and_then(Report::memory) else { return };
        if self.limits.each.get(&LimitKind::Memory) == change.limit.as_ref() {
            return;
        }
        match change.limit {
            Some(limit) => self.limits.each.insert(LimitKind::Memory, limit),
            None => self.limits.each.remove(&LimitKind::Memory),
        };
        // The guest has been told of another limit.
        self.told.retain(|kind| *kind != LimitKind::Memory);
    }

    /// Whether there may be `wanted` of `kind`.
    fn allows(&mut self, kind: LimitKind, wanted: u64) -> bool {
        self.keep_up();
        if self.limits.get(kind).is_none_or(|most| wanted <= most) {
            return true;
        }
        let initial = !self.running;
        self.refused = Some(Refused { kind, wanted, initial, crowded: false });
        // What is missing to begin with is said when the guest cannot run.
        if !initial && !self.told.contains(&kind) {
            self.told.push(kind);
            exit::mention(&format!(
                "lighter: {kind} limit: the guest asked for a total of {}, and may have {}\n",
                kind.show(wanted),
                self.limits.describe(kind)
            ));
        }
        false
    }

    /// Takes `growth` from what the requests share, to have `wanted` then.
    fn share(&mut self, growth: u64, wanted: u64) -> bool {
        let taken = self.shared.as_ref().is_none_or(|shared| shared.take(growth));
        if !taken {
            let kind = LimitKind::Memory;
            self.refused = Some(Refused { kind, wanted, initial: !self.running, crowded: true });
        }
        taken
    }

    fn count(&self, kind: LimitKind, default: usize) -> usize {
        self.limits.get(kind).map_or(default, |most| usize::try_from(most).unwrap_or(usize::MAX))
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.give_back(self.bytes);
        }
    }
}

/// Whether there is no room for an object, or for the heap that the first of them would be in.
fn garbage_collector_is_full(error: &Error) -> bool {
    error.is::<GcHeapOutOfMemory<()>>()
        || error.root_cause().to_string().ends_with("exceeds memory limits")
}

/// What there are too many of. The engine counts these itself, and has only words for it.
fn count_exceeded(error: &Error) -> Option<LimitKind> {
    let message = error.root_cause().to_string();
    match message.strip_prefix("resource limit exceeded: ")?.split(' ').next()? {
        "instance" => Some(LimitKind::Instances),
        "memory" => Some(LimitKind::Memories),
        "table" => Some(LimitKind::Tables),
        _ => None,
    }
}

fn needs(kind: LimitKind, needed: &str, may_have: &str) -> String {
    let what = match kind {
        LimitKind::Memory => "of memory",
        kind => kind.name(),
    };
    format!("it needs {needed} {what} to begin with, and may have {may_have}")
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        self.granted = 0;
        // Its own maximum is the guest's business.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = (desired as u64).saturating_sub(current as u64);
        let bytes = self.bytes.saturating_add(growth);
        if !self.allows(LimitKind::Memory, bytes) || !self.share(growth, bytes) {
            return Ok(false);
        }
        self.bytes = bytes;
        self.granted = growth;
        self.refused = None;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        // Also told of growth that was never asked for here; the kernel refuses only what was.
        let by_kernel = error
            .chain()
            .any(|cause| cause.is::<std::io::Error>() || cause.is::<rustix::io::Errno>());
        if by_kernel {
            let granted = std::mem::take(&mut self.granted);
            self.bytes = self.bytes.saturating_sub(granted);
            if let Some(shared) = &self.shared {
                shared.give_back(granted);
            }
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = (desired as u64).saturating_sub(current as u64);
        let elements = self.elements.saturating_add(growth);
        let bytes = self.bytes.saturating_add(growth.saturating_mul(ELEMENT));
        if !self.allows(LimitKind::TableElements, elements)
            || !self.allows(LimitKind::Memory, bytes)
            || !self.share(bytes.saturating_sub(self.bytes), bytes)
        {
            return Ok(false);
        }
        self.elements = elements;
        self.bytes = bytes;
        self.refused = None;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.count(LimitKind::Instances, wasmtime::DEFAULT_INSTANCE_LIMIT)
    }

    fn tables(&self) -> usize {
        self.count(LimitKind::Tables, wasmtime::DEFAULT_TABLE_LIMIT)
    }

    fn memories(&self) -> usize {
        self.count(LimitKind::Memories, wasmtime::DEFAULT_MEMORY_LIMIT)
    }
}
