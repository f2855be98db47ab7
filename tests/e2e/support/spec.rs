//! Containers made from a whole `config.json`, for all that `ctr run` has no flag for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::suite::Suite;

/// A directory of a test's own, open to every user; gone when dropped.
pub fn directory() -> TempDir {
    let dir = TempDir::new_in(Suite::get().scratch()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// The `config.json` that containerd makes for the container `id` with the files below `root`, to run `args`.
pub fn spec(
    namespace: &super::namespace::Namespace<'_>,
    id: &str,
    root: &Path,
    args: &[&str],
) -> Value {
    let text = namespace.ctr(&["oci", "spec"]).expect_success().text();
    let mut spec: Value = serde_json::from_str(&text).expect("`ctr oci spec` writes JSON");
    spec["root"]["path"] = json!(root);
    spec["process"]["args"] = json!(args);
    spec["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", namespace.name()));
    spec
}
