//! Areas, as the engine has memories and stacks.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use wasmtime::{LinearMemory, MemoryCreator, MemoryType, Result, StackCreator, StackMemory};

use super::area::Area;
use crate::http::Areas;

/// An instance's memory, whose area goes back when it is dropped.
pub(crate) struct Memory {
    /// Always there, until it is dropped.
    area: Option<Area>,
    size: usize,
    areas: Arc<Areas>,
}

// SAFETY: the first `size` bytes of the area are accessible, nothing else is, and it never moves.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.area.as_ref().map_or(0, Area::capacity)
    }

    fn grow_to(&mut self, size: usize) -> Result<()> {
        let area = self.area.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        area.set_accessible(size)?;
        self.size = size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.area.as_ref().map_or(std::ptr::null_mut(), Area::base)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(area) = self.area.take() {
            self.areas.take_back(area);
        }
    }
}

/// What makes memories and stacks of areas.
#[derive(Clone)]
pub(crate) struct Creator(pub(crate) Arc<Areas>);

// SAFETY: an area has the capacity and the guards that were asked for, belongs to the memory alone, and is all zero when it
// is given out (`Areas`).
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let make = || {
            let mut area = self.0.get(reserved.unwrap_or(minimum), guard)?;
            area.set_accessible(minimum)?;
            io::Result::Ok(area)
        };
        let area = make().map_err(|error| format!("make a memory: {error}"))?;
        Ok(Box::new(Memory { area: Some(area), size: minimum, areas: Arc::clone(&self.0) }))
    }
}

/// A stack on which a guest runs, whose area goes back when it is dropped.
pub(crate) struct Stack {
    /// Always there, until it is dropped.
    area: Option<Area>,
    range: Range<usize>,
    guard: Range<*mut u8>,
    areas: Arc<Areas>,
}

// SAFETY: the guard's addresses are never used as pointers here; the rest belongs to no thread.
unsafe impl Send for Stack {}
// SAFETY: nothing is changed through a shared reference.
unsafe impl Sync for Stack {}

// SAFETY: the area is of whole pages, all of it may be used, and below it is a guard.
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.guard.end.wrapping_add(self.range.len())
    }

    fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.guard.clone()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(area) = self.area.take() {
            self.areas.take_back_stack(area);
        }
    }
}

// SAFETY: a stack belongs to the one that asked for it, and has a guard.
unsafe impl StackCreator for Creator {
    fn new_stack(&self, size: usize, zeroed: bool) -> Result<Box<dyn StackMemory>> {
        let mut area = self.0.get_stack(size)?;
        if zeroed {
            area.renew(None, 0)?;
        }
        area.set_accessible(area.capacity())?;
        let base = area.base();
        let range = base.addr()..base.addr() + area.capacity();
        let guard = base.wrapping_sub(area.guard())..base;
        Ok(Box::new(Stack { area: Some(area), range, guard, areas: Arc::clone(&self.0) }))
    }
}
