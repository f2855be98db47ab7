//! Memories and stacks of requests, which the next requests get: made as new without asking the kernel for anything.
//!
//! A request's memory is looked through once the request is gone. What was touched of it is zeroed, and stays in place, up
//! to a bound; nothing else can be but zero ([`Area::renew`]). So no page has to be brought for the next request, none is taken
//! away from processors that might remember it, and no two requests wait for each other in the kernel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::{Area, TABLE};

/// Bytes that stay in place of one memory.
const OF_EACH: u64 = 1 << 20;
/// Bytes that stay in place of all memories together.
const OF_ALL: u64 = 8 << 20;
/// Memories, and stacks, that are kept while nobody asks for anything.
const AT_REST: usize = 16;

/// Those that nobody uses now.
pub(crate) struct Areas {
    /// Of this process. Without it memories are given back to the kernel as a whole.
    pagemap: Option<OwnedFd>,
    /// How many of each kind are kept.
    most: usize,
    free: Mutex<Free>,
    /// Bytes of free memories that are in place.
    kept: AtomicU64,
}

#[derive(Default)]
struct Free {
    /// The one that was used last is the next: it may still be in a processor's cache.
    memories: Vec<Kept>,
    stacks: Vec<Area>,
}

/// A memory, all of it zero, and how many bytes of it are in place.
struct Kept(Area, u64);

impl Areas {
    /// Keeps `most` of each kind at most. `pagemap`: `/proc/self/pagemap`.
    pub(crate) fn new(pagemap: Option<OwnedFd>, most: usize) -> Self {
        Self { pagemap, most, free: Mutex::default(), kept: 0.into() }
    }

    /// Bytes of free memories that are in place.
    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// One for a memory, all of it zero, of which nothing is accessible for sure.
    ///
    /// # Errors
    /// When there is no address space.
    pub(crate) fn get(&self, capacity: usize, guard: usize) -> io::Result<Area> {
        let mut free = self.free();
        let fits = |Kept(area, _): &Kept| area.is_of(capacity, guard);
        let found = free.memories.iter().rposition(fits).map(|at| free.memories.swap_remove(at));
        drop(free);
        match found {
            Some(Kept(area, bytes)) => {
                self.kept.fetch_sub(bytes, Ordering::Relaxed);
                Ok(area)
            }
            None => Area::reserve(capacity, guard, TABLE),
        }
    }

    /// Takes what [`get`](Self::get) gave, as it was left.
    pub(crate) fn take_back(&self, mut area: Area) {
        let most = OF_ALL.saturating_sub(self.kept()).min(OF_EACH);
        let pagemap = self.pagemap.as_ref().map(AsFd::as_fd);
        // One that cannot be made as new is gone.
        let Ok(kept) = area.renew(pagemap, most as usize) else { return };
        let mut free = self.free();
        if free.memories.len() < self.most {
            self.kept.fetch_add(kept as u64, Ordering::Relaxed);
            free.memories.push(Kept(area, kept as u64));
        }
    }

    /// One for a stack, with something in it.
    ///
    /// # Errors
    /// When there is no address space.
    pub(crate) fn get_stack(&self, size: usize) -> io::Result<Area> {
        let found = self.free().stacks.pop().filter(|area| area.capacity() >= size);
        found.map_or_else(|| Area::reserve(size, 1, 1), Ok)
    }

    /// Takes what [`get_stack`](Self::get_stack) gave, as it was left.
    pub(crate) fn take_back_stack(&self, area: Area) {
        let mut free = self.free();
        if free.stacks.len() < self.most {
            free.stacks.push(area);
        }
    }

    /// Gives all that is kept in place back to the kernel.
    pub(crate) fn give_back(&self) {
        let mut free = self.free();
        let Free { memories, stacks } = &mut *free;
        memories.retain_mut(|Kept(area, bytes)| {
            self.kept.fetch_sub(std::mem::take(bytes), Ordering::Relaxed);
            area.renew(None, 0).is_ok()
        });
        memories.truncate(AT_REST);
        stacks.truncate(AT_REST);
        stacks.retain_mut(|area| area.renew(None, 0).is_ok());
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        // Nobody leaves anything half done under it.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const GUARD: usize = 64 << 10;

    /// One of which `bytes` are touched.
    fn touched(areas: &Areas, bytes: usize) -> Area {
        let mut area = areas.get(16 << 20, GUARD).unwrap();
        area.set_accessible(16 << 20).unwrap();
        area.touch(bytes);
        area
    }

    #[test]
    fn no_more_stays_than_may() {
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let areas = Areas::new(Some(pagemap.into()), 20);
        let used: Vec<_> = (0..24).map(|_| touched(&areas, 2 << 20)).collect();
        assert_eq!(areas.kept(), 0);
        used.into_iter().for_each(|area| areas.take_back(area));
        assert_eq!(areas.kept(), OF_ALL);
        assert_eq!(areas.free().memories.len(), 20);
        // The last one that stays is none of those of which something does.
        let one = areas.get(16 << 20, GUARD).unwrap();
        let other = areas.get(1 << 20, GUARD).unwrap();
        assert_eq!((one.capacity(), other.capacity()), (16 << 20, 1 << 20));
        areas.take_back(one);
        areas.give_back();
        assert_eq!(areas.kept(), 0);
        assert_eq!(areas.free().memories.len(), AT_REST);
        areas.take_back(touched(&areas, 4 << 10));
        assert!((1..=64 << 10).contains(&areas.kept()));
        drop(areas.get(16 << 20, GUARD).unwrap());
        assert_eq!(areas.kept(), 0);
    }
}
