//! Giving up what the guest does not need: the last step before its first instruction.

mod labels;
mod landlock;
mod seccomp;

use lighter::error::Result;
use lighter::plan::Plan;
use lighter::wire::SeccompFilter;

pub(crate) use labels::Labels;

/// Puts up the walls of the plan. From here on the process can only lose rights.
///
/// # Errors
/// Names the wall that the kernel refuses.
pub(crate) fn confine(plan: &Plan, labels: Labels, filters: Vec<SeccompFilter>) -> Result<()> {
    // First what still needs a file to be written.
    labels.take_on()?;
    if let Some(landlock) = &plan.confinement.landlock {
        landlock::restrict(landlock, &plan.guest.network)?;
    }
    // Last: what puts up the other walls is not among a guest's system calls.
    seccomp::filter(filters)
}
