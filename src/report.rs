//! How a runner says which limit ended its guest. The exit status alone does not: a guest may exit with any.
//!
//! It is one byte of shared memory, 0 or the [code](LimitKind::code) of a limit. The runner maps it and closes
//! the descriptor, so that nothing more is open than the guest may use, and can write it from a signal handler.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::error::{Refusal, Result};
use crate::plan::LimitKind;

/// Bytes of the memory that is shared: one page of the smallest size there is.
pub const SIZE: usize = 4096;

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
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
        let memory = match memfd_create("lighter-report", flags) {
            // Kernels before 6.3 do not know of executable ones.
            Err(rustix::io::Errno::INVAL) => memfd_create("lighter-report", MemfdFlags::CLOEXEC),
            made => made,
        };
        let file = File::from(memory.map_err(|e| failed(e.into()))?);
        file.set_len(SIZE as u64).map_err(failed)?;
        Ok(Self(file))
    }

    /// Which limit ended the guest, if one did.
    pub fn read(&self) -> Option<LimitKind> {
        let mut code = [0];
        // What cannot be read says nothing; the process inside is not to be trusted with more.
        let read = self.0.read_at(&mut code, 0).unwrap_or(0);
        LimitKind::from_code(code[0]).filter(|_| read == 1)
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        report.0.set_len(0).unwrap();
        assert_eq!(report.read(), None);
    }
}
