//! As whom this command works: root, or a plain user, who becomes root of a user namespace with nobody else in it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use lighter::config::{CacheConfig, Config};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::Access;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{getegid, geteuid};

use super::user::User;

/// Who has called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Root, of the machine or of a user namespace that somebody else has made.
    Root,
    /// Anybody else, with these ids.
    Plain { uid: u32, gid: u32 },
}

impl Caller {
    pub(super) fn of_this_process() -> Self {
        match geteuid() {
            uid if uid.is_root() => Self::Root,
            uid => Self::Plain { uid: uid.as_raw(), gid: getegid().as_raw() },
        }
    }

    /// Refuses a directory for records that is not the caller's to use.
    pub(super) fn check_state_directory(self, root: &Path) -> Result<()> {
        let there = root.ancestors().find(|dir| dir.is_dir()).unwrap_or(root);
        match self == Self::Root || rustix::fs::access(there, Access::WRITE_OK).is_ok() {
            true => Ok(()),
            false => bail!(
                "{} is not this user's, and XDG_RUNTIME_DIR names no other place: log in, or say with --root, before \
                 \"run\", where containers are to be recorded",
                root.display()
            ),
        }
    }

    /// Refuses a configuration whose cache a plain user cannot have.
    pub(super) fn check_cache(self, config: &Config) -> Result<()> {
        if self != Self::Root && config.cache.dir == CacheConfig::default().dir {
            bail!(
                "neither HOME nor XDG_DATA_HOME names a directory for the cache of compiled code: set cache.dir in a \
                 configuration, and name that with --config"
            )
        }
        Ok(())
    }

    /// Makes the namespaces that it takes; with `mounts`, so that what this command mounts is seen by nobody else and goes
    /// with it, however it ends. This process must have but one thread.
    pub(super) fn enter(self, mounts: bool) -> Result<()> {
        match self {
            Self::Root if mounts => {
                unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
                let slaves = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
                mount_change("/", slaves).context("cut the mounts off from the machine's")
            }
            Self::Root => Ok(()),
            Self::Plain { uid, gid } => {
                unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).context(
                    "without root it takes a user namespace, and none can be made: allow them (sysctl \
                     user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                     kernel.apparmor_restrict_unprivileged_userns), or call this as root",
                )?;
                // The only id that the kernel lets a user map without help, and that only to give up setgroups(2).
                [
                    ("setgroups", "deny".to_owned()),
                    ("uid_map", format!("0 {uid} 1")),
                    ("gid_map", format!("0 {gid} 1")),
                ]
                .iter()
                .try_for_each(|(file, text)| {
                    let file = format!("/proc/self/{file}");
                    std::fs::write(&file, text).with_context(|| format!("write {text:?} to {file}"))
                })
            }
        }
    }

    /// Whether there is such a user for the guest.
    pub(super) fn check(self, wanted: &User) -> Result<()> {
        match (self, wanted) {
            (Self::Root, _) | (_, User { uid: 0, gid: 0, .. }) => Ok(()),
            (Self::Plain { .. }, User { uid, gid, .. }) => bail!(
                "--user {uid}:{gid}: without root there is one user, 0:0, who outside is you; say --user 0 if the image asks \
                 for another, or call this as root"
            ),
        }
    }
}
