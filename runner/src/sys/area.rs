//! Address space of which a part may be used, for a guest's memory or stack, and how it is made as new.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::{ptr, slice};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

use super::pagemap::{Page, TABLE, Table, page_size};

/// How far it is looked for what was touched. Of what lies above, nothing is kept, so nobody need look there.
const LOOKED_AT: usize = 4 << 20;

/// Private memory between two guards, which nobody may touch.
///
/// While it belongs to nobody, all of it is zero.
pub(crate) struct Area {
    mapping: *mut libc::c_void,
    mapped: usize,
    base: *mut u8,
    capacity: usize,
    guard: usize,
    /// Bytes that may be used, from `base` on: whole pages.
    accessible: usize,
    /// Bytes above which no page is there.
    reached: usize,
}

// SAFETY: it is the only owner of a mapping, which belongs to no thread.
unsafe impl Send for Area {}
// SAFETY: nothing is done to the mapping through a shared reference.
unsafe impl Sync for Area {}

impl Area {
    /// Reserves `capacity` bytes at a multiple of `aligned`, a power of two, with `guard` bytes before and behind; all are
    /// rounded up to whole pages. None may be used yet.
    ///
    /// # Errors
    /// The kernel's, when there is no room.
    pub(crate) fn reserve(capacity: usize, guard: usize, aligned: usize) -> io::Result<Self> {
        let (capacity, guard) = (pages(capacity)?, pages(guard)?);
        let aligned = aligned.max(page_size());
        let mapped = [guard, capacity, guard, aligned]
            .into_iter()
            .try_fold(0_usize, usize::checked_add)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses the address, so that no existing mapping is touched.
        let mapping = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), mapped, ProtFlags::empty(), flags)?
        };
        let first = mapping.cast::<u8>();
        let offset = (first.addr() + guard).next_multiple_of(aligned) - first.addr();
        let base = first.wrapping_add(offset);
        // A huge page, brought for its first byte, would have to be wiped as a whole. A kernel without any says that this is
        // no advice.
        let looked_at = capacity.min(LOOKED_AT);
        // SAFETY: within the mapping, which nobody uses yet.
        let _ = unsafe { rustix::mm::madvise(base.cast(), looked_at, Advice::LinuxNoHugepage) };
        Ok(Self { mapping, mapped, base, capacity, guard, accessible: 0, reached: 0 })
    }

    /// Its first byte that may be used.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Bytes that may come to be used.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes before, and behind, that never may.
    pub(crate) fn guard(&self) -> usize {
        self.guard
    }

    /// Whether it was reserved with these.
    pub(crate) fn is_of(&self, capacity: usize, guard: usize) -> bool {
        pages(capacity).is_ok_and(|capacity| capacity == self.capacity)
            && pages(guard).is_ok_and(|guard| guard == self.guard)
    }

    /// Has the first `bytes` be used, rounded up to whole pages, and nothing above.
    ///
    /// # Errors
    /// The kernel's, or when this is more than its capacity.
    pub(crate) fn set_accessible(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = pages(bytes)?;
        if bytes > self.capacity {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let (from, to, flags) = match bytes > self.accessible {
            true => (self.accessible, bytes, MprotectFlags::READ | MprotectFlags::WRITE),
            false => (bytes, self.accessible, MprotectFlags::empty()),
        };
        if from < to {
            // SAFETY: within the mapping, which is ours. Whoever has pointers into it looks at its size before.
            unsafe { rustix::mm::mprotect(self.at(from).cast(), to - from, flags)? };
        }
        self.accessible = bytes;
        self.reached = self.reached.max(bytes);
        Ok(())
    }

    /// Makes it as new, and returns how many bytes of it stay in place. At most `most` do; others are given back to the
    /// kernel, which brings empty ones when they are touched. All are if there is no `pagemap`, of this process.
    ///
    /// # Errors
    /// When that could not be done: it must not be used any more.
    pub(crate) fn renew(
        &mut self,
        pagemap: Option<BorrowedFd<'_>>,
        most: usize,
    ) -> io::Result<usize> {
        let looked_at = match pagemap {
            Some(_) if most > 0 => self.reached.min(LOOKED_AT),
            _ => 0,
        };
        let page = page_size();
        let mut table = Table::new();
        let (mut kept, mut from) = (0, 0);
        // Pages next to each other are given back in one call.
        let mut goes = 0..0;
        while let Some(pagemap) = pagemap
            && from < looked_at
        {
            let to = looked_at.min(from + TABLE);
            let Some(found) = table.look(pagemap, self.at(from).addr()..self.at(to).addr()) else {
                break;
            };
            for (at, found) in (from..to).step_by(page).zip(found) {
                match found {
                    Page::None => {}
                    Page::Present if kept + page <= most => {
                        kept += page;
                        // What nobody may use is as it was when that was so.
                        if at < self.accessible {
                            self.wipe(at..at + page);
                        }
                    }
                    Page::Present | Page::Away => {
                        if goes.end != at {
                            self.give_back(goes.clone())?;
                            goes.start = at;
                        }
                        goes.end = at + page;
                    }
                }
            }
            from = to;
        }
        if goes.end != from {
            self.give_back(goes.clone())?;
            goes.start = from;
        }
        goes.end = self.reached;
        self.give_back(goes)?;
        self.reached = from;
        Ok(kept)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.base.wrapping_add(offset)
    }

    /// Zeroes what is not zero yet: whole pages, all of which may be used.
    fn wipe(&mut self, pages: Range<usize>) {
        /// Words that are looked at together.
        const SOME: usize = 32;
        // SAFETY: mapped, to be read and written, initialised as all that comes from the kernel is, and aligned to a page;
        // nobody has pointers into it any more.
        let words = unsafe {
            slice::from_raw_parts_mut(self.at(pages.start).cast::<u64>(), pages.len() / 8)
        };
        let is_zero = |words: &[u64]| words.iter().fold(0, |all, word| all | word) == 0;
        if !words.chunks(SOME).all(is_zero) {
            words.fill(0);
        }
    }

    /// Has the kernel bring empty pages when these are touched.
    fn give_back(&mut self, pages: Range<usize>) -> io::Result<()> {
        if pages.is_empty() {
            return Ok(());
        }
        // SAFETY: private memory of the mapping's own, and nobody has pointers into it any more.
        unsafe {
            let advice = Advice::LinuxDontNeed;
            rustix::mm::madvise(self.at(pages.start).cast(), pages.len(), advice)?;
        }
        Ok(())
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: all of a mapping of ours that nobody else has.
        let _ = unsafe { rustix::mm::munmap(self.mapping, self.mapped) };
    }
}

/// `bytes`, rounded up to whole pages.
fn pages(bytes: usize) -> io::Result<usize> {
    bytes.checked_next_multiple_of(page_size()).ok_or(io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    const CAPACITY: usize = 64 << 20;

    fn pagemap() -> File {
        File::open("/proc/self/pagemap").unwrap()
    }

    fn area(bytes: usize) -> Area {
        let mut area = Area::reserve(CAPACITY, 1 << 20, TABLE).unwrap();
        area.set_accessible(bytes).unwrap();
        area
    }

    impl Area {
        pub(crate) fn touch(&mut self, bytes: usize) {
            self.bytes()[..bytes].fill(7);
        }

        fn bytes(&mut self) -> &mut [u8] {
            // SAFETY: accessible, and nobody else's.
            unsafe { slice::from_raw_parts_mut(self.base, self.accessible) }
        }

        fn in_place(&self) -> usize {
            let mut table = Table::new();
            let pagemap = pagemap();
            (0..self.capacity)
                .step_by(TABLE)
                .map(|at| {
                    let addresses = self.at(at).addr()..self.at(at + TABLE).addr();
                    let found = table.look(pagemap.as_fd(), addresses).unwrap();
                    found.filter(|page| *page != Page::None).count() * page_size()
                })
                .sum()
        }
    }

    #[test]
    fn what_was_touched_is_wiped_and_stays() {
        let pagemap = pagemap();
        let mut area = area(3 << 20);
        assert_eq!(area.in_place(), 0);
        for round in 0..3 {
            // In both tables, at both ends of pages, and a page that is only looked at.
            for at in [0, page_size() - 1, 1 << 20, (2 << 20) - 1, 2 << 20, (3 << 20) - 1] {
                assert_eq!(std::mem::replace(&mut area.bytes()[at], 7), 0, "{at} in round {round}");
            }
            assert_eq!(area.bytes()[512 << 10], 0);
            let kept = area.renew(Some(pagemap.as_fd()), 1 << 20).unwrap();
            assert_eq!(kept, 6 * page_size());
            assert_eq!(area.in_place(), kept);
        }
        assert!(area.bytes().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn more_than_may_stay_is_given_back() {
        let pagemap = pagemap();
        for (bytes, most) in
            [(3 << 20, 1 << 20), (64 << 20, 1 << 20), (1 << 20, 0), (5 << 20, 8 << 20)]
        {
            let mut area = area(bytes);
            area.bytes().fill(7);
            let kept = area.renew(Some(pagemap.as_fd()), most).unwrap();
            assert_eq!(kept, most.min(LOOKED_AT), "of {bytes}");
            assert_eq!(area.in_place(), kept);
            assert!(area.bytes().iter().all(|byte| *byte == 0), "{bytes}, {most}");
        }
    }

    #[test]
    fn without_a_map_all_is_given_back() {
        // None, and one that tells of less than there is.
        let empty = tempfile::tempfile().unwrap();
        for pagemap in [None, Some(empty.as_fd())] {
            let mut area = area(3 << 20);
            area.bytes().fill(7);
            assert_eq!(area.renew(pagemap, 1 << 20).unwrap(), 0);
            assert_eq!(area.in_place(), 0);
            assert!(area.bytes().iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_a_memory_had_grown_by_is_clean_when_another_grows() {
        let pagemap = pagemap();
        let mut area = area(1 << 20);
        for grown in [2 << 20, 16 << 20, 3 << 20, 64 << 20] {
            area.set_accessible(grown).unwrap();
            assert!(area.bytes().iter().all(|byte| *byte == 0), "{grown}");
            area.bytes().fill(7);
            area.renew(Some(pagemap.as_fd()), 8 << 20).unwrap();
            area.set_accessible(1 << 20).unwrap();
            // Of a small one in between, which must not look at what it may not use.
            area.bytes().fill(7);
            let kept = area.renew(Some(pagemap.as_fd()), 8 << 20).unwrap();
            assert_eq!(kept, area.in_place());
        }
        assert!(area.set_accessible(CAPACITY + 1).is_err());
    }
}
