//! The plan's limits on a guest: what its store holds ([`Limiter`]), its time, its descriptors.

mod alarm;
mod handles;
mod limiter;
mod report;

use std::os::fd::BorrowedFd;

use lighter::error::Result;
use lighter::plan::{LimitKind, Limits};

use crate::exit::Ends;

pub(crate) use limiter::{Limiter, Shared, request_limits};
pub(crate) use report::Report;

/// Puts the limits into force that are not the engine's: descriptors and time, which runs from now on.
///
/// `closing` is a descriptor that will be closed before the guest runs. With `serves` the process has connections, too,
/// which are not the guest's: the engine alone counts its descriptors then.
///
/// # Errors
/// Names the limit that the kernel refuses.
pub(crate) fn arm(
    limits: &Limits,
    ends: Ends,
    closing: Option<BorrowedFd<'_>>,
    serves: bool,
) -> Result<()> {
    if let Some(handles) = limits.get(LimitKind::Handles).filter(|_| !serves) {
        handles::limit(handles, closing)?;
    }
    alarm::set(limits, ends)
}
