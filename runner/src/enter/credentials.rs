//! Limits, user and privileges of the process: once set, they only ever shrink.

use lighter::error::{Refusal, Result};
use lighter::plan::{Rlimit, User};
use nix::sys::resource::{Resource, setrlimit};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::umask;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Sets the resource limits of the plan.
pub(super) fn limit(rlimits: &[Rlimit]) -> Result<()> {
    for Rlimit { resource, soft, hard } in rlimits {
        let kind = resource_named(resource).ok_or_else(|| {
            Refusal::invalid(format!("process.rlimits: {resource:?} is not a limit of Linux"))
        })?;
        setrlimit(kind, *soft, *hard).map_err(|e| {
            Refusal::system(format!("process.rlimits: {resource} soft {soft} hard {hard}"), e)
        })?;
    }
    Ok(())
}

fn resource_named(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::RLIMIT_AS,
        "RLIMIT_CORE" => Resource::RLIMIT_CORE,
        "RLIMIT_CPU" => Resource::RLIMIT_CPU,
        "RLIMIT_DATA" => Resource::RLIMIT_DATA,
        "RLIMIT_FSIZE" => Resource::RLIMIT_FSIZE,
        "RLIMIT_LOCKS" => Resource::RLIMIT_LOCKS,
        "RLIMIT_MEMLOCK" => Resource::RLIMIT_MEMLOCK,
        "RLIMIT_MSGQUEUE" => Resource::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => Resource::RLIMIT_NICE,
        "RLIMIT_NOFILE" => Resource::RLIMIT_NOFILE,
        "RLIMIT_NPROC" => Resource::RLIMIT_NPROC,
        "RLIMIT_RSS" => Resource::RLIMIT_RSS,
        "RLIMIT_RTPRIO" => Resource::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => Resource::RLIMIT_RTTIME,
        "RLIMIT_SIGPENDING" => Resource::RLIMIT_SIGPENDING,
        "RLIMIT_STACK" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

/// The kernel knows only one reason to call an id invalid.
fn unmapped(what: &str) -> impl Fn(Errno) -> Refusal {
    move |e| match e {
        Errno::INVAL => Refusal::invalid(format!(
            "{what}: is not mapped in the container's user namespace (without root: see /etc/subuid and /etc/subgid)"
        )),
        e => Refusal::system(what, e),
    }
}

/// Becomes the plan's user, without any capability and without a way to gain one.
pub(super) fn become_user(user: &User) -> Result<()> {
    let failed = |what: &'static str| move |e| Refusal::system(what, e);
    umask(Mode::from_raw_mode(user.umask));
    // The bounding set first: emptying it is itself a privilege.
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not have.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => return Err(failed("drop the capability bounding set")(e)),
        }
    }
    clear_ambient_capability_set().map_err(failed("drop ambient capabilities"))?;
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match set_thread_groups(&groups) {
        // A user namespace that denies setgroups(2) leaves nothing to set.
        // Engines list the user's own group, too, which it is in as it is.
        Err(Errno::PERM) if user.groups.iter().all(|gid| *gid == user.gid) => {}
        Err(Errno::PERM) => {
            return Err(Refusal::system(
                format!("process.user.additionalGids {:?}", user.groups),
                "this user namespace has no right to set groups, because it maps only one: map a range of them \
                 (/etc/subgid)",
            ));
        }
        result => result.map_err(unmapped("process.user.additionalGids"))?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid)
        .map_err(unmapped(&format!("process.user.gid {}", user.gid)))?;
    set_thread_res_uid(uid, uid, uid)
        .map_err(unmapped(&format!("process.user.uid {}", user.uid)))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(failed("drop capabilities"))?;
    set_no_new_privs(true).map_err(failed("set no_new_privs"))
}
