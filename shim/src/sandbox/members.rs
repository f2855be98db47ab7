//! The containers of a pod: what their bundles get of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lighter::error::{Refusal, Result};
use serde_json::{Value, json};

use super::config::{Config, Scope};
use super::files::{Files, Shared};

/// Gives a container what it shares with the pod.
///
/// # Errors
/// When its `config.json` cannot be read or written, or has it join the host's process ids where the pod has not asked for that.
pub(super) fn admit(files: &Files, config: &Config, bundle: &Path) -> Result<()> {
    let path = bundle.join("config.json");
    let text =
        fs::read(&path).map_err(|e| Refusal::system(format!("read {}", path.display()), e))?;
    let mut spec: Value = serde_json::from_slice(&text)
        .map_err(|e| Refusal::invalid(format!("{}: {e}", path.display())))?;
    if config.pid != Scope::Node {
        refuse_host_pids(&spec)?;
    }
    if complete(&mut spec, &files.shared()) {
        replace(&path, spec.to_string().as_bytes())?;
    }
    Ok(())
}

/// Whole, or as it was.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|e| Refusal::system(format!("write {}", path.display()), e))
}

/// A sandbox's process id may be that of this process, which has the host's process ids.
fn refuse_host_pids(spec: &Value) -> Result<()> {
    let inode = |path: &str| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let hosts = inode("/proc/self/ns/pid");
    let namespaces = spec["linux"]["namespaces"].as_array();
    let joined = namespaces
        .into_iter()
        .flatten()
        .filter(|namespace| namespace["type"] == "pid")
        .find_map(|namespace| namespace["path"].as_str().filter(|path| !path.is_empty()));
    match joined {
        Some(path) if inode(path) == hosts => Err(Refusal::invalid(format!(
            "linux.namespaces: pid namespace {path} is the host's, and the pod's configuration does not say so"
        ))),
        _ => Ok(()),
    }
}

/// Adds mounts of `shared` where the specification has none of its own; says whether there were any to add. Its own shared
/// memory gives way to the pod's.
fn complete(spec: &mut Value, shared: &[Shared]) -> bool {
    let read_only = spec["root"]["readonly"] == true;
    let Some(spec) = spec.as_object_mut() else { return false };
    let mounts = spec.entry("mounts").or_insert_with(|| json!([]));
    let Some(mounts) = mounts.as_array_mut() else { return false };
    let mut added = false;
    for Shared { source, destination, like_the_root } in shared {
        let is_bound = |mount: &Value| {
            mount["destination"] == *destination && (*like_the_root || mount["type"] == "bind")
        };
        if mounts.iter().any(is_bound) {
            continue;
        }
        let access = if *like_the_root && read_only { "ro" } else { "rw" };
        // In a user namespace, what the file system was mounted with must not be taken away.
        let mut options = vec!["rbind", "rprivate", access];
        if !like_the_root {
            options.extend(["nosuid", "nodev", "noexec"]);
        }
        let mount = json!({
            "destination": destination, "type": "bind", "source": source, "options": options,
        });
        // In place of what was to be there, or after all that it may be below of.
        match mounts.iter_mut().find(|mount| mount["destination"] == *destination) {
            Some(own) => *own = mount,
            None => mounts.push(mount),
        }
        added = true;
    }
    added
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> [Shared; 2] {
        let of = |name: &str, destination, like_the_root| Shared {
            source: Path::new("/pod").join(name),
            destination,
            like_the_root,
        };
        [of("hosts", "/etc/hosts", true), of("shm", "/dev/shm", false)]
    }

    #[test]
    fn a_container_gets_what_it_has_not_and_shares_memory() {
        let mut spec = json!({
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [{"destination": "/proc"}, {"destination": "/dev/shm", "type": "tmpfs"}],
        });
        assert!(complete(&mut spec, &shared()));
        let mounts = spec["mounts"].as_array().expect("mounts");
        assert_eq!(mounts.len(), 3);
        assert_eq!(
            (&mounts[1]["source"], &mounts[2]["source"]),
            (&json!("/pod/shm"), &json!("/pod/hosts"))
        );
        assert_eq!(mounts[2]["options"], json!(["rbind", "rprivate", "ro"]));
        assert_eq!(mounts[1]["options"][2], "rw");
    }

    #[test]
    fn what_kubelet_mounts_stays() {
        let given = json!({"mounts": [
            {"destination": "/etc/hosts", "type": "bind", "source": "/kubelet"},
            {"destination": "/dev/shm", "type": "bind", "source": "/dev/shm"},
        ]});
        let mut spec = given.clone();
        assert!(!complete(&mut spec, &shared()));
        assert_eq!(spec, given);
    }

    #[test]
    fn the_hosts_process_ids_are_refused_and_others_are_not() {
        let joins = |path: &str| {
            let namespaces = json!([{"type": "ipc", "path": "/proc/self/ns/pid"}, {"type": "pid", "path": path}]);
            refuse_host_pids(&json!({"linux": {"namespaces": namespaces}}))
        };
        let refusal = joins("/proc/self/ns/pid").expect_err("the host's");
        assert!(refusal.message.contains("/proc/self/ns/pid"), "{refusal}");
        joins("").expect("a new one");
        joins("/proc/self/ns/ipc").expect("another one");
        refuse_host_pids(&json!({})).expect("none");
    }
}
