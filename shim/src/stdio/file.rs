//! Streams that go to a file, or nowhere.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::failed;
use crate::task::Error;

/// What nobody reads, and nothing is read from.
pub(super) fn null() -> Result<OwnedFd, Error> {
    let null = File::options().read(true).write(true).open("/dev/null");
    Ok(null.map_err(|error| failed("/dev/null", &error))?.into())
}

/// Opens a file to write at its end; makes it, and its directory, if they are not there.
pub(super) fn append(path: &Path) -> io::Result<OwnedFd> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    File::options().append(true).create(true).mode(0o644).open(path).map(Into::into)
}
