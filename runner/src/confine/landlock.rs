//! Landlock: what this process opens from now on is below the paths of its plan, whatever its code does.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use lighter::error::{Refusal, Result};
use lighter::plan::{Access, Landlock, Network};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

/// Denies this process all that is not in the plan, for ever.
///
/// # Errors
/// When the kernel has less of Landlock than the plan counts on, or refuses a rule.
pub(super) fn restrict(plan: &Landlock, network: &Network) -> Result<()> {
    let abi = ABI::from(i32::try_from(plan.abi).unwrap_or(i32::MAX));
    let failed = |e: RulesetError| Refusal::system("Landlock", e);

    // What the plan counts on must be there: a smaller wall than it tells of is an error.
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(failed)?;
    let mut ports = Vec::new();
    if abi >= ABI::V4 {
        let limited = [
            (AccessNet::BindTcp, &network.tcp_bind),
            (AccessNet::ConnectTcp, &network.tcp_connect),
        ];
        for (access, allowed) in limited {
            let Some(allowed) = allowed else { continue };
            rules = rules.handle_access(access).map_err(failed)?;
            ports.extend(allowed.iter().map(|port| NetPort::new(port, access)));
        }
    }
    if abi >= ABI::V6 {
        rules = rules.scope(Scope::from_all(abi)).map_err(failed)?;
    }

    let mut rules = rules.create().map_err(failed)?;
    for beneath in &plan.beneath {
        let (file, is_directory) = match open(&beneath.path) {
            Ok(opened) => opened,
            // The guest cannot open it, either.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => continue,
            Err(e) => return Err(Refusal::system(format!("Landlock: {:?}", beneath.path), e)),
        };
        let possible = match is_directory {
            true => AccessFs::from_all(abi),
            false => AccessFs::from_file(abi),
        };
        let rule = PathBeneath::new(&file, rights(beneath.access) & possible);
        rules = rules.add_rule(rule).map_err(failed)?;
    }
    for port in ports {
        rules = rules.add_rule(port).map_err(failed)?;
    }
    // No new privileges: set long ago.
    rules.no_new_privs(false).restrict_self().map(drop).map_err(failed)
}

/// Opens a path, and says whether it is a directory.
fn open(path: &str) -> rustix::io::Result<(OwnedFd, bool)> {
    let file = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
    Ok((file, kind == FileType::Directory))
}

/// What WASI may ask for in a guest's name. Not among it, and so denied: to execute, to make device nodes, sockets and
/// pipes, ioctl(2) on devices.
fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let write = make_bitflags!(AccessFs::{
        WriteFile | Truncate | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSym | Refer
    });
    match access {
        Access::ReadOnly => read,
        Access::ReadWrite => read | write,
    }
}
