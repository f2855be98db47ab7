//! `uidMappings`, `gidMappings` and the options `idmap` and `ridmap` of a mount.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Spec};

use crate::error::{Refusal, Result};
use crate::plan::{IdMap, MountIdMap};

/// The mappings of the specification as ours.
pub(super) fn maps(maps: Option<&Vec<LinuxIdMapping>>) -> Vec<IdMap> {
    let maps = maps.map(Vec::as_slice).unwrap_or_default();
    maps.iter()
        .map(|m| IdMap { container: m.container_id(), host: m.host_id(), size: m.size() })
        .collect()
}

/// How the owners of a mount's files are translated; `option` is whether `idmap` (`false`) or `ridmap` was given.
pub(super) fn id_map(
    at: &str,
    mount: &Mount,
    option: Option<bool>,
    spec: &Spec,
) -> Result<Option<MountIdMap>> {
    let uid_map = maps(mount.uid_mappings().as_ref());
    let gid_map = maps(mount.gid_mappings().as_ref());
    if uid_map.is_empty() != gid_map.is_empty() {
        return Err(Refusal::invalid(format!(
            "{at}: uidMappings and gidMappings go together, and only one of them is there"
        )));
    }
    // As the specification has it: mappings alone mean `idmap`.
    let Some(recursive) = option.or((!uid_map.is_empty()).then_some(false)) else {
        return Ok(joins_user_namespace(spec).then(MountIdMap::identity));
    };
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_deref());
    let has_user_namespace =
        namespaces.unwrap_or_default().iter().any(|n| n.typ() == LinuxNamespaceType::User);
    if uid_map.is_empty() && !has_user_namespace {
        return Err(Refusal::invalid(format!(
            "{at}: an id-mapped mount needs uidMappings and gidMappings, or a user namespace of \
             the container whose maps it takes"
        )));
    }
    Ok(Some(MountIdMap { uid_map, gid_map, recursive }))
}

/// Whether the container's root is that of a pod's user namespace: the way to what is mounted may be barred for it, as for its
/// pod's shared memory, which containerd has in a directory of its own.
fn joins_user_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_deref());
    namespaces.unwrap_or_default().iter().any(|namespace| {
        let path = namespace.path().as_deref().unwrap_or(std::path::Path::new(""));
        namespace.typ() == LinuxNamespaceType::User && !path.as_os_str().is_empty()
    })
}

/// An id-mapped mount of a container for which there is no plan: a Linux one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMapped {
    /// Which of the bundle's mounts it is, from 0.
    pub index: usize,
    /// Where it goes in the container, for messages.
    pub destination: String,
    /// What is mounted, as the bundle says it.
    pub source: PathBuf,
    /// With all that is mounted below it.
    pub recursive: bool,
    /// How the owners of its files are translated. Empty maps are those of the container's user namespace.
    pub id_map: MountIdMap,
}

/// The id-mapped mounts of a specification.
///
/// # Errors
/// Names the mount that has maps and cannot have them.
pub fn id_mapped_mounts(spec: &Spec) -> Result<Vec<IdMapped>> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let mapped = mounts.iter().enumerate().map(|(index, mount)| {
        let destination = mount.destination().display().to_string();
        let at = format!("mounts[{index}] ({destination})");
        let has = |option: &str| mount.options().iter().flatten().any(|given| given == option);
        let option = if has("ridmap") { Some(true) } else { has("idmap").then_some(false) };
        let Some(id_map) = id_map(&at, mount, option, spec)? else { return Ok(None) };
        let recursive = has("rbind");
        let is_bind = recursive || has("bind") || mount.typ().as_deref() == Some("bind");
        if !is_bind && id_map == MountIdMap::identity() {
            return Ok(None);
        }
        match mount.source() {
            Some(source) if is_bind => {
                Ok(Some(IdMapped { index, destination, source: source.clone(), recursive, id_map }))
            }
            _ => Err(Refusal::invalid(format!("{at}: only a bind mount can be id-mapped"))),
        }
    });
    mapped.filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(
        mount: serde_json::Value,
        option: Option<bool>,
        user: bool,
    ) -> Result<Option<MountIdMap>> {
        let mount: Mount = serde_json::from_value(mount).unwrap();
        let namespaces = if user { json!([{"type": "user"}]) } else { json!([]) };
        let spec = json!({"ociVersion": "1.2.0", "linux": {"namespaces": namespaces}});
        id_map("mounts[0] (/data)", &mount, option, &serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn those_of_a_linux_container_are_listed() {
        let list = |mount: serde_json::Value| {
            let mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"}, mount]);
            let spec = json!({"ociVersion": "1.2.0", "mounts": mounts});
            id_mapped_mounts(&serde_json::from_value(spec).unwrap())
        };
        let map = json!([{"containerID": 0, "hostID": 65536, "size": 2}]);
        let mut mount = json!({"destination": "/data", "source": "/src", "options": ["rbind"]});
        assert_eq!(list(mount.clone()).unwrap(), []);
        (mount["uidMappings"], mount["gidMappings"]) = (map.clone(), map);
        let [mapped] = &list(mount.clone()).unwrap()[..] else { panic!("one") };
        assert_eq!(
            (mapped.index, mapped.source.to_str(), mapped.recursive),
            (1, Some("/src"), true)
        );
        assert_eq!(mapped.id_map.uid_map[0].host, 65536);
        mount["options"] = json!(["nosuid"]);
        assert!(list(mount).unwrap_err().message.contains("mounts[1] (/data)"));
    }

    #[test]
    fn a_container_in_a_pods_user_namespace_has_its_binds_made_for_it() {
        let list = |user: serde_json::Value| {
            let mounts = json!([
                {"destination": "/dev/shm", "type": "bind", "source": "/shm"},
                {"destination": "/proc", "type": "proc", "source": "proc"},
            ]);
            let spec = json!({
                "ociVersion": "1.2.0", "mounts": mounts, "linux": {"namespaces": [user]},
            });
            id_mapped_mounts(&serde_json::from_value(spec).unwrap()).unwrap()
        };
        let [shm] = &list(json!({"type": "user", "path": "/proc/7/ns/user"}))[..] else {
            panic!("one")
        };
        assert_eq!((shm.index, &shm.id_map), (0, &MountIdMap::identity()));
        assert_eq!(list(json!({"type": "user"})), []);
    }

    #[test]
    fn mappings_alone_are_enough_and_so_is_the_containers_namespace() {
        let map = json!([{"containerID": 5, "hostID": 100_000, "size": 1}]);
        let mapped = json!({"destination": "/data", "uidMappings": map, "gidMappings": map});
        let plain = json!({"destination": "/data"});
        assert_eq!(read(plain.clone(), None, true).unwrap(), None);

        let expected = vec![IdMap { container: 5, host: 100_000, size: 1 }];
        let read_map = read(mapped.clone(), None, false).unwrap().unwrap();
        assert_eq!((read_map.uid_map, read_map.recursive), (expected, false));
        assert!(read(mapped, Some(true), false).unwrap().unwrap().recursive);

        assert_eq!(read(plain.clone(), Some(false), true).unwrap().unwrap().uid_map, []);
        assert!(read(plain, Some(false), false).unwrap_err().message.contains("mounts[0]"));
        assert!(read(json!({"destination": "/data", "uidMappings": map}), None, true).is_err());
    }
}
