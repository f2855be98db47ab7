//! `lighter spec`: a config.json to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{Outcome, SPEC_VERSION};

/// Write a config.json for a WebAssembly guest
///
/// It runs /app.wasm of the directory rootfs beside it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's directory
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,

    /// For a user who is not root
    #[arg(long)]
    rootless: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let file = args.bundle.join("config.json");
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let text = format!("{:#}\n", config(args.rootless.then_some(own)));
    let mut new = match OpenOptions::new().write(true).create_new(true).open(&file) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists; remove it first", file.display())
        }
        opened => opened.with_context(|| file.display().to_string())?,
    };
    new.write_all(text.as_bytes()).with_context(|| file.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// `own`: whose the container's root is to be, where that is not the host's root.
fn config(own: Option<(u32, u32)>) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    // Without root nobody would give a network of its own an interface.
    namespaces.push(if own.is_some() { "user" } else { "network" });
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let mut config = json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/app.wasm"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "lighter",
        "mounts": [{
            "destination": "/tmp",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "nodev", "noexec", "mode=1777", "size=65536k"],
        }],
        "linux": {"namespaces": namespaces},
    });
    if let Some((uid, gid)) = own {
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        config["linux"]["uidMappings"] = map(uid);
        config["linux"]["gidMappings"] = map(gid);
    }
    config
}

#[cfg(test)]
mod tests {
    use lighter::bundle::Bundle;

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for own in [None, Some((1000, 1000))] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("config.json"), config(own).to_string()).unwrap();
            let bundle = Bundle::load(dir.path()).unwrap();
            assert!(!bundle.wants_terminal());
            assert_eq!(bundle.root(), Some(dir.path().join("rootfs")));
        }
    }

    #[test]
    fn what_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args { bundle: dir.path().to_owned(), rootless: false };
        run(args.clone()).unwrap();
        let error = run(args).unwrap_err().to_string();
        assert!(error.ends_with("config.json exists; remove it first"), "{error}");
    }
}
