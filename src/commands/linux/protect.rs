//! Keeps the containers from our own program's file.
//!
//! Before it becomes the container's program, and beside it until then, a process of ours is inside the container, and
//! `/proc/<pid>/exe` leads from there to the file that it runs: the host's. Whoever is root on both sides could write to it
//! (CVE-2019-5736 was that, in runc). So we go on from a mount of our own over that file, which is read-only, and which nobody
//! else can reach to make it otherwise.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result};
use lighter::sandbox::make_read_only;
use nix::fcntl::AtFlags;
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

const OWN: &str = "/proc/self/exe";

/// Starts this program anew from where it cannot be written to, unless it is there already.
///
/// # Errors
/// When the kernel refuses it; it must be of version 5.12 or later.
pub(super) fn program() -> Result<()> {
    let own = rustix::fs::statvfs(OWN).context("look at our own program")?;
    match own.f_flag.contains(StatVfsMountFlags::RDONLY) {
        true => Ok(()),
        false => go_on_read_only().map(|never| match never {}),
    }
}

fn go_on_read_only() -> Result<Infallible> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, OWN, flags).context("mount our own program")?;
    make_read_only(mount.as_fd()).context("make the mount of our own program read-only")?;
    let text = |text: std::ffi::OsString| CString::new(text.into_vec());
    let args = std::env::args_os().map(text).collect::<Result<Vec<_>, _>>()?;
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        text(name)
    });
    let environment = environment.collect::<Result<Vec<_>, _>>()?;
    nix::unistd::execveat(Some(mount.as_raw_fd()), c"", &args, &environment, AtFlags::AT_EMPTY_PATH)
        .context("start our own program anew")
}
