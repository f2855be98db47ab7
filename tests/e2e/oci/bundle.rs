//! A bundle that every runtime runs: one root with the same programs for Linux and for WebAssembly.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::guests;
use crate::support::image::{TOOLS, busybox};
use crate::support::leaks;
use crate::support::suite::Suite;

use super::runtime::Subject;

/// What a container runs: the same in both worlds.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// Sleeps until a signal ends it.
    Sleep,
    /// Exits with this status.
    Exit(u8),
    /// Is not there.
    Missing,
    /// May not be executed.
    Forbidden,
    /// Is a directory.
    Directory,
}

impl Program {
    /// The arguments that run it.
    pub fn args(self, subject: Subject) -> Vec<String> {
        let wasm = subject == Subject::Wasm;
        let args: Vec<String> = match self {
            Self::Sleep if wasm => vec!["/sleep.wasm".into(), "1000".into()],
            // The first process of a pid namespace has no signal that would end it, other than by its own wish.
            Self::Sleep => vec!["/bin/sh".into(), "/sleep".into()],
            Self::Exit(status) if wasm => vec!["/exit.wasm".into(), status.to_string()],
            Self::Exit(status) => vec!["/bin/sh".into(), "/exit".into(), status.to_string()],
            Self::Missing if wasm => vec!["/missing.wasm".into()],
            Self::Missing => vec!["/missing".into()],
            Self::Forbidden if wasm => vec!["/forbidden.wasm".into()],
            Self::Forbidden => vec!["/forbidden".into()],
            Self::Directory => vec!["/bin".into()],
        };
        args
    }
}

/// The root directory of all containers: nothing that they do changes it.
pub fn rootfs() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = Suite::get().dir().join("rootfs");
        for dir in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let file = |name: &str, mode: u32, bytes: &[u8]| {
            fs::write(root.join(name), bytes).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        file("bin/busybox", 0o755, &fs::read(busybox()).unwrap());
        for tool in TOOLS {
            symlink("busybox", root.join("bin").join(tool)).unwrap();
        }
        file("sleep", 0o755, b"trap 'exit 143' TERM\nsleep 1000 &\nwait\n");
        file("exit", 0o755, b"exit $1\n");
        file("forbidden", 0o600, b"exit 0\n");
        for guest in ["sleep", "exit", "hello", "terminal"] {
            file(&format!("{guest}.wasm"), 0o755, &guests::module(guest));
        }
        file("probe.wasm", 0o755, &guests::probe("probe"));
        file("forbidden.wasm", 0o600, &guests::module("exit"));
        root
    })
}

/// Where containers have their control groups, each by its id: the search for leaks knows the name.
pub fn group() -> String {
    format!("{}oci", leaks::mark())
}

/// A `config.json` as `runc spec` makes it, in short, for the container `id`.
pub fn config(id: &str, args: &[String]) -> Value {
    let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
    let capabilities = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true,
        },
        "root": {"path": rootfs(), "readonly": false},
        "hostname": "box",
        "annotations": {"test.example/color": "green"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": format!("/{}/{id}", group()),
            "resources": {"pids": {"limit": 64}},
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}

/// Writes `config` as a bundle's, which is made if it is not there.
pub fn write(bundle: &Path, config: &Value) {
    fs::create_dir_all(bundle).unwrap();
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
}
