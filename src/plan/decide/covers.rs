//! `linux.readonlyPaths` and `linux.maskedPaths`.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::mounts::{is_left_out, plain};
use crate::error::Result;

/// `linux.readonlyPaths`.
pub(super) fn read_only(spec: &Spec) -> Result<Vec<String>> {
    let linux = spec.linux().as_ref();
    planned("linux.readonlyPaths", linux.and_then(|l| l.readonly_paths().as_deref()), spec)
}

/// `linux.maskedPaths`.
pub(super) fn masked(spec: &Spec) -> Result<Vec<String>> {
    let linux = spec.linux().as_ref();
    planned("linux.maskedPaths", linux.and_then(|l| l.masked_paths().as_deref()), spec)
}

/// The paths, made plain, without those below mounts that a guest does not get: what these paths are meant for,
/// parts of `/proc` and `/sys`, is not there.
fn planned(field: &str, paths: Option<&[String]>, spec: &Spec) -> Result<Vec<String>> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let (left_out, given): (Vec<_>, Vec<_>) = mounts.iter().partition(|mount| is_left_out(mount));
    // Unless something that the guest does get is mounted in there.
    let left_out: Vec<&Path> = left_out
        .iter()
        .map(|mount| mount.destination().as_path())
        .filter(|path| !given.iter().any(|mount| mount.destination().starts_with(path)))
        .collect();
    let mut planned = Vec::new();
    for (index, path) in paths.unwrap_or_default().iter().enumerate() {
        let path = plain(&format!("{field}[{index}]"), path.as_ref())?;
        if !left_out.iter().any(|left_out| Path::new(&path).starts_with(left_out)) {
            planned.push(path);
        }
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_mounted_needs_no_cover() {
        let spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.2.0",
            "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/data", "type": "tmpfs"}],
            "linux": {
                "maskedPaths": ["/proc/kcore", "/data/../secret//key", "/procession"],
                "readonlyPaths": ["/proc/sys", "data/config"],
            },
        }))
        .unwrap();
        assert_eq!(masked(&spec).unwrap(), ["/secret/key", "/procession"]);
        assert_eq!(read_only(&spec).unwrap(), ["/data/config"]);
    }

    #[test]
    fn what_is_mounted_where_nothing_else_is_keeps_its_cover() {
        let spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.2.0",
            "mounts": [
                {"destination": "/proc", "type": "proc"},
                {"destination": "/proc/data", "source": "/data", "options": ["bind"]},
            ],
            "linux": {"maskedPaths": ["/proc/data/key"]},
        }))
        .unwrap();
        assert_eq!(masked(&spec).unwrap(), ["/proc/data/key"]);
    }

    #[test]
    fn the_root_itself_is_not_covered() {
        let spec = json!({"ociVersion": "1.2.0", "linux": {"maskedPaths": ["/tmp", "/"]}});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let refusal = masked(&spec).unwrap_err();
        assert!(refusal.message.contains("linux.maskedPaths[1]"), "{refusal}");
    }
}
