//! What is seen of a server from outside: health, metrics, the access log, traces.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::collector::{Collector, Span, refuse_once};
use super::outgoing::neighbour;
use super::server::{Client, Response, Server, get};
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        what_was_asked_is_counted_and_logged,
        what_was_asked_is_traced,
        spans_are_sent_again_and_in_protobuf,
        nobody_waits_for_a_collector,
    ]
}

const ADMIN: &str = "127.0.0.1:9090";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The answer to `request`, of the admin listener.
#[track_caller]
fn ask_admin(server: &Server<'_>, request: &str) -> Response {
    let address: SocketAddr = ADMIN.parse().unwrap();
    let mut client = Client::of(server.try_connect_to(address).expect("connect"));
    client.send(request.as_bytes());
    client.response(request.split(' ').next().unwrap())
}

/// What each series of metrics is, by its name and labels; and that they are as Prometheus reads them.
fn series(page: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    let (mut family, mut families) = (String::new(), Vec::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(!families.contains(&family), "{family} is there twice");
            families.push(family.clone());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&family), "{line} is below {family}");
            let known = series.insert(name.to_owned(), value.parse().expect(line));
            assert_eq!(known, None, "{line}");
        }
    }
    series
}

fn what_was_asked_is_counted_and_logged(namespace: &Namespace<'_>) {
    let settings = [
        ("http.admin", ":9090"),
        ("http.access-log", "on"),
        ("http.body-bytes", "100"),
        ("http.request-timeout", "2s"),
    ];
    let server = Server::start(namespace, &settings);
    let health = get("/.well-known/lighter/health");
    let healthy = ask_admin(&server, &health);
    assert_eq!((healthy.status, healthy.text().as_str()), (200, "ok\n"));
    assert_eq!(ask_admin(&server, &get("/hello")).status, 404);
    assert_eq!(ask_admin(&server, "POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);

    let count = |bytes: usize| {
        let body = "x".repeat(bytes);
        format!("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{body}")
    };
    let asked = [
        (200, get("/hello")),
        (
            200,
            "GET /hello?a=1 HTTP/1.1\r\nHost: a\r\nUser-Agent: a\"b\r\nReferer: http://c/\r\n\r\n"
                .into(),
        ),
        (200, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (200, "PROPFIND /hello HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (200, count(5)),
        (413, count(101)),
        (404, get("/status?404")),
        (500, get("/trap")),
        (500, get("/error")),
        (504, get("/sleep?60000")),
        (
            501,
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".into(),
        ),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into()),
        (200, get("/fetch?http,127.0.0.1:8080,/hello")),
        (200, get("/fetch?http,127.0.0.1:9,/")),
    ];
    let mut sent = "hello\n".len();
    for (status, request) in &asked {
        let answer = server.ask(request);
        assert_eq!(answer.status, *status, "{request}");
        sent += answer.body.len();
    }
    // What breaks off, after its head or before its end.
    for target in ["/late-trap", "/short?9"] {
        let mut client = Client::of(server.connect());
        client.send(get(target).as_bytes());
        assert!(client.try_response("GET").is_err(), "{target}");
    }
    // One that does not wait for its answer.
    let mut client = Client::of(server.connect());
    client.send(get("/sleep?900").as_bytes());
    let page = || ask_admin(&server, &get("/metrics")).text();
    assert!(eventually(LIMIT, || page().contains("lighter_http_requests_running 1\n")));
    drop(client);

    let left = "lighter_http_requests_total{method=\"GET\",code=\"499\"} 1\n";
    assert!(eventually(LIMIT, || page().contains(left)), "{}", page());
    let metrics = series(&page());
    for (name, value) in [
        ("requests_total{method=\"GET\",code=\"200\"}", 7),
        ("requests_total{method=\"HEAD\",code=\"200\"}", 1),
        ("requests_total{method=\"other\",code=\"200\"}", 1),
        ("requests_total{method=\"POST\",code=\"200\"}", 1),
        ("requests_total{method=\"POST\",code=\"413\"}", 1),
        ("requests_total{method=\"GET\",code=\"404\"}", 1),
        ("requests_total{method=\"GET\",code=\"500\"}", 2),
        ("requests_total{method=\"GET\",code=\"504\"}", 1),
        ("requests_total{method=\"GET\",code=\"501\"}", 1),
        ("requests_total{method=\"GET\",code=\"400\"}", 1),
        ("request_duration_seconds_count", 18),
        ("request_duration_seconds_bucket{le=\"+Inf\"}", 18),
        ("requests_failed_total{reason=\"guest\"}", 4),
        ("requests_failed_total{reason=\"timeout\"}", 1),
        ("requests_refused_total{reason=\"busy\"}", 0),
        ("requests_refused_total{reason=\"malformed\"}", 1),
        ("requests_refused_total{reason=\"body_too_large\"}", 1),
        ("requests_refused_total{reason=\"unsupported\"}", 1),
        ("request_body_bytes_total", 5),
        ("connections_total", 18),
        ("instances_created_total", 15),
        ("instances_reused_total", 0),
        ("outgoing_requests_total{code=\"2xx\"}", 1),
        ("outgoing_requests_total{code=\"error\"}", 1),
        ("access_log_lines_dropped_total", 0),
        ("draining", 0),
    ] {
        let name = format!("lighter_http_{name}");
        assert_eq!(metrics.get(&name).copied(), Some(value as f64), "{name}: {metrics:#?}");
    }
    let bucket = |most: &str| {
        metrics[&format!("lighter_http_request_duration_seconds_bucket{{le=\"{most}\"}}")]
    };
    assert!(bucket("1.0") <= 17.0 && bucket("60.0") == 18.0, "{metrics:#?}");
    // Some of what broke off was on its way.
    let out = metrics["lighter_http_response_body_bytes_total"];
    assert!((sent as f64..=(sent + 15 + 8) as f64).contains(&out), "{out}, not {sent}");
    let took = metrics["lighter_http_request_duration_seconds_sum"];
    assert!((2.0..100.0).contains(&took), "{took}");
    let open = "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n";
    let open = ask_admin(&server, open);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(kind));
    assert!(open.text().ends_with("\n# EOF\n"), "{}", open.text());

    for line in [
        "] \"GET /hello HTTP/1.1\" 200 6 \"-\" \"-\"\n",
        "] \"GET /hello?a=1 HTTP/1.1\" 200 6 \"http://c/\" \"a\\x22b\"\n",
        "] \"HEAD /hello HTTP/1.1\" 200 0 \"-\" \"-\"\n",
        "] \"GET /trap HTTP/1.1\" 500 18 \"-\" \"-\"\n",
        "] \"GET /sleep?900 HTTP/1.1\" 499 0 \"-\" \"-\"\n",
    ] {
        server.logs(line);
    }
    let log = server.log();
    let lines = log.lines().filter(|line| line.starts_with("127.0.0.1 - - [")).count();
    assert_eq!(lines, 18, "{log}");

    // Told to stop, and not done yet.
    let mut client = Client::of(server.connect());
    client.send(get("/sleep?1500").as_bytes());
    assert!(eventually(LIMIT, || page().contains("lighter_http_requests_running 1\n")));
    server.signal("SIGTERM");
    assert!(eventually(LIMIT, || ask_admin(&server, &health).status == 503));
    assert!(page().contains("lighter_http_draining 1\n"));
    assert_eq!(client.response("GET").text(), "slept\n");
    server.logs("GET /sleep?1500 HTTP/1.1\" 200 6 ");
    server.expect_status(0);
}

fn what_was_asked_is_traced(namespace: &Namespace<'_>) {
    // Without spans, a context goes through as it is.
    let server = Server::start(namespace, &[("http.access-log", "1/4")]);
    let with_context = |target: &str, flags: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: web.test:8080\r\n");
        format!("{head}traceparent: 00-{TRACE}-{PARENT}-{flags}\r\ntracestate: a=1\r\n\r\n")
    };
    let described = server.ask(&with_context("/describe", "01")).text();
    assert!(described.contains(&format!("traceparent: 00-{TRACE}-{PARENT}-01\n")), "{described}");
    assert!(!server.get("/describe").text().contains("trace"));
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (port, asked) = neighbour(&server, ok);
    server.ask(&with_context(&format!("/fetch?http,127.0.0.1:{port},/"), "01"));
    let asked = asked.join().unwrap();
    assert!(asked.contains(&format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n")), "{asked}");
    assert!(asked.contains("tracestate: a=1\r\n"), "{asked}");
    assert_eq!(server.ask(&with_context("/trap", "01")).status, 500);
    server.logs(&format!(", trace {TRACE}, GET /trap: guest trapped: "));
    (0..36).for_each(|_| drop(server.get("/hello")));
    // One of four, of each thread's.
    let lines = || server.log().matches("127.0.0.1 - - [").count();
    assert!(eventually(LIMIT, || (10..=18).contains(&lines())), "{}", server.log());
    server.stop();

    let variables = [
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318",
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/json",
        "OTEL_EXPORTER_OTLP_HEADERS=x-key=secret",
        "OTEL_SERVICE_NAME=shop",
        "OTEL_BSP_SCHEDULE_DELAY=100",
    ];
    let flags: Vec<_> = variables.iter().flat_map(|variable| ["--env", variable]).collect();
    let server = Server::start_with(namespace, &[], &flags, 8080);
    let collector = Collector::listen(&server, "127.0.0.1:4318");

    // The guest is a child of the server, which is one of its client.
    let described = server.ask(&with_context("/describe", "01")).text();
    let span = collector.span("/describe");
    let own = &span.id;
    assert!(described.contains(&format!("traceparent: 00-{TRACE}-{own}-01\n")), "{described}");
    assert!(described.contains("tracestate: a=1\n"), "{described}");
    assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, PARENT));
    assert_eq!((span.service.as_str(), span.name.as_str(), span.kind), ("shop", "GET", 2));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("server.address", "web.test"),
        ("server.port", "8080"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
    ] {
        assert_eq!(span.get(key), Some(value), "{key}: {span:?}");
    }
    assert!(!span.is_error() && span.took_nanoseconds() > 0, "{span:?}");

    // What the guest asks belongs to the same trace, which may begin here.
    let (port, asked) = neighbour(&server, ok);
    server.get(&format!("/fetch?http,127.0.0.1:{port},/there"));
    let asked = asked.join().unwrap();
    let of_guest = collector.find(|span| span.kind == 3);
    let of_server: Span = collector.span("/fetch");
    assert_eq!(of_server.parent, "");
    assert_eq!((&of_guest.trace, &of_guest.parent), (&of_server.trace, &of_server.id));
    let context = format!("traceparent: 00-{}-{}-01\r\n", of_guest.trace, of_guest.id);
    assert!(asked.contains(&context), "{asked}");
    let full = format!("http://127.0.0.1:{port}/there");
    assert_eq!(of_guest.get("url.full"), Some(full.as_str()));

    // What fails is an error; of what its client does not want traced, there is nothing.
    assert_eq!(server.ask(&with_context("/hello?none", "00")).status, 200);
    assert_eq!(server.get("/trap").status, 500);
    let span = collector.span("/trap");
    assert_eq!((span.get("error.type"), span.is_error()), (Some("guest"), true));
    // Nothing is lost at the end.
    assert_eq!(server.get("/hello?last").status, 200);
    server.stop();
    collector.span("/hello");
    let hellos =
        collector.spans().into_iter().filter(|span| span.get("url.path") == Some("/hello"));
    let queries: Vec<_> = hellos.map(|span| span.get("url.query").map(str::to_owned)).collect();
    assert_eq!(queries, [Some("last".to_owned())]);
}

fn flags<'a>(variables: &[&'a str]) -> Vec<&'a str> {
    variables.iter().flat_map(|variable| ["--env", variable]).collect()
}

fn spans_are_sent_again_and_in_protobuf(namespace: &Namespace<'_>) {
    let variables = [
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318",
        "OTEL_SERVICE_NAME=shop",
        "OTEL_BSP_SCHEDULE_DELAY=100",
    ];
    let server = Server::start_with(namespace, &[], &flags(&variables), 8080);
    let listener = server.within(|| TcpListener::bind("127.0.0.1:4318")).unwrap();
    let collector = std::thread::spawn(move || refuse_once(&listener));
    assert_eq!(server.get("/hello?a").status, 200);
    let (refused, taken) = collector.join().unwrap();
    assert_eq!(refused, taken);
    let [of_resource] = &taken.resource_spans[..] else { panic!("{taken:?}") };
    let resource = of_resource.resource.as_ref().unwrap();
    assert_eq!(resource.get("service.name").as_deref(), Some("shop"));
    let [span] = &of_resource.scope_spans[0].spans[..] else { panic!("{taken:?}") };
    assert_eq!((span.trace_id.len(), span.span_id.len(), span.parent_span_id.len()), (16, 8, 0));
    assert_eq!((span.name.as_str(), span.kind), ("GET", 2));
    assert!(span.start < span.end, "{span:?}");
    assert_eq!(span.get("url.path").as_deref(), Some("/hello"));
    assert_eq!(span.get("http.response.status_code").as_deref(), Some("200"));
    server.stop();
}

/// One that takes connections and never answers, and one that is not there.
fn nobody_waits_for_a_collector(namespace: &Namespace<'_>) {
    let variables = [
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318",
        "OTEL_EXPORTER_OTLP_TIMEOUT=300",
        "OTEL_BSP_SCHEDULE_DELAY=100",
        "OTEL_BSP_MAX_QUEUE_SIZE=8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4",
    ];
    for is_there in [true, false] {
        let settings = [("http.admin", ":9090")];
        let server = Server::start_with(namespace, &settings, &flags(&variables), 8080);
        let silent = is_there.then(|| server.within(|| TcpListener::bind("127.0.0.1:4318")));
        let begin = Instant::now();
        let mut client = Client::of(server.connect());
        for _ in 0..100 {
            client.send(get("/hello").as_bytes());
            assert_eq!(client.response("GET").status, 200);
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        let dropped = || {
            let metrics = series(&ask_admin(&server, &get("/metrics")).text());
            metrics["lighter_http_spans_dropped_total"]
        };
        // All but those that wait, and those that are being sent.
        assert!(eventually(LIMIT, || dropped() >= 80.0), "{}", dropped());
        let begin = Instant::now();
        server.signal("SIGTERM");
        assert!(server.ends_within(Duration::from_secs(5)), "{:?}", begin.elapsed());
        server.logs("spans are lost: http://127.0.0.1:4318/v1/traces does not take them: ");
        server.expect_status(0);
        drop(silent);
    }
}
