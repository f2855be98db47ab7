//! Namespaces: joined by path, made anew, named and tuned. See namespaces(7).

use std::fs::File;
use std::os::fd::AsFd;

use lighter::error::{Refusal, Result};
use lighter::plan::{Namespace, Namespaces, Sandbox};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{
    Gid, LinkNameSpaceType, Uid, UnshareFlags, move_into_link_name_space, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::sys;

/// Joins the existing namespaces of the plan, the user namespace first: it owns the others.
pub(super) fn join(namespaces: &Namespaces) -> Result<()> {
    let mut opened = Vec::with_capacity(namespaces.join.len());
    for (kind, path) in &namespaces.join {
        let Some(link) = link_type(*kind) else { continue };
        let file = File::open(path).map_err(|e| refusal(*kind, path, e))?;
        opened.push((*kind, link, path, file));
    }
    opened.sort_by_key(|(kind, ..)| *kind != Namespace::User);
    for (kind, link, path, file) in opened {
        move_into_link_name_space(file.as_fd(), Some(link)).map_err(|e| refusal(kind, path, e))?;
        if kind == Namespace::User {
            become_root()?;
        }
    }
    Ok(())
}

/// `None` for the pid namespace, which only a child can be in: we are that child already.
fn link_type(kind: Namespace) -> Option<LinkNameSpaceType> {
    Some(match kind {
        Namespace::Pid => return None,
        Namespace::User => LinkNameSpaceType::User,
        Namespace::Mount => LinkNameSpaceType::Mount,
        Namespace::Network => LinkNameSpaceType::Network,
        Namespace::Ipc => LinkNameSpaceType::InterProcessCommunication,
        Namespace::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        Namespace::Cgroup => LinkNameSpaceType::ControlGroup,
        Namespace::Time => LinkNameSpaceType::Time,
    })
}

/// Enters a new user namespace, which has no id maps yet.
pub(super) fn enter_user(namespaces: &Namespaces) -> Result<()> {
    debug_assert!(namespaces.has_new(Namespace::User));
    sys::unshare(UnshareFlags::NEWUSER)
        .map_err(|e| Refusal::system("linux.namespaces: new user namespace", e))
}

/// Becomes root of the user namespace, so that what is made next belongs to it.
pub(super) fn become_root() -> Result<()> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(gid, gid, gid)
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .map_err(|e| Refusal::system("become root of the user namespace", e))?;
    // Fails where the namespace denies setgroups(2) (rootless): then there is nothing to drop it for.
    let _ = set_thread_groups(&[]);
    Ok(())
}

/// Makes and enters the other new namespaces.
pub(super) fn unshare(namespaces: &Namespaces) -> Result<()> {
    // The mount namespace always: a joined one is copied, so that what we mount stays ours.
    let mut flags = UnshareFlags::NEWNS;
    for kind in &namespaces.new {
        flags |= match kind {
            Namespace::User | Namespace::Pid | Namespace::Mount => UnshareFlags::empty(),
            Namespace::Network => UnshareFlags::NEWNET,
            Namespace::Ipc => UnshareFlags::NEWIPC,
            Namespace::Uts => UnshareFlags::NEWUTS,
            Namespace::Cgroup => UnshareFlags::NEWCGROUP,
            Namespace::Time => UnshareFlags::NEWTIME,
        };
    }
    sys::unshare(flags)
        .map_err(|e| Refusal::system(format!("linux.namespaces: make {flags:?}"), e))?;
    if namespaces.has_new(Namespace::Network) {
        bring_up_loopback().map_err(|e| Refusal::system("bring up the loopback interface", e))?;
    }
    if namespaces.has_new(Namespace::Time) {
        enter_time(namespaces)?;
    }
    Ok(())
}

/// As runc does: programs expect 127.0.0.1 to be there.
fn bring_up_loopback() -> rustix::io::Result<()> {
    let control = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    sys::set_interface_up(control.as_fd(), c"lo")
}

/// A new time namespace is only for children, and its clocks are set before anyone is in it.
fn enter_time(namespaces: &Namespaces) -> Result<()> {
    let lines: String = namespaces
        .time_offsets
        .iter()
        .map(|offset| format!("{} {} {}\n", offset.clock, offset.seconds, offset.nanoseconds))
        .collect();
    let result =
        if lines.is_empty() { Ok(()) } else { std::fs::write("/proc/self/timens_offsets", lines) };
    result
        .and_then(|()| File::open("/proc/self/ns/time_for_children"))
        .and_then(|own| Ok(move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Time))?))
        .map_err(|e| Refusal::system("linux.timeOffsets", e))
}

/// Sets host and domain name.
pub(super) fn name(sandbox: &Sandbox) -> Result<()> {
    let set = |field: &str, name: &Option<String>, set: fn(&[u8]) -> rustix::io::Result<()>| {
        let Some(name) = name else { return Ok(()) };
        set(name.as_bytes()).map_err(|e| Refusal::system(format!("{field} {name:?}"), e))
    };
    set("hostname", &sandbox.hostname, sethostname)?;
    set("domainname", &sandbox.domainname, setdomainname)
}

fn refusal(kind: Namespace, path: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal::system(format!("linux.namespaces: {kind:?} namespace {path}"), error)
}
