//! Where spans go, and which: by the variables of OpenTelemetry's specification, in the container's environment.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::super::context::{Context, Received};

/// How spans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Protobuf,
    Json,
}

/// Which requests have spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampler {
    /// As the parent says, where there is one.
    by_parent: bool,
    /// Of other traces, this part: 0 to 1.
    part: f64,
}

/// What the variables say.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::http::observe) struct Settings {
    pub(super) endpoint: Uri,
    pub(super) protocol: Protocol,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the collector may take.
    pub(super) timeout: Duration,
    /// Of whom the spans are.
    pub(super) resource: Vec<(String, String)>,
    pub(super) sampler: Sampler,
    /// How long spans are gathered.
    pub(super) delay: Duration,
    /// Spans that may wait.
    pub(super) queue: usize,
    /// Spans that are sent at once.
    pub(super) batch: usize,
}

impl Settings {
    /// What `env` says; `None` if no spans are wanted.
    ///
    /// # Errors
    /// A sentence that names the variable which cannot be followed.
    pub(in crate::http::observe) fn read(
        env: &[(String, String)],
        program: &str,
    ) -> Result<Option<Self>, String> {
        // An empty variable is one that is not set.
        let get = |name: &str| {
            let found = env.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        let own = |name: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            let common = format!("OTEL_EXPORTER_OTLP_{name}");
            [own, common].into_iter().find_map(|name| Some((get(&name)?, name)))
        };
        let Some((text, variable)) = own("ENDPOINT") else { return Ok(None) };
        let is_off = get("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"));
        if is_off || get("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter != "otlp") {
            return Ok(None);
        }
        let wrong = |(value, name): (&str, String), why: &str| format!("{name}={value:?}: {why}");
        let endpoint = match variable.contains("TRACES") {
            true => text.parse::<Uri>(),
            false => format!("{}/v1/traces", text.trim_end_matches('/')).parse(),
        };
        let endpoint = endpoint
            .ok()
            .filter(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
            })
            .ok_or_else(|| {
                wrong((text, variable), "it is no address such as http://collector:4318")
            })?;
        let protocol = match own("PROTOCOL") {
            None | Some(("http/protobuf", _)) => Protocol::Protobuf,
            Some(("http/json", _)) => Protocol::Json,
            Some(other) => return Err(wrong(other, "it may be http/protobuf or http/json")),
        };
        let headers = match own("HEADERS") {
            None => Vec::new(),
            Some((text, name)) => pairs(text)
                .and_then(|pairs| pairs.into_iter().map(header).collect())
                // They may be secret.
                .ok_or_else(|| format!("{name} is not a list such as name=value,name=value"))?,
        };
        let number = |name: &str, default: u64| match get(name) {
            None => Ok(default),
            Some(text) => {
                text.parse().map_err(|_| wrong((text, name.to_owned()), "it is no number"))
            }
        };
        let timeout = match own("TIMEOUT") {
            None => 10_000,
            Some((_, name)) => number(&name, 0)?,
        };
        let count = |name, default| {
            number(name, default).map(|n| usize::try_from(n.clamp(1, 1 << 16)).unwrap_or(1))
        };
        let arg = ("OTEL_TRACES_SAMPLER_ARG", get("OTEL_TRACES_SAMPLER_ARG"));
        Ok(Some(Self {
            endpoint,
            protocol,
            headers,
            timeout: Duration::from_millis(timeout),
            resource: resource(
                get("OTEL_SERVICE_NAME"),
                get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
                program,
            )?,
            sampler: Sampler::read(get("OTEL_TRACES_SAMPLER"), arg.1)?,
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", 5000)?),
            queue: count("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?,
            batch: count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?,
        }))
    }
}

impl Sampler {
    fn read(name: Option<&str>, arg: Option<&str>) -> Result<Self, String> {
        let name = name.unwrap_or("parentbased_always_on");
        let (by_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let part = match (root, arg) {
            ("always_on", _) | ("traceidratio", None) => Some(1.0),
            ("always_off", _) => Some(0.0),
            ("traceidratio", Some(arg)) => {
                arg.parse().ok().filter(|part| (0.0..=1.0).contains(part))
            }
            _ => None,
        };
        let part = part.ok_or_else(|| match arg {
            Some(arg) if root == "traceidratio" => {
                format!("OTEL_TRACES_SAMPLER_ARG={arg:?}: it may be 0 to 1")
            }
            _ => format!("OTEL_TRACES_SAMPLER={name:?}: it is not known"),
        })?;
        Ok(Self { by_parent, part })
    }

    /// Whether there is to be a span of `context`.
    pub(super) fn takes(self, parent: Option<&Received>, context: Context) -> bool {
        match parent {
            Some(parent) if self.by_parent => parent.context.is_sampled(),
            _ => {
                let [.., a, b, c, d, e, f, g, h] = context.trace;
                let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
                // The others that see this trace come to the same: so do the SDKs of OpenTelemetry.
                number < (self.part * (1_u64 << 63) as f64) as u64
            }
        }
    }
}

/// Attributes of the resource; `name` is above what `attributes` say.
fn resource(
    name: Option<&str>,
    attributes: &str,
    program: &str,
) -> Result<Vec<(String, String)>, String> {
    let mut resource = pairs(attributes).ok_or_else(|| {
        format!(
            "OTEL_RESOURCE_ATTRIBUTES={attributes:?} is not a list such as name=value,name=value"
        )
    })?;
    const NAME: &str = "service.name";
    if let Some(name) = name {
        resource.retain(|(key, _)| key != NAME);
        resource.push((NAME.into(), name.into()));
    } else if !resource.iter().any(|(key, _)| key == NAME) {
        resource.push((NAME.into(), format!("unknown_service:{program}")));
    }
    let ours = [
        ("telemetry.sdk.name", "lighter"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    resource.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
    Ok(resource)
}

/// Reads `a=b,c=d`, where values may have `%20`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (key, value) = part.split_once('=')?;
        Some((key.trim().to_owned(), unescape(value.trim())?))
    };
    parts.map(pair).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn header((name, value): (String, String)) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::try_from(name).ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let env: Vec<_> = env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Settings::read(&env, "web.wasm")
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn without_an_endpoint_there_is_nothing_to_do() {
        assert_eq!(read(&[("OTEL_SERVICE_NAME", "a")]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    }

    #[test]
    fn what_concerns_traces_is_above_what_concerns_all() {
        let settings = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(settings.endpoint.to_string(), "http://collector:4318/v1/traces");
        assert_eq!(settings.protocol, Protocol::Protobuf);
        let name = ("service.name".to_owned(), "unknown_service:web.wasm".to_owned());
        assert!(settings.resource.contains(&name));
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1]:9/x"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20eA==, x-a=b"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,deployment.environment.name=b%2Cc"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.endpoint.to_string(), "http://[::1]:9/x");
        assert_eq!(settings.protocol, Protocol::Json);
        let headers: Vec<_> =
            settings.headers.iter().map(|(k, v)| (k.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(headers, [("authorization", "Basic eA=="), ("x-a", "b")]);
        let of = |key: &str| -> Vec<_> {
            let named = settings.resource.iter().filter(|(known, _)| known == key);
            named.map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(of("service.name"), ["shop"]);
        assert_eq!(of("deployment.environment.name"), ["b,c"]);
        assert_eq!(settings.delay, Duration::from_millis(100));
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:///run/collector"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
        ] {
            let why = read(&[ENDPOINT, (name, value)]).unwrap_err();
            assert!(why.starts_with(name) && !why.contains("secret"), "{why}");
        }
        let why = Sampler::read(Some("traceidratio"), Some("2")).unwrap_err();
        assert!(why.starts_with("OTEL_TRACES_SAMPLER_ARG"), "{why}");
    }

    #[test]
    fn samplers_take_their_part() {
        let part = |name, arg| {
            let sampler = Sampler::read(name, arg).unwrap();
            (0..2000).filter(|_| sampler.takes(None, Context::random())).count()
        };
        assert_eq!((part(None, None), part(Some("always_off"), None)), (2000, 0));
        assert!((400..600).contains(&part(Some("parentbased_traceidratio"), Some("0.25"))));
        let context = Context::random();
        let parent = Received { context, parent: HeaderValue::from_static(""), state: None };
        let takes = |name| Sampler::read(Some(name), None).unwrap().takes(Some(&parent), context);
        assert!(takes("always_on") && !takes("parentbased_always_on"));
    }
}
