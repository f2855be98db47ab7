//! The scope of a Linux container where systemd makes the control groups.
//!
//! libcontainer has a client of systemd of its own, which gives up when systemd takes its time. It uses what it finds made,
//! though: so the scope is made here, held open by a process of ours until the container's first is in it, and libcontainer
//! is told its directory. The supervisor sets the limits once ours is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use lighter::cgroup::{Cgroup, CgroupManager};
use lighter::host::Host;
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use serde_json::{Value, json};

/// Where the changed configuration is, below the directory for the state of containers, whose ids do not
/// begin with a dot.
const BUNDLE: &str = ".bundle";
/// The control group, beside the changed configuration.
const CGROUP: &str = "cgroup.json";

/// A scope that exists as long as this does, and longer if a container has moved in.
pub(super) struct Scope {
    /// The bundle, with the scope's directory for a control group.
    pub(super) bundle: PathBuf,
    /// libcontainer kills all that is in the scope when it fails, so that it cannot be this process.
    holder: Child,
}

impl Scope {
    /// Makes the scope that the bundle asks for.
    pub(super) fn make(bundle: &Path, root: &Path, id: &str) -> Result<Self> {
        let file = bundle.join("config.json");
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let mut config: Value =
            serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
        let path = config["linux"]["cgroupsPath"].as_str().map(PathBuf::from);
        let cgroup = Cgroup::of(path.as_ref(), CgroupManager::Systemd, id, Host::detect().cgroups);
        if !cgroup.is_made_by_systemd() {
            bail!("linux.cgroupsPath: systemd makes no control group at {path:?}");
        }

        config["linux"]["cgroupsPath"] = json!(Path::new("/").join(cgroup.directory()));
        if let Some(resources) = config["linux"].get_mut("resources").and_then(Value::as_object_mut)
        {
            // The others are properties of the scope as well.
            resources.retain(|name, _| name == "devices");
        }
        if let Some(root) = config["root"]["path"].as_str() {
            config["root"]["path"] = json!(bundle.join(root));
        }
        let changed = root.join(BUNDLE);
        fs::create_dir_all(&changed)
            .and_then(|()| fs::write(changed.join("config.json"), config.to_string()))
            .and_then(|()| fs::write(changed.join(CGROUP), serde_json::to_vec(&cgroup)?))
            .with_context(|| format!("write {}", changed.display()))?;

        let mut hold = Command::new("/proc/self/exe");
        hold.args(["linux", "--root"]).arg(root).args(["hold", &std::process::id().to_string()]);
        hold.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let holder = hold.spawn().context("start the process that holds the scope")?;
        let scope = Self { bundle: changed, holder };
        cgroup.make_scope(scope.holder.id(), None)?;
        Ok(scope)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // Somebody else may have killed and even collected it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Removes the scope of the container whose state is in `root`, if it has one. libcontainer removes the directory, and
/// so quickly that systemd may not have seen it empty.
pub(super) fn remove(root: &Path) -> Result<()> {
    let file = root.join(BUNDLE).join(CGROUP);
    let text = match fs::read(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("read {}", file.display()))?,
    };
    let cgroup: Cgroup =
        serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
    Ok(cgroup.remove()?)
}

/// What the holder does: nothing, for as long as `parent` lives.
pub(super) fn hold(parent: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    while rustix::process::getppid() == Pid::from_raw(parent) {
        nix::unistd::pause();
    }
    Ok(())
}
