//! Device nodes: made, or where the kernel forbids that (a user namespace), bound from the host.

use std::os::fd::{AsFd, OwnedFd};

use lighter::error::{Refusal, Result};
use lighter::plan::{Device, DeviceKind};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chmodat, chownat, makedev, mknodat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::root::{make_directory, make_file, open_inside};

/// Makes one device node below `root`.
pub(super) fn make(root: &OwnedFd, device: &Device) -> Result<()> {
    let failed = |e: Errno| Refusal::system(format!("device {}", device.path), e);
    let (parent, name) = match device.path.rsplit_once('/') {
        Some((parent, name)) if !name.is_empty() && name != ".." => (parent, name),
        _ => {
            return Err(Refusal::invalid(format!(
                "linux.devices.path {:?}: names no file",
                device.path
            )));
        }
    };
    if open_inside(root, &device.path).map_err(failed)?.is_some() {
        return Ok(());
    }
    let parent = make_directory(root, parent)?;
    let kind = match device.kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(&parent, name, kind, mode, makedev(device.major, device.minor)) {
        Ok(()) => {}
        Err(Errno::PERM) => return bind(root, device).map_err(failed),
        Err(e) => return Err(failed(e)),
    }
    // The umask took its part of the mode.
    chmodat(&parent, name, mode, AtFlags::empty()).map_err(failed)?;
    if (device.uid, device.gid) == (0, 0) {
        return Ok(());
    }
    let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
    chownat(&parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}

fn bind(root: &OwnedFd, device: &Device) -> rustix::io::Result<()> {
    let target = make_file(root, &device.path)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, device.path.as_str(), flags)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", target.as_fd(), "", flags)
}
