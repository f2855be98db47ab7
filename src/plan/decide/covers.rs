//! `linux.readonlyPaths` and `linux.maskedPaths`.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::mounts::{is_left_out, plain};
use crate::error::Result;

/// The paths of one of the two fields, without those below mounts that a guest does not get: what these paths
/// are meant for, parts of `/proc` and `/sys`, is not there.
pub(super) fn paths(spec: &Spec, field: &str) -> Result<Vec<String>> {
    let linux = spec.linux().as_ref();
    let paths = match field {
        "linux.readonlyPaths" => linux.and_then(|l| l.readonly_paths().as_deref()),
        _ => linux.and_then(|l| l.masked_paths().as_deref()),
    };
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let left_out: Vec<&Path> = mounts
        .iter()
        .filter(|mount| is_left_out(mount))
        .map(|mount| mount.destination().as_path())
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
        assert_eq!(paths(&spec, "linux.maskedPaths").unwrap(), ["/secret/key", "/procession"]);
        assert_eq!(paths(&spec, "linux.readonlyPaths").unwrap(), ["/data/config"]);
    }

    #[test]
    fn the_root_itself_is_not_covered() {
        let spec = json!({"ociVersion": "1.2.0", "linux": {"maskedPaths": ["/tmp", "/"]}});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let refusal = paths(&spec, "linux.maskedPaths").unwrap_err();
        assert!(refusal.message.contains("linux.maskedPaths[1]"), "{refusal}");
    }
}
