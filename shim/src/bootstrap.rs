//! Which server a container belongs to, and where that server listens.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Where shims listen unless containerd says otherwise.
pub(crate) const SOCKET_DIR: &str = "/run/containerd/s";

/// Containers that agree on one of these share a server; the first that is there counts.
const GROUP_ANNOTATIONS: [&str; 2] =
    ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// The kernel's limit on a socket's path, its final NUL apart.
const MAX_SOCKET_PATH: usize = 106;

/// The group of the container `id`, whose `config.json` reads `config`.
///
/// # Errors
/// When `config` is not JSON, with line and column.
pub(crate) fn group(config: &[u8], id: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        annotations: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    }
    let config: Config =
        serde_json::from_slice(config).context("read annotations in config.json")?;
    let annotations = config.annotations.unwrap_or_default();
    let named = GROUP_ANNOTATIONS.iter().find_map(|name| annotations.get(*name)?.as_str());
    Ok(named.unwrap_or(id).to_owned())
}

/// Whether a bundle whose `config.json` reads `config` is that of a sandbox, which has no program to run. Mostly it has no
/// `config.json`, either.
///
/// # Errors
/// When `config` is not JSON, with line and column.
pub(crate) fn is_sandbox(config: &[u8]) -> anyhow::Result<bool> {
    #[derive(Deserialize)]
    struct Config {
        process: Option<serde::de::IgnoredAny>,
    }
    let config: Config = serde_json::from_slice(config).context("read config.json")?;
    Ok(config.process.is_none())
}

/// The path of the socket of `group`: the same for each container of it, and no other.
///
/// # Errors
/// When the kernel cannot take so long a path.
pub(crate) fn socket_path(
    dir: &str,
    address: &str,
    namespace: &str,
    group: &str,
) -> anyhow::Result<String> {
    let name: String = Sha256::digest(
        Path::new(address).join(namespace).join(group).as_os_str().as_encoded_bytes(),
    )
    .iter()
    .map(|byte| format!("{byte:02x}"))
    .collect();
    let path = format!("{}/{name}", dir.trim_end_matches('/'));
    if path.len() > MAX_SOCKET_PATH {
        bail!(
            "socket path {path} is longer than {MAX_SOCKET_PATH} bytes: configure a shorter socket directory"
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runcs_annotation_precedes_kubernetes() {
        let both = br#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#;
        assert_eq!(group(both, "id").expect("group"), "g");
        let pod = br#"{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#;
        assert_eq!(group(pod, "id").expect("group"), "pod");
    }

    #[test]
    fn without_an_annotation_a_container_is_alone() {
        for config in [&b"{}"[..], br#"{"annotations":null}"#, br#"{"annotations":{"a":"b"}}"#] {
            assert_eq!(group(config, "id").expect("group"), "id");
        }
        let error =
            format!("{:#}", group(b"{\n \"annotations\": 3}", "id").expect_err("not a map"));
        assert!(error.contains("config.json") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_sandbox_has_no_program() {
        assert!(is_sandbox(br#"{"ociVersion":"1.2.0","hostname":"a"}"#).expect("JSON"));
        assert!(!is_sandbox(br#"{"process":{"args":["/a.wasm"]}}"#).expect("JSON"));
    }

    #[test]
    fn the_socket_is_where_containerds_own_shims_would_put_it() {
        // sha256 of "/run/containerd/containerd.sock/default/x"
        assert_eq!(
            socket_path(SOCKET_DIR, "/run/containerd/containerd.sock", "default", "x")
                .expect("path"),
            "/run/containerd/s/5e250b13f984a15f73216d143af1bf3c64171aa56c781ba9d4040c75b2c1eee2"
        );
        let error =
            socket_path(&"/long".repeat(20), "a", "b", "c").expect_err("too long").to_string();
        assert!(error.contains("106"), "{error}");
    }
}
