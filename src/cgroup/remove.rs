//! Removing a group, by the few calls that it takes: `libcgroups` first looks for where each controller is mounted, in the list of
//! all mounts, for which it mounts a `/proc` of its own; that was 600 system calls of each container's end on version 1.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::read::{self, Directories};
use super::{birth, v1};
use crate::host::Cgroups;

/// How long what was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pauses between looks at whether it is double from this one.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

impl Directories {
    /// Ends what still runs in the group and in those below it, and removes all of them; where there is none, there is nothing to do.
    ///
    /// # Errors
    /// Names the directory that the kernel will not let go.
    pub(super) fn remove(&self) -> io::Result<()> {
        match birth::names(&self.relative) {
            Ok(names) if !names.is_empty() => {}
            // The hierarchy itself, or no place in it, is no group of ours.
            _ => return Ok(()),
        }
        let groups: Vec<PathBuf> = match self.hierarchy {
            Cgroups::V1 => v1::CONTROLLERS.iter().map(|name| self.controller(name)).collect(),
            Cgroups::V2 => vec![self.controller("")],
            Cgroups::Closed | Cgroups::None => return Ok(()),
        };
        let deadline = Instant::now() + PATIENCE;
        groups.iter().try_for_each(|group| self.remove_one(group, deadline))
    }

    fn remove_one(&self, group: &Path, deadline: Instant) -> io::Result<()> {
        // Mostly it is empty, its only process collected.
        if gone(fs::remove_dir(group)).is_ok() {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        loop {
            // Again each time: what was being born is there now.
            self.kill_all(group);
            match remove_tree(group) {
                Ok(()) => return Ok(()),
                Err(e) if Instant::now() >= deadline => return Err(e),
                Err(_) => std::thread::sleep(pause),
            }
            pause *= 2;
        }
    }

    fn kill_all(&self, group: &Path) {
        if self.hierarchy == Cgroups::V2 && fs::write(group.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        let mut pids = Vec::new();
        // What is read of one that is just going away is all that is there.
        let _ = read::collect_pids(group, &mut pids);
        // 0 is one that our pid namespace does not show, and would be a signal to ourselves.
        for pid in pids.into_iter().filter_map(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0)
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if self.hierarchy == Cgroups::V1 {
            self.let_go();
        }
    }
}

/// Removes the groups below `group`, and then itself.
fn remove_tree(group: &Path) -> io::Result<()> {
    let below = match fs::read_dir(group) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        below => below?,
    };
    for entry in below.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    gone(fs::remove_dir(group))
        .map_err(|e| io::Error::new(e.kind(), format!("remove {}: {e}", group.display())))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_below_go_first_and_one_that_is_not_there_is_removed() {
        let root = tempfile::tempdir().expect("a directory");
        let group = root.path().join("a");
        fs::create_dir_all(group.join("b/c")).unwrap();
        fs::create_dir(group.join("d")).unwrap();
        remove_tree(&group).expect("removed");
        assert!(!group.exists());
        remove_tree(&group).expect("as good as removed");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("file"), "").unwrap();
        let error = remove_tree(&group).unwrap_err();
        assert!(error.to_string().contains("/a: "), "{error}");
    }

    #[test]
    fn neither_a_hierarchy_nor_what_is_outside_of_it_is_a_group() {
        for path in ["/", "", "/a/../..", "\0"] {
            for hierarchy in [Cgroups::V1, Cgroups::V2, Cgroups::Closed, Cgroups::None] {
                let removed = Directories::of(hierarchy, Path::new(path)).remove();
                // A name that no file can have is refused before the kernel sees it.
                assert!(removed.is_ok() || path == "\0", "{path:?}: {removed:?}");
            }
        }
    }
}
