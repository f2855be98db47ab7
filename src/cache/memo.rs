//! Digests of files that have been read before, so that a warm start does not read the module.
//!
//! A memo is a symbolic link: its name says which file, its target is the digest. A lookup is one `readlink`.
//!
//! Which file: inode, size, and both times to the nanosecond, and the filesystem. For a file on overlayfs
//! the filesystem cannot be named: `st_dev` and `f_fsid` belong to the mount, and each container has a mount of
//! its own. But where `st_dev` of a file is that of the root directory, and the highest bits of the inode
//! number are clear, then all layers are on one filesystem and the number is that filesystem's own. Its size in blocks
//! stands for it. That is enough because ctime, to the nanosecond, is written by the kernel alone:
//! filesystems whose ctime somebody else decides (FUSE, the network's, read-only images) are not trusted, nor are volumes
//! but those on the filesystem of the store itself, which also has the layers of images.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::digest::Digest;
use super::source::Wasm;
use super::store::Store;

const EXT4: i64 = 0xef53;
const XFS: i64 = 0x5846_5342;
const BTRFS: i64 = 0x9123_683e;
const F2FS: i64 = 0xf2f5_2010;
const TMPFS: i64 = 0x0102_1994;
const OVERLAYFS: i64 = 0x794c_7630;

/// A file changed this recently may change again without its times telling.
const RACY: Duration = Duration::from_secs(2);

/// Overlayfs puts the number of the layers' filesystem above these bits.
const OVERLAY_INODE_BITS: u32 = 48;

/// The digest of `wasm`, if it was remembered and the file is still the same.
pub(super) fn recall(store: &Store, wasm: &Wasm<'_>, facts: &Metadata) -> Option<Digest> {
    let name = identity(store, wasm, facts)?;
    let target = rustix::fs::readlinkat(store.dir(), path(&name), Vec::with_capacity(65)).ok()?;
    Digest::parse(target.to_str().ok()?)
}

/// Remembers the digest of `wasm`, as far as that is safe. `facts` are from before it was read.
pub(super) fn remember(store: &Store, wasm: &Wasm<'_>, facts: &Metadata, digest: &Digest) {
    let Some(name) = identity(store, wasm, facts) else {
        return;
    };
    // Read as a whole before anything changed?
    let unchanged =
        wasm.file.metadata().is_ok_and(|now| identity(store, wasm, &now) == Some(name.clone()));
    if !unchanged || !settled(facts, SystemTime::now()) {
        return;
    }
    if let Err(e) = store.link(&digest.to_string(), &path(&name)) {
        log::debug!("cannot remember the digest of {:?}: {e}", wasm.name);
    }
}

fn path(name: &str) -> String {
    format!("memos/{name}")
}

/// Whether the last change is long enough ago for a later one to have another time.
fn settled(facts: &Metadata, now: SystemTime) -> bool {
    let (Ok(seconds), Ok(nanos)) =
        (u64::try_from(facts.ctime()), u32::try_from(facts.ctime_nsec()))
    else {
        return false;
    };
    let changed = UNIX_EPOCH + Duration::new(seconds, nanos);
    now.duration_since(changed).is_ok_and(|age| age > RACY)
}

/// The name of a memo: what tells this file in this state from all others. `None` if nothing does.
fn identity(store: &Store, wasm: &Wasm<'_>, facts: &Metadata) -> Option<String> {
    let root = rustix::fs::stat(wasm.root?).ok()?;
    let of_store = || rustix::fs::fstat(store.dir()).is_ok_and(|dir| dir.st_dev == facts.dev());
    if (root.st_dev != facts.dev() && !of_store()) || facts.nlink() == 0 {
        return None;
    }
    let filesystem = rustix::fs::fstatfs(wasm.file).ok()?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    let kind = filesystem.f_type as i64;
    let place = match kind {
        OVERLAYFS if facts.ino() >> OVERLAY_INODE_BITS == 0 => {
            format!("{:x}-{:x}", filesystem.f_blocks, filesystem.f_bsize)
        }
        EXT4 | XFS | BTRFS | F2FS | TMPFS => format!("{:x}", facts.dev()),
        _ => return None,
    };
    Some(format!(
        "{kind:x}-{place}-{:x}-{:x}-{:x}.{:x}-{:x}.{:x}",
        facts.ino(),
        facts.size(),
        facts.mtime(),
        facts.mtime_nsec(),
        facts.ctime(),
        facts.ctime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changed_just_now_or_in_the_future_is_not_settled() {
        let file = tempfile::tempfile().unwrap();
        let facts = file.metadata().unwrap();
        let changed = UNIX_EPOCH
            + Duration::new(facts.ctime() as u64, u32::try_from(facts.ctime_nsec()).unwrap());
        assert!(!settled(&facts, changed + Duration::from_millis(1990)));
        assert!(!settled(&facts, changed - Duration::from_secs(86400)));
        assert!(settled(&facts, changed + Duration::from_millis(2010)));
    }
}
