//! One mount of the plan, made with descriptors instead of paths: what an image puts in the way of a
//! target is resolved inside its root, once, and cannot be exchanged afterwards.

use std::os::fd::{AsFd, OwnedFd};

use lighter::error::{Refusal, Result};
use lighter::plan::{Mount, MountAttribute, MountSource, PropagationKind};
use rustix::fs::{CWD, FileType, fstat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};

use super::root::{is_root, make_directory, make_file};
use crate::sys;

/// Makes one mount below `root`, or attaches the one that was `made` elsewhere.
pub(super) fn mount(root: &OwnedFd, mount: &Mount, made: Option<OwnedFd>) -> Result<()> {
    let field = |what: &str| format!("mount {}: {what}", mount.destination);
    let (tree, target) = match &mount.source {
        MountSource::Bind { path, recursive, .. } => {
            let tree = made.map_or_else(|| bind(path, *recursive), Ok).map_err(|e| match e {
                Errno::NOENT => {
                    Refusal::not_found(field(&format!("source {path:?} does not exist")))
                }
                e => Refusal::system(field(&format!("source {path:?}")), e),
            })?;
            let is_directory = fstat(&tree)
                .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
                .map_err(|e| Refusal::system(field(path), e))?;
            let target = if is_directory {
                make_directory(root, &mount.destination)?
            } else {
                make_file(root, &mount.destination)
                    .map_err(|e| Refusal::system(field("target"), e))?
            };
            (tree, target)
        }
        MountSource::Filesystem { kind, source, parameters, copy_up } => {
            let target = make_directory(root, &mount.destination)?;
            let tree = filesystem(kind, source, parameters)
                .map_err(|(what, e)| Refusal::system(field(&format!("{kind} {what}")), e))?;
            if *copy_up {
                copy_contents(&target, &tree)
                    .map_err(|e| Refusal::system(field("tmpcopyup"), e))?;
            }
            (tree, target)
        }
    };
    // A link of the image may lead there. What is mounted over the root would hide it, and lie between us and it when
    // the host's tree is unmounted.
    if is_root(root, &target).map_err(|e| Refusal::system(field("target"), e))? {
        return Err(Refusal::invalid(field(
            "the root file system itself is there (by a link of the image), and cannot be mounted over",
        )));
    }
    let (set, clear) = (bits(&mount.set), bits(&mount.clear));
    if set | clear != 0 {
        sys::set_mount_attributes(tree.as_fd(), set, clear, 0, false)
            .map_err(|e| Refusal::system(field("options"), e))?;
    }
    if !mount.set_recursive.is_empty() {
        sys::set_mount_attributes(tree.as_fd(), bits(&mount.set_recursive), 0, 0, true)
            .map_err(|e| Refusal::system(field("recursive options"), e))?;
    }
    for propagation in &mount.propagation {
        let kind = u64::from(self::propagation(propagation.kind, false).bits());
        sys::set_mount_attributes(tree.as_fd(), 0, 0, kind, propagation.recursive)
            .map_err(|e| Refusal::system(field("propagation"), e))?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", target.as_fd(), "", flags)
        .map_err(|e| Refusal::system(field("attach"), e))
}

fn bind(path: &str, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

type Parameters = [(String, Option<String>)];

pub(super) fn filesystem(
    kind: &str,
    source: &str,
    parameters: &Parameters,
) -> std::result::Result<OwnedFd, (String, Errno)> {
    let step = |what: &str| {
        let what = what.to_owned();
        move |e| (what, e)
    };
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("is not known here"))?;
    fsconfig_set_string(&context, "source", source).map_err(step("source"))?;
    for (key, value) in parameters {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str()),
            None => fsconfig_set_flag(&context, key.as_str()),
        }
        .map_err(step(&format!("option {key:?}")))?;
    }
    fsconfig_create(&context).map_err(step("cannot be made"))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(step("cannot be mounted"))
}

/// Copies a directory's files, directories and links into a new file system, as far as it has them.
fn copy_contents(from: &OwnedFd, to: &OwnedFd) -> std::io::Result<()> {
    // The host's /proc is still in reach here, and the descriptors hold both ends fast.
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
    copy_tree(path(from).as_ref(), path(to).as_ref())
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown, symlink};
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata()?;
        if meta.is_dir() {
            std::fs::create_dir(&target)?;
            copy_tree(&source, &target)?;
        } else if meta.is_symlink() {
            symlink(std::fs::read_link(&source)?, &target)?;
        } else if meta.is_file() {
            std::fs::copy(&source, &target)?;
        } else {
            continue;
        }
        lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
        if !meta.is_symlink() {
            std::fs::set_permissions(&target, meta.permissions())?;
        }
    }
    Ok(())
}

/// The attributes as bits of mount_setattr(2).
fn bits(attributes: &[MountAttribute]) -> u64 {
    attributes.iter().fold(0, |bits, attribute| {
        bits | match attribute {
            MountAttribute::ReadOnly => libc::MOUNT_ATTR_RDONLY,
            MountAttribute::NoSuid => libc::MOUNT_ATTR_NOSUID,
            MountAttribute::NoDev => libc::MOUNT_ATTR_NODEV,
            MountAttribute::NoExec => libc::MOUNT_ATTR_NOEXEC,
            MountAttribute::NoAtime => libc::MOUNT_ATTR_NOATIME,
            MountAttribute::NoDirAtime => libc::MOUNT_ATTR_NODIRATIME,
            MountAttribute::RelAtime => libc::MOUNT_ATTR_RELATIME,
            MountAttribute::StrictAtime => libc::MOUNT_ATTR_STRICTATIME,
            MountAttribute::NoSymFollow => libc::MOUNT_ATTR_NOSYMFOLLOW,
        }
    })
}

/// A type of propagation as flags of mount(2), which mount_setattr(2) shares.
pub(super) fn propagation(kind: PropagationKind, recursive: bool) -> MountPropagationFlags {
    let kind = match kind {
        PropagationKind::Shared => MountPropagationFlags::SHARED,
        PropagationKind::Slave => MountPropagationFlags::DOWNSTREAM,
        PropagationKind::Private => MountPropagationFlags::PRIVATE,
        PropagationKind::Unbindable => MountPropagationFlags::UNBINDABLE,
    };
    if recursive { kind | MountPropagationFlags::REC } else { kind }
}
