//! Giving up what the guest does not need: the last step before its first instruction.

mod labels;
mod landlock;

use lighter::error::Result;
use lighter::plan::Plan;

pub(crate) use labels::Labels;

/// Puts up the walls of the plan. From here on the process can only lose rights.
///
/// # Errors
/// Names the wall that the kernel refuses.
pub(crate) fn confine(plan: &Plan, labels: Labels) -> Result<()> {
    // First what still needs a file to be written.
    labels.take_on()?;
    if let Some(landlock) = &plan.confinement.landlock {
        landlock::restrict(landlock, &plan.guest.network)?;
    }
    Ok(())
}
