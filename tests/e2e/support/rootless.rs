//! A containerd that is not root: it, `ctr` and the shims run as a plain user, who is root of a user namespace only.
//!
//! That is what `containerd-rootless.sh` and RootlessKit make. The maps are written by the test, as newuidmap(1)
//! writes them.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::command::{self, Output, ended_within, eventually};
use super::containerd::{LIMIT, configuration};
use super::image::Image;
use super::leaks::{entries, mark};
use super::namespace::{RUNTIME, unique_id};
use super::suite::Suite;

/// The plain user; no account is needed.
pub const USER: u32 = 61_234;
/// The first of 65536 ids that are the user's, too, and 1 and up inside.
pub const RANGE: u32 = 700_000;

/// What ids there are in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Root, who is the user, and a range of others.
    Range,
    /// Root alone, without the right to set groups: what a user gets without anybody's help.
    Single,
}

/// A running containerd of a plain user's; ended when dropped.
#[derive(Debug)]
pub struct Rootless {
    dir: PathBuf,
    log: PathBuf,
    child: Child,
    group: Option<PathBuf>,
}

impl Rootless {
    /// Starts one; `delegated`, in a control group of version 2 that belongs to the user, as systemd makes one.
    pub fn start(ids: Ids, delegated: bool) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let suite = Suite::get();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Open to the user on the way to their own directory, and to the programs.
        fs::set_permissions(suite.dir(), fs::Permissions::from_mode(0o711)).unwrap();
        let dir = suite.dir().join(format!("u{number}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("config.toml"), configuration(&dir, "")).unwrap();
        let cache = format!("[cache]\ndir = {:?}\n", dir.join("cache"));
        fs::write(dir.join("lighter.toml"), cache).unwrap();
        chown(&dir, Some(USER), Some(USER)).unwrap();
        suite.remember_containerd(&dir);
        let group = delegated.then(|| delegate(&format!("{}rootless-{number}", mark())));

        let log = suite.logs().join(format!("containerd-rootless-{number}.log"));
        let messages = File::create(&log).unwrap();
        let mut child = Command::new("sh")
            .args(["-ec", AS_ROOT, "sh"])
            .arg(group.as_deref().unwrap_or(Path::new("")))
            .arg(USER.to_string())
            .arg(INSIDE)
            .arg(dir.join("config.toml"))
            .env("PATH", suite.path_variable())
            .env("LIGHTER_CONFIG", dir.join("lighter.toml"))
            .env("TMPDIR", &dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(messages)
            .spawn()
            .expect("start a shell");
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let unshared = || fs::read_link(process.join("ns/user")).is_ok_and(|other| other != own);
        assert!(eventually(Duration::from_secs(10), unshared), "no user namespace is made");
        let map = match ids {
            Ids::Range => format!("0 {USER} 1\n1 {RANGE} 65536\n"),
            Ids::Single => format!("0 {USER} 1\n"),
        };
        if ids == Ids::Single {
            fs::write(process.join("setgroups"), "deny").unwrap();
        }
        fs::write(process.join("uid_map"), &map).unwrap();
        fs::write(process.join("gid_map"), &map).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();

        let rootless = Self { dir, log, child, group };
        let answers = || {
            let mut version = rootless.command();
            version.arg("version").stdin(Stdio::null());
            rootless.dir.join("sock").exists() && version.output().is_ok_and(|o| o.status.success())
        };
        let up = eventually(Duration::from_secs(30), answers);
        assert!(up, "containerd does not answer; it says:\n{}", rootless.log());
        rootless
    }

    /// What it has logged so far, its shims included.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The delegated control group.
    pub fn group(&self) -> &Path {
        self.group.as_deref().expect("one was delegated")
    }

    /// A new directory that belongs to the user.
    pub fn directory(&self) -> PathBuf {
        let dir = self.dir.join(unique_id());
        fs::create_dir(&dir).unwrap();
        chown(&dir, Some(USER), Some(USER)).unwrap();
        dir
    }

    /// A `ctr` inside, as the user calls it: `nsenter -U --preserve-credentials -m -n -t PID ctr`.
    pub fn command(&self) -> Command {
        let mut ctr = Command::new("setpriv");
        let user = USER.to_string();
        ctr.args(["--reuid", &user, "--regid", &user, "--clear-groups", "nsenter", "--user"])
            .args(["--preserve-credentials", "--mount", "--net", "--target"])
            .arg(self.child.id().to_string())
            .args(["ctr", "--address"])
            .arg(self.dir.join("sock"));
        ctr.args(["--namespace", &format!("{}u", mark())]);
        ctr
    }

    /// `ctr ARGS` to its end.
    #[track_caller]
    pub fn ctr(&self, args: &[&str]) -> Output {
        command::run(self.command().args(args), b"", LIMIT)
    }

    /// Imports `image` and runs it: `ctr run --rm --runtime … FLAGS IMAGE ID ARGS`.
    #[track_caller]
    pub fn run(&self, image: &Image, flags: &[&str], args: &[&str]) -> Output {
        let file = self.dir.join("image.tar");
        image.write(&file).unwrap();
        let file = file.to_string_lossy();
        self.ctr(&["images", "import", &file]).expect_success();
        let id = unique_id();
        let run = ["run", "--rm", "--runtime", RUNTIME];
        self.ctr(&[&run, flags, &[image.name(), &id], args].concat())
    }

    /// The `config.json` that containerd makes, of a container `id` with the files below `root`.
    pub fn spec(&self, id: &str, root: &Path, args: &[&str]) -> Value {
        let text = self.ctr(&["oci", "spec"]).expect_success().text();
        let mut spec: Value = serde_json::from_str(&text).expect("`ctr oci spec` writes JSON");
        spec["root"]["path"] = serde_json::json!(root);
        spec["process"]["args"] = serde_json::json!(args);
        spec["linux"]["cgroupsPath"] = serde_json::json!(format!("/{}u/{id}", mark()));
        spec
    }

    /// `ctr run --config …`.
    #[track_caller]
    pub fn run_spec(&self, spec: &Value, id: &str, flags: &[&str]) -> Output {
        let file = self.dir.join(format!("{id}.json"));
        fs::write(&file, spec.to_string()).unwrap();
        let file = file.to_string_lossy();
        self.ctr(&[&["run", "--runtime", RUNTIME, "--config", &*file], flags, &[id]].concat())
    }

    /// The process of the running task `id`, as the host counts: all namespaces but that of processes are the node's own.
    #[track_caller]
    pub fn task_pid(&self, id: &str) -> u32 {
        let list = self.ctr(&["task", "ls"]).expect_success().text();
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(id));
        let pid = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        pid.unwrap_or_else(|| panic!("no task {id} in:\n{list}"))
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        for task in self.ctr(&["task", "ls", "-q"]).text().lines() {
            self.ctr(&["task", "delete", "--force", task]);
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if !ended_within(&self.child, Duration::from_secs(10)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if let Some(group) = &self.group {
            // The namespace's own group, where it is; all else in there is a leak, and will be found.
            let own = [group.join(format!("{}u", mark())), group.join("containerd"), group.clone()];
            eventually(Duration::from_secs(5), || {
                own.iter().for_each(|dir| drop(fs::remove_dir(dir)));
                !group.exists()
            });
        }
    }
}

/// As root: enters the group, if any, and becomes the user in namespaces of their own.
const AS_ROOT: &str = r#"
cgroup=
if [ -n "$1" ]; then
    echo $$ >"$1/cgroup.procs"
    cgroup=--cgroup
fi
exec setpriv --reuid "$2" --regid "$2" --clear-groups unshare --user --mount --net --ipc --uts $cgroup \
    sh -ec 'read -r _ && exec sh -ec "$1" sh "$2" "$3"' sh "$3" "$4" "$1"
"#;

/// As root of the namespace, once it has its maps: what RootlessKit prepares. The group that was delegated is the
/// namespace's topmost one, and containerd leaves it for one below, so that it may hand controllers on.
const INSIDE: &str = r#"
ip link set lo up
mount -t tmpfs -o mode=755 none /run
if [ -n "$2" ]; then
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir /sys/fs/cgroup/containerd
    echo $$ >/sys/fs/cgroup/containerd/cgroup.procs
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
    done
fi
exec containerd --config "$1"
"#;

/// A new control group that belongs to the user, "Delegation" in cgroup-v2.rst.
pub fn delegate(name: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    for controller in
        fs::read_to_string(root.join("cgroup.controllers")).unwrap().split_whitespace()
    {
        // One that cannot be handed on will be missed by whoever needs it.
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    let group = root.join(name);
    fs::create_dir(&group).unwrap();
    let files = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
    for path in files.map(|file| group.join(file)).iter().chain([&group]) {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    assert!(entries(&group).count() > 0);
    group
}
