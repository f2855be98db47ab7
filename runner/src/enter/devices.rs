//! Device nodes: made, or where the kernel forbids that (a user namespace), bound from the host.

use std::os::fd::{AsFd, OwnedFd};

use lighter::error::{Refusal, Result};
use lighter::plan::{Device, DeviceKind};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, StatVfsMountFlags, Uid, chmodat, chownat, fstat, fstatvfs,
    makedev, mknodat,
};
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
    if let Some(found) = open_inside(root, &device.path).map_err(failed)? {
        return match is(&found, device).map_err(failed)? {
            true => Ok(()),
            false => Err(Refusal::invalid(format!(
                "device {}: the image has something else there",
                device.path
            ))),
        };
    }
    let parent = make_directory(root, parent)?;
    // A node in the root file system itself would have no effect.
    if device.kind != DeviceKind::Fifo && has_no_devices(&parent).map_err(failed)? {
        return bind(root, device);
    }
    let (kind, mode) = (file_type(device.kind), Mode::from_raw_mode(device.mode));
    match mknodat(&parent, name, kind, mode, makedev(device.major, device.minor)) {
        Ok(()) => {}
        Err(Errno::PERM) => return bind(root, device),
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

/// Binds the host's node of the same path, which must be the same device.
fn bind(root: &OwnedFd, device: &Device) -> Result<()> {
    let failed = |e: Errno| Refusal::system(format!("device {}: bind the host's", device.path), e);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, device.path.as_str(), flags).map_err(failed)?;
    if !is(&tree, device).map_err(failed)? {
        return Err(Refusal::invalid(format!(
            "device {}: cannot be made here, and the host's of that name is another",
            device.path
        )));
    }
    let target = make_file(root, &device.path).map_err(failed)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", target.as_fd(), "", flags).map_err(failed)
}

fn file_type(kind: DeviceKind) -> FileType {
    match kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    }
}

/// Whether `found` is the device that is asked for.
fn is(found: &OwnedFd, device: &Device) -> rustix::io::Result<bool> {
    let stat = fstat(found)?;
    let number = makedev(device.major, device.minor);
    Ok(FileType::from_raw_mode(stat.st_mode) == file_type(device.kind)
        && (device.kind == DeviceKind::Fifo || stat.st_rdev == number))
}

/// Whether nodes below `directory` open no device.
fn has_no_devices(directory: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(fstatvfs(directory)?.f_flag.contains(StatVfsMountFlags::NODEV))
}
