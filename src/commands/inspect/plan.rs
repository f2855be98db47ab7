//! What a program would get as a container in which nothing else is asked for: as `lighter run` and `ctr run` start one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lighter::annotations::Requests;
use lighter::bundle::Bundle;
use lighter::config::Config;
use lighter::host::Host;
use lighter::plan::{Plan, plan};
use serde_json::json;

use crate::commands::images::Execution;

/// The plan of a program at `path` in a container, and the machine that it is for.
///
/// # Errors
/// What creating such a container would say.
pub(super) fn of(path: &str, execution: &Execution, config: &Config) -> Result<(Plan, Host)> {
    let words = [&execution.entrypoint, &execution.cmd];
    let mut args: Vec<&str> = words.into_iter().flatten().flatten().map(String::as_str).collect();
    if args.is_empty() {
        args.push(path);
    }
    let cwd = execution.working_dir.as_deref().filter(|dir| !dir.is_empty()).unwrap_or("/");
    // Names of users are in the image's root file system, which nobody has unpacked.
    let mut ids =
        execution.user.as_deref().unwrap_or("0").split(':').map(|id| id.parse().unwrap_or(0_u32));
    let (uid, gid) = (ids.next().unwrap_or(0), ids.next().unwrap_or(0));
    let namespaces = ["pid", "ipc", "uts", "mount", "network", "cgroup"];
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": args,
            "env": execution.env.clone().unwrap_or_default(),
            "cwd": cwd,
            "user": { "uid": uid, "gid": gid },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "linux": { "namespaces": namespaces.map(|kind| json!({ "type": kind })) },
    });
    let spec = serde_json::from_value(spec).context("make a bundle")?;
    let bundle = Bundle { path: PathBuf::from("/"), spec, requests: Requests::default() };
    let host = Host::detect();
    let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok((plan(&name, &bundle, &host, config)?, host))
}
