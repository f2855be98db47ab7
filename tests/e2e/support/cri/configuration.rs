//! containerd's configuration with the CRI plugin, in the form that its version reads: with the drop-ins that we ship.

use std::path::Path;
use std::process::Command;

use crate::support::process::Process;
use crate::support::suite::repository;

/// Where Debian puts the network plugins, and where Fedora and others do.
pub const NETWORK_PLUGINS: [&str; 3] = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];

/// The image of a pod's own container.
pub const PAUSE: &str = "example.test/pause:latest";

/// The directory of the network plugins, if they are there.
pub fn network_plugins() -> Option<&'static str> {
    NETWORK_PLUGINS.into_iter().find(|dir| Path::new(dir).join("ptp").is_file())
}

/// The release of containerd, such as 1.6 and 2.1.
///
/// # Panics
/// When it does not say.
pub fn release() -> (u32, u32) {
    let output = Command::new("containerd").arg("--version").output().expect("ask containerd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(2).expect("its version is the third word");
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("containerd's version is {version}"),
    }
}

/// The text of `config.toml` for a containerd in `dir`, and the configuration of its network beside it.
pub fn configuration(dir: &Path, extra: &str) -> String {
    let networks = dir.join("networks");
    std::fs::create_dir(&networks).unwrap();
    std::fs::write(networks.join("10-pods.conflist"), network(dir)).unwrap();
    let modern = release() >= (2, 0);
    let (version, sections) = if modern { (3, modern_sections()) } else { (2, old_sections()) };
    let head = if modern {
        format!("imports = [{:?}]", repository().join("packaging/containerd/wasmtime-2.x.toml"))
    } else {
        String::new()
    };
    // Ours is a file to append to the configuration of the old releases.
    let tail = if modern {
        String::new()
    } else {
        let file = repository().join("packaging/containerd/wasmtime-1.x.toml");
        std::fs::read_to_string(file).unwrap()
    };
    let plugins = network_plugins().expect("prerequisites are there");
    // A pod's own container is protected from the kernel's search for memory, where we may.
    let restricted = !may_raise_limits();
    let sections = sections
        .replace("@PAUSE@", PAUSE)
        .replace("@RESTRICTED@", &restricted.to_string())
        .replace("@PLUGINS@", plugins)
        .replace("@NETWORKS@", &networks.to_string_lossy());
    let dir = dir.display();
    format!(
        r#"version = {version}
{head}
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{dir}/sock"
[ttrpc]
  address = "{dir}/sock.ttrpc"
[debug]
  level = "debug"
{sections}
{tail}
{extra}"#
    )
}

/// containerd 1.6 and 1.7.
fn old_sections() -> &'static str {
    r#"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "@PAUSE@"
  restrict_oom_score_adj = @RESTRICTED@
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "@PLUGINS@"
  conf_dir = "@NETWORKS@"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"#
}

/// containerd 2.
fn modern_sections() -> &'static str {
    r#"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "@PAUSE@"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = @RESTRICTED@
  netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dir = "@PLUGINS@"
  conf_dir = "@NETWORKS@"
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.wasmtime-without-pause]
  runtime_type = "io.containerd.wasmtime.v1"
  sandboxer = "shim"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
"#
}

/// A cable to each pod. No translation of addresses, which would need a firewall.
fn network(dir: &Path) -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": dir.join("addresses"),
                "ranges": [[{"subnet": "10.85.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
    .to_string()
}

/// CAP_SYS_RESOURCE, by which a process may protect others from the kernel's search for memory.
fn may_raise_limits() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let effective = u64::from_str_radix(&Process::own().status("CapEff"), 16).unwrap();
    effective & SYS_RESOURCE != 0
}
