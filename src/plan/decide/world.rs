//! What surrounds the process: root file system, namespaces, devices, names.

use oci_spec::runtime::{LinuxDeviceType, LinuxNamespaceType, Spec};

use super::id_map::maps;
use super::process::text;
use crate::bundle::Bundle;
use crate::error::{Refusal, Result};
use crate::host::Host;
use crate::plan::{
    Device, DeviceKind, Mount, Namespace, Namespaces, Propagation, PropagationKind, Root,
    TimeOffset,
};

/// Devices of every container that make sense to a guest, from "Default Devices" of config-linux.md
/// of the OCI runtime specification. Terminals are left out.
const DEFAULT_DEVICES: [(&str, u32); 5] =
    [("/dev/null", 3), ("/dev/zero", 5), ("/dev/full", 7), ("/dev/random", 8), ("/dev/urandom", 9)];

pub(super) fn root(bundle: &Bundle) -> Result<Root> {
    let root = bundle
        .spec
        .root()
        .as_ref()
        .ok_or_else(|| Refusal::invalid("root: missing; the container has no file system"))?;
    let propagation = bundle.spec.linux().as_ref().and_then(|l| l.rootfs_propagation().as_deref());
    Ok(Root {
        path: text("root.path", &bundle.path.join(root.path()))?,
        read_only: root.readonly().unwrap_or(false),
        propagation: self::propagation(propagation.unwrap_or_default())?,
    })
}

fn propagation(name: &str) -> Result<Propagation> {
    use PropagationKind::*;
    let (kind, recursive) = match name {
        "" | "rslave" => (Slave, true),
        "slave" => (Slave, false),
        "shared" => (Shared, false),
        "rshared" => (Shared, true),
        "private" => (Private, false),
        "rprivate" => (Private, true),
        "unbindable" => (Unbindable, false),
        "runbindable" => (Unbindable, true),
        other => {
            return Err(Refusal::invalid(format!(
                "linux.rootfsPropagation {other:?}: not a propagation type"
            )));
        }
    };
    Ok(Propagation { kind, recursive })
}

/// Which namespaces the container joins, and which it gets for itself.
///
/// # Errors
/// Names what cannot be had.
pub(crate) fn namespaces(spec: &Spec, host: &Host) -> Result<Namespaces> {
    let mut planned = Namespaces::default();
    let linux = spec.linux().as_ref();
    for namespace in linux.and_then(|l| l.namespaces().as_deref()).unwrap_or_default() {
        let kind = match namespace.typ() {
            LinuxNamespaceType::User => Namespace::User,
            LinuxNamespaceType::Pid => Namespace::Pid,
            LinuxNamespaceType::Mount => Namespace::Mount,
            LinuxNamespaceType::Network => Namespace::Network,
            LinuxNamespaceType::Ipc => Namespace::Ipc,
            LinuxNamespaceType::Uts => Namespace::Uts,
            LinuxNamespaceType::Cgroup => Namespace::Cgroup,
            LinuxNamespaceType::Time => Namespace::Time,
        };
        if planned.has_new(kind) || planned.joined(kind).is_some() {
            return Err(Refusal::invalid(format!("linux.namespaces: {kind:?} is given twice")));
        }
        match namespace.path() {
            Some(path) if !path.as_os_str().is_empty() => {
                planned.join.push((kind, text("linux.namespaces.path", path)?));
            }
            _ => planned.new.push(kind),
        }
    }
    // A guest never sees the host's mounts, whether the bundle asks for that or not.
    if !planned.has_new(Namespace::Mount) && planned.joined(Namespace::Mount).is_none() {
        planned.new.push(Namespace::Mount);
    }
    planned.uid_map = maps(linux.and_then(|l| l.uid_mappings().as_ref()));
    planned.gid_map = maps(linux.and_then(|l| l.gid_mappings().as_ref()));
    if planned.has_new(Namespace::User) {
        if planned.uid_map.is_empty() || planned.gid_map.is_empty() {
            return Err(Refusal::invalid(
                "linux.uidMappings, linux.gidMappings: a new user namespace needs both",
            ));
        }
    } else if planned.joined(Namespace::User).is_none() && !host.root {
        return Err(Refusal::invalid(
            "linux.namespaces: without root's rights a container needs a user namespace",
        ));
    }
    if let Some(offsets) = linux.and_then(|l| l.time_offsets().as_ref()) {
        planned.time_offsets = offsets
            .iter()
            .map(|(clock, offset)| TimeOffset {
                clock: clock.clone(),
                seconds: offset.secs().unwrap_or(0),
                nanoseconds: offset.nanosecs().unwrap_or(0),
            })
            .collect();
        planned.time_offsets.sort_by(|a, b| a.clock.cmp(&b.clock));
        if !planned.time_offsets.is_empty() && !planned.has_new(Namespace::Time) {
            return Err(Refusal::invalid("linux.timeOffsets: needs a new time namespace"));
        }
    }
    Ok(planned)
}

/// The default devices where `/dev` is mounted for the container, and those the bundle lists.
pub(super) fn devices(spec: &Spec, mounts: &[Mount]) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    if mounts.iter().any(|mount| mount.destination == "/dev") {
        devices.extend(DEFAULT_DEVICES.map(|(path, minor)| Device {
            path: path.to_owned(),
            kind: DeviceKind::Char,
            major: 1,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        }));
    }
    let listed = spec.linux().as_ref().and_then(|l| l.devices().as_deref()).unwrap_or_default();
    for device in listed {
        let path = text("linux.devices.path", device.path())?;
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
            LinuxDeviceType::B => DeviceKind::Block,
            LinuxDeviceType::P => DeviceKind::Fifo,
            LinuxDeviceType::A => {
                return Err(Refusal::invalid(format!(
                    "linux.devices: {path} has the type \"a\", which is none of c, b, u and p"
                )));
            }
        };
        let number = |name: &str, value: i64| {
            u32::try_from(value).map_err(|_| {
                Refusal::invalid(format!("linux.devices: {path} has the {name} number {value}"))
            })
        };
        devices.retain(|default: &Device| default.path != path);
        devices.push(Device {
            kind,
            major: number("major", device.major())?,
            minor: number("minor", device.minor())?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            path,
        });
    }
    Ok(devices)
}

pub(super) fn sysctl(spec: &Spec) -> Vec<(String, String)> {
    let parameters = spec.linux().as_ref().and_then(|l| l.sysctl().as_ref());
    let mut sorted: Vec<_> =
        parameters.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    sorted.sort();
    sorted
}

/// A host or domain name, which must not be the host's own.
pub(super) fn name_of(spec: &Spec, field: &str, name: &Option<String>) -> Result<Option<String>> {
    let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_deref());
    if !namespaces.unwrap_or_default().iter().any(|n| n.typ() == LinuxNamespaceType::Uts) {
        return Err(Refusal::invalid(format!(
            "{field} {name:?}: needs a UTS namespace in linux.namespaces"
        )));
    }
    Ok(Some(name.clone()))
}
