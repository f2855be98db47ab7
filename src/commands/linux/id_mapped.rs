//! What a Linux container in a user namespace needs and libcontainer does not do: Kubernetes has such pods.
//!
//! Id-mapped mounts are made here and attached where nobody but this process and its children can see them, and libcontainer is told to
//! bind what is there. The container takes copies; what was attached goes with this process.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result};
use libcontainer::oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use lighter::plan::{IdMap, IdMapped, id_mapped_mounts};
use lighter::sandbox::{id_mapped_bind, user_namespace_of};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_bind, mount_change, move_mount};
use serde_json::{Value, json};

/// Where they are attached, in the bundle: a container's root can look there, and not into its state.
const DIR: &str = "lighter-mounts";
/// The changed configuration, in the directory for the state of containers, whose ids do not begin with a dot.
const CHANGED: &str = ".config.json";

/// Opens namespaces and makes the id-mapped mounts of the bundle whose `config.json` is `file`, if it has any, and has that say where they are.
pub(super) fn attach(bundle: &Path, file: &Path, root: &Path) -> Result<()> {
    let spec = Spec::load(file).with_context(|| format!("read {}", file.display()))?;
    let mounts = id_mapped_mounts(&spec)?;
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let mut config: Value = serde_json::from_slice(&text)?;
    let opened = open_namespaces(&mut config)?;
    if mounts.is_empty() && !opened {
        return Ok(());
    }
    // From here on, what is mounted is seen by this process and the container's, and by nobody else.
    unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| {
            let alone = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            mount_change("/", alone).map_err(|e| nix::errno::Errno::from_raw(e.raw_os_error()))
        })
        .context("make a mount namespace")?;
    let dir = bundle.join(DIR);
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&dir)
        .with_context(|| format!("create {}", dir.display()))?;

    for mount in mounts {
        let target = dir.join(mount.index.to_string());
        let source = bundle.join(&mount.source);
        attach_one(&mount, &source, &target, &spec)?;
        let entry = &mut config["mounts"][mount.index];
        entry["source"] = json!(target);
        if let Some(entry) = entry.as_object_mut() {
            entry.retain(|key, _| key != "uidMappings" && key != "gidMappings");
        }
        if let Some(options) = entry["options"].as_array_mut() {
            options.retain(|option| option != "idmap" && option != "ridmap");
        }
    }
    let changed = root.join(CHANGED);
    fs::write(&changed, config.to_string())
        .and_then(|()| Ok(mount_bind(&changed, file)?))
        .with_context(|| format!("mount {} on {}", changed.display(), file.display()))
}

/// Opens the namespaces that a container in a user namespace joins, for whose root the way to them may be barred: libcontainer
/// opens them as that. Whether there were any.
fn open_namespaces(config: &mut Value) -> Result<bool> {
    let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() else { return Ok(false) };
    if !namespaces.iter().any(|namespace| namespace["type"] == "user") {
        return Ok(false);
    }
    let mut opened = false;
    for namespace in namespaces {
        let Some(path) = namespace["path"].as_str().filter(|path| !path.is_empty()) else {
            continue;
        };
        let file = File::open(path).with_context(|| format!("linux.namespaces: open {path}"))?;
        // Open for as long as this process and the container's, until that runs its program.
        namespace["path"] = json!(format!("/proc/self/fd/{}", file.into_raw_fd()));
        opened = true;
    }
    Ok(opened)
}

fn attach_one(mount: &IdMapped, source: &Path, target: &Path, spec: &Spec) -> Result<()> {
    let IdMapped { destination, recursive, id_map, .. } = mount;
    let tree = id_mapped_bind(destination, source, *recursive, id_map, || own(spec))?;
    let place = || -> io::Result<()> {
        match fs::metadata(source)?.is_dir() {
            true => DirBuilder::new().recursive(true).create(target)?,
            false => drop(File::create(target)?),
        }
        Ok(move_mount(&tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    };
    place().with_context(|| format!("mount {destination}: attach it to {}", target.display()))
}

/// The container's user namespace, or one that has its maps.
fn own(spec: &Spec) -> io::Result<File> {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|l| l.namespaces().as_deref()).unwrap_or_default();
    let user = namespaces.iter().find(|n| n.typ() == LinuxNamespaceType::User);
    match user.and_then(|n| n.path().as_deref()).filter(|path| *path != Path::new("")) {
        Some(path) => File::open(path),
        None => {
            let maps = |maps: Option<&Vec<LinuxIdMapping>>| -> Vec<IdMap> {
                let map = |m: &LinuxIdMapping| IdMap {
                    container: m.container_id(),
                    host: m.host_id(),
                    size: m.size(),
                };
                maps.into_iter().flatten().map(map).collect()
            };
            let uid_map = maps(linux.and_then(|l| l.uid_mappings().as_ref()));
            user_namespace_of(&uid_map, &maps(linux.and_then(|l| l.gid_mappings().as_ref())))
        }
    }
}
