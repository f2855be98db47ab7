//! `linux.maskedPaths` and `linux.readonlyPaths`: what they name is hidden or cannot be changed, inside the container
//! and nowhere else.

use std::os::unix::fs::symlink;
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::Output;
use crate::support::guests;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::process::Process;
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        masked_files_and_directories_are_empty,
        read_only_paths_are_only_read,
        a_link_in_the_image_leads_nowhere_else,
        what_is_not_there_is_passed_over,
        the_root_is_not_covered,
        a_guest_needs_no_devices,
    ]
}

/// What a guest of preview 1 hears of a read-only file system, for which Wasmtime has no number.
const READ_ONLY: &str = "error: I/O error (os error 29)";

/// A root directory with the probe in it, and places for the mounts of any container.
fn root() -> TempDir {
    let root = directory();
    std::fs::write(root.path().join("probe.wasm"), guests::probe("probe")).unwrap();
    write(root.path(), "secret/key", "secret");
    write(root.path(), "etc/shadow", "secret");
    write(root.path(), "etc/hosts", "");
    root
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A container that makes `requests` of the probe, changed by `change`.
fn run(
    namespace: &Namespace<'_>,
    root: &TempDir,
    requests: &[&str],
    change: impl FnOnce(&mut Value),
) -> Output {
    let args: Vec<&str> = std::iter::once("/probe.wasm").chain(requests.iter().copied()).collect();
    let mut spec = spec(namespace, &unique_id(), root.path(), &args);
    change(&mut spec);
    namespace.run_spec(&spec, &unique_id(), &["--rm"])
}

#[track_caller]
fn expect(output: Output, answers: &[&str]) {
    let output = output.expect_success();
    let text = output.text();
    assert_eq!(text.lines().map(str::trim_end).collect::<Vec<_>>(), answers, "{output}");
}

fn masked_files_and_directories_are_empty(namespace: &Namespace<'_>) {
    let root = root();
    let requests =
        ["cat /etc/shadow", "ls /secret", "cat /secret/key", "write /secret/new x", "ls /etc"];
    let output = run(namespace, &root, &requests, |spec| {
        spec["linux"]["maskedPaths"] = json!(["/etc/shadow", "/secret"]);
    });
    expect(
        output,
        &[
            "cat /etc/shadow:",
            "ls /secret:",
            "cat /secret/key: error: entity not found",
            &format!("write /secret/new x: {READ_ONLY}"),
            "ls /etc: hosts shadow",
        ],
    );
    let kept = std::fs::read_to_string(root.path().join("secret/key")).unwrap();
    assert_eq!(kept, "secret", "the image is as it was");
}

fn read_only_paths_are_only_read(namespace: &Namespace<'_>) {
    let (root, volume) = (root(), directory());
    std::fs::create_dir(root.path().join("secret/volume")).unwrap();
    let requests = [
        "cat /secret/key",
        "write /secret/key x",
        "write /secret/new x",
        "remove /secret/key",
        "write /etc/hosts x",
        "write /etc/new x",
        "write /secret/volume/new x",
    ];
    let output = run(namespace, &root, &requests, |spec| {
        spec["linux"]["readonlyPaths"] = json!(["/secret", "/etc/hosts"]);
        spec["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/secret/volume", "type": "bind", "source": volume.path(), "options": ["rbind", "rw"],
        }));
    });
    expect(
        output,
        &[
            "cat /secret/key: secret",
            &format!("write /secret/key x: {READ_ONLY}"),
            &format!("write /secret/new x: {READ_ONLY}"),
            &format!("remove /secret/key: {READ_ONLY}"),
            &format!("write /etc/hosts x: {READ_ONLY}"),
            "write /etc/new x: ok",
            // A mount of its own stays what it is, as with runc.
            "write /secret/volume/new x: ok",
        ],
    );
}

fn a_link_in_the_image_leads_nowhere_else(namespace: &Namespace<'_>) {
    let (root, outside) = (root(), directory());
    write(outside.path(), "file", "of the host");
    // To the host's directory if it led out, and to one of the container's own by the same way inside.
    let target = format!("../../../../../../../..{}", outside.path().display());
    symlink(&target, root.path().join("link")).unwrap();
    let inside = outside.path().strip_prefix("/").unwrap().join("file");
    write(root.path(), inside.to_str().unwrap(), "of the container");

    let mut spec = spec(namespace, "linked", root.path(), &["/probe.wasm", "line"]);
    spec["linux"]["maskedPaths"] = json!(["/link/file"]);
    spec["linux"]["readonlyPaths"] = json!(["/link"]);
    namespace.run_spec(&spec, "linked", &["--detach"]).expect_success();
    let process = Process::of(namespace.task_pid("linked").expect("it runs"));
    let points: Vec<String> = process.mounts().into_iter().map(|mount| mount.point).collect();
    let covered = outside.path().display().to_string();
    assert!(points.contains(&covered), "{covered} inside is a mount of its own: {points:?}");
    assert!(points.contains(&format!("{covered}/file")), "{points:?}");
    assert_eq!(std::fs::read_to_string(outside.path().join("file")).unwrap(), "of the host");
}

fn what_is_not_there_is_passed_over(namespace: &Namespace<'_>) {
    let root = root();
    let output = run(namespace, &root, &["cat /etc/shadow"], |spec| {
        spec["linux"]["maskedPaths"] = json!(["/none", "/etc/shadow/below", "/proc/kcore"]);
        spec["linux"]["readonlyPaths"] = json!(["/none/at/all", "/proc/sys"]);
    });
    expect(output, &["cat /etc/shadow: secret"]);
    assert!(!root.path().join("none").exists(), "nothing is made for it");
}

fn the_root_is_not_covered(namespace: &Namespace<'_>) {
    let root = root();
    let output = run(namespace, &root, &[], |spec| {
        spec["linux"]["maskedPaths"] = json!(["/etc/.."]);
    });
    let error = output.expect_failure();
    assert!(error.contains("linux.maskedPaths[0] \"/etc/..\""), "{error}");
}

/// The runner has random numbers of the kernel, and not from a file that a container need not have.
fn a_guest_needs_no_devices(namespace: &Namespace<'_>) {
    let root = root();
    let output = run(namespace, &root, &["ls /dev", "cat /secret/key"], |spec| {
        spec["linux"]["maskedPaths"] = json!(["/dev"]);
    });
    expect(output, &["ls /dev:", "cat /secret/key: secret"]);
}
