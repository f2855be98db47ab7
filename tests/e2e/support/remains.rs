//! What one namespace has on the machine: nothing, once its containers are deleted or were refused.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::command::eventually;
use super::leaks::{cgroups_named, entries};
use super::namespace::Namespace;
use super::suite::Suite;

/// Panics with a list of what there still is of the namespace's containers, after a moment's patience: a shim
/// ends shortly after it has answered.
#[track_caller]
pub fn nothing_remains(namespace: &Namespace<'_>) {
    let mut left = Vec::new();
    let clean = eventually(Duration::from_secs(10), || {
        left = of(namespace);
        left.is_empty()
    });
    assert!(clean, "left behind:\n{}", left.join("\n"));
}

fn of(namespace: &Namespace<'_>) -> Vec<String> {
    [processes(namespace), mounts(namespace), bundles(namespace), cgroups(namespace)].concat()
}

/// Programs of ours that have the namespace in their command line (shims), or are in one of its cgroups.
fn processes(namespace: &Namespace<'_>) -> Vec<String> {
    let name = namespace.name();
    let ours = |process: &Path| {
        let exe = fs::read_link(process.join("exe")).ok()?;
        let cmdline = fs::read_to_string(process.join("cmdline")).ok()?;
        let cgroups = fs::read_to_string(process.join("cgroup")).ok()?;
        let named = cmdline.split('\0').any(|word| word == name);
        let inside = cgroups.contains(&format!("/{name}/"));
        (exe.starts_with(Suite::get().programs()) && (named || inside))
            .then(|| format!("process {}: {}", process.display(), cmdline.replace('\0', " ")))
    };
    entries(Path::new("/proc")).filter_map(|process| ours(&process)).collect()
}

fn mounts(namespace: &Namespace<'_>) -> Vec<String> {
    let part = format!("/{}/", namespace.name());
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read our mounts");
    table.lines().filter(|line| line.contains(&part)).map(|line| format!("mount {line}")).collect()
}

fn bundles(namespace: &Namespace<'_>) -> Vec<String> {
    let any = namespace.containerd().bundle(namespace.name(), "any");
    let dir = any.parent().expect("a bundle is in a directory");
    entries(dir).map(|bundle| format!("bundle {}", bundle.display())).collect()
}

fn cgroups(namespace: &Namespace<'_>) -> Vec<String> {
    cgroups_named(|name| name == namespace.name())
        .iter()
        .flat_map(|dir| entries(dir))
        .filter(|path| path.is_dir())
        .map(|path| format!("cgroup {}", path.display()))
        .collect()
}
