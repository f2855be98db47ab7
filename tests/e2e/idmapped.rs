//! Id-mapped mounts: a volume whose files belong to somebody else on the host belongs to the container's user inside,
//! and what the container writes belongs to that somebody.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::Output;
use crate::support::guests;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_volume_of_another_user_is_the_containers,
        the_maps_of_the_containers_own_namespace_are_taken,
        no_user_namespace_is_needed_for_maps_of_the_mounts_own,
        other_options_of_the_mount_hold,
        a_file_system_that_cannot_is_named,
    ]
}

const OWNER: (u32, u32) = (1000, 1001);

/// A volume that belongs to `owner`, and nobody else may write to.
fn volume(owner: (u32, u32)) -> TempDir {
    let volume = directory();
    chown(volume.path(), Some(owner.0), Some(owner.1)).unwrap();
    volume
}

fn one(container: u32, host: u32) -> Value {
    json!([{"containerID": container, "hostID": host, "size": 1}])
}

/// Has a container write to `source`, mounted with `mount`'s further fields, from a user namespace of its own or not.
fn write(namespace: &Namespace<'_>, source: &Path, user_namespace: bool, mount: Value) -> Output {
    let root = directory();
    std::fs::write(root.path().join("probe.wasm"), guests::probe("probe")).unwrap();
    for target in ["dev", "run", "data"] {
        std::fs::create_dir(root.path().join(target)).unwrap();
    }
    let args = ["/probe.wasm", "write /data/new text", "cat /data/new"];
    let mut spec = spec(namespace, &unique_id(), root.path(), &args);
    if user_namespace {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 2000}]);
        spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 2000}]);
    }
    let mut entry = json!({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", "rw"]});
    for (key, value) in mount.as_object().unwrap() {
        entry[key] = value.clone();
    }
    spec["mounts"].as_array_mut().unwrap().push(entry);
    namespace.run_spec(&spec, &unique_id(), &["--rm"])
}

#[track_caller]
fn wrote(output: Output, volume: &TempDir, owner: (u32, u32)) {
    let output = output.expect_success();
    assert_eq!(output.text(), "write /data/new text: ok\ncat /data/new: text\n", "{output}");
    let new = std::fs::metadata(volume.path().join("new")).unwrap();
    assert_eq!((new.uid(), new.gid()), owner, "on the host");
}

fn a_volume_of_another_user_is_the_containers(namespace: &Namespace<'_>) {
    let volume = volume(OWNER);
    let output = write(namespace, volume.path(), true, json!({}));
    assert!(output.text().starts_with("write /data/new text: error"), "as it is: {output}");
    let maps = json!({"uidMappings": one(OWNER.0, 100_000), "gidMappings": one(OWNER.1, 200_000)});
    wrote(write(namespace, volume.path(), true, maps), &volume, OWNER);
}

fn the_maps_of_the_containers_own_namespace_are_taken(namespace: &Namespace<'_>) {
    let volume = volume((0, 0));
    let output = write(namespace, volume.path(), true, json!({}));
    assert!(output.text().starts_with("write /data/new text: error"), "as it is: {output}");
    for option in ["idmap", "ridmap"] {
        let options = json!({"options": ["rbind", "rw", option]});
        wrote(write(namespace, volume.path(), true, options), &volume, (0, 0));
        std::fs::remove_file(volume.path().join("new")).unwrap();
    }
}

fn no_user_namespace_is_needed_for_maps_of_the_mounts_own(namespace: &Namespace<'_>) {
    let volume = volume(OWNER);
    let output = write(namespace, volume.path(), false, json!({}));
    assert!(output.text().starts_with("write /data/new text: error"), "as it is: {output}");
    let maps = json!({"uidMappings": one(OWNER.0, 0), "gidMappings": one(OWNER.1, 0)});
    wrote(write(namespace, volume.path(), false, maps), &volume, OWNER);
}

fn other_options_of_the_mount_hold(namespace: &Namespace<'_>) {
    let volume = volume((0, 0));
    let options = json!({"options": ["rbind", "ro", "nosuid", "idmap"]});
    let output = write(namespace, volume.path(), true, options).expect_success();
    assert!(output.text().starts_with("write /data/new text: error"), "{output}");
}

fn a_file_system_that_cannot_is_named(namespace: &Namespace<'_>) {
    let maps = json!({"uidMappings": one(0, 100_000), "gidMappings": one(0, 200_000)});
    let error = write(namespace, "/sys/kernel".as_ref(), true, maps).expect_failure();
    for words in ["mount /data: map the ids of \"/sys/kernel\"", "Invalid argument", "file system"]
    {
        assert!(error.contains(words), "no {words:?} in: {error}");
    }
    nothing_remains(namespace);
}
