//! The supervisor's half of the sandbox: what must be done from outside. The runner's half is `runner/src/enter/`.

mod hold;
mod id_mapped;

use std::ffi::{CString, OsStr};
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::container::Stdio;
use crate::error::{Refusal, Result};
use crate::host::in_user_namespace;
use crate::plan::{IdMap, Namespace, Namespaces};
use crate::programs::Programs;
use crate::sys::{self, Birthplace, Child, Spawn};
use crate::trace;
use crate::wire::{self, Peer};

pub use crate::sys::make_read_only;
pub use hold::{Held, Hold};
pub(crate) use id_mapped::id_mapped;
pub use id_mapped::{id_mapped_bind, map_ids_of_mount, user_namespace_of};

/// A program, the runner mostly, that waits for its plan.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Its first process's id in our pid namespace.
    pub(crate) pid: u32,
    /// Readable once it has ended.
    pub(crate) pidfd: OwnedFd,
    /// Our end of its socket.
    pub(crate) peer: Peer,
}

/// Starts a runner as [`launch_program`] starts a program.
///
/// # Errors
/// As that has them.
pub(crate) fn launch(
    programs: &Programs,
    id: &str,
    stdio: Stdio,
    namespaces: &Namespaces,
    cgroup: Option<&Birthplace>,
) -> Result<Launched> {
    let args = ["lighter-runner", id].map(OsStr::new);
    launch_program(&programs.runner, &args, stdio, namespaces, cgroup)
}

/// Starts a program of ours in its pid namespace and, if given, in its control group, with the container's stdio
/// and a socket as its only descriptors.
///
/// # Errors
/// Names the step that failed: a namespace that cannot be joined, no more processes, no runner.
pub(crate) fn launch_program(
    program: &Path,
    args: &[&OsStr],
    stdio: Stdio,
    namespaces: &Namespaces,
    cgroup: Option<&Birthplace>,
) -> Result<Launched> {
    let (ours, theirs) = wire::pair().map_err(|e| Refusal::system("make a socket", e))?;
    let text = |text: &OsStr| {
        CString::new(text.as_bytes()).map_err(|e| Refusal::invalid(format!("{text:?}: {e}")))
    };
    let path = text(program.as_os_str())?;
    let args = args.iter().map(|arg| text(arg)).collect::<Result<Vec<_>>>()?;
    let descriptors =
        [stdio.stdin.as_fd(), stdio.stdout.as_fd(), stdio.stderr.as_fd(), theirs.as_fd()];
    let environment = trace::environment();
    let spawn = Spawn {
        program: &path,
        args: &args,
        environment: &environment,
        descriptors: &descriptors,
        new_pid_namespace: namespaces.has_new(Namespace::Pid),
        cgroup,
    };
    let Child { pid, pidfd } = match namespaces.joined(Namespace::Pid) {
        None => sys::spawn(&spawn),
        Some(path) => {
            let namespace = std::fs::File::open(path).map_err(|e| {
                Refusal::system(format!("linux.namespaces: pid namespace {path}"), e)
            })?;
            // Joining a pid namespace changes where a thread's *children* are born: a thread of its
            // own, so that no other child of ours is born there.
            std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        let kind = Some(LinkNameSpaceType::ProcessID);
                        move_into_link_name_space(namespace.as_fd(), kind)?;
                        sys::spawn(&spawn)
                    })
                    .join()
                    .unwrap_or_else(|_| Err(std::io::Error::other("the launching thread panicked")))
            })
        }
    }
    .map_err(|e| Refusal::system(format!("start {}", program.display()), e))?;
    Ok(Launched { pid, pidfd, peer: ours })
}

/// Writes the id maps of the user namespace in which process `pid` is.
///
/// # Errors
/// When the kernel refuses a map.
pub(crate) fn map_ids(pid: u32, namespaces: &Namespaces) -> Result<()> {
    write_maps(pid, &namespaces.uid_map, &namespaces.gid_map).map_err(|(file, e)| match file {
        "uid_map" => Refusal::system("linux.uidMappings", e),
        _ => Refusal::system("linux.gidMappings", e),
    })
}

/// Writes the id maps of process `pid`.
fn write_maps(
    pid: u32,
    uid_map: &[IdMap],
    gid_map: &[IdMap],
) -> Result<(), (&'static str, std::io::Error)> {
    for (file, maps) in [("uid_map", uid_map), ("gid_map", gid_map)] {
        // The kernel takes a map in a single write, and only one.
        let lines = maps.iter().fold(String::new(), |mut text, IdMap { container, host, size }| {
            let _ = writeln!(text, "{container} {host} {size}");
            text
        });
        std::fs::write(format!("/proc/{pid}/{file}"), lines).map_err(|e| (file, e))?;
    }
    Ok(())
}

/// Makes process `pid` a likelier or less likely victim of the kernel's out-of-memory killer, proc(5).
///
/// # Errors
/// When the value is out of range, or lower than we may set.
pub(crate) fn set_oom_score(pid: u32, adjustment: Option<i32>) -> Result<()> {
    let Some(adjustment) = adjustment else { return Ok(()) };
    match std::fs::write(format!("/proc/{pid}/oom_score_adj"), adjustment.to_string()) {
        // Only the first user namespace's root makes anything a less likely victim than its parent.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied && in_user_namespace() => {
            log::warn!("process.oomScoreAdj {adjustment}: not lowered, for want of rights: {e}");
            Ok(())
        }
        written => {
            written.map_err(|e| Refusal::system(format!("process.oomScoreAdj {adjustment}"), e))
        }
    }
}
