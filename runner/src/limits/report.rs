//! The runner's half of [`lighter::report`].

use std::fs::File;

use lighter::error::{Refusal, Result};
use lighter::plan::{LimitKind, MemoryChange};
use lighter::report::Page;

use crate::sys;

/// Where the supervisor looks for which limit ended the guest, and says how much memory it may have now.
#[derive(Clone, Copy)]
pub(crate) struct Report(&'static Page);

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
        self.0.note(kind);
    }

    /// What the limit on memory has been changed to, if it was.
    pub(super) fn memory(self) -> Option<MemoryChange> {
        self.0.memory()
    }
}
