//! What becomes of a bundle on this node, and what became of one that runs.

use std::time::{Duration, SystemTime};

use lighter::host::Host;
use lighter::inspect::{Inspection, Is};
use lighter::plan::{Access, Missing, Mount, MountSource, Namespace, Network, Plan, Ports};
use serde_json::Value;

use super::lines::{Lines, list};
use crate::commands::cache::ago;

/// All that is known of a bundle or a container.
pub(super) fn lines(inspection: &Inspection) -> Lines {
    let mut lines = vec![
        ("container", inspection.id.clone()),
        ("bundle", inspection.bundle.display().to_string()),
    ];
    match &inspection.state {
        Is::Planned { plan, resources, host } => {
            lines.push(("state", "not created; on this node it would get:".into()));
            planned(&mut lines, plan, resources, host);
        }
        Is::Linux => {
            let what = "not created; a Linux program, which gets what its bundle says";
            lines.push(("state", what.into()));
        }
        Is::Recorded { pid, alive, created, missing } => {
            let since = ago(SystemTime::UNIX_EPOCH + Duration::from_secs(*created));
            let state = match alive {
                true => format!("created {since}, process {pid}"),
                false => format!("created {since}, ended, and not deleted yet"),
            };
            lines.push(("state", state));
            list(&mut lines, "missing", missing.iter().map(Missing::to_string).collect());
        }
    }
    lines.push(("cgroup", inspection.cgroup.display().to_string()));
    lines
}

/// All of a plan.
fn planned(lines: &mut Lines, plan: &Plan, resources: &Value, host: &Host) {
    guest(lines, plan);
    sandbox(lines, plan);
    let kinds = plan.limits.each.keys();
    let mut limits: Vec<String> =
        kinds.map(|kind| format!("{kind} {}", plan.limits.describe(*kind))).collect();
    limits.extend(flat("cgroup ", resources));
    list(lines, "limits", limits);
    list(lines, "ports", ports(&plan.guest.network));
    walls(lines, plan, host);
}

/// What matters of a plan to whoever looks at a program rather than at a bundle.
pub(super) fn in_short(plan: &Plan, host: &Host) -> Lines {
    let mut lines = Vec::new();
    guest(&mut lines, plan);
    let kinds = plan.limits.each.keys();
    let limits = kinds.map(|kind| format!("{kind} {}", plan.limits.describe(*kind))).collect();
    list(&mut lines, "limits", limits);
    list(&mut lines, "ports", ports(&plan.guest.network));
    walls(&mut lines, plan, host);
    lines
}

fn guest(lines: &mut Lines, plan: &Plan) {
    let guest = &plan.guest;
    let mut entrypoint = guest.entrypoint.name.clone();
    if let [first, ..] = guest.entrypoint.candidates.as_slice()
        && !entrypoint.starts_with(first)
    {
        let all = guest.entrypoint.candidates.join(", ");
        entrypoint = format!("{entrypoint}, the first there is of {all}");
    }
    lines.push(("entrypoint", entrypoint));
    lines.push(("arguments", guest.args.len().to_string()));
    lines.push(("environment", format!("{} variables", guest.env.len())));
    lines.push(("directory", guest.cwd.clone()));
    let user = &plan.sandbox.user;
    let groups = user.groups.iter().map(|group| format!(",{group}")).collect::<String>();
    lines.push(("user", format!("{}:{}{groups}", user.uid, user.gid)));
}

fn sandbox(lines: &mut Lines, plan: &Plan) {
    let sandbox = &plan.sandbox;
    if let Some(root) = &sandbox.root {
        lines.push(("root", format!("{} {}", access(root.read_only), root.path)));
    }
    list(lines, "mounts", sandbox.mounts.iter().map(mount).collect());
    list(lines, "read-only", sandbox.read_only_paths.clone());
    list(lines, "masked", sandbox.masked_paths.clone());
    let new = sandbox.namespaces.new.iter().map(|kind| format!("new {}", namespace(*kind)));
    let joined = sandbox.namespaces.join.iter();
    let joined = joined.map(|(kind, path)| format!("{} of {path}", namespace(*kind)));
    list(lines, "namespaces", new.chain(joined).collect());
}

fn namespace(kind: Namespace) -> String {
    format!("{kind:?}").to_lowercase()
}

fn access(read_only: bool) -> &'static str {
    if read_only { "ro" } else { "rw" }
}

fn mount(mount: &Mount) -> String {
    let what = match &mount.source {
        MountSource::Bind { path, .. } => path.clone(),
        MountSource::Filesystem { kind, .. } => format!("new {kind}"),
    };
    format!("{} {} ({what})", access(mount.is_read_only()), mount.destination)
}

fn ports(network: &Network) -> Vec<String> {
    let line = |name: &str, ports: &Option<Ports>| {
        let ports = ports.as_ref()?.to_string();
        Some(format!("{name} {}", if ports.is_empty() { "none" } else { &ports }))
    };
    [
        line("tcp-bind", &network.tcp_bind),
        line("tcp-connect", &network.tcp_connect),
        line("udp-bind", &network.udp_bind),
        line("udp-send", &network.udp_send),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn walls(lines: &mut Lines, plan: &Plan, host: &Host) {
    let walls = &plan.confinement;
    let mut up = vec!["no capabilities, no new privileges, a root of its own".to_owned()];
    if host.seccomp {
        let bundles = if walls.seccomp.is_some() { ", and the bundle's own" } else { "" };
        up.push(format!("seccomp: Lighter's filter{bundles}"));
    }
    if let Some(landlock) = &walls.landlock {
        let written = landlock.beneath.iter().filter(|rule| rule.access == Access::ReadWrite);
        let written: Vec<&str> = written.map(|rule| rule.path.as_str()).collect();
        let written = if written.is_empty() { "nowhere".to_owned() } else { written.join(", ") };
        up.push(format!("landlock version {}; may write below: {written}", landlock.abi));
    }
    up.extend(walls.apparmor.as_ref().map(|profile| format!("apparmor profile {profile:?}")));
    up.extend(walls.selinux.as_ref().map(|label| format!("selinux label {label:?}")));
    list(lines, "walls", up);
    list(lines, "missing", walls.missing.iter().map(Missing::to_string).collect());
    lines.push(("kernel", host.kernel.clone()));
}

/// The values in nested objects, each with the way to it: `cgroup memory.limit 67108864`.
fn flat(prefix: &str, value: &Value) -> Vec<String> {
    fn walk(path: String, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Null => {}
            Value::Object(fields) => {
                let separator = if path.is_empty() || path.ends_with(' ') { "" } else { "." };
                for (name, value) in fields {
                    walk(format!("{path}{separator}{name}"), value, found);
                }
            }
            value => found.push(format!("{path} {value}")),
        }
    }
    let mut found = Vec::new();
    walk(prefix.to_owned(), value, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_are_named_by_their_way() {
        let value =
            json!({"memory": {"limit": 64, "swap": null}, "pids": {"limit": 5}, "fuel": null});
        assert_eq!(flat("cgroup ", &value), ["cgroup memory.limit 64", "cgroup pids.limit 5"]);
        assert_eq!(flat("cgroup ", &Value::Null), [""; 0]);
    }
}
