//! The runner's half of [`lighter::report`].

use std::fs::File;
use std::sync::atomic::{AtomicU8, Ordering};

use lighter::error::{Refusal, Result};
use lighter::plan::LimitKind;

use crate::sys;

/// Where the supervisor looks for which limit ended the guest.
#[derive(Clone, Copy)]
pub(crate) struct Report(&'static AtomicU8);

impl Report {
    /// Maps what the supervisor sent, and closes it.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub(crate) fn of(memory: File) -> Result<Self> {
        sys::map_report(memory).map(Self).map_err(|e| Refusal::system("map the report", e))
    }

    /// Says that it is `kind`. May be called by a signal handler.
    pub(crate) fn note(self, kind: LimitKind) {
        self.0.store(kind.code(), Ordering::Relaxed);
    }
}
