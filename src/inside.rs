//! Opening paths that an image's maker has chosen: as a process inside the root would, and never outside.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// Follows links as a process inside would, and never the magic ones of /proc.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// How often a path is tried that something else on the machine interferes with.
const MOST_TRIES: u32 = 10_000;

/// Opens `path`, absolute or not, in the tree below `root`, which it cannot leave.
///
/// # Errors
/// As openat2(2) has them. `EAGAIN` is not among them unless it goes on and on: whoever renames a file or mounts
/// anything on this machine while the kernel follows a path with `..` in it makes the kernel give up, and ask to be asked
/// again.
pub fn open(root: impl AsFd, path: impl Arg + Copy, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let root = root.as_fd();
    for _ in 0..MOST_TRIES {
        match openat2(root, path, flags, Mode::empty(), INSIDE) {
            Err(Errno::AGAIN) => std::thread::yield_now(),
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn others_that_rename_do_not_interfere() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("directories");
        let root = std::fs::File::open(dir.path()).expect("opened");
        let path = "a/b/../../".repeat(200) + "a";
        let done = AtomicBool::new(false);
        let elsewhere = tempfile::tempdir().expect("a directory");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (one, other) = (elsewhere.path().join("1"), elsewhere.path().join("2"));
                std::fs::create_dir(&one).expect("a directory");
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(&one, &other)
                        .and_then(|()| std::fs::rename(&other, &one))
                        .expect("renamed");
                }
            });
            let opened: Vec<_> =
                (0..2000).map(|_| open(&root, path.as_str(), OFlags::PATH).map(drop)).collect();
            done.store(true, Ordering::Relaxed);
            assert!(opened.iter().all(Result::is_ok), "{:?}", opened.iter().find(|o| o.is_err()));
        });
    }

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = std::fs::File::open(dir.path()).expect("opened");
        let (up, top) = (open(&root, "../../..", OFlags::PATH), open(&root, "/", OFlags::PATH));
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("stat").st_ino;
        assert_eq!(inode(&up.expect("opened")), inode(&top.expect("opened")));
    }
}
