//! Id-mapped mounts: made here, with rights over the source's file system that a container's root may not have.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::write_maps;
use crate::error::{Refusal, Result};
use crate::plan::{IdMap, Mount, MountIdMap, MountSource};
use crate::sys::{self, Child};

/// Makes the mount `mount`, attached nowhere, for the container whose first process is `pid`.
///
/// # Errors
/// Names the mount and what the kernel says: not every file system can translate ids.
pub(crate) fn id_mapped(mount: &Mount, pid: u32) -> Result<OwnedFd> {
    let field = |what: &str| format!("mount {}: {what}", mount.destination);
    let MountSource::Bind { path, recursive, id_map: Some(id_map) } = &mount.source else {
        return Err(Refusal::system(field("id-mapped"), "the plan has no ids for it"));
    };
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if *recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(CWD, path, flags).map_err(|e| match e {
        rustix::io::Errno::NOENT => {
            Refusal::not_found(field(&format!("source {path:?} does not exist")))
        }
        e => Refusal::system(field(&format!("source {path:?}")), e),
    })?;
    sys::make_slave(tree.as_fd()).map_err(|e| Refusal::system(field("propagation"), e))?;
    let namespace = user_namespace(id_map, pid)
        .map_err(|e| Refusal::system(field("user namespace with its id maps"), e))?;
    sys::map_mount_ids(tree.as_fd(), namespace.as_fd(), id_map.recursive).map_err(|e| {
        let why = match e.raw_os_error() {
            Some(libc::EINVAL) => "; its file system may have no id-mapped mounts",
            _ => "",
        };
        Refusal::system(field(&format!("map the ids of {path:?}")), format!("{e}{why}"))
    })?;
    Ok(tree)
}

/// A user namespace that maps ids so: the container's own, or one that lives only as long as the mount.
fn user_namespace(id_map: &MountIdMap, pid: u32) -> std::io::Result<File> {
    let MountIdMap { uid_map, gid_map, .. } = id_map;
    if uid_map.is_empty() {
        return File::open(format!("/proc/{pid}/ns/user"));
    }
    user_namespace_of(uid_map, gid_map)
}

/// A user namespace that maps ids so, with nobody in it.
///
/// # Errors
/// When it cannot be made, or the kernel refuses a map.
pub fn user_namespace_of(uid_map: &[IdMap], gid_map: &[IdMap]) -> std::io::Result<File> {
    let holder = sys::hold_user_namespace()?;
    let opened = of(&holder, uid_map, gid_map);
    let _ = pidfd_send_signal(&holder.pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(holder.pidfd.as_fd()), WaitIdOptions::EXITED);
    opened
}

fn of(holder: &Child, uid_map: &[IdMap], gid_map: &[IdMap]) -> std::io::Result<File> {
    write_maps(holder.pid, uid_map, gid_map)
        .map_err(|(file, e)| std::io::Error::new(e.kind(), format!("{file}: {e}")))?;
    File::open(format!("/proc/{}/ns/user", holder.pid))
}
