//! Filters of system calls, as the supervisor made them.

use lighter::error::{Refusal, Result};
use lighter::wire::SeccompFilter;

use crate::sys;

/// Puts the filters on, in their order.
///
/// # Errors
/// Names the filter that the kernel refuses.
pub(super) fn filter(filters: Vec<SeccompFilter>) -> Result<()> {
    let own_pid = u64::from(std::process::id());
    for mut filter in filters {
        for at in filter.own_pid {
            if let Some(instruction) = filter.program.get_mut(at) {
                *instruction = *instruction & u64::from(u32::MAX) | own_pid << 32;
            }
        }
        sys::filter_system_calls(&filter.program, filter.flags)
            .map_err(|e| Refusal::system(format!("filter system calls ({})", filter.name), e))?;
    }
    Ok(())
}
