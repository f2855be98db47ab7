//! The scope of a Linux container where systemd makes the control groups.
//!
//! libcontainer has a client of systemd of its own, which gives up when systemd takes its time. It uses what it finds made,
//! though: so the scope is made here, held open by this process until the container's first is in it, and libcontainer
//! is told its directory. The supervisor sets the limits once this process is out of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lighter::cgroup::Cgroup;
use lighter::host::Host;
use serde_json::{Value, json};

/// Where the changed configuration is, below the directory for the state of containers, whose ids do not
/// begin with a dot.
const BUNDLE: &str = ".bundle";

/// Makes the scope that the bundle asks for, moves this process into it, and returns a bundle that says so.
pub(super) fn enter(bundle: &Path, root: &Path, id: &str) -> Result<PathBuf> {
    let file = bundle.join("config.json");
    let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let mut config: Value =
        serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
    let path = config["linux"]["cgroupsPath"].as_str().map(PathBuf::from);
    let cgroup = Cgroup::of(path.as_ref(), true, id, Host::detect().cgroups);
    if !cgroup.is_made_by_systemd() {
        bail!("linux.cgroupsPath: systemd makes no control group at {path:?}");
    }
    cgroup.make_scope(std::process::id(), None)?;

    config["linux"]["cgroupsPath"] = json!(Path::new("/").join(cgroup.directory()));
    if let Some(resources) = config["linux"].get_mut("resources").and_then(Value::as_object_mut) {
        // The others are properties of the scope as well.
        resources.retain(|name, _| name == "devices");
    }
    if let Some(root) = config["root"]["path"].as_str() {
        config["root"]["path"] = json!(bundle.join(root));
    }
    let changed = root.join(BUNDLE);
    fs::create_dir_all(&changed)
        .and_then(|()| fs::write(changed.join("config.json"), config.to_string()))
        .with_context(|| format!("write {}", changed.display()))?;
    Ok(changed)
}
