//! The files that the containers of a pod have in common: with `sandboxer = "shim"` nobody else makes them.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lighter::error::{Refusal, Result};
use rustix::mount::{MountFlags, mount};

use super::config::{Config, Dns, Scope};
use crate::mounts::unmount;

/// The directory in a sandbox's bundle.
const DIR: &str = "lighter-pod";

/// As much as containerd gives a pod with a pause container.
const SHM_OPTIONS: &std::ffi::CStr = c"mode=1777,size=67108864";

/// Where a pod's files are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

/// One of them, and where a container has it.
pub(super) struct Shared {
    /// Where it is.
    pub(super) source: PathBuf,
    /// Its place in a container.
    pub(super) destination: &'static str,
    /// Not to be written by a container that cannot write its own files.
    pub(super) like_the_root: bool,
}

impl Files {
    /// Those of the sandbox whose bundle this is.
    pub(super) fn of(bundle: &Path) -> Self {
        Self { dir: bundle.join(DIR) }
    }

    /// Makes them, as far as the pod's configuration asks for them.
    ///
    /// # Errors
    /// Names the file.
    pub(super) fn make(&self, bundle: &Path, config: Option<&Config>) -> Result<()> {
        let said = |path: &Path, e| Refusal::system(format!("make {}", path.display()), e);
        let Some(config) = config else { return Ok(()) };
        fs::DirBuilder::new().mode(0o711).create(&self.dir).map_err(|e| said(&self.dir, e))?;
        if let Some((_, gid)) = config.user {
            // For root of the pod's user namespace, who looks for no more than what it is told of.
            std::os::unix::fs::chown(bundle, None, Some(gid))
                .and_then(|()| fs::set_permissions(bundle, Permissions::from_mode(0o710)))
                .map_err(|e| said(bundle, e))?;
        }
        let hostname = match config.hostname.as_str() {
            "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            name => name.to_owned(),
        };
        let resolv = match &config.dns {
            Some(dns) => resolv_conf(dns),
            None => read("/etc/resolv.conf")?,
        };
        for (name, content) in [
            ("hostname", format!("{hostname}\n")),
            ("hosts", read("/etc/hosts")?),
            ("resolv.conf", resolv),
        ] {
            let path = self.dir.join(name);
            fs::write(&path, content)
                .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)))
                .and_then(|()| match config.user {
                    Some((uid, gid)) => std::os::unix::fs::chown(&path, Some(uid), Some(gid)),
                    None => Ok(()),
                })
                .map_err(|e| said(&path, e))?;
        }
        if config.ipc != Scope::Node {
            let shm = self.dir.join("shm");
            let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
            fs::create_dir(&shm)
                .and_then(|()| Ok(mount("shm", &shm, "tmpfs", flags, SHM_OPTIONS)?))
                .map_err(|e| said(&shm, e))?;
        }
        Ok(())
    }

    /// Those that there are.
    pub(super) fn shared(&self) -> Vec<Shared> {
        [
            ("hostname", "/etc/hostname"),
            ("hosts", "/etc/hosts"),
            ("resolv.conf", "/etc/resolv.conf"),
            ("shm", "/dev/shm"),
        ]
        .into_iter()
        .map(|(name, destination)| Shared {
            source: self.dir.join(name),
            destination,
            like_the_root: name != "shm",
        })
        .filter(|shared| shared.source.exists())
        .collect()
    }

    /// Removes them. Nothing there is fine.
    ///
    /// # Errors
    /// What could not be unmounted or removed.
    pub(super) fn remove(&self) -> Result<()> {
        unmount(&self.dir.join("shm"))?;
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Refusal::system(format!("remove {}", self.dir.display()), e))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &str) -> Result<String> {
    match fs::read(path) {
        Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Refusal::system(format!("read {path}"), e)),
    }
}

/// In the format of resolv.conf(5).
fn resolv_conf(dns: &Dns) -> String {
    let mut lines = String::new();
    let line = |key: &str, values: &[String]| match values {
        [] => String::new(),
        values => format!("{key} {}\n", values.join(" ")),
    };
    lines += &line("search", &dns.searches);
    for server in &dns.servers {
        lines += &line("nameserver", std::slice::from_ref(server));
    }
    lines + &line("options", &dns.options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_a_line_for_each_server() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let dns = Dns {
            servers: names(&["10.0.0.1", "fd00::1"]),
            searches: names(&["a.test", "test"]),
            options: names(&["ndots:5"]),
        };
        assert_eq!(
            resolv_conf(&dns),
            "search a.test test\nnameserver 10.0.0.1\nnameserver fd00::1\noptions ndots:5\n"
        );
        assert_eq!(resolv_conf(&Dns::default()), "");
    }
}
