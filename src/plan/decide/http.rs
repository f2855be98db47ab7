//! Where a server listens, and what it may use up.

use oci_spec::runtime::Spec;

use crate::annotations::Requests;
use crate::config::Config;
use crate::plan::{DEFAULT_PORT, Http, HttpAddress, HttpSetting};

/// The variable that platforms set to the port they expect a server at.
const PORT: &str = "PORT";
/// The same choice for the Wasmtime shim of runwasi.
const PEER_ADDRESS: &str = "WASMTIME_HTTP_PROXY_SOCKET_ADDR";
/// What the OCI image specification makes of an image's `ExposedPorts`, see its conversion.md.
const EXPOSED: &str = "org.opencontainers.image.exposedPorts";

pub(super) fn http(
    spec: &Spec,
    requests: &Requests,
    env: &[(String, String)],
    config: &Config,
) -> Http {
    let setting = |setting: HttpSetting| {
        let value = requests.http.settings.get(&setting).copied();
        Some((setting, value.or_else(|| config.http.get(setting))?))
    };
    Http {
        address: address(spec, requests, env),
        admin: requests.http.admin.unwrap_or(config.http.admin()),
        settings: HttpSetting::ALL.into_iter().filter_map(setting).collect(),
        processors: processors(spec),
        processes: processes(spec),
    }
}

/// What is wrong with a variable matters only if the program is a server, which is not known yet.
fn address(
    spec: &Spec,
    requests: &Requests,
    env: &[(String, String)],
) -> Result<HttpAddress, String> {
    if let Some(address) = requests.http.address {
        return Ok(address);
    }
    let variable = |name: &str| env.iter().rev().find(|(key, _)| key == name);
    if let Some((name, value)) = variable(PEER_ADDRESS).or_else(|| variable(PORT)) {
        return value.parse().map_err(|why| format!("process.env {name}={value:?}: {why}"));
    }
    let exposed = spec.annotations().as_ref().and_then(|all| all.get(EXPOSED));
    let port = exposed.and_then(|ports| only_tcp_port(ports)).unwrap_or(DEFAULT_PORT);
    Ok(HttpAddress { ip: None, port })
}

/// The port of `8080/tcp,53/udp`, if there is one of TCP and no other.
pub fn only_tcp_port(exposed: &str) -> Option<u16> {
    let mut ports =
        exposed.split(',').map(str::trim).filter_map(|port| match port.split_once('/') {
            Some((port, "tcp")) => Some(port),
            Some(_) => None,
            None => Some(port),
        });
    let port = ports.next()?.parse().ok().filter(|port| *port != 0)?;
    ports.next().is_none().then_some(port)
}

/// How many processors' time the bundle grants, rounded up, and how many threads it leaves room for.
fn processors(spec: &Spec) -> Option<u32> {
    let resources = spec.linux().as_ref()?.resources().as_ref()?;
    let cpu = resources.cpu().as_ref();
    let quota = cpu.and_then(|cpu| {
        let quota = u64::try_from(cpu.quota()?).ok().filter(|quota| *quota > 0)?;
        // The kernel's own period.
        Some(quota.div_ceil(cpu.period().filter(|period| *period > 0).unwrap_or(100_000)))
    });
    // A thread of its own watches the clock, and some look names up.
    let threads = processes(spec).map(|limit| (limit / 4).max(1));
    let least = quota.into_iter().chain(threads).min()?;
    Some(u32::try_from(least).unwrap_or(u32::MAX))
}

fn processes(spec: &Spec) -> Option<u64> {
    let limit = spec.linux().as_ref()?.resources().as_ref()?.pids().as_ref()?.limit();
    u64::try_from(limit).ok().filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(
        spec: &str,
        annotations: &[(&str, &str)],
        env: &[(&str, &str)],
        config: &str,
    ) -> Http {
        let spec = serde_json::from_str(&format!(r#"{{"ociVersion":"1.0.2"{spec}}}"#)).unwrap();
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let requests = Requests::read(&annotations.iter().map(pair).collect()).unwrap();
        let env: Vec<_> = env.iter().map(pair).collect();
        http(&spec, &requests, &env, &toml::from_str(config).unwrap())
    }

    #[test]
    fn the_most_exact_word_on_the_address_counts() {
        let exposed =
            r#","annotations":{"org.opencontainers.image.exposedPorts":"7000/tcp,53/udp"}"#;
        let two = r#","annotations":{"org.opencontainers.image.exposedPorts":"7000,7001"}"#;
        let annotation: &[_] = &[("io.lighter.http.address", "127.0.0.1:1")];
        let peer = ("WASMTIME_HTTP_PROXY_SOCKET_ADDR", "0.0.0.0:2");
        let port = ("PORT", "3");
        let none: &[(&str, &str)] = &[];
        for (spec, annotations, env, expected) in [
            (exposed, annotation, &[peer, port][..], "127.0.0.1:1"),
            (exposed, none, &[port, peer], "0.0.0.0:2"),
            (exposed, none, &[("PORT", "9"), port], ":3"),
            (exposed, none, none, ":7000"),
            (two, none, none, ":8080"),
            ("", none, none, ":8080"),
        ] {
            let http = decided(spec, annotations, env, "");
            assert_eq!(http.address.unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_port_that_is_none_is_a_servers_trouble_only() {
        let http = decided("", &[], &[("PORT", "tcp://10.0.0.1:80")], "");
        let why = http.address.unwrap_err();
        assert!(why.starts_with("process.env PORT=\"tcp://10.0.0.1:80\": "), "{why}");
    }

    #[test]
    fn an_annotation_is_above_the_configuration() {
        let config = "[http]\nconcurrency = 8\nidle_timeout = \"5s\"";
        let http = decided("", &[("io.lighter.http.concurrency", "2")], &[], config);
        assert_eq!(http.get(HttpSetting::Concurrency), 2);
        assert_eq!(http.get(HttpSetting::IdleTimeout), 5000);
        assert_eq!(http.get(HttpSetting::Grace), HttpSetting::Grace.default_value());
    }

    #[test]
    fn the_admin_address_is_off_unless_it_is_asked_for() {
        let annotation = |value| [("io.lighter.http.admin", value)];
        let of_node = "[http]\nadmin = \":9090\"";
        let admin = |annotations: &[_], config| {
            decided("", annotations, &[], config).admin.map(|admin| admin.to_string())
        };
        assert_eq!(admin(&[], ""), None);
        assert_eq!(admin(&annotation("127.0.0.1:1"), of_node).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(admin(&[], of_node).as_deref(), Some(":9090"));
        assert_eq!(admin(&annotation("off"), of_node), None);
    }

    #[test]
    fn threads_follow_the_quota() {
        let of = |resources: &str| {
            decided(&format!(r#","linux":{{"resources":{resources}}}"#), &[], &[], "").processors
        };
        assert_eq!(of("{}"), None);
        assert_eq!(of(r#"{"cpu":{"quota":150000,"period":100000}}"#), Some(2));
        assert_eq!(of(r#"{"cpu":{"quota":50000}}"#), Some(1));
        assert_eq!(of(r#"{"cpu":{"quota":-1}}"#), None);
        assert_eq!(of(r#"{"cpu":{"quota":800000},"pids":{"limit":8}}"#), Some(2));
        assert_eq!(of(r#"{"pids":{"limit":-1}}"#), None);
    }
}
