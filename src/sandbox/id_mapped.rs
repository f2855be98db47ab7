//! Id-mapped mounts: made here, with rights over the source's file system that a container's root may not have.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

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
    let MountSource::Bind { path, recursive, id_map: Some(id_map) } = &mount.source else {
        return Err(Refusal::system(
            format!("mount {}: id-mapped", mount.destination),
            "the plan has no ids for it",
        ));
    };
    let own = || File::open(format!("/proc/{pid}/ns/user"));
    id_mapped_bind(&mount.destination, Path::new(path), *recursive, id_map, own)
}

/// Makes an id-mapped copy of what is mounted at `path`, attached nowhere; `own` is the container's user namespace, and
/// `destination` for messages.
///
/// # Errors
/// Names the mount and what the kernel says: not every file system can translate ids.
pub fn id_mapped_bind(
    destination: &str,
    path: &Path,
    recursive: bool,
    id_map: &MountIdMap,
    own: impl FnOnce() -> std::io::Result<File>,
) -> Result<OwnedFd> {
    let field = |what: &str| format!("mount {destination}: {what}");
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(CWD, path, flags).map_err(|e| match e {
        rustix::io::Errno::NOENT => {
            Refusal::not_found(field(&format!("source {path:?} does not exist")))
        }
        e => Refusal::system(field(&format!("source {path:?}")), e),
    })?;
    sys::make_slave(tree.as_fd()).map_err(|e| Refusal::system(field("propagation"), e))?;
    if *id_map == MountIdMap::identity() {
        return Ok(tree);
    }
    let MountIdMap { uid_map, gid_map, .. } = id_map;
    // The container's own, or one that lives only as long as the mount.
    let namespace = if uid_map.is_empty() { own() } else { user_namespace_of(uid_map, gid_map) }
        .map_err(|e| Refusal::system(field("user namespace with its id maps"), e))?;
    map_ids_of_mount(tree.as_fd(), namespace.as_fd(), id_map.recursive)
        .map_err(|e| Refusal::system(field(&format!("map the ids of {path:?}")), e))?;
    Ok(tree)
}

/// Translates the owners of the files of `mount`, which is attached nowhere yet, as `user_namespace` maps ids.
///
/// # Errors
/// As mount_setattr(2) has them; where the file system cannot, with that guess.
pub fn map_ids_of_mount(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
    recursive: bool,
) -> std::io::Result<()> {
    sys::map_mount_ids(mount, user_namespace, recursive).map_err(|e| match e.raw_os_error() {
        Some(libc::EINVAL) => std::io::Error::new(
            e.kind(),
            format!("{e}; its file system may have no id-mapped mounts"),
        ),
        _ => e,
    })
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
