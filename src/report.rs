//! What a runner and its supervisor say to each other while the guest runs: one page of shared memory, which needs neither a
//! message nor a descriptor in the guest's process.
//!
//! | bytes | written by | what |
//! |---|---|---|
//! | 0 | the runner, from a signal handler too | which limit ended the guest: 0, or the [code](LimitKind::code) of one. The exit status does not tell: a guest may exit with any |
//! | 1 | the supervisor | 0: the guest's limit on memory is the plan's; an odd number: it is being changed; an even one: it is what follows |
//! | 8–15 | the supervisor | bytes of memory that the guest may have; all ones for no limit |
//! | 16–23 | the supervisor | bytes of memory that its group may have, where the limit comes from that |
//! | 24–31 | the supervisor | where the limit comes from |
//!
//! The runner maps the page and closes its descriptor. It may write anything anywhere, if a guest has broken out of
//! its engine: the supervisor reads byte 0 only, and remembers by itself what it has written. Neither can
//! change the page's size.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::error::{Refusal, Result};
use crate::plan::{Limit, LimitKind, MEMORY_FIELDS, MemoryChange, Origin};

/// Bytes of the memory that is shared: one page of the smallest size there is.
pub const SIZE: usize = 4096;

const GENERATION: u64 = 1;
const MEMORY: u64 = 8;
const UNLIMITED: u64 = u64::MAX;
/// How often the runner looks again at what is being changed: a supervisor that is stopped in the middle stops no guest.
const LOOKS: u32 = 1000;

/// The page as the runner maps it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Page {
    ended_by: AtomicU8,
    generation: AtomicU8,
    reserved: [u8; 6],
    limit: AtomicU64,
    of_group: AtomicU64,
    origin: AtomicU64,
}

impl Page {
    /// Says that `kind` ended the guest. May be called by a signal handler.
    pub fn note(&self, kind: LimitKind) {
        self.ended_by.store(kind.code(), Ordering::Relaxed);
    }

    /// What the guest's limit on memory has been changed to; `None` if it was not, or is not known to be whole.
    pub fn memory(&self) -> Option<MemoryChange> {
        for _ in 0..LOOKS {
            let generation = self.generation.load(Ordering::Acquire);
            if generation == 0 {
                return None;
            }
            let words = [&self.limit, &self.of_group, &self.origin];
            let [limit, of_group, origin] = words.map(|word| word.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if generation.is_multiple_of(2) && self.generation.load(Ordering::Relaxed) == generation
            {
                return decode(limit, of_group, origin);
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// The supervisor's half.
#[derive(Debug)]
pub struct Report(File);

impl Report {
    /// An empty one.
    ///
    /// # Errors
    /// When there is no more memory, or too many files are open.
    pub fn new() -> Result<Self> {
        let failed = |e: std::io::Error| Refusal::system("make the runner's report", e);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = match memfd_create("lighter-report", flags | MemfdFlags::NOEXEC_SEAL) {
            // Kernels before 6.3 do not know of executable ones.
            Err(rustix::io::Errno::INVAL) => memfd_create("lighter-report", flags),
            made => made,
        };
        let file = File::from(memory.map_err(|e| failed(e.into()))?);
        file.set_len(SIZE as u64).map_err(failed)?;
        // Whoever shortened it would end whoever has it mapped.
        let size = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&file, size).map_err(|e| failed(e.into()))?;
        Ok(Self(file))
    }

    /// An empty one in the new file `path`, for supervisors that come and go.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(path: &Path) -> Result<Self> {
        let make = || {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
            file.set_len(SIZE as u64)?;
            Ok(file)
        };
        make().map(Self).map_err(|e: std::io::Error| {
            Refusal::system(format!("make the runner's report {}", path.display()), e)
        })
    }

    /// The one in the file `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .map(Self)
            .map_err(|e| Refusal::system(format!("open the runner's report {}", path.display()), e))
    }

    /// Which limit ended the guest, if one did.
    pub fn read(&self) -> Option<LimitKind> {
        let mut code = [0];
        // What cannot be read says nothing; the process inside is not to be trusted with more.
        let read = self.0.read_at(&mut code, 0).unwrap_or(0);
        LimitKind::from_code(code[0]).filter(|_| read == 1)
    }

    /// Changes the guest's limit on memory for the `time`th time, from 0 on: it holds from its next growth on.
    ///
    /// # Errors
    /// When there is no memory for the page.
    pub fn change_memory(&self, change: &MemoryChange, time: u64) -> Result<()> {
        // Even, and never the 0 of what was never changed.
        let generation = (time % 127 + 1) as u8 * 2;
        let words = encode(change).map(u64::to_ne_bytes).concat();
        let write = |bytes: &[u8], at| {
            self.0
                .write_all_at(bytes, at)
                .map_err(|e| Refusal::system("tell the runner of its new limit", e))
        };
        write(&[generation - 1], GENERATION)?;
        write(&words, MEMORY)?;
        write(&[generation], GENERATION)
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn encode(change: &MemoryChange) -> [u64; 3] {
    match &change.limit {
        None => [UNLIMITED, 0, 0],
        Some(Limit { value, origin }) => match origin {
            // What a request may have is the runner's to say.
            Origin::Default | Origin::Request => [*value, 0, 0],
            Origin::Annotation => [*value, 0, 1],
            Origin::Config => [*value, 0, 2],
            Origin::Bundle { field, value: whole } => {
                let field = MEMORY_FIELDS.iter().position(|known| known == field);
                [*value, *whole, 3 + field.unwrap_or(0) as u64]
            }
        },
    }
}

fn decode(limit: u64, of_group: u64, origin: u64) -> Option<MemoryChange> {
    if limit == UNLIMITED {
        return Some(MemoryChange { limit: None });
    }
    let origin = match origin {
        0 => Origin::Default,
        1 => Origin::Annotation,
        2 => Origin::Config,
        field => {
            let field = MEMORY_FIELDS.get(usize::try_from(field).ok()?.checked_sub(3)?)?;
            Origin::Bundle { field: (*field).to_owned(), value: of_group }
        }
    };
    Some(MemoryChange { limit: Some(Limit { value: limit, origin }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a runner sees that maps the page now.
    fn page(report: &Report) -> Page {
        let mut bytes = [0; 32];
        report.0.read_exact_at(&mut bytes, 0).unwrap();
        let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap()).into();
        Page {
            ended_by: bytes[0].into(),
            generation: bytes[1].into(),
            limit: word(8),
            of_group: word(16),
            origin: word(24),
            ..Page::default()
        }
    }

    #[test]
    fn what_was_written_is_read_and_nonsense_is_not() {
        let report = Report::new().unwrap();
        assert_eq!(report.read(), None);
        for (code, kind) in [
            (LimitKind::Timeout.code(), Some(LimitKind::Timeout)),
            (255, None),
            (LimitKind::Memory.code(), Some(LimitKind::Memory)),
            (0, None),
        ] {
            report.0.write_at(&[code], 0).unwrap();
            assert_eq!(report.read(), kind);
        }
    }

    #[test]
    fn nobody_changes_its_size() {
        let report = Report::new().unwrap();
        assert!(report.0.set_len(0).is_err());
        assert!(report.0.set_len(2 * SIZE as u64).is_err());
        assert!(fcntl_add_seals(&report.0, SealFlags::WRITE).is_err());
    }

    #[test]
    fn the_page_is_laid_out_as_its_table_says() {
        assert_eq!(std::mem::offset_of!(Page, generation) as u64, GENERATION);
        assert_eq!(std::mem::offset_of!(Page, limit) as u64, MEMORY);
        assert_eq!(std::mem::offset_of!(Page, of_group), 16);
        assert_eq!(std::mem::offset_of!(Page, origin), 24);
    }

    #[test]
    fn a_changed_limit_arrives_with_its_origin() {
        let report = Report::new().unwrap();
        assert_eq!(page(&report).memory(), None);
        let bundle = |field: &str| Origin::Bundle { field: field.to_owned(), value: 64 << 20 };
        let changes = [
            None,
            Some(Limit { value: 1 << 20, origin: Origin::Annotation }),
            Some(Limit { value: 2 << 20, origin: Origin::Config }),
            Some(Limit { value: 3 << 20, origin: bundle(MEMORY_FIELDS[0]) }),
            Some(Limit { value: 4 << 20, origin: bundle(MEMORY_FIELDS[1]) }),
        ];
        for (time, limit) in (0..600).zip(changes.into_iter().cycle()) {
            let change = MemoryChange { limit };
            report.change_memory(&change, time).unwrap();
            assert_eq!(page(&report).memory(), Some(change), "the {time}th time");
        }
        // The runner has no say in this one.
        assert_eq!(report.read(), None);
    }

    #[test]
    fn what_is_half_written_or_nonsense_is_no_change() {
        let half = Page { generation: 3.into(), ..Page::default() };
        assert_eq!(half.memory(), None);
        let nonsense = Page { generation: 2.into(), origin: 9.into(), ..Page::default() };
        assert_eq!(nonsense.memory(), None);
    }
}
