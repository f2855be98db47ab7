//! Finding the program, from inside the container and as its user.

use std::fs::File;
use std::os::fd::OwnedFd;

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
                    let found = if searched { format!("{path}: ") } else { String::new() };
                    Refusal::denied(format!("process.args[0] {name:?}: {found}{unusable}"))
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
    #[error("is {0}, not a WebAssembly module")]
    NoFile(&'static str),
    #[error("permission denied for the container's user (capabilities are never granted)")]
    Denied,
    #[error("{0}")]
    Other(Errno),
}

fn open(path: &str) -> std::result::Result<File, Unusable> {
    let open = |flags| {
        openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|e| match e {
            Errno::NOENT | Errno::NOTDIR => Unusable::Missing,
            Errno::ACCESS | Errno::PERM => Unusable::Denied,
            e => Unusable::Other(e),
        })
    };
    // Looked at before it is opened: opening a device or a FIFO of the image's may do something, or wait.
    check_type(&open(OFlags::PATH)?)?;
    let file = open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    check_type(&file)?;
    Ok(file.into())
}

fn check_type(file: &OwnedFd) -> std::result::Result<(), Unusable> {
    let mode = fstat(file).map_err(Unusable::Other)?.st_mode;
    Err(Unusable::NoFile(match FileType::from_raw_mode(mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    }))
}
