//! A pod's configuration, out of the message `PodSandboxConfig` of Kubernetes' container runtime interface.
//!
//! The few fields that matter are looked up by their numbers, which never change: stubs for that interface would be a
//! dependency larger than the rest of this service. They are those of
//! `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`.

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::empty::Empty;
use containerd_shim_protos::protobuf::{self, Message, UnknownValueRef};

use crate::sandbox::{Config, Dns, Scope};
use crate::task::{Code, Error};

/// What a sandbox's options say: `None` if they are not a pod's.
pub(super) fn config(options: Option<&Any>) -> Result<Option<Config>, Error> {
    let Some(options) = options else { return Ok(None) };
    let refuse = |message| Error::new(Code::InvalidArgument, message);
    match options.type_url.rsplit('/').next().unwrap_or_default() {
        "" => Ok(None),
        "runtime.v1.PodSandboxConfig" => pod(&options.value)
            .map(Some)
            .map_err(|error| refuse(format!("decode PodSandboxConfig: {error}"))),
        other => Err(refuse(format!(
            "sandbox options of type {other:?} are not known: use runtime.v1.PodSandboxConfig"
        ))),
    }
}

/// A message whose type is not known here: fields by number.
struct Fields(Empty);

impl Fields {
    fn read(bytes: &[u8]) -> protobuf::Result<Self> {
        Empty::parse_from_bytes(bytes).map(Self)
    }

    fn values(&self, number: u32) -> impl Iterator<Item = UnknownValueRef<'_>> {
        let fields = self.0.special_fields.unknown_fields().iter();
        fields.filter(move |(field, _)| *field == number).map(|(_, value)| value)
    }

    fn bytes(&self, number: u32) -> impl Iterator<Item = &[u8]> {
        self.values(number).filter_map(|value| match value {
            UnknownValueRef::LengthDelimited(bytes) => Some(bytes),
            _ => None,
        })
    }

    fn texts(&self, number: u32) -> Vec<String> {
        self.bytes(number).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    fn text(&self, number: u32) -> String {
        self.texts(number).pop().unwrap_or_default()
    }

    /// The message that is field `number`; `None` if it is not there.
    fn message(&self, number: u32) -> protobuf::Result<Option<Self>> {
        self.bytes(number).last().map(Self::read).transpose()
    }

    fn number(&self, number: u32) -> u64 {
        let varint = |value| match value {
            UnknownValueRef::Varint(value) => Some(value),
            _ => None,
        };
        self.values(number).filter_map(varint).last().unwrap_or_default()
    }
}

fn pod(bytes: &[u8]) -> protobuf::Result<Config> {
    let pod = Fields::read(bytes)?;
    let dns = pod.message(4)?.map(|dns| Dns {
        servers: dns.texts(1),
        searches: dns.texts(2),
        options: dns.texts(3),
    });
    let mut config = Config { hostname: pod.text(2), dns, ..Config::default() };
    let Some(linux) = pod.message(8)? else { return Ok(config) };
    config.cgroup = Some(linux.text(1)).filter(|path| !path.is_empty()).map(Into::into);
    for entry in linux.bytes(3) {
        let entry = Fields::read(entry)?;
        config.sysctls.push((entry.text(1), entry.text(2)));
    }
    let security = linux.message(2)?;
    let Some(namespaces) = security.map(|security| security.message(1)).transpose()?.flatten()
    else {
        return Ok(config);
    };
    config.network = scope(namespaces.number(1));
    config.pid = scope(namespaces.number(2));
    config.ipc = scope(namespaces.number(3));
    if let Some(user) = namespaces.message(5)?
        && scope(user.number(1)) == Scope::Pod
    {
        let first = |field| -> protobuf::Result<u32> {
            let map = user.message(field)?;
            Ok(map.map_or(0, |map| u32::try_from(map.number(1)).unwrap_or(u32::MAX)))
        };
        config.user = Some((first(2)?, first(3)?));
    }
    Ok(config)
}

/// `NamespaceMode`.
fn scope(mode: u64) -> Scope {
    match mode {
        0 => Scope::Pod,
        2 => Scope::Node,
        // 1, and 3: of another container, which only a container can have.
        _ => Scope::Container,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field `number`, a string or message.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    /// Field `number`, an integer less than 128 or the bytes of a larger one.
    fn integer(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3], value].concat()
    }

    #[test]
    fn a_pod_as_kubelet_describes_it() {
        let entry = [field(1, b"kernel.shmmax"), field(2, b"1")].concat();
        let map = integer(1, &[0x80, 0x80, 0x04]);
        let user = [field(2, &map), field(3, &map)].concat();
        let namespaces = [integer(2, &[1]), integer(3, &[2]), field(5, &user)].concat();
        let linux =
            [field(1, b"/kubepods/pod1"), field(2, &field(1, &namespaces)), field(3, &entry)];
        let dns = [field(1, b"10.0.0.1"), field(1, b"10.0.0.2"), field(2, b"test")].concat();
        let pod = [field(2, b"web"), field(4, &dns), field(8, &linux.concat())].concat();
        let any = Any {
            type_url: "runtime.v1.PodSandboxConfig".to_owned(),
            value: pod,
            ..Any::default()
        };
        let expected = Config {
            hostname: "web".to_owned(),
            dns: Some(Dns {
                servers: vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()],
                searches: vec!["test".to_owned()],
                options: Vec::new(),
            }),
            network: Scope::Pod,
            pid: Scope::Container,
            ipc: Scope::Node,
            user: Some((65536, 65536)),
            sysctls: vec![("kernel.shmmax".to_owned(), "1".to_owned())],
            cgroup: Some("/kubepods/pod1".into()),
        };
        assert_eq!(config(Some(&any)).expect("decodes"), Some(expected));
    }

    #[test]
    fn nothing_said_is_no_pod_and_an_empty_pod_shares_all() {
        let any = |name: &str| Any { type_url: name.to_owned(), ..Any::default() };
        assert_eq!(config(None).expect("none"), None);
        assert_eq!(config(Some(&any(""))).expect("none"), None);
        let pod = config(Some(&any("types.containerd.io/runtime.v1.PodSandboxConfig")));
        assert_eq!(pod.expect("a pod"), Some(Config::default()));
        let refused = config(Some(&any("other.Options"))).expect_err("refused");
        assert!(refused.message.contains("other.Options"), "{refused}");
    }
}
