//! Room for instances, made once: a request's instance takes a place in it, and leaves it as it was found.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use lighter::error::Result;
use lighter::plan::{Guest, HttpSetting, LimitKind, Limits};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, ResourcesRequired};

use super::areas::Areas;
use crate::sys;

/// Bytes of a table that stay in place after a request, and are wiped rather than given back to the kernel, which would have
/// to bring them anew for the next request. A whole page of each table is used in any case.
///
/// Of a memory nothing stays. It is the lowest part of it that could, and there a guest of Rust's or of newer C compilers
/// has the far end of its stack, a megabyte that nobody has touched: wiping that took longer than the kernel takes to
/// bring the half dozen pages that a small request writes to.
const TABLE_RESIDENT: usize = 64 << 10;
/// Places that stay mapped as they were while nobody uses them.
const WARM: u32 = 16;
/// Bytes of address space for what the engine keeps of one instance; more are refused.
const INSTANCE: usize = 16 << 20;
/// Elements for which each table has room at least.
const ELEMENTS: u64 = 64 << 10;
const PAGE: u64 = 64 << 10;
/// The largest memory of 32 bits.
const MOST: u64 = 4 << 30;

/// Has the memories and stacks of instances of a component that requires `required` be areas of our own.
pub(crate) fn areas(
    config: &mut Config,
    guest: &Guest,
    required: &ResourcesRequired,
    pagemap: Option<OwnedFd>,
) -> Arc<Areas> {
    let concurrency = guest.http.get(HttpSetting::Concurrency);
    let each = u64::from(required.num_memories.max(1));
    let most = usize::try_from(concurrency.saturating_mul(each)).unwrap_or(usize::MAX);
    let areas = Arc::new(Areas::new(pagemap, most));
    let creator = Arc::new(sys::Creator(Arc::clone(&areas)));
    config.with_host_memory(Arc::clone(&creator) as _).with_host_stack(creator);
    areas
}

/// Has instances of a component that requires `required` come from a pool.
pub(crate) fn pool(
    config: &mut Config,
    guest: &Guest,
    limits: &Limits,
    required: &ResourcesRequired,
) -> Result<()> {
    let concurrency = u32::try_from(guest.http.get(HttpSetting::Concurrency)).unwrap_or(u32::MAX);
    // Those of one request, where instances are kept for the next, may be there beside another's.
    let of_all = |of_one: u32| concurrency.saturating_mul(of_one.saturating_add(1));
    let memory = limits.get(LimitKind::Memory).unwrap_or(MOST);
    let memory = memory.min(guest.http.get(HttpSetting::Memory));
    let memory = memory.next_multiple_of(PAGE).min(MOST);
    let elements = required.max_initial_table_size.unwrap_or(0).max(ELEMENTS);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(concurrency)
        // They are only counted.
        .total_core_instances(concurrency.saturating_mul(1000))
        .max_component_instance_size(INSTANCE)
        .max_core_instance_size(INSTANCE)
        .total_memories(of_all(required.num_memories))
        .max_memories_per_module(required.num_memories.max(1))
        .max_memory_size(usize::try_from(memory).unwrap_or(usize::MAX))
        .total_tables(of_all(required.num_tables))
        .max_tables_per_module(required.num_tables.max(1))
        .table_elements(usize::try_from(elements).unwrap_or(usize::MAX))
        .total_stacks(concurrency)
        .total_gc_heaps(concurrency)
        .max_unused_warm_slots(WARM)
        .table_keep_resident(TABLE_RESIDENT);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(())
}
