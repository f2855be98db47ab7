//! What a run of the suite may leave behind: nothing. Looked for after the last test.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::command::eventually;
use super::containerd::Containerd;
use super::cri;
use super::suite::Suite;

/// Where shims put their sockets, by containerd's convention.
const SHIM_SOCKETS: &str = "/run/containerd/s";

static SOCKETS_BEFORE: OnceLock<BTreeSet<PathBuf>> = OnceLock::new();

/// Notes what was there before this run.
pub fn note_what_was_there() {
    SOCKETS_BEFORE.get_or_init(|| entries(Path::new(SHIM_SOCKETS)).collect());
}

/// Ends what the suite itself started, then panics with a list of all that is left. Removes this run's
/// directory if there is nothing in the list.
pub fn nothing_is_left() {
    let Some(suite) = Suite::started() else {
        return;
    };
    Containerd::stop_shared();
    crate::frontends::stop_shared();
    cri::Node::stop_shared();
    let of_podman = crate::podman::stop_shared();
    // Shims end a moment after their last container was deleted.
    eventually(Duration::from_secs(10), || processes(suite).is_empty());
    let left: Vec<String> = [
        of_podman,
        processes(suite),
        mounts(suite),
        bundles(suite),
        cgroups(),
        dead_sockets(),
        network_namespaces(),
    ]
    .concat();
    assert!(left.is_empty(), "left behind (see {}):\n{}", suite.dir().display(), left.join("\n"));
    fs::remove_dir_all(suite.dir()).expect("remove the directory of this run");
}

/// What the names of this run's containerd namespaces, and so of its cgroups, begin with.
pub fn mark() -> String {
    format!("lt{}-", std::process::id())
}

/// Processes that run one of our programs, or have this run's directory in their command line.
fn processes(suite: &Suite) -> Vec<String> {
    let own = std::process::id().to_string();
    let dir = suite.dir().to_string_lossy();
    let ours = |process: &Path| {
        let exe = fs::read_link(process.join("exe")).unwrap_or_default();
        let cmdline = fs::read(process.join("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        (exe.starts_with(suite.dir()) || cmdline.contains(&*dir))
            .then(|| format!("process {}: {cmdline}({})", process.display(), exe.display()))
    };
    entries(Path::new("/proc"))
        .filter(|path| path.file_name().is_some_and(|name| name != own.as_str()))
        .filter(|path| path.join("stat").exists())
        .filter_map(|path| ours(&path))
        .collect()
}

fn mounts(suite: &Suite) -> Vec<String> {
    let dir = suite.dir().to_string_lossy();
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read our mounts");
    table.lines().filter(|line| line.contains(&*dir)).map(|line| format!("mount {line}")).collect()
}

fn bundles(suite: &Suite) -> Vec<String> {
    let tasks = |dir: PathBuf| {
        let namespaces = entries(&dir.join("state/io.containerd.runtime.v2.task"));
        namespaces.flat_map(|namespace| entries(&namespace).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let left = suite.containerds().into_iter().flat_map(tasks);
    left.map(|bundle| format!("bundle {}", bundle.display())).collect()
}

/// Cgroups below those of this run's namespaces. `/NAMESPACE` itself stays with every OCI runtime, since another
/// container could be just about to start in it; those are removed here.
fn cgroups() -> Vec<String> {
    let mark = mark();
    let mut left = Vec::new();
    for dir in cgroups_named(|name| name.contains(&mark)) {
        let children: Vec<_> = entries(&dir).filter(|path| path.is_dir()).collect();
        left.extend(children.iter().map(|child| format!("cgroup {}", child.display())));
        if children.is_empty() && fs::remove_dir(&dir).is_err() {
            left.push(format!("cgroup {}, still in use", dir.display()));
        }
    }
    left
}

/// The topmost cgroups, in all hierarchies, whose name is `wanted`.
pub fn cgroups_named(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut to_visit = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = to_visit.pop() {
        if wanted(&dir.file_name().unwrap_or_default().to_string_lossy()) {
            found.push(dir);
        } else {
            to_visit.extend(entries(&dir).filter(|path| path.is_dir() && !path.is_symlink()));
        }
    }
    found
}

/// Sockets of shims made since [`note_what_was_there`] on which nobody listens any more.
fn dead_sockets() -> Vec<String> {
    let before = SOCKETS_BEFORE.get().cloned().unwrap_or_default();
    entries(Path::new(SHIM_SOCKETS))
        .filter(|path| !before.contains(path) && UnixStream::connect(path).is_err())
        .map(|path| format!("socket {}", path.display()))
        .collect()
}

/// Tests name their network namespaces beginning with [`mark`].
fn network_namespaces() -> Vec<String> {
    let named = entries(Path::new("/run/netns"));
    let ours = named.filter(|path| path.to_string_lossy().contains(&mark()));
    ours.map(|path| format!("network namespace {}", path.display())).collect()
}

/// What is in `dir`; nothing if it cannot be read.
pub fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}
