//! An image's files under a container's own: what is written is kept in memory, counts as the container's, and is gone
//! with it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use lighter::host::in_user_namespace;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

/// The file system in memory, below the bundle.
const WRITTEN: &str = "written";

/// Mounts the files below `image`, which stay as they are, at the bundle's root file system `root`.
pub(super) fn mount(image: &Path, bundle: &Path, root: &Path) -> Result<()> {
    let written = bundle.join(WRITTEN);
    fs::create_dir(&written).with_context(|| written.display().to_string())?;
    attach("tmpfs", &[("mode", "755")], &[], &written)
        .with_context(|| format!("mount a tmpfs at {}", written.display()))?;
    let (upper, work) = (written.join("upper"), written.join("work"));
    let make = || {
        fs::create_dir(&work)?;
        fs::create_dir(&upper)?;
        // The root's own, whatever the caller's umask was when the image was unpacked.
        fs::set_permissions(&upper, Permissions::from_mode(0o755))
    };
    make().with_context(|| upper.display().to_string())?;
    // Root of a user namespace may not set the attributes that an overlay has otherwise.
    let flags: &[&str] = if in_user_namespace() { &["userxattr"] } else { &[] };
    let paths = [image, &upper, &work].map(|path| path.to_string_lossy().into_owned());
    let lower = paths[0].replace('\\', "\\\\").replace(':', "\\:");
    let options = [("lowerdir", &*lower), ("upperdir", &paths[1]), ("workdir", &paths[2])];
    attach("overlay", &options, flags, root).with_context(|| {
        format!(
            "mount the image's files at {}: the kernel's overlayfs is needed (without root, of Linux 5.11 or newer)",
            root.display()
        )
    })
}

fn attach(
    kind: &str,
    options: &[(&str, &str)],
    flags: &[&str],
    at: &Path,
) -> rustix::io::Result<()> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value)?;
    }
    for flag in flags {
        fsconfig_set_flag(&context, *flag)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let made = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&made, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Unmounts what [`mount`] has mounted below `bundle`, if this process has it.
pub(super) fn unmount(bundle: &Path) {
    for dir in [super::place::ROOT, WRITTEN] {
        let _ =
            rustix::mount::unmount(bundle.join(dir), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}
