//! `mounts`: which of them a guest gets, and their fstab-style options read into types.

use std::path::Path;

use oci_spec::runtime::{self, Spec};

use super::id_map::id_map;
use super::process::text;
use crate::bundle::Bundle;
use crate::error::{Refusal, Result};
use crate::host::Host;
use crate::plan::{Mount, MountAttribute, MountSource, Propagation, PropagationKind};

/// Windows into the kernel that native programs expect and a WebAssembly guest has no use for.
const NOT_FOR_GUESTS: [&str; 6] = ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"];

pub(super) fn mounts(bundle: &Bundle, label: Option<&str>) -> Result<Vec<Mount>> {
    bundle
        .spec
        .mounts()
        .as_deref()
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter(|(_, mount)| !is_left_out(mount))
        .map(|(index, mount)| plan_mount(&format!("mounts[{index}]"), mount, bundle, label))
        .collect()
}

/// Whether a guest does not get this mount at all.
pub(super) fn is_left_out(mount: &runtime::Mount) -> bool {
    mount.typ().as_deref().is_some_and(|kind| NOT_FOR_GUESTS.contains(&kind))
}

/// The SELinux label of what is mounted: `linux.mountLabel`.
pub(super) fn label<'b>(spec: &'b Spec, host: &Host) -> Result<Option<&'b str>> {
    let label = spec.linux().as_ref().and_then(|l| l.mount_label().as_deref());
    match label.filter(|label| !label.is_empty()) {
        Some(label) if !host.selinux => Err(Refusal::invalid(format!(
            "linux.mountLabel {label:?}: SELinux is not enabled on this node"
        ))),
        label => Ok(label),
    }
}

fn plan_mount(
    field: &str,
    mount: &runtime::Mount,
    bundle: &Bundle,
    label: Option<&str>,
) -> Result<Mount> {
    let destination = plain(&format!("{field}.destination"), mount.destination())?;
    let mut options = Options::read(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or_default();
    let source = if options.bind.is_some() || kind == "bind" || kind == "rbind" {
        if let Some((name, _)) = options.parameters.first() {
            return Err(Refusal::invalid(format!(
                "{field} ({destination}): option {name:?} is not one of a bind mount"
            )));
        }
        let path = mount.source().as_deref().unwrap_or(Path::new(""));
        if path.as_os_str().is_empty() {
            return Err(Refusal::invalid(format!(
                "{field} ({destination}): a bind mount needs a source"
            )));
        }
        let path = text(&format!("{field}.source"), &bundle.path.join(path))?;
        let recursive = options.bind == Some(true) || kind == "rbind";
        let id_map =
            id_map(&format!("{field} ({destination})"), mount, options.id_map, &bundle.spec)?;
        MountSource::Bind { path, recursive, id_map }
    } else if kind.is_empty() || kind == "none" {
        return Err(Refusal::invalid(format!(
            "{field} ({destination}): neither a type nor the option \"bind\" says what to mount"
        )));
    } else if options.id_map.is_some() || mount.uid_mappings().is_some() {
        return Err(Refusal::invalid(format!(
            "{field} ({destination}): only a bind mount can be id-mapped, not one of type {kind:?}"
        )));
    } else {
        let source = mount.source().as_deref().unwrap_or(Path::new(kind));
        let context = |(key, _): &(String, _)| key == "context";
        if let Some(label) = label.filter(|_| !options.parameters.iter().any(context)) {
            options.parameters.push(("context".to_owned(), Some(label.to_owned())));
        }
        MountSource::Filesystem {
            kind: kind.to_owned(),
            source: text(&format!("{field}.source"), source)?,
            parameters: options.parameters,
            copy_up: options.copy_up,
        }
    };
    Ok(Mount {
        destination,
        source,
        set: options.set,
        clear: options.clear,
        set_recursive: options.set_recursive,
        propagation: options.propagation,
    })
}

/// Absolute and without `.`, `..` or doubled slashes, so that it can also name a preopen.
pub(super) fn plain(field: &str, path: &Path) -> Result<String> {
    use std::path::Component;
    let written = text(field, path)?;
    let mut parts: Vec<&str> = Vec::new();
    for component in Path::new(&written).components() {
        match component {
            // A relative destination is taken from the root, as runc takes it.
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
        }
    }
    if parts.is_empty() {
        return Err(Refusal::invalid(format!(
            "{field} {written:?}: the root file system itself cannot be mounted over"
        )));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Options of one mount, sorted by what they mean.
#[derive(Default)]
struct Options {
    bind: Option<bool>,
    set: Vec<MountAttribute>,
    clear: Vec<MountAttribute>,
    set_recursive: Vec<MountAttribute>,
    propagation: Vec<Propagation>,
    parameters: Vec<(String, Option<String>)>,
    copy_up: bool,
    /// Id-mapped, and if so, with all below.
    id_map: Option<bool>,
}

impl Options {
    fn read(options: &[String]) -> Self {
        use MountAttribute::*;
        use PropagationKind::*;
        let mut read = Self::default();
        for option in options {
            match option.as_str() {
                "bind" => read.bind = Some(read.bind.unwrap_or(false)),
                "rbind" => read.bind = Some(true),
                "ro" => read.switch_on(ReadOnly),
                "rw" => read.switch_off(ReadOnly),
                "nosuid" => read.switch_on(NoSuid),
                "suid" => read.switch_off(NoSuid),
                "nodev" => read.switch_on(NoDev),
                "dev" => read.switch_off(NoDev),
                "noexec" => read.switch_on(NoExec),
                "exec" => read.switch_off(NoExec),
                "noatime" => read.switch_on(NoAtime),
                "atime" => read.switch_off(NoAtime),
                "nodiratime" => read.switch_on(NoDirAtime),
                "diratime" => read.switch_off(NoDirAtime),
                "relatime" => read.switch_on(RelAtime),
                "norelatime" => read.switch_off(RelAtime),
                "strictatime" => read.switch_on(StrictAtime),
                "nostrictatime" => read.switch_off(StrictAtime),
                "nosymfollow" => read.switch_on(NoSymFollow),
                "symfollow" => read.switch_off(NoSymFollow),
                "rro" => read.set_recursive.push(ReadOnly),
                "rnosuid" => read.set_recursive.push(NoSuid),
                "rnodev" => read.set_recursive.push(NoDev),
                "rnoexec" => read.set_recursive.push(NoExec),
                "rnoatime" => read.set_recursive.push(NoAtime),
                "rnosymfollow" => read.set_recursive.push(NoSymFollow),
                "shared" => read.propagate(Shared, false),
                "rshared" => read.propagate(Shared, true),
                "slave" => read.propagate(Slave, false),
                "rslave" => read.propagate(Slave, true),
                "private" => read.propagate(Private, false),
                "rprivate" => read.propagate(Private, true),
                "unbindable" => read.propagate(Unbindable, false),
                "runbindable" => read.propagate(Unbindable, true),
                "tmpcopyup" => read.copy_up = true,
                // Of no consequence for a new mount, or for one of a WebAssembly guest.
                "defaults" | "async" | "nomand" | "mand" | "loud" | "silent" | "copy"
                | "nocopy" | "z" | "Z" | "U" => {}
                "idmap" => read.id_map = Some(read.id_map.unwrap_or(false)),
                "ridmap" => read.id_map = Some(true),
                _ => read.parameters.push(match option.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (option.clone(), None),
                }),
            }
        }
        read
    }

    fn switch_on(&mut self, attribute: MountAttribute) {
        self.clear.retain(|a| *a != attribute);
        self.set.push(attribute);
    }

    fn switch_off(&mut self, attribute: MountAttribute) {
        self.set.retain(|a| *a != attribute);
        self.clear.push(attribute);
    }

    fn propagate(&mut self, kind: PropagationKind, recursive: bool) {
        self.propagation.push(Propagation { kind, recursive });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_made_plain() {
        for (written, plain) in
            [("/data", "/data"), ("//a/./b/", "/a/b"), ("/a/../../etc", "/etc"), ("rel", "/rel")]
        {
            assert_eq!(super::plain("mounts[0]", Path::new(written)).unwrap(), plain);
        }
        assert!(plain("mounts[0]", Path::new("/..")).is_err());
    }

    #[test]
    fn the_last_of_opposite_options_holds() {
        let options = ["ro", "rw", "nosuid", "size=64k", "rbind"].map(String::from);
        let read = Options::read(&options);
        assert_eq!(read.set, [MountAttribute::NoSuid]);
        assert_eq!(read.clear, [MountAttribute::ReadOnly]);
        assert_eq!(read.parameters, [("size".to_owned(), Some("64k".to_owned()))]);
        assert_eq!(read.bind, Some(true));
    }
}
