//! The root file system: attached, filled by the other steps, and entered.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use lighter::error::{Refusal, Result};
use lighter::inside;
use lighter::plan::{Propagation, PropagationKind, Root};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, fstat, mkdirat, openat, readlinkat, stat,
    statx,
};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount,
    open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::mounts;
use crate::sys;

/// Makes the root file system a mount of its own and opens it.
pub(super) fn attach(root: &Root) -> Result<OwnedFd> {
    let failed =
        |what: &str, e: Errno| Refusal::system(format!("root.path {:?}: {what}", root.path), e);
    // What we mount must not spread to the host. Shared roots still hand on what is mounted *below*
    // them, so the tree itself is at most a slave until it is entered.
    let propagation = match root.propagation.kind {
        PropagationKind::Shared | PropagationKind::Slave => MountPropagationFlags::DOWNSTREAM,
        PropagationKind::Private | PropagationKind::Unbindable => MountPropagationFlags::PRIVATE,
    };
    mount_change("/", propagation | MountPropagationFlags::REC)
        .map_err(|e| Refusal::system("linux.rootfsPropagation", e))?;

    let missing = |e| match e {
        Errno::NOENT => Refusal::not_found(format!("root.path {:?}: no such directory", root.path)),
        e => failed("open", e),
    };
    let found =
        openat(CWD, &root.path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(missing)?;
    check(&found).map_err(|e| failed("stat", e))?.map_or(Ok(()), |why| {
        Err(Refusal::invalid(format!("root.path {:?}: is {why}", root.path)))
    })?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&found, "", flags).map_err(|e| failed("open", e))?;
    // An image's device nodes are not devices: those of the bundle are made, or lie in mounts.
    sys::set_mount_attributes(tree.as_fd(), libc::MOUNT_ATTR_NODEV, 0, 0, false)
        .map_err(|e| failed("make its device nodes without effect", e))?;
    move_mount(tree.as_fd(), "", CWD, &root.path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|e| failed("mount", e))?;
    openat(CWD, &root.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| failed("open the mount", e))
}

/// Why this cannot be a root, if it cannot.
fn check(found: &OwnedFd) -> rustix::io::Result<Option<&'static str>> {
    let (stat, host) = (fstat(found)?, stat("/")?);
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Some("a symbolic link: name the directory itself"),
        FileType::Directory if (stat.st_dev, stat.st_ino) == (host.st_dev, host.st_ino) => {
            Some("the host's own root")
        }
        FileType::Directory => None,
        _ => Some("not a directory"),
    })
}

/// Makes the attached tree the root, and the host's go away.
pub(super) fn pivot(root: &OwnedFd, plan: &Root) -> Result<()> {
    let step = |what: &'static str| {
        move |e| Refusal::system(format!("enter the root file system: {what}"), e)
    };
    if plan.read_only {
        sys::set_mount_attributes(root.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, false)
            .map_err(step("make it read-only"))?;
    }
    fchdir(root).map_err(step("change directory"))?;
    // Onto itself: the old root lies on top of the new one, with no directory needed to hold it.
    pivot_root(".", ".").map_err(step("pivot_root"))?;
    // It must not take the host's own mounts with it when it goes.
    mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(step("cut the old root off"))?;
    unmount(".", UnmountFlags::DETACH).map_err(step("unmount the old root"))?;
    chdir("/").map_err(step("change directory to /"))?;
    let Propagation { kind, recursive } = plan.propagation;
    match kind {
        PropagationKind::Slave | PropagationKind::Private => Ok(()),
        kind => mount_change("/", mounts::propagation(kind, recursive))
            .map_err(|e| Refusal::system("linux.rootfsPropagation", e)),
    }
}

/// Whether `found` is the root itself, rather than something in it or mounted on it.
pub(super) fn is_root(root: &OwnedFd, found: &OwnedFd) -> rustix::io::Result<bool> {
    let identity = |fd: &OwnedFd| {
        let mask = StatxFlags::INO | StatxFlags::MNT_ID;
        statx(fd, "", AtFlags::EMPTY_PATH, mask).map(|s| (s.stx_mnt_id, s.stx_ino))
    };
    Ok(identity(root)? == identity(found)?)
}

/// Opens `path` inside the root, or `None` where nothing is.
pub(super) fn open_inside(root: &OwnedFd, path: &str) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match inside::open(root, relative(path), flags) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens the directory `path` inside the root and makes what is missing of it, mode 0755.
pub(super) fn make_directory(root: &OwnedFd, path: &str) -> Result<OwnedFd> {
    directory(root, relative(path), MAX_LINKS)
        .map_err(|e| Refusal::system(format!("make directory {path}"), e))
}

/// Opens the file `path` inside the root, making it, empty, and its directories where they are missing.
pub(super) fn make_file(root: &OwnedFd, path: &str) -> rustix::io::Result<OwnedFd> {
    file(root, relative(path), MAX_LINKS)
}

/// How many links that lead nowhere yet are followed, as many as the kernel follows of others.
const MAX_LINKS: u32 = 40;

fn directory(root: &OwnedFd, path: &str, links: u32) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match inside::open(root, path, flags) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    if let Some(parent_path) = path.trim_end_matches('/').strip_suffix("/..") {
        // What is missing is before the dots.
        directory(root, parent_path, links)?;
        return inside::open(root, path, flags);
    }
    let (parent_path, name) = split(path)?;
    let parent = directory(root, parent_path, links)?;
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty()),
        Err(Errno::EXIST) => directory(root, &behind(&parent, parent_path, name)?, left(links)?),
        Err(e) => Err(e),
    }
}

fn file(root: &OwnedFd, path: &str, links: u32) -> rustix::io::Result<OwnedFd> {
    if let Some(found) = open_inside(root, path)? {
        return Ok(found);
    }
    let (parent_path, name) = split(path)?;
    let parent = directory(root, parent_path, links)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) => {
            openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        }
        Err(Errno::EXIST) => file(root, &behind(&parent, parent_path, name)?, left(links)?),
        Err(e) => Err(e),
    }
}

/// What a link in the way names, as a path inside the root. Images have them: `/etc/resolv.conf` of Ubuntu
/// leads to where systemd would put the file. Whatever it names is opened inside the root again.
fn behind(parent: &OwnedFd, parent_path: &str, name: &str) -> rustix::io::Result<String> {
    let target = readlinkat(parent, name, Vec::new())?;
    let target = target.to_str().map_err(|_| Errno::ILSEQ)?;
    Ok(match target.starts_with('/') {
        true => relative(target).to_owned(),
        false => format!("{parent_path}/{target}"),
    })
}

fn left(links: u32) -> rustix::io::Result<u32> {
    links.checked_sub(1).ok_or(Errno::LOOP)
}

fn split(path: &str) -> rustix::io::Result<(&str, &str)> {
    let path = Path::new(path);
    match (path.parent().and_then(Path::to_str), path.file_name().and_then(|n| n.to_str())) {
        (Some(""), Some(name)) => Ok((".", name)),
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(Errno::INVAL),
    }
}

/// Paths of the plan are absolute; inside the root they are taken from there.
fn relative(path: &str) -> &str {
    match path.trim_start_matches('/') {
        "" => ".",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a directory");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, dir.path(), flags, Mode::empty()).expect("opened");
        (dir, root)
    }

    #[test]
    fn missing_directories_and_files_are_made() {
        let (dir, root) = root();
        make_directory(&root, "/a/b/c").expect("made");
        make_file(&root, "/a/x/file").expect("made");
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(dir.path().join("a/x/file").is_file());
    }

    #[test]
    fn links_that_lead_nowhere_lead_inside() {
        let (dir, root) = root();
        std::fs::create_dir(dir.path().join("etc")).expect("made");
        symlink("../run/resolve/stub.conf", dir.path().join("etc/resolv.conf")).expect("a link");
        symlink("/../../data/real", dir.path().join("data")).expect("a link");
        symlink("/elsewhere", dir.path().join("absolute")).expect("a link");
        make_file(&root, "/etc/resolv.conf").expect("made");
        make_directory(&root, "/absolute/deep").expect("made");
        assert!(dir.path().join("run/resolve/stub.conf").is_file());
        assert!(dir.path().join("elsewhere/deep").is_dir());
        // Through itself, for ever: refused, and nothing was made above.
        assert!(make_directory(&root, "/data").is_err());
    }

    #[test]
    fn links_in_a_circle_are_refused() {
        let (dir, root) = root();
        symlink("b", dir.path().join("a")).expect("a link");
        symlink("a", dir.path().join("b")).expect("a link");
        assert_eq!(make_file(&root, "/a").err(), Some(Errno::LOOP));
        assert!(make_directory(&root, "/a/c").is_err());
    }
}
