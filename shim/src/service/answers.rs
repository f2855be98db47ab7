//! What the actions `start`, `delete` and `-info` read and print.

use anyhow::Context;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use lighter::container::Exit;
use serde_json::json;

use super::convert::timestamp;

/// The type of a JSON document as the OCI runtime specification's "features" has it.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// How containerd talks to the server.
const VERSION: i32 = 2;

/// Who ran `start`.
#[derive(Debug, PartialEq)]
pub(crate) enum Caller {
    /// containerd up to 2.2, which takes an address.
    Legacy,
    /// containerd from 2.3 on, which sends its parameters and takes a message.
    Bootstrap(Box<BootstrapParams>),
}

impl Caller {
    /// Knows the caller by what it wrote to stdin: an older containerd writes options there, which can look like
    /// parameters, but not like parameters for this very container.
    pub(crate) fn read(stdin: &[u8], id: &str, namespace: &str) -> Self {
        match BootstrapParams::parse_from_bytes(stdin) {
            Ok(params) if params.instance_id == id && params.namespace == namespace => {
                Self::Bootstrap(Box::new(params))
            }
            _ => Self::Legacy,
        }
    }

    /// The directory that containerd wants sockets in.
    pub(crate) fn socket_dir(&self) -> Option<&str> {
        match self {
            Self::Bootstrap(params) => params.socket_dir.as_deref().filter(|dir| !dir.is_empty()),
            Self::Legacy => None,
        }
    }
}

/// What `start` prints: where the server listens.
///
/// Of version 2, not 3, where a version is told: for a pod's containers containerd then runs `start` and `delete` of their
/// own. Otherwise nobody would clean up after them if the server is killed: containerd removes their bundles, and what is
/// recorded in them, before it runs `delete` for the pod. (It also stands for a service of streams that is not offered.)
///
/// # Errors
/// When the answer cannot be encoded.
pub(crate) fn bootstrap_answer(caller: &Caller, address: &str) -> anyhow::Result<Vec<u8>> {
    match caller {
        Caller::Legacy => Ok(address.as_bytes().to_vec()),
        Caller::Bootstrap(_) => {
            let result = BootstrapResult {
                version: VERSION,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..BootstrapResult::default()
            };
            result.write_to_bytes().context("encode the answer of start")
        }
    }
}

/// What `delete` prints.
///
/// # Errors
/// When the answer cannot be encoded.
pub(crate) fn delete_answer(pid: u32, exit: Exit) -> anyhow::Result<Vec<u8>> {
    let response = DeleteResponse {
        pid,
        exit_status: exit.status,
        exited_at: MessageField::some(timestamp(exit.at)),
        ..DeleteResponse::default()
    };
    response.write_to_bytes().context("encode the answer of delete")
}

/// What `-info` prints.
///
/// # Errors
/// When the answer cannot be encoded.
pub(crate) fn runtime_info() -> anyhow::Result<Vec<u8>> {
    let version = RuntimeVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..RuntimeVersion::default()
    };
    let features = Any {
        type_url: FEATURES.to_owned(),
        value: features().to_string().into_bytes(),
        ..Any::default()
    };
    let info = RuntimeInfo {
        name: crate::RUNTIME.to_owned(),
        version: MessageField::some(version),
        features: MessageField::some(features),
        ..RuntimeInfo::default()
    };
    info.write_to_bytes().context("encode the answer of -info")
}

fn features() -> serde_json::Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": ["bind", "rbind", "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec"],
        "linux": {
            "namespaces": ["mount", "pid", "ipc", "uts", "network", "user"],
            "cgroup": { "v1": true, "v2": true },
            "mountExtensions": { "idmap": { "enabled": true } },
        },
        "annotations": { "org.wasmtime.version": lighter::engine::WASMTIME_VERSION },
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn params(id: &str, namespace: &str) -> Vec<u8> {
        let params = BootstrapParams {
            instance_id: id.into(),
            namespace: namespace.into(),
            socket_dir: Some("/run/x".into()),
            ..BootstrapParams::default()
        };
        params.write_to_bytes().expect("encodes")
    }

    #[test]
    fn old_containerds_get_the_bare_address() {
        // Nothing, options of runc, and noise.
        let any = Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: b"abc".to_vec(),
            ..Any::default()
        };
        for stdin in [
            &b""[..],
            &any.write_to_bytes().expect("encodes"),
            b"\xff\xff",
            &params("other", "ns"),
            &params("id", "other"),
        ] {
            let caller = Caller::read(stdin, "id", "ns");
            assert_eq!(bootstrap_answer(&caller, "unix:///s").expect("answer"), b"unix:///s");
            assert_eq!(caller.socket_dir(), None);
        }
    }

    #[test]
    fn new_containerds_get_a_message_of_version_2() {
        let caller = Caller::read(&params("id", "ns"), "id", "ns");
        assert_eq!(caller.socket_dir(), Some("/run/x"));
        let answer = BootstrapResult::parse_from_bytes(
            &bootstrap_answer(&caller, "unix:///s").expect("answer"),
        )
        .expect("decodes");
        assert_eq!(
            (answer.version, &*answer.address, &*answer.protocol),
            (2, "unix:///s", "ttrpc")
        );
    }

    #[test]
    fn delete_says_when_and_how() {
        let at = UNIX_EPOCH + Duration::new(5, 6);
        let bytes =
            delete_answer(7, Exit { status: 137, at, oom: false, limit: None }).expect("answer");
        let response = DeleteResponse::parse_from_bytes(&bytes).expect("decodes");
        assert_eq!((response.pid, response.exit_status), (7, 137));
        assert_eq!((response.exited_at.seconds, response.exited_at.nanos), (5, 6));
    }

    #[test]
    fn info_carries_features_as_json() {
        let info = RuntimeInfo::parse_from_bytes(&runtime_info().expect("info")).expect("decodes");
        assert_eq!(info.name, "io.containerd.wasmtime.v1");
        assert_eq!(info.features.type_url, FEATURES);
        let features: serde_json::Value =
            serde_json::from_slice(&info.features.value).expect("JSON");
        assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    }
}
