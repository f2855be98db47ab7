//! Giving up what the guest does not need: the last step before its first instruction.

mod seccomp;

use lighter::error::Result;
use lighter::plan::Plan;
use lighter::wire::SeccompFilter;

/// Puts up the walls of the plan. From here on the process can only lose rights.
///
/// # Errors
/// Names the wall that the kernel refuses.
pub(crate) fn confine(_plan: &Plan, filters: Vec<SeccompFilter>) -> Result<()> {
    // Last: what puts up the other walls is not among a guest's system calls.
    seccomp::filter(filters)
}
