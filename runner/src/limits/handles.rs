//! The limit on descriptors: the kernel's own, so that what goes beyond it fails as a call of the guest's.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use lighter::error::{Refusal, Result};
use lighter::plan::LimitKind;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::sys;

/// Above this number no descriptor is expected to be open.
const HIGHEST: RawFd = 4096;

/// Leaves numbers for `handles` descriptors beyond those that are open.
pub(super) fn limit(handles: u64, closing: Option<BorrowedFd<'_>>) -> Result<()> {
    let failed = |e| Refusal::system(format!("limit {} {handles}", LimitKind::Handles), e);
    let closing = closing.map(|fd| fd.as_raw_fd());
    let free = |fd: &RawFd| closing == Some(*fd) || !sys::is_open(*fd);
    // The kernel limits the numbers of descriptors, and gives out the lowest that is free.
    let first_too_many =
        usize::try_from(handles).ok().and_then(|n| (0..HIGHEST).filter(free).nth(n));
    let end = match first_too_many {
        Some(number) => number.unsigned_abs().into(),
        None => handles.saturating_add(HIGHEST.unsigned_abs().into()),
    };
    // Never more than it was.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(end), hard.min(end)).map_err(failed)
}
