//! Which pages of this process are there: `/proc/self/pagemap`, proc_pid_pagemap(5).
//!
//! What is found to be none has never been touched, or was given back: it reads as zero. The kernel (`fs/proc/task_mmu.c`)
//! has an entry for each page. It is nothing but zero, or the bit for a page that was not written since some time, only if the
//! table has no entry (`pte_none`), or there is no table. A page that is there has bit 63. One that is not, while the table
//! has something, has bit 62 (`is_swap_pte`): it was swapped out, is being moved, or is broken. Who moves or swaps
//! out a page exchanges the table's entry under the table's lock, and who makes many pages one huge one has the address space
//! to itself; reading takes both locks. So no page is in none of these states for a moment.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::io::pread;

/// What one table of the kernel's describes: so much is looked at under one lock.
pub(crate) const TABLE: usize = 2 << 20;
/// Bytes of the smallest page that Linux has.
const LEAST_PAGE: usize = 4 << 10;
/// Bytes of an entry.
const ENTRY: usize = size_of::<u64>();
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

/// A page, as far as it is known whether its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Nobody has touched it.
    None,
    /// It is in memory.
    Present,
    /// It was touched, and would have to be brought: it is swapped out, or being moved.
    Away,
}

/// What was read, of at most [`TABLE`] bytes of memory.
pub(crate) struct Table([u8; TABLE / LEAST_PAGE * ENTRY]);

impl Table {
    pub(crate) fn new() -> Self {
        Self([0; TABLE / LEAST_PAGE * ENTRY])
    }

    /// The pages at `addresses`, which are whole pages; nothing if not all can be told.
    pub(crate) fn look(
        &mut self,
        pagemap: BorrowedFd<'_>,
        addresses: Range<usize>,
    ) -> Option<impl Iterator<Item = Page>> {
        let entry = |address| address / page_size() * ENTRY;
        let bytes = self.0.get_mut(..entry(addresses.len()))?;
        let at = u64::try_from(entry(addresses.start)).ok()?;
        if pread(pagemap, &mut *bytes, at).ok()? < bytes.len() {
            return None;
        }
        Some(bytes.as_chunks().0.iter().map(|bytes| page(u64::from_ne_bytes(*bytes))))
    }
}

fn page(entry: u64) -> Page {
    match (entry & PRESENT, entry & SWAPPED) {
        (0, 0) => Page::None,
        (0, _) => Page::Away,
        _ => Page::Present,
    }
}

/// Bytes of a page of the kernel's.
pub(crate) fn page_size() -> usize {
    // SAFETY: it changes nothing, and the C library has known the number since before `main`.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(LEAST_PAGE)
}

#[cfg(test)]
mod tests {
    use super::{Page, page};

    #[test]
    fn only_what_was_never_touched_is_none() {
        // The other bits: written since, mapped by nobody else, of a file.
        let others = 1 << 55 | 1 << 56 | 1 << 61;
        assert_eq!((page(0), page(others)), (Page::None, Page::None));
        assert_eq!((page(1 << 63), page(1 << 63 | others)), (Page::Present, Page::Present));
        // Swapped out, being moved, or broken: with the place in the swap in the lowest bits, or not.
        assert_eq!((page(1 << 62), page(1 << 62 | others | 77)), (Page::Away, Page::Away));
    }
}
