//! A process beside a container's first: it sees of the world what the first sees, and is in the same sandbox.

use oci_spec::runtime::Process;

use super::plan;
use crate::bundle::Bundle;
use crate::config::Config;
use crate::error::Result;
use crate::host::Host;
use crate::plan::{Guest, Hooks, Namespaces, Plan, Sandbox};

/// Decides how `process` runs beside the first process, `pid`, of the container `id` of `bundle`, or refuses.
///
/// What it may open and use up is decided as for the first, by the same rules. But the sandbox is there already: it joins
/// its namespaces and finds everything mounted.
///
/// # Errors
/// Names the field of `process` and the value that cannot be honoured.
pub fn exec_plan(
    id: &str,
    bundle: &Bundle,
    process: &Process,
    pid: u32,
    host: &Host,
    config: &Config,
) -> Result<Plan> {
    let first = bundle.spec.process().as_ref();
    let oom_score_adj = process.oom_score_adj().or(first.and_then(|first| first.oom_score_adj()));
    let mut spec = bundle.spec.clone();
    spec.set_process(Some(process.clone()));
    let container = plan(id, &Bundle { spec, ..bundle.clone() }, host, config)?;
    let sandbox = Sandbox {
        root: None,
        namespaces: namespaces_of(pid, &container.sandbox.namespaces),
        mounts: Vec::new(),
        devices: Vec::new(),
        read_only_paths: Vec::new(),
        masked_paths: Vec::new(),
        mask_label: None,
        oom_score_adj,
        sysctl: Vec::new(),
        hostname: None,
        domainname: None,
        hooks: Hooks::default(),
        ..container.sandbox
    };
    // The container's end is that of its first process.
    let guest = Guest { termination_message: None, ..container.guest };
    Ok(Plan { sandbox, guest, ..container })
}

/// The namespaces of process `pid` in which a container is that asks for `planned`: all others are the host's.
fn namespaces_of(pid: u32, planned: &Namespaces) -> Namespaces {
    let kinds = planned.new.iter().chain(planned.join.iter().map(|(kind, _)| kind));
    let join = kinds.map(|kind| (*kind, format!("/proc/{pid}/ns/{}", kind.file())));
    Namespaces { join: join.collect(), ..Namespaces::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Namespace;

    #[test]
    fn every_namespace_of_the_container_is_joined_and_none_made() {
        let planned = Namespaces {
            new: vec![Namespace::Pid, Namespace::Mount],
            join: vec![(Namespace::Network, "/run/netns/a".into())],
            ..Namespaces::default()
        };
        let namespaces = namespaces_of(7, &planned);
        assert_eq!(namespaces.new, []);
        let expected = [
            (Namespace::Pid, "/proc/7/ns/pid"),
            (Namespace::Mount, "/proc/7/ns/mnt"),
            (Namespace::Network, "/proc/7/ns/net"),
        ];
        assert_eq!(namespaces.join, expected.map(|(kind, path)| (kind, path.to_owned())));
    }
}
