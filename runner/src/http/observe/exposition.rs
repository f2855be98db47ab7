//! Metrics as Prometheus reads them: its text format 0.0.4, or OpenMetrics 1.0 for who asks for that.

use std::fmt::{Display, Write};

use lighter::engine::WASMTIME_VERSION;

use super::counters::{BUCKETS, Count, FAILED, OUTGOING, REFUSED, Sums};

/// One of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// What is answered to a request with this `Accept`.
    pub(super) fn of(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is not counted, but as it is now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauges {
    /// Requests that run.
    pub(super) running: u64,
    /// Requests that wait for that.
    pub(super) waiting: u64,
    /// Bytes of the memories and tables of all instances.
    pub(super) memory: u64,
    /// Whether no more connections are taken.
    pub(super) draining: bool,
}

struct Page {
    text: String,
    format: Format,
}

impl Page {
    /// Begins what is counted as `name`, without its `_total`.
    fn counter(&mut self, name: &str, help: &str) {
        let total = if self.format == Format::Text { "_total" } else { "" };
        self.head(format_args!("{name}{total}"), "counter", help);
    }

    /// One series of it; `labels` with their braces.
    fn count(&mut self, name: &str, labels: impl Display, value: u64) {
        let _ = writeln!(self.text, "{name}_total{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn head(&mut self, name: impl Display, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A counter of which there are several by one label.
    fn counts(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.counter(name, help);
        for (value, many) in values {
            self.count(name, format_args!("{{{label}=\"{value}\"}}"), *many);
        }
    }
}

/// The whole page.
pub(super) fn page(format: Format, sums: &Sums, gauges: Gauges) -> String {
    let mut page = Page { text: String::with_capacity(8 << 10), format };

    let name = "lighter_http_requests";
    page.counter(name, "Requests that are done, by method and status; 499: the client left.");
    for (method, status, many) in &sums.requests {
        let code = status.map_or("other".to_owned(), |status| status.to_string());
        page.count(name, format_args!("{{method=\"{method}\",code=\"{code}\"}}"), *many);
    }

    let name = "lighter_http_request_duration_seconds";
    page.head(
        name,
        "histogram",
        "From a request's head to the end of its answer, or of its client.",
    );
    let mut below = 0;
    let bounds = BUCKETS.iter().map(|(_, seconds)| *seconds).chain(["+Inf"]);
    for (many, bound) in sums.buckets.iter().zip(bounds) {
        below += many;
        let _ = writeln!(page.text, "{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let nanoseconds = sums.get(Count::Nanoseconds);
    let (whole, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let _ = writeln!(page.text, "{name}_sum {whole}.{rest:09}\n{name}_count {below}");

    page.gauge("lighter_http_requests_running", "Requests that the guest has.", gauges.running);
    page.gauge("lighter_http_requests_waiting", "Requests that wait for that.", gauges.waiting);

    let values: Vec<_> = REFUSED.into_iter().zip(sums.refused).collect();
    let help = "Requests that were refused before the guest had them.";
    page.counts("lighter_http_requests_refused", help, "reason", &values);
    let values: Vec<_> = FAILED.into_iter().zip(sums.failed).collect();
    let help =
        "Requests that the guest failed to serve: it trapped, took too long, was out of memory.";
    page.counts("lighter_http_requests_failed", help, "reason", &values);

    let plain = [
        ("lighter_http_request_body_bytes", "Bytes of bodies that clients sent.", Count::BytesIn),
        ("lighter_http_response_body_bytes", "Bytes of bodies of answers.", Count::BytesOut),
        ("lighter_http_connections", "Connections of clients, from the first on.", Count::Opened),
        ("lighter_http_instances_created", "Instances that were made.", Count::Created),
        ("lighter_http_instances_reused", "Instances that served once more.", Count::Reused),
        ("lighter_http_access_log_lines", "Lines of the access log.", Count::LinesWritten),
        (
            "lighter_http_access_log_lines_dropped",
            "Lines of the access log that nobody read in time.",
            Count::LinesDropped,
        ),
        ("lighter_http_spans_exported", "Spans that the collector took.", Count::SpansExported),
        ("lighter_http_spans_dropped", "Spans that it did not take in time.", Count::SpansDropped),
    ];
    for (name, help, count) in plain {
        page.counter(name, help);
        page.count(name, "", sums.get(count));
    }
    let open = sums.get(Count::Opened).saturating_sub(sums.get(Count::Closed));
    page.gauge("lighter_http_connections_open", "Connections of clients that are open.", open);

    let values: Vec<_> = OUTGOING.into_iter().zip(sums.outgoing).collect();
    let help = "Requests of the guest's own, by the class of their status.";
    page.counts("lighter_http_outgoing_requests", help, "code", &values);

    let help = "Memory and tables of all instances.";
    page.gauge("lighter_http_instances_memory_bytes", help, gauges.memory);
    let help = "Whether the server has been told to stop, and takes no more connections.";
    page.gauge("lighter_http_draining", help, gauges.draining.into());
    let name = "lighter_build_info";
    page.head(name, "gauge", "Of what the server is made; always 1.");
    let version = env!("CARGO_PKG_VERSION");
    let _ =
        writeln!(page.text, "{name}{{version=\"{version}\",wasmtime=\"{WASMTIME_VERSION}\"}} 1");
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode};

    use super::super::counters::Counters;
    use super::*;

    #[test]
    fn formats_differ_where_they_must() {
        let counters = Counters::new();
        let took = Duration::from_millis(1500);
        counters.request(&Method::GET, StatusCode::OK, took);
        counters.request(&Method::POST, StatusCode::NOT_FOUND, took);
        let of = |format| page(format, &counters.sums(), Gauges::default());
        let (text, open) = (of(Format::Text), of(Format::OpenMetrics));
        for page in [&text, &open] {
            for line in [
                "lighter_http_requests_total{method=\"GET\",code=\"200\"} 1\n",
                "lighter_http_request_duration_seconds_bucket{le=\"1.0\"} 0\n",
                "lighter_http_request_duration_seconds_bucket{le=\"2.5\"} 2\n",
                "lighter_http_request_duration_seconds_bucket{le=\"+Inf\"} 2\n",
                "lighter_http_request_duration_seconds_sum 3.000000000\n",
                "lighter_http_request_duration_seconds_count 2\n",
                "lighter_http_requests_refused_total{reason=\"busy\"} 0\n",
            ] {
                assert!(page.contains(line), "{line:?} is not in {page}");
            }
        }
        assert!(text.contains("# TYPE lighter_http_requests_total counter\n"));
        assert!(open.contains("# TYPE lighter_http_requests counter\n"));
        assert!(open.ends_with("\n# EOF\n") && !text.contains("# EOF"));
        assert_eq!(
            Format::of(Some("application/openmetrics-text;version=1.0.0,*/*;q=0.1")),
            Format::OpenMetrics
        );
        assert_eq!(Format::of(Some("*/*")), Format::Text);
    }
}
