//! The container's control group: made, filled, limited, read and removed.
//!
//! Files and limits are written by `libcgroups`, which takes the specification's own type of
//! resources: the one place outside the plan that knows it.

mod birth;
mod freezer;
mod io;
mod read;
mod resources;
mod rights;
mod scope;
mod systemd;
mod update;
mod v1;

use std::path::{Path, PathBuf};

use libcgroups::common::{
    AnyCgroupManager, CgroupConfig, CgroupManager as _, ControllerOpt, create_cgroup_manager,
};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::cache::Payer;
use crate::error::{Refusal, Result};
use crate::host::Cgroups;
use crate::metrics::Usage;
use crate::sys::Birthplace;

/// Who makes control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupManager {
    /// We do, as directories.
    Cgroupfs,
    /// systemd does, as scopes; where it cannot be asked, we do.
    Systemd,
    /// Nobody: the container has none of its own.
    Disabled,
}

impl CgroupManager {
    /// As the option `SystemdCgroup` of other runtimes says it.
    pub fn of(systemd: bool) -> Self {
        if systemd { Self::Systemd } else { Self::Cgroupfs }
    }
}

/// A container's control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cgroup {
    /// What its maker is told: a path, or for systemd `slice:prefix:name`.
    path: PathBuf,
    /// Where it is below the hierarchy's root.
    directory: PathBuf,
    /// Made by systemd, as a scope.
    systemd: bool,
    /// The container's id, which names the scope.
    id: String,
    /// How control groups are mounted here.
    hierarchy: Cgroups,
}

impl Cgroup {
    /// The control group that a bundle asks for; nothing is made yet.
    ///
    /// `manager` is what the runtime's options say; a path of systemd's form says so, too. Where systemd
    /// cannot be asked (version 1, or another init), the group is made at the place it would have.
    pub fn of(
        path: Option<&PathBuf>,
        manager: CgroupManager,
        id: &str,
        hierarchy: Cgroups,
    ) -> Self {
        let systemd = manager == CgroupManager::Systemd;
        let path = path.cloned().unwrap_or_else(|| match systemd {
            true => PathBuf::from(format!(":lighter:{id}")),
            false => PathBuf::from(format!("/lighter/{id}")),
        });
        let (scope, directory) = match scope::directory(&path) {
            Some(directory) => (true, directory),
            None => (false, path.clone()),
        };
        let systemd = scope && hierarchy == Cgroups::V2 && scope::systemd_runs();
        let path = if systemd { path } else { directory.clone() };
        let group = Self { path, directory, systemd, id: id.to_owned(), hierarchy };
        match manager {
            CgroupManager::Disabled => group.closed(),
            _ => group,
        }
    }

    /// Whether systemd makes it, as a scope.
    pub fn is_made_by_systemd(&self) -> bool {
        self.systemd
    }

    /// Where it is below the hierarchy's root.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the group and limits it, where a process can be born in it. `None` where it cannot, and [`Cgroup::admit`] does
    /// it all.
    ///
    /// # Errors
    /// When a value is refused, by us or by the kernel, or the hierarchy is not there; the group may then have
    /// been made.
    pub(crate) fn prepare(&self, resources: Option<&LinuxResources>) -> Result<Option<Birthplace>> {
        if self.hierarchy == Cgroups::None {
            return Err(self.refusal("make", "no control groups are mounted at /sys/fs/cgroup"));
        }
        let resources = self.adapted(resources)?;
        let (root, failed) = (read::ROOT.as_ref(), |e| self.refusal("make", e));
        let group = match self.hierarchy {
            Cgroups::V2 if !self.systemd => {
                Birthplace::Directory(birth::make(root, &self.directory).map_err(failed)?)
            }
            Cgroups::V1 => Birthplace::Tasks(v1::make(root, &self.directory).map_err(failed)?),
            _ => return Ok(None),
        };
        self.limit(resources.as_ref())?;
        Ok(Some(group))
    }

    /// Moves `pid` into the group, which is made if need be, and limits it. Where it is closed to us, all there is to do is
    /// to say so.
    ///
    /// # Errors
    /// When a value is refused, by us or by the kernel.
    pub(crate) fn admit(&self, pid: u32, resources: Option<&LinuxResources>) -> Result<()> {
        if self.systemd {
            return self.make_scope(pid, resources);
        }
        let resources = self.adapted(resources)?;
        if self.is_closed() {
            // What has nothing asked of it does what it should.
            let level = if resources.is_some() { log::Level::Warn } else { log::Level::Info };
            log::log!(
                level,
                "container {} has no control group (none is delegated to this user namespace, or none is wanted): nothing \
                 limits it or counts what it uses",
                self.id
            );
            return Ok(());
        }
        let pid = Pid::from_raw(pid as i32);
        self.manager()?.add_task(pid).map_err(|e| self.refusal("enter", e))?;
        self.limit(resources.as_ref())
    }

    /// Opens the group, which is there, for a process to be born in it. `None` where it cannot be, and [`Cgroup::take_in`]
    /// does it.
    ///
    /// # Errors
    /// When the group is not there.
    pub(crate) fn open(&self) -> Result<Option<Birthplace>> {
        let opened = match self.hierarchy {
            Cgroups::V2 => {
                self.directories().open().map(|group| Some(Birthplace::Directory(group)))
            }
            Cgroups::V1 => self.directories().tasks().map(|tasks| tasks.map(Birthplace::Tasks)),
            _ => return Ok(None),
        };
        opened.map_err(|e| self.refusal("open", e))
    }

    /// Moves `pid` into the group, which is there; where it is closed to us, its processes are in none.
    ///
    /// # Errors
    /// When the kernel does not let it in.
    pub(crate) fn take_in(&self, pid: u32) -> Result<()> {
        if self.is_closed() {
            return Ok(());
        }
        let entrances = self.directories().entrances();
        if entrances.is_empty() {
            return Err(self.refusal("enter", "it does not exist"));
        }
        entrances
            .iter()
            .try_for_each(|entrance| std::fs::write(entrance, pid.to_string()))
            .map_err(|e| self.refusal("enter", e))
    }

    /// Writes the values.
    fn limit(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let Some(resources) = resources else { return Ok(()) };
        let adapted;
        let resources = match self.hierarchy {
            Cgroups::V2 if !self.directories().have("io.bfq.weight") => {
                adapted = resources::with_io_weight(resources.clone());
                &adapted
            }
            Cgroups::V1 => {
                if let Some(rules) = resources.devices() {
                    v1::limit_devices(&self.directories().controller("devices"), rules)
                        .map_err(|e| self.refusal("limit", e))?;
                }
                adapted = resources::without_devices(resources.clone());
                &adapted
            }
            _ => resources,
        };
        if *resources == LinuxResources::default() {
            return Ok(());
        }
        let options = ControllerOpt {
            resources,
            disable_oom_killer: false,
            oom_score_adj: None,
            freezer_state: None,
        };
        self.manager()?.apply(&options).map_err(|e| self.refusal("limit", e))
    }

    /// The group, for whatever is done for its processes outside of them.
    pub(crate) fn payer(&self) -> Payer {
        match self.hierarchy {
            _ if self.is_closed() => Payer::Caller,
            Cgroups::V2 => Payer::Group(self.directories().controller("")),
            Cgroups::V1 => {
                let tasks = |name| self.directories().controller(name).join("tasks");
                Payer::Tasks(v1::CONTROLLERS.map(tasks).into())
            }
            _ => Payer::Caller,
        }
    }

    /// Whether the kernel killed one of its processes for want of memory.
    pub fn ran_out_of_memory(&self) -> bool {
        read::oom_kills(self.hierarchy, &self.directories()) > 0
    }

    /// Checks what the group would be limited to, for one that somebody else makes.
    ///
    /// # Errors
    /// As [`Cgroup::admit`] has them before it changes anything.
    pub fn check(&self, resources: Option<&LinuxResources>) -> Result<()> {
        match self.adapted(resources)? {
            Some(resources) if self.systemd => systemd::Limits::of(&resources).map(drop),
            _ => Ok(()),
        }
    }

    fn adapted(&self, resources: Option<&LinuxResources>) -> Result<Option<LinuxResources>> {
        if self.is_closed() {
            resources.map_or(Ok(()), rights::refuse_limits)?;
        }
        resources.map(|resources| resources::adapted(resources, self.hierarchy)).transpose()
    }

    /// The ids of all processes in it and below it.
    ///
    /// # Errors
    /// When the group cannot be read.
    pub fn pids(&self) -> Result<Vec<u32>> {
        read::pids(&self.directories()).map_err(|e| self.refusal("read", e))
    }

    /// What its processes use.
    ///
    /// # Errors
    /// When the group cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        read::usage(self.hierarchy, &self.directories()).map_err(|e| self.refusal("read", e))
    }

    /// Ends what still runs in it and removes it; a group that is not there is as good as removed.
    ///
    /// # Errors
    /// When something in it cannot be ended, or the kernel will not let it go.
    pub fn remove(&self) -> Result<()> {
        if self.systemd {
            return self.remove_scope();
        }
        if !self.directories().exist() {
            return Ok(());
        }
        self.manager()?.remove().map_err(|e| self.refusal("remove", e))
    }

    fn manager(&self) -> Result<AnyCgroupManager> {
        create_cgroup_manager(CgroupConfig {
            cgroup_path: self.directory.clone(),
            systemd_cgroup: false,
            container_name: self.id.clone(),
        })
        .map_err(|e| self.refusal("find", e))
    }

    fn directories(&self) -> read::Directories {
        read::Directories::of(self.hierarchy, &self.directory)
    }

    fn refusal(&self, what: &str, error: impl std::fmt::Display) -> Refusal {
        Refusal::system(format!("{what} control group {}", self.path.display()), error)
    }
}
