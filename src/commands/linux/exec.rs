//! Joining a container and becoming a program in it. `container/linux/exec.rs` of the library starts this process as the
//! program's: its standard streams, its control group and its pid namespace are the right ones already, and a socket to the
//! caller is on descriptor 3.
//!
//! Not left to libcontainer, which forgets the container's user namespace and its filter of system calls here. Its parts are
//! used, in the order in which it takes the steps for a container's first process. Scheduler and I/O priority are not set.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use libcontainer::config::PersonalityDomain;
use libcontainer::oci_spec::runtime::{
    Linux, LinuxNamespaceType, LinuxPersonalityDomain, LinuxSeccomp, Process, Spec,
};
use libcontainer::syscall::Syscall;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::{apparmor, capabilities, seccomp};
use lighter::error::{Cause, Refusal};
use lighter::wire::{Peer, ToRunner, ToSupervisor};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, chdir, setgroups};
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, ioctl_tiocsctty, set_dumpable_behavior, umask};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_no_new_privs};

use super::failure::{self, Details};
use super::payload;

/// The umask of runc's containers where the process has none.
const DEFAULT_UMASK: u32 = 0o022;

#[derive(clap::Args)]
pub(super) struct Exec {
    /// Directory with `config.json`.
    #[arg(long)]
    bundle: PathBuf,
    /// The container's first process.
    #[arg(long)]
    init: u32,
}

/// Becomes the program, or tells the caller why not.
pub(super) fn run(request: &Exec, socket: std::io::Result<OwnedFd>, details: &Details) -> ExitCode {
    let peer = match socket {
        Ok(socket) => Peer::from(socket),
        Err(e) => {
            failure::write(&format!("linux exec: started by the shim, not by hand: {e}"), None);
            return ExitCode::FAILURE;
        }
    };
    let Err(error) = exec(request, &peer);
    let message = details.sentence(&error);
    let code = failure::code(&message);
    let cause = match code {
        127 => Cause::NotFound,
        126 => Cause::Denied,
        _ => Cause::System,
    };
    // One that is gone asks no more.
    let _ = peer.send(&ToSupervisor::Refused(Refusal { cause, message }), None);
    ExitCode::from(code)
}

fn exec(request: &Exec, peer: &Peer) -> Result<Infallible> {
    // What is already in the container must not look into this process, which still has the host's descriptors.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("close this process to others")?;
    let (process, _) = peer.receive::<Process>()?.context("hear from the caller: it is gone")?;
    if process.terminal() == Some(true) {
        // The caller has started this process in a session of its own, with the terminal as its streams.
        ioctl_tiocsctty(rustix::stdio::stdin()).context("process.terminal: take the terminal")?;
    }
    let spec = Spec::load(request.bundle.join("config.json"))?;
    let linux = spec.linux().as_ref().context("config.json has no linux")?;
    let namespaces = open_namespaces(request.init, linux)?;
    peer.send(&ToSupervisor::NamespacesReady, None).context("tell the caller")?;
    match peer.receive()?.context("hear from the caller: it is gone")? {
        (ToRunner::Proceed, _) => {}
        (other, _) => bail!("was told {other:?} out of turn"),
    }

    let syscall = create_syscall();
    // Before the rights to raise them go with the namespace.
    for rlimit in process.rlimits().iter().flatten() {
        syscall.set_rlimit(rlimit).with_context(|| format!("process.rlimits: {rlimit:?}"))?;
    }
    for (kind, file) in namespaces {
        let link = link_type(kind);
        move_into_link_name_space(file.as_fd(), link)
            .with_context(|| format!("join the container's {kind} namespace"))?;
        if kind == LinuxNamespaceType::User {
            syscall.set_id(Uid::from_raw(0), Gid::from_raw(0)).context("become its root")?;
        }
    }
    let cwd = || format!("process.cwd {:?}", process.cwd());
    let entered = enter_directory(&process).with_context(cwd)?;
    prepare(linux, &process, syscall.as_ref())?;

    let environment = environment(&process);
    let seccomp = linux.seccomp().as_ref();
    // A filter takes a right to put on, or the promise to gain none.
    let promised = process.no_new_privileges().unwrap_or(false);
    if promised {
        set_no_new_privs(true).context("process.noNewPrivileges")?;
    } else {
        filter(seccomp)?;
    }
    if let Some(wanted) = process.capabilities() {
        capabilities::drop_privileges(wanted, syscall.as_ref()).context("process.capabilities")?;
    }
    if !entered {
        chdir(process.cwd()).with_context(cwd)?;
    }
    // Nowhere, if it is not below the container's root.
    if !std::env::current_dir().with_context(cwd)?.is_absolute() {
        bail!("{}: is not in the container", cwd());
    }
    if promised {
        filter(seccomp)?;
    }
    payload::become_program(&process, &environment)
}

/// The container's namespaces in the order in which they are joined: the user namespace first, which owns the others. The
/// pid namespace is not among them, as this process was born in it.
fn open_namespaces(init: u32, linux: &Linux) -> Result<Vec<(LinuxNamespaceType, File)>> {
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    let mut kinds: Vec<_> = listed.iter().map(|namespace| namespace.typ()).collect();
    kinds.retain(|kind| *kind != LinuxNamespaceType::Pid);
    kinds.sort_by_key(|kind| *kind != LinuxNamespaceType::User);
    let open = |kind: LinuxNamespaceType| {
        let path = format!("/proc/{init}/ns/{kind}");
        let file = File::open(&path).with_context(|| format!("open {path}"))?;
        Ok((kind, file))
    };
    kinds.into_iter().map(open).collect()
}

fn link_type(kind: LinuxNamespaceType) -> Option<LinkNameSpaceType> {
    Some(match kind {
        LinuxNamespaceType::User => LinkNameSpaceType::User,
        LinuxNamespaceType::Pid => LinkNameSpaceType::ProcessID,
        LinuxNamespaceType::Mount => LinkNameSpaceType::Mount,
        LinuxNamespaceType::Network => LinkNameSpaceType::Network,
        LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        LinuxNamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
        LinuxNamespaceType::Time => LinkNameSpaceType::Time,
    })
}

/// Personality, profile, user: what takes the container's files and the rights of its root.
fn prepare(linux: &Linux, process: &Process, syscall: &dyn Syscall) -> Result<()> {
    if let Some(personality) = linux.personality() {
        let domain = match personality.domain() {
            LinuxPersonalityDomain::PerLinux => PersonalityDomain::Linux,
            LinuxPersonalityDomain::PerLinux32 => PersonalityDomain::Linux32,
        };
        syscall.personality(domain).context("linux.personality")?;
    }
    if let Some(profile) = process.apparmor_profile() {
        apparmor::apply_profile(profile)
            .with_context(|| format!("process.apparmorProfile {profile:?}"))?;
    }
    let user = process.user();
    umask(Mode::from_raw_mode(user.umask().unwrap_or(DEFAULT_UMASK)));
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match setgroups(&groups) {
        // A user namespace that denies it leaves nothing to set.
        Err(Errno::EPERM) if groups.is_empty() => {}
        set => set.with_context(|| format!("process.user.additionalGids {groups:?}"))?,
    }
    syscall
        .set_id(Uid::from_raw(user.uid()), Gid::from_raw(user.gid()))
        .with_context(|| format!("process.user {}:{}", user.uid(), user.gid()))
}

/// Enters the working directory.
///
/// As root, who may enter directories that the user may not; where even root may not, once more as the user.
fn enter_directory(process: &Process) -> nix::Result<bool> {
    match chdir(process.cwd()) {
        Ok(()) => Ok(true),
        Err(Errno::EPERM | Errno::EACCES) => Ok(false),
        Err(e) => Err(e),
    }
}

fn filter(profile: Option<&LinuxSeccomp>) -> Result<()> {
    let Some(profile) = profile else { return Ok(()) };
    if seccomp::is_notify(profile) {
        bail!("linux.seccomp.listenerPath: no listener is told of what exec runs");
    }
    seccomp::initialize_seccomp(profile).map(drop).context("linux.seccomp")
}

/// The program's environment: the process's, and the user's home if that does not say.
fn environment(process: &Process) -> BTreeMap<&str, String> {
    let lines = process.env().as_deref().unwrap_or_default();
    let mut environment: BTreeMap<&str, String> =
        lines.iter().filter_map(|line| line.split_once('=')).map(|(k, v)| (k, v.into())).collect();
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    if environment.get("HOME").is_none_or(String::is_empty) {
        environment.insert("HOME", home(&passwd, process.user().uid()).to_owned());
    }
    environment
}

/// The home of user `uid` according to `passwd`, see passwd(5); `/` if it has none.
fn home(passwd: &str, uid: u32) -> &str {
    let users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut homes = users
        .filter(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(uid))
        .filter_map(|fields| fields.get(5).copied());
    homes.next().filter(|home| !home.is_empty()).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_the_sixth_field() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnone\na:x:5:5::/home/a\nb:x:6:6:::/bin/sh\n";
        for (uid, expected) in [(0, "/root"), (5, "/home/a"), (6, "/"), (7, "/")] {
            assert_eq!(home(passwd, uid), expected, "{uid}");
        }
    }
}
