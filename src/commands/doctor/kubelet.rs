//! Kubernetes' agent on this node, as far as it matters here: whether there is one, and who makes its control groups.

use std::path::{Path, PathBuf};

use super::look::{processes, read};

/// Where kubeadm and most distributions put kubelet's configuration, and its flags.
const CONFIGURATION: &str = "/var/lib/kubelet/config.yaml";
const FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";

/// What there is of kubelet.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// It runs, or is configured.
    pub(super) present: bool,
    /// Its cgroup driver, `systemd` or `cgroupfs`, and the file that says so.
    pub(super) driver: Option<(String, PathBuf)>,
}

impl Facts {
    pub(super) fn gather() -> Self {
        let configured = Path::new(CONFIGURATION).exists() || Path::new(FLAGS).exists();
        let present = configured || processes("kubelet").next().is_some();
        // Flags go before the file.
        let driver = [FLAGS, CONFIGURATION].into_iter().find_map(|path| {
            let text = read(Path::new(path)).ok()?;
            Some((driver_in(&text)?, path.into()))
        });
        Self { present, driver }
    }
}

/// The value of `cgroupDriver: …` (YAML) or `--cgroup-driver=…` (flags).
fn driver_in(text: &str) -> Option<String> {
    let word = |rest: &str| {
        let word = rest.trim_start_matches([' ', '=', '"', '\'']);
        let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
        (end > 0).then(|| word[..end].to_owned())
    };
    text.lines().filter(|line| !line.trim_start().starts_with('#')).find_map(|line| {
        match line.strip_prefix("cgroupDriver:") {
            Some(rest) => word(rest),
            None => word(line.split_once("--cgroup-driver")?.1),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::driver_in;

    #[test]
    fn the_driver_is_found_in_either_form() {
        for (text, driver) in [
            ("apiVersion: x\ncgroupDriver: systemd\nkind: y\n", Some("systemd")),
            ("cgroupDriver: \"cgroupfs\"\n", Some("cgroupfs")),
            ("KUBELET_KUBEADM_ARGS=\"--x=y --cgroup-driver=systemd --z\"\n", Some("systemd")),
            ("# cgroupDriver: systemd\n", None),
            ("cgroupDriver:\n", None),
            ("kind: y\n", None),
        ] {
            assert_eq!(driver_in(text).as_deref(), driver, "{text}");
        }
    }
}
