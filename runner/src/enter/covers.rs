//! Paths of the container that are hidden or made read-only by mounting over them. Like all targets of mounts
//! they are opened once, inside the root, and what was opened is what is covered.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lighter::error::{Refusal, Result};
use rustix::fs::{CWD, FileType, fstat, major, minor};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::mounts::filesystem;
use super::root::open_inside;
use crate::sys;

/// Makes what is at `path` read-only, by a mount of itself; what is mounted below stays as it is.
pub(super) fn make_read_only(root: &OwnedFd, path: &str) -> Result<()> {
    let failed = |e: Errno| Refusal::system(format!("linux.readonlyPaths {path:?}"), e);
    let Some(target) = existing(root, path).map_err(failed)? else { return Ok(()) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&target, "", flags).map_err(failed)?;
    sys::set_mount_attributes(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, false)
        .map_err(failed)?;
    attach(tree.as_fd(), target.as_fd()).map_err(failed)
}

/// Hides what is at `path`: a file behind the null device, a directory behind an empty one with the SELinux label
/// `label`.
pub(super) fn mask(root: &OwnedFd, path: &str, label: Option<&str>) -> Result<()> {
    let field = format!("linux.maskedPaths {path:?}");
    let failed = |e: Errno| Refusal::system(&field, e);
    let Some(target) = existing(root, path).map_err(failed)? else { return Ok(()) };
    let kind = FileType::from_raw_mode(fstat(&target).map_err(failed)?.st_mode);
    let cover = if kind == FileType::Directory {
        let parameters = [("nr_blocks", Some("1")), ("nr_inodes", Some("1")), ("context", label)];
        let parameters: Vec<_> = parameters
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
            .collect();
        filesystem("tmpfs", "tmpfs", &parameters)
            .map_err(|(what, e)| Refusal::system(format!("{field}: tmpfs {what}"), e))?
    } else {
        null_device().map_err(failed)?
    };
    sys::set_mount_attributes(cover.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, false)
        .map_err(failed)?;
    attach(cover.as_fd(), target.as_fd()).map_err(failed)
}

/// A mount of the host's null device: the container's own is not to be trusted with this.
fn null_device() -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, "/dev/null", flags)?;
    let stat = fstat(&tree)?;
    let number = (major(stat.st_rdev), minor(stat.st_rdev));
    match (FileType::from_raw_mode(stat.st_mode), number) {
        (FileType::CharacterDevice, (1, 3)) => Ok(tree),
        _ => Err(Errno::NODEV),
    }
}

/// Opens `path` inside the root; `None` where there is no such file, or can be none.
fn existing(root: &OwnedFd, path: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match open_inside(root, path) {
        Err(Errno::NOTDIR) => Ok(None),
        found => found,
    }
}

fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}
