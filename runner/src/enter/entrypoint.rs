//! Finding the program, from inside the container and as its user.

use std::fs::File;

use lighter::error::{Refusal, Result};
use lighter::plan::Entrypoint;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

/// Opens the first of the candidates that exists; returns its path, too.
///
/// # Errors
/// When none exists, it may not be read, or it is not a regular file.
pub(crate) fn open_entrypoint(entrypoint: &Entrypoint) -> Result<(String, File)> {
    let name = &entrypoint.name;
    let searched = entrypoint.candidates.len() > 1;
    let mut refusal = None;
    for path in &entrypoint.candidates {
        match open(path) {
            Ok(file) => return Ok((path.clone(), file)),
            Err(Unusable::Missing) => {}
            // As a shell does: go on looking, and report this one if nothing better is found.
            Err(unusable) => {
                refusal.get_or_insert_with(|| {
                    Refusal::denied(format!("process.args[0] {name:?}: {path}: {unusable}"))
                });
            }
        }
    }
    Err(refusal.unwrap_or_else(|| {
        Refusal::not_found(match searched {
            true => format!("process.args[0] {name:?}: executable file not found in $PATH"),
            false => format!("process.args[0] {name:?}: no such file or directory"),
        })
    }))
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("no such file or directory")]
    Missing,
    #[error("is a directory, not a WebAssembly module")]
    Directory,
    #[error("is not a regular file")]
    Special,
    #[error("permission denied for the container's user (capabilities are never granted)")]
    Denied,
    #[error("{0}")]
    Other(Errno),
}

fn open(path: &str) -> std::result::Result<File, Unusable> {
    // Not blocking: the image may have put a FIFO or a device there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|e| match e {
        Errno::NOENT | Errno::NOTDIR => Unusable::Missing,
        Errno::ACCESS | Errno::PERM => Unusable::Denied,
        e => Unusable::Other(e),
    })?;
    let mode = fstat(&file).map_err(Unusable::Other)?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(file.into()),
        FileType::Directory => Err(Unusable::Directory),
        _ => Err(Unusable::Special),
    }
}
