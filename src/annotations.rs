//! Annotations that ask something of us, turned into types.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Refusal, Result};
use crate::plan::{HttpAddress, HttpSetting, LimitKind, Network, Ports};

/// Annotations below this prefix are ours; one that we do not know is an error.
pub const PREFIX: &str = "io.lighter.";

const HANDLER: &str = "io.lighter.handler";
/// crun's annotations for the same choice, see crun(1), "run.oci.handler".
const CRUN_HANDLER: &str = "run.oci.handler";
const IMAGE_VARIANT: &str = "module.wasm.image/variant";
/// Ports of the guest's sockets, `8080,9000-9010`: empty is none of them, absent is all.
const TCP_BIND: &str = "io.lighter.network.tcp-bind";
const TCP_CONNECT: &str = "io.lighter.network.tcp-connect";
const UDP_BIND: &str = "io.lighter.network.udp-bind";
const UDP_SEND: &str = "io.lighter.network.udp-send";
/// Where a server listens: `8080`, `127.0.0.1:8080`.
const HTTP_ADDRESS: &str = "io.lighter.http.address";

/// Where a server's health and metrics are asked for, or `off`.
const HTTP_ADMIN: &str = "io.lighter.http.admin";

/// All that are ours.
const KNOWN: [&str; 7] =
    [HANDLER, TCP_BIND, TCP_CONNECT, UDP_BIND, UDP_SEND, HTTP_ADDRESS, HTTP_ADMIN];

/// What a container's annotations ask of us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Which kind of program the entrypoint is, where the annotations say so.
    pub handler: Option<Handler>,
    /// What the guest may use up, in each one's own unit.
    pub limits: BTreeMap<LimitKind, u64>,
    /// The ports that the guest's sockets may use.
    pub network: Network,
    /// How the guest is served, if it is an HTTP server.
    pub http: HttpRequests,
}

/// What a container's annotations ask of an HTTP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequests {
    /// Where it listens.
    pub address: Option<HttpAddress>,
    /// Where its health and its metrics are asked for, if anywhere.
    pub admin: Option<Option<HttpAddress>>,
    /// The rest, each in its own unit.
    pub settings: BTreeMap<HttpSetting, u64>,
}

/// How to decide what the entrypoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// WebAssembly, whatever it looks like.
    Wasm,
    /// WebAssembly if its name ends in `.wasm` or `.wat`, else Linux (crun's `-smart` forms).
    WasmBySuffix,
    /// A Linux program.
    Linux,
}

impl Requests {
    /// Reads the annotations of a bundle.
    ///
    /// # Errors
    /// Names an unknown annotation below [`PREFIX`], or a value that is none of those allowed.
    pub fn read(annotations: &HashMap<String, String>) -> Result<Self> {
        let limit = |key: &str| LimitKind::ALL.into_iter().find(|kind| kind.annotation() == key);
        let setting =
            |key: &str| HttpSetting::ALL.into_iter().find(|setting| setting.annotation() == key);
        let mut limits = BTreeMap::new();
        let mut http = HttpRequests::default();
        let mut ours: Vec<_> =
            annotations.iter().filter(|(key, _)| key.starts_with(PREFIX)).collect();
        ours.sort();
        for (key, value) in ours {
            let wrong = |why| Refusal::invalid(format!("annotations: {key:?} is {value:?}: {why}"));
            if let Some(kind) = limit(key) {
                limits.insert(kind, kind.parse(value).map_err(wrong)?);
            } else if let Some(setting) = setting(key) {
                http.settings.insert(setting, setting.parse(value).map_err(wrong)?);
            } else if key == HTTP_ADDRESS {
                http.address = Some(value.parse().map_err(wrong)?);
            } else if key == HTTP_ADMIN {
                http.admin = Some(HttpAddress::parse_or_off(value).map_err(wrong)?);
            } else if !is_known(key) {
                let known = KNOWN.map(|key| format!("{key:?}")).join(", ");
                let limits: Vec<_> = LimitKind::ALL.iter().map(|kind| kind.name()).collect();
                let settings: Vec<_> =
                    HttpSetting::ALL.iter().map(|setting| setting.name()).collect();
                return Err(Refusal::invalid(format!(
                    "annotations: {key:?} is not an annotation of Lighter's; known are {known} and, \
                     below \"io.lighter.limits.\", {}, below \"io.lighter.http.\", {}",
                    limits.join(", "),
                    settings.join(", ")
                )));
            }
        }
        let ports = |key| ports(annotations, key);
        let network = Network {
            tcp_bind: ports(TCP_BIND)?,
            tcp_connect: ports(TCP_CONNECT)?,
            udp_bind: ports(UDP_BIND)?,
            udp_send: ports(UDP_SEND)?,
        };
        Ok(Self { handler: handler(annotations)?, limits, network, http })
    }
}

fn is_known(key: &str) -> bool {
    KNOWN.contains(&key)
}

fn ports(annotations: &HashMap<String, String>, key: &str) -> Result<Option<Ports>> {
    let Some(text) = annotations.get(key) else { return Ok(None) };
    let wrong = |why| Refusal::invalid(format!("annotations: {key:?} is {text:?}: {why}"));
    text.parse().map(Some).map_err(wrong)
}

fn handler(annotations: &HashMap<String, String>) -> Result<Option<Handler>> {
    match annotations.get(HANDLER).map(String::as_str) {
        Some("wasm") => return Ok(Some(Handler::Wasm)),
        Some("linux") => return Ok(Some(Handler::Linux)),
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "annotations: {HANDLER:?} is {other:?}; it may be \"wasm\" or \"linux\""
            )));
        }
        None => {}
    }
    // Other values of these two belong to other runtimes' handlers; they are not ours to judge.
    let foreign = [CRUN_HANDLER, IMAGE_VARIANT].map(|key| annotations.get(key).map(String::as_str));
    Ok(foreign.into_iter().flatten().find_map(|value| match value {
        "wasm" | "compat" => Some(Handler::Wasm),
        "wasm-smart" | "compat-smart" => Some(Handler::WasmBySuffix),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Requests> {
        Requests::read(&pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn selects_as_crun_does() {
        for (key, value, expected) in [
            (HANDLER, "wasm", Some(Handler::Wasm)),
            (HANDLER, "linux", Some(Handler::Linux)),
            (CRUN_HANDLER, "wasm", Some(Handler::Wasm)),
            (CRUN_HANDLER, "krun", None),
            (IMAGE_VARIANT, "compat", Some(Handler::Wasm)),
            (IMAGE_VARIANT, "compat-smart", Some(Handler::WasmBySuffix)),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap().handler, expected, "{key}={value}");
        }
    }

    #[test]
    fn refuses_an_unknown_annotation_of_ours() {
        let refusal = read(&[("io.lighter.hanlder", "wasm"), ("org.other", "x")]).unwrap_err();
        assert!(refusal.message.contains("io.lighter.hanlder"), "{refusal}");
    }

    #[test]
    fn reads_limits_in_their_own_units() {
        let requests = read(&[
            ("io.lighter.limits.memory", "64Mi"),
            ("io.lighter.limits.cpu-time", "1m30s"),
            ("io.lighter.limits.fuel", "1G"),
        ]);
        let expected = [
            (LimitKind::Memory, 64 << 20),
            (LimitKind::CpuTime, 90_000),
            (LimitKind::Fuel, 1_000_000_000),
        ];
        assert_eq!(requests.unwrap().limits, BTreeMap::from(expected));
    }

    #[test]
    fn refuses_a_limit_that_is_none() {
        for (name, value, why) in [
            ("timeout", "30", "it has no unit; write \"30s\" for seconds"),
            ("timeout", "0s", "it must be more than nothing"),
            ("memory", "64MB", "it is not a quantity such as \"64Mi\", \"1G\" or \"100\""),
            ("instances", "0", "it must be more than nothing"),
        ] {
            let key = format!("io.lighter.limits.{name}");
            let refusal = read(&[(&key, value)]).unwrap_err();
            assert_eq!(refusal.message, format!("annotations: {key:?} is {value:?}: {why}"));
        }
        assert!(read(&[("io.lighter.limits.handles", "0")]).is_ok());
        let refusal = read(&[("io.lighter.limits.cpu_time", "1s")]).unwrap_err();
        assert!(refusal.message.contains("cpu_time"), "{refusal}");
    }

    #[test]
    fn reads_ports() {
        let network = read(&[(TCP_BIND, "8080"), (UDP_SEND, "")]).unwrap().network;
        assert_eq!(network.tcp_bind, Some("8080".parse().unwrap()));
        assert_eq!(network.udp_send, Some(Ports::default()), "empty is none of them");
        assert_eq!((network.tcp_connect, network.udp_bind), (None, None), "absent is all");
        let refusal = read(&[(TCP_CONNECT, "https")]).unwrap_err();
        assert!(refusal.message.contains("tcp-connect\" is \"https\""), "{refusal}");
    }

    #[test]
    fn reads_how_a_server_is_served() {
        let http = read(&[
            ("io.lighter.http.address", "127.0.0.1:80"),
            ("io.lighter.http.request-timeout", "5s"),
            ("io.lighter.http.memory", "16Mi"),
        ]);
        let http = http.unwrap().http;
        assert_eq!(http.address, "127.0.0.1:80".parse().ok());
        let expected = [(HttpSetting::RequestTimeout, 5000), (HttpSetting::Memory, 16 << 20)];
        assert_eq!(http.settings, BTreeMap::from(expected));
        for (name, value, why) in [
            ("concurrency", "0", "it may be 1 to 1000"),
            ("idle-timeout", "5", "it has no unit; write \"5s\" for seconds"),
            (
                "address",
                "web:80",
                "it is neither a port nor an address with one, such as \"8080\" or \"127.0.0.1:8080\"",
            ),
        ] {
            let key = format!("io.lighter.http.{name}");
            let refusal = read(&[(&key, value)]).unwrap_err();
            assert_eq!(refusal.message, format!("annotations: {key:?} is {value:?}: {why}"));
        }
        let refusal = read(&[("io.lighter.http.timeout", "5s")]).unwrap_err();
        assert!(refusal.message.contains("request-timeout"), "{refusal}");
    }

    #[test]
    fn refuses_an_unknown_handler() {
        let refusal = read(&[(HANDLER, "java")]).unwrap_err();
        assert!(refusal.message.contains("\"java\""), "{refusal}");
    }
}
