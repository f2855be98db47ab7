//! The walls around the guest's process: those the bundle names, and ours.

use oci_spec::runtime::Process;

use super::seccomp::seccomp;
use crate::bundle::Bundle;
use crate::config::Config;
use crate::error::{Refusal, Result};
use crate::host::Host;
use crate::plan::{
    Access, Beneath, Confinement, Landlock, Missing, Network, OLDEST_LANDLOCK, Preopen, Wall,
};

/// The first version that knows of ports.
const LANDLOCK_WITH_PORTS: u32 = 4;

/// Devices that a program may expect to be able to open, whatever directories it has.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Decides which walls go up, and what becomes of those that this kernel does not have.
pub(super) fn confinement(
    bundle: &Bundle,
    preopens: &[Preopen],
    host: &Host,
    config: &Config,
) -> Result<Confinement> {
    let process = bundle.spec.process().as_ref();
    let missing: Vec<Missing> = [
        missing_seccomp(host),
        missing_landlock(host),
        missing_ports(host, &bundle.requests.network),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(demanded) = missing.iter().find(|m| config.isolation.require.contains(&m.wall)) {
        return Err(Refusal::system(
            format!(
                "isolation.require in the node's configuration demands {:?}",
                demanded.wall.name()
            ),
            &demanded.why,
        ));
    }
    Ok(Confinement {
        seccomp: seccomp(&bundle.spec, host)?,
        landlock: (host.landlock >= OLDEST_LANDLOCK)
            .then(|| Landlock { abi: host.landlock, beneath: beneath(preopens) }),
        apparmor: process.map_or(Ok(None), |process| apparmor(process, host))?,
        selinux: process.map_or(Ok(None), |process| selinux(process, host))?,
        missing,
    })
}

fn missing_seccomp(host: &Host) -> Option<Missing> {
    let why = format!("kernel {} does not filter system calls, or not ours", host.kernel);
    (!host.seccomp).then_some(Missing { wall: Wall::Seccomp, why })
}

fn missing_landlock(host: &Host) -> Option<Missing> {
    let kernel = &host.kernel;
    let why = match host.landlock {
        OLDEST_LANDLOCK.. => return None,
        0 => format!("kernel {kernel} has no Landlock, or has it switched off"),
        version => format!(
            "kernel {kernel} has version {version} of Landlock, which would keep guests from \
             renaming files between directories"
        ),
    };
    Some(Missing { wall: Wall::Landlock, why })
}

/// The runner checks ports, too; this is the wall behind it.
fn missing_ports(host: &Host, network: &Network) -> Option<Missing> {
    if !network.limits_tcp() || host.landlock >= LANDLOCK_WITH_PORTS {
        return None;
    }
    let kernel = &host.kernel;
    let why = format!(
        "kernel {kernel} has no Landlock that knows of ports (version {LANDLOCK_WITH_PORTS}), so \
         that only the runner checks them"
    );
    Some(Missing { wall: Wall::Ports, why })
}

/// A rule for each of the guest's directories that is not within what the root's rule allows already.
fn beneath(preopens: &[Preopen]) -> Vec<Beneath> {
    let root = preopens.iter().find(|preopen| preopen.path == "/").map(|root| root.access);
    let within_root = |access| root == Some(access) || root == Some(Access::ReadWrite);
    let directories = preopens
        .iter()
        .map(|preopen| (preopen.path.as_str(), preopen.access))
        .filter(|(path, access)| *path == "/" || !within_root(*access));
    // Of those in a writable `/dev`, nothing more is to be said.
    let in_dev = preopens.iter().any(|p| p.path == "/dev" && p.access == Access::ReadWrite);
    let devices = DEVICES
        .map(|path| (path, Access::ReadWrite))
        .into_iter()
        .filter(|(_, access)| !in_dev && !within_root(*access));
    let mut rules: Vec<Beneath> = Vec::new();
    for (path, access) in directories.chain(devices) {
        if !rules.iter().any(|rule| rule.path == path && rule.access == access) {
            rules.push(Beneath { path: path.to_owned(), access });
        }
    }
    rules
}

fn apparmor(process: &Process, host: &Host) -> Result<Option<String>> {
    match process.apparmor_profile().as_deref().filter(|profile| !profile.is_empty()) {
        Some(profile) if !host.apparmor => Err(Refusal::invalid(format!(
            "process.apparmorProfile {profile:?}: AppArmor is not enabled on this node"
        ))),
        profile => Ok(profile.map(str::to_owned)),
    }
}

fn selinux(process: &Process, host: &Host) -> Result<Option<String>> {
    match process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
        Some(label) if !host.selinux => Err(Refusal::invalid(format!(
            "process.selinuxLabel {label:?}: SELinux is not enabled on this node"
        ))),
        label => Ok(label.map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use oci_spec::runtime::Spec;
    use serde_json::json;

    use super::*;
    use crate::annotations::Requests;
    use crate::host::Cgroups;
    use crate::plan::{Plan, plan};

    fn host(landlock: u32) -> Host {
        Host {
            cgroups: Cgroups::V2,
            root: true,
            seccomp: true,
            kernel: "6.1-test".into(),
            landlock,
            apparmor: false,
            selinux: false,
        }
    }

    fn bundle(change: impl FnOnce(&mut serde_json::Value)) -> Bundle {
        let mut spec = json!({
            "ociVersion": "1.2.0",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["/app.wasm"], "cwd": "/"},
            "root": {"path": "root"},
            "linux": {},
        });
        change(&mut spec);
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let requests = Requests::read(&spec.annotations().clone().unwrap_or_default()).unwrap();
        Bundle { path: PathBuf::from("/b"), spec, requests }
    }

    fn planned(bundle: &Bundle, host: &Host, require: &[Wall]) -> Result<Plan> {
        let mut config = Config::default();
        config.isolation.require = require.to_vec();
        plan("c1", bundle, host, &config)
    }

    fn rules(plan: &Plan) -> Vec<(&str, Access)> {
        let landlock = plan.confinement.landlock.as_ref().unwrap();
        landlock.beneath.iter().map(|rule| (rule.path.as_str(), rule.access)).collect()
    }

    #[test]
    fn a_writable_root_is_the_only_rule() {
        let volume = |path: &str, option: &str| json!({"destination": path, "source": "/v", "options": ["rbind", option]});
        let bundle = bundle(|spec| {
            spec["mounts"] = json!([volume("/a", "ro"), volume("/b", "rw")]);
            spec["process"]["cwd"] = json!("/work");
        });
        assert_eq!(rules(&planned(&bundle, &host(7), &[]).unwrap()), [("/", Access::ReadWrite)]);
    }

    #[test]
    fn a_read_only_root_has_a_rule_for_what_can_be_written() {
        let volume = |path: &str, option: &str| json!({"destination": path, "source": "/v", "options": ["rbind", option]});
        let bundle = bundle(|spec| {
            spec["root"]["readonly"] = json!(true);
            spec["mounts"] = json!([volume("/a", "ro"), volume("/b", "rw")]);
            spec["process"]["cwd"] = json!("/b");
        });
        let expected: Vec<_> = [("/b", Access::ReadWrite), ("/", Access::ReadOnly)]
            .into_iter()
            .chain(DEVICES.map(|path| (path, Access::ReadWrite)))
            .collect();
        assert_eq!(rules(&planned(&bundle, &host(7), &[]).unwrap()), expected);
    }

    #[test]
    fn a_kernel_without_landlock_is_told_of_or_refused() {
        for version in [0, 1] {
            let plan = planned(&bundle(|_| {}), &host(version), &[Wall::Seccomp]).unwrap();
            assert_eq!(plan.confinement.landlock, None);
            let walls: Vec<Wall> = plan.confinement.missing.iter().map(|m| m.wall).collect();
            assert_eq!(walls, [Wall::Landlock]);

            let refusal = planned(&bundle(|_| {}), &host(version), &[Wall::Landlock]).unwrap_err();
            for word in ["isolation.require", "\"landlock\"", "6.1-test"] {
                assert!(refusal.message.contains(word), "{refusal}");
            }
        }
        assert_eq!(
            planned(&bundle(|_| {}), &host(2), &[Wall::Landlock]).unwrap().confinement.missing,
            []
        );
    }

    #[test]
    fn ports_are_missed_only_where_they_are_limited() {
        let limited = bundle(|spec| {
            spec["annotations"] = json!({"io.lighter.network.tcp-connect": "443"});
        });
        let old = planned(&limited, &host(3), &[]).unwrap();
        assert_eq!(old.confinement.missing[0].wall, Wall::Ports);
        assert!(planned(&limited, &host(3), &[Wall::Ports]).is_err());
        assert_eq!(planned(&limited, &host(4), &[Wall::Ports]).unwrap().confinement.missing, []);
        let free = planned(&bundle(|_| {}), &host(3), &[Wall::Ports]).unwrap();
        assert_eq!(free.confinement.missing, []);
    }

    #[test]
    fn a_profile_or_label_needs_its_module() {
        let profile = bundle(|spec| spec["process"]["apparmorProfile"] = json!("guest"));
        let refusal = planned(&profile, &host(7), &[]).unwrap_err();
        assert!(refusal.message.contains("process.apparmorProfile \"guest\""), "{refusal}");
        let there = Host { apparmor: true, ..host(7) };
        let plan = planned(&profile, &there, &[]).unwrap();
        assert_eq!(plan.confinement.apparmor.as_deref(), Some("guest"));

        let label = bundle(|spec| spec["process"]["selinuxLabel"] = json!("a:b:c:s0"));
        let refusal = planned(&label, &host(7), &[]).unwrap_err();
        assert!(refusal.message.contains("process.selinuxLabel \"a:b:c:s0\""), "{refusal}");
        let there = Host { selinux: true, ..host(7) };
        let plan = planned(&label, &there, &[]).unwrap();
        assert_eq!(plan.confinement.selinux.as_deref(), Some("a:b:c:s0"));
    }

    #[test]
    fn a_mount_label_is_a_context_of_new_file_systems() {
        let labelled = bundle(|spec| {
            spec["linux"]["mountLabel"] = json!("a:b:c:s0:c1,c2");
            spec["mounts"] = json!([
                {"destination": "/tmp", "type": "tmpfs", "options": ["size=64k"]},
                {"destination": "/v", "source": "/v", "options": ["rbind"]},
            ]);
        });
        let refusal = planned(&labelled, &host(7), &[]).unwrap_err();
        assert!(refusal.message.contains("linux.mountLabel"), "{refusal}");
        let there = Host { selinux: true, ..host(7) };
        let plan = planned(&labelled, &there, &[]).unwrap();
        let crate::plan::MountSource::Filesystem { parameters, .. } =
            &plan.sandbox.mounts[0].source
        else {
            panic!("{plan:?}")
        };
        assert_eq!(parameters[1], ("context".to_owned(), Some("a:b:c:s0:c1,c2".to_owned())));
    }
}
