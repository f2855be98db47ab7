//! As whom this command works: root, or a plain user, who becomes root of a user namespace with themselves alone in it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use lighter::config::{CacheConfig, Config};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Who has called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// Root, of the machine or of a user namespace that somebody else has made.
    Root,
    /// Anybody else.
    Plain { uid: u32, gid: u32 },
}
