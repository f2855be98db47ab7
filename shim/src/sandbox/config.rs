//! What a pod is to have, as kubelet says it.

use std::path::PathBuf;

/// Whose a namespace is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The pod's.
    #[default]
    Pod,
    /// Each container's own.
    Container,
    /// The host's.
    Node,
}

/// Names of servers, and how to use them: what `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

/// A pod's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Its host name; empty: the host's.
    pub(crate) hostname: String,
    /// Its name servers; `None`: the host's.
    pub(crate) dns: Option<Dns>,
    /// Whose the network is.
    pub(crate) network: Scope,
    /// Whose the process ids are.
    pub(crate) pid: Scope,
    /// Whose System V's and POSIX's means of communication are.
    pub(crate) ipc: Scope,
    /// The first user and group id on the host of its user namespace, if it has one.
    pub(crate) user: Option<(u32, u32)>,
    /// Kernel parameters, by name.
    pub(crate) sysctls: Vec<(String, String)>,
    /// The control group that holds those of its containers.
    pub(crate) cgroup: Option<PathBuf>,
}

impl Config {
    /// What whoever is not kubelet gets: what no pod can do without.
    pub(crate) fn of_no_pod() -> Self {
        Self { pid: Scope::Container, ..Self::default() }
    }

    /// Whether it has a host name of its own.
    pub(crate) fn has_own_name(&self) -> bool {
        self.network != Scope::Node
    }

    /// The parameters to set. Ports and pings that need no rights are for the pod what containerd gives one with a pause
    /// container, unless it says otherwise.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        let mut all = self.sysctls.clone();
        let mut default = |name: &str, value: &str| {
            if !all.iter().any(|(given, _)| given == name) {
                all.push((name.to_owned(), value.to_owned()));
            }
        };
        if self.network != Scope::Node {
            default("net.ipv4.ip_unprivileged_port_start", "0");
            // Not in a user namespace, which has not all of these groups.
            if self.user.is_none() {
                default("net.ipv4.ping_group_range", "0 2147483647");
            }
        }
        all
    }

    /// The first parameter that would be the host's.
    pub(crate) fn parameter_of_the_host(&self) -> Option<&str> {
        self.sysctls.iter().map(|(name, _)| name.as_str()).find(|name| {
            let scope = match name.replace('/', ".") {
                name if name.starts_with("net.") => self.network,
                name if name == "kernel.hostname" || name == "kernel.domainname" => self.network,
                _ => self.ipc,
            };
            scope == Scope::Node
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), "1".to_owned())]
    }

    #[test]
    fn ports_are_free_unless_the_pod_says_otherwise_or_has_the_hosts_network() {
        let names = |config: &Config| {
            config.parameters().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let (port, ping) = ("net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range");
        assert_eq!(names(&Config::default()), [port, ping]);
        let own = Config { sysctls: parameter(port), user: Some((1, 1)), ..Config::default() };
        assert_eq!(own.parameters(), parameter(port));
        let host = Config { network: Scope::Node, ..Config::default() };
        assert!(host.parameters().is_empty());
    }

    #[test]
    fn parameters_of_what_the_host_keeps_are_found() {
        let of = |name, network, ipc| {
            let config = Config { sysctls: parameter(name), network, ipc, ..Config::default() };
            config.parameter_of_the_host().is_some()
        };
        use Scope::{Node, Pod};
        assert!(of("net.core.somaxconn", Node, Pod) && !of("net.core.somaxconn", Pod, Node));
        assert!(of("kernel.shmmax", Pod, Node) && !of("kernel.shmmax", Node, Pod));
        assert!(of("fs/mqueue/msg_max", Pod, Node) && of("kernel.hostname", Node, Pod));
    }
}
