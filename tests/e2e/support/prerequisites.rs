//! What a machine needs to run the suite. Nothing is skipped: what is missing fails it, with what to install.

use std::path::Path;

use super::cri;
use super::suite::{PROGRAMS, staged};

struct Tool {
    name: &'static str,
    debian: &'static str,
    fedora: &'static str,
}

const TOOLS: [Tool; 10] = [
    Tool { name: "containerd", debian: "containerd", fedora: "containerd" },
    Tool { name: "ctr", debian: "containerd", fedora: "containerd" },
    Tool { name: "runc", debian: "runc", fedora: "runc" },
    Tool { name: "crun", debian: "crun", fedora: "crun" },
    Tool { name: "ip", debian: "iproute2", fedora: "iproute" },
    Tool { name: "nsenter", debian: "util-linux", fedora: "util-linux" },
    Tool { name: "podman", debian: "podman", fedora: "podman" },
    Tool { name: "conmon", debian: "conmon", fedora: "conmon" },
    Tool { name: "newuidmap", debian: "uidmap", fedora: "shadow-utils" },
    Tool { name: "busybox", debian: "busybox-static", fedora: "busybox" },
];

/// For the tests that virtual machines leave out.
const TOOLS_OF_THE_COMMAND: [Tool; 2] = [
    Tool { name: "skopeo", debian: "skopeo", fedora: "skopeo" },
    Tool { name: "mandoc", debian: "mandoc", fedora: "mandoc" },
];

/// A registry as Debian and as Fedora call it.
const REGISTRIES: [&str; 2] = ["docker-registry", "registry"];

/// The registry's program.
pub fn registry() -> Option<&'static str> {
    REGISTRIES.into_iter().find(|name| in_path(name))
}

/// One sentence for each thing that is missing.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing
            .push("The tests start containers and must run as root: use `sudo make test`.".into());
    }
    let is_everything = std::env::var_os("LIGHTER_TESTS").is_none();
    if is_everything && registry().is_none() {
        missing.push(
            "There is no registry in PATH: `apt-get install docker-registry` (Debian, Ubuntu) or `dnf install \
             docker-distribution` (Fedora, Rocky)."
                .into(),
        );
    }
    let of_the_command = TOOLS_OF_THE_COMMAND.into_iter().filter(|_| is_everything);
    for Tool { name, debian, fedora } in TOOLS.into_iter().chain(of_the_command) {
        if !in_path(name) {
            missing.push(format!(
                "The program {name} is not in PATH: `apt-get install {debian}` (Debian, Ubuntu) or \
                 `dnf install {fedora}` (Fedora, Rocky)."
            ));
        }
    }
    if cri::network_plugins().is_none() {
        missing.push(format!(
            "The network plugins of pods are in none of {}: `apt-get install containernetworking-plugins` (Debian, \
             Ubuntu) or `dnf install containernetworking-plugins` (Fedora, Rocky).",
            cri::NETWORK_PLUGINS.join(", ")
        ));
    }
    if !in_path("slirp4netns") && !in_path("pasta") {
        missing.push(
            "Neither slirp4netns nor pasta is in PATH, which networks of Podman without root need: \
             `apt-get install slirp4netns passt` (Debian, Ubuntu) or `dnf install passt` (Fedora, Rocky)."
                .into(),
        );
    }
    let wanted = std::env::var("LIGHTER_CGROUP").unwrap_or_default();
    let sign = match wanted.as_str() {
        "v2" => "/sys/fs/cgroup/cgroup.controllers",
        "systemd" => "/run/systemd/system",
        _ => "/",
    };
    if !Path::new(sign).exists() {
        missing.push(format!(
            "LIGHTER_CGROUP={wanted} asks for tests that need {sign}, which is not there: use `make vm-test`."
        ));
    }
    let wanted = std::env::var("LIGHTER_FRONTENDS").unwrap_or_default();
    let all = wanted.contains("nat");
    if (all || wanted.contains("docker")) && !(in_path("dockerd") && in_path("docker")) {
        missing.push(format!(
            "LIGHTER_FRONTENDS={wanted} asks for tests of Docker, and dockerd and docker are not in PATH: use `make vm`, or \
             install docker.io and docker-cli."
        ));
    }
    if (all || wanted.contains("nerdctl")) && !crate::frontends::nerd::program().is_file() {
        missing.push(format!(
            "{} is not built: run `hack/nerdctl`.",
            crate::frontends::nerd::program().display()
        ));
    }
    for name in PROGRAMS {
        let program = staged().join(name);
        if !program.is_file() {
            missing.push(format!("{} is not built: run `make build`.", program.display()));
        }
    }
    missing
}

fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
