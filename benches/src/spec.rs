//! `config.json`, as containerd's own clients make it unless told otherwise.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::container::Pod;
use crate::node::NAMESPACE;

const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The process that runs `args`.
pub fn process(args: &[String]) -> Value {
    json!({
        "user": {"uid": 0, "gid": 0},
        "args": args,
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "capabilities": {
            "bounding": CAPABILITIES,
            "effective": CAPABILITIES,
            "permitted": CAPABILITIES,
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": true,
    })
}

/// The container `id` that runs `args`, in a pod if it is of one.
pub fn container(id: &str, args: &[String], pod: Option<&Pod>) -> Value {
    let shared = |kind: &str, file: &str| match pod.and_then(|pod| pod.holder) {
        Some(pid) => json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}),
        None => json!({"type": kind}),
    };
    let annotations = match pod {
        Some(pod) => json!({"io.kubernetes.cri.sandbox-id": pod.id}),
        None => json!({}),
    };
    json!({
        "ociVersion": "1.0.2",
        "annotations": annotations,
        "process": process(args),
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "cgroupsPath": format!("/{NAMESPACE}/{id}"),
            "namespaces": [
                {"type": "pid"},
                {"type": "mount"},
                shared("ipc", "ipc"),
                shared("uts", "uts"),
                shared("network", "net"),
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// A server in the machine's network, with these annotations of Lighter's.
pub fn server(
    id: &str,
    args: &[String],
    address: SocketAddr,
    annotations: &[(&str, &str)],
) -> Value {
    let mut spec = container(id, args, None);
    if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    let address = ("io.lighter.http.address", address.to_string());
    let annotations = annotations.iter().map(|(name, value)| (*name, (*value).to_owned()));
    for (name, value) in annotations.chain([address]) {
        spec["annotations"][name] = value.into();
    }
    spec
}
