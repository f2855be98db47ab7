//! The options before the verb, which all runtimes have in common.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use lighter::cgroup::CgroupManager;
use lighter::config::Config;
use lighter::host;

use super::log;

const DEFAULT_ROOT: &str = "/run/lighter";

/// Options of every verb of an OCI runtime; they come before it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Globals {
    /// Directory for the state of containers [default: /run/lighter; without root:
    /// $XDG_RUNTIME_DIR/lighter]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// File that warnings and errors are added to [default: standard error]
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,

    /// What is written there: a line of text, or a JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: log::Format,

    /// The least grave that is logged: error, warning, info, debug
    #[arg(long, value_name = "LEVEL", default_value = "warning", hide_default_value = true)]
    pub(super) log_level: log::Level,

    /// Log everything
    #[arg(long)]
    pub(super) debug: bool,

    /// Have systemd make control groups
    #[arg(long)]
    systemd_cgroup: bool,

    /// Who makes control groups: cgroupfs, systemd, disabled
    #[arg(long, value_name = "MANAGER", conflicts_with = "systemd_cgroup")]
    cgroup_manager: Option<Manager>,

    /// Taken from others and not needed: what an unprivileged user may is found out
    #[arg(long, value_name = "auto|true|false", hide = true)]
    rootless: Option<String>,

    /// Taken from others and not needed: there are no checkpoints
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Manager {
    Cgroupfs,
    Systemd,
    Disabled,
}

impl Globals {
    /// Where containers are recorded.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| {
            default_root(
                rustix::process::geteuid().is_root(),
                host::in_user_namespace(),
                std::env::var_os("USER").is_some_and(|user| user == "root"),
                std::env::var_os("XDG_RUNTIME_DIR").as_deref().map(Path::new),
            )
        })
    }

    /// Who makes the control groups of new containers: as the options say, else as the node's configuration does.
    pub(crate) fn cgroups(&self, config: &Config) -> CgroupManager {
        match self.cgroup_manager {
            Some(Manager::Disabled) => CgroupManager::Disabled,
            Some(Manager::Systemd) => CgroupManager::Systemd,
            Some(Manager::Cgroupfs) => CgroupManager::Cgroupfs,
            None => CgroupManager::of(self.systemd_cgroup || config.systemd_cgroup),
        }
    }
}

/// runc's rule, so that whoever leaves `--root` out finds what another has made: Podman asks for a container's state with
/// nothing but `XDG_RUNTIME_DIR` in the environment. The host's root has one place, whatever session it is in. So has a
/// root that calls itself so in a user namespace, which is that of a whole system in a container.
fn default_root(
    root: bool,
    in_user_namespace: bool,
    called_root: bool,
    runtime_dir: Option<&Path>,
) -> PathBuf {
    let own = !root || (in_user_namespace && !called_root);
    match runtime_dir.filter(|dir| own && !dir.as_os_str().is_empty()) {
        Some(dir) => dir.join("lighter"),
        None => DEFAULT_ROOT.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_the_root_out_finds_what_another_made() {
        let session = Some(Path::new("/run/user/0"));
        let users = Some(Path::new("/run/user/1000"));
        for (root, in_namespace, called_root, dir, expected) in [
            // The host's root, in a session and out of it.
            (true, false, true, session, "/run/lighter"),
            (true, false, false, None, "/run/lighter"),
            // A user, and the same in Podman's user namespace, where `state` has no USER.
            (false, false, false, users, "/run/user/1000/lighter"),
            (true, true, false, users, "/run/user/1000/lighter"),
            // Podman as root gives an empty one, or /run.
            (true, true, false, Some(Path::new("")), "/run/lighter"),
            (true, true, false, Some(Path::new("/run")), "/run/lighter"),
            // A system in a container.
            (true, true, true, session, "/run/lighter"),
            (false, false, false, None, "/run/lighter"),
        ] {
            let found = default_root(root, in_namespace, called_root, dir);
            assert_eq!(found, Path::new(expected), "{root} {in_namespace} {called_root} {dir:?}");
        }
    }
}
