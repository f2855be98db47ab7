//! Making a group on version 2 before its first process exists, which is then born in it: cgroup-v2.rst,
//! "Organizing Processes", and `CLONE_INTO_CGROUP` in clone(2).
//!
//! So all that the process uses is counted from its first instruction, and nobody pays for moving it. The limits come while it
//! is executed and linked: what it does, it does once it has its plan, and that is sent when they are there.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

/// Makes the group at `relative` below `root`, with all controllers that there are.
///
/// # Errors
/// Names the directory that cannot be made. A controller that cannot be enabled is none: a limit that needs
/// it fails by itself.
pub(super) fn make(root: &Path, relative: &Path) -> io::Result<OwnedFd> {
    let mut group = root.to_owned();
    for name in names(relative)? {
        // Not in the last one: a group with processes in it may not hand controllers on.
        pass_on_controllers(&group);
        group.push(name);
        match fs::create_dir(&group) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io::Error::new(e.kind(), format!("make {}: {e}", group.display())));
            }
            _ => {}
        }
    }
    let opened = File::open(&group).map(OwnedFd::from);
    opened.map_err(|e| io::Error::new(e.kind(), format!("open {}: {e}", group.display())))
}

/// The names of the groups on the way to the one at `relative`, below the hierarchy's root.
///
/// # Errors
/// When it leads out of the hierarchy.
pub(super) fn names(relative: &Path) -> io::Result<Vec<&OsStr>> {
    let name = |component| match component {
        Component::Normal(name) => Some(Ok(name)),
        Component::RootDir | Component::CurDir => None,
        Component::ParentDir | Component::Prefix(_) => {
            Some(Err(io::Error::other("its path leads out of the hierarchy")))
        }
    };
    relative.components().filter_map(name).collect()
}

/// Enables in the groups below `group` what it has and they have not.
fn pass_on_controllers(group: &Path) {
    let read = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default();
    let (has, hands_on) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let missing =
        || has.split_whitespace().filter(|name| !hands_on.split_whitespace().any(|n| n == *name));
    let enable = |controllers: &str| fs::write(group.join("cgroup.subtree_control"), controllers);
    let all: Vec<String> = missing().map(|name| format!("+{name}")).collect();
    // All or nothing, says the kernel; then each by itself.
    if !all.is_empty() && enable(&all.join(" ")).is_err() {
        for one in all {
            if let Err(e) = enable(&one) {
                log::debug!("{one} in {}: {e}", group.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out() {
        let root = tempfile::tempdir().expect("a directory");
        let error = make(root.path(), Path::new("/a/../../b")).unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
        assert!(
            !root.path().join("b").exists() && !root.path().parent().unwrap().join("b").exists()
        );
    }

    #[test]
    fn controllers_are_handed_on_above_the_group_only() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("cgroup.controllers"), "cpu memory io\n").unwrap();
        fs::write(root.path().join("cgroup.subtree_control"), "memory\n").unwrap();
        make(root.path(), Path::new("a")).expect("a group");
        let enabled = fs::read_to_string(root.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(enabled, "+cpu +io");
        assert!(!root.path().join("a/cgroup.subtree_control").exists());
    }
}
