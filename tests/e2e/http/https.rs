//! Requests that a guest makes by `https`: whom it believes, and what it is told of the others.

use libtest_mimic::Trial;
use rustls::version::{TLS12, TLS13};
use tempfile::NamedTempFile;

use super::authority::{Authority, Identity, Manner, Neighbour};
use super::server::{Client, Server, get, image};
use crate::support::namespace::Namespace;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        servers_are_believed_whom_the_images_bundle_speaks_for,
        another_bundle_is_named_by_the_environment_or_is_the_hosts,
        connections_are_so_many_at_a_time,
    ]
}

const HOSTS: &[u8] = b"127.0.0.1 localhost good.test other.test\n";
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const ALL: [&rustls::SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
const BOTH: &[&str] = &["h2", "http/1.1"];

fn servers_are_believed_whom_the_images_bundle_speaks_for(namespace: &Namespace<'_>) {
    let (known, unknown) = (Authority::new(), Authority::new());
    let bundle = format!("# An authority.\nwith a remark\n{}", known.pem());
    let image = image().file("/etc/hosts", HOSTS).file(BUNDLE, bundle.as_bytes());
    let server = Server::start_image(namespace, &image, &[], &[], 8080);

    let good = known.certifies(&["good.test", "127.0.0.1"], 2100);
    let tls = |identity: &Identity, protocols| Manner::Tls(identity.server(protocols, &ALL, None));
    let old = Manner::Tls(good.server(&[], &[&TLS12], None));
    let wants_a_certificate = |version| Manner::Tls(good.server(&[], version, Some(&known)));
    let expired = known.certifies(&["good.test"], 2020);
    let strange = unknown.certifies(&["good.test"], 2100);
    let own = Identity::of_its_own(&["good.test"]);

    // At the scheme's own port.
    let _default = Neighbour::new(&server, 443, tls(&good, BOTH));
    assert_eq!(server.get("/fetch?https,good.test,/").text(), "200 GET https://good.test/");

    for (what, manner, host, path, expected) in [
        ("HTTP/2", tls(&good, BOTH), "good.test", "/a?b=c", "200 GET https://good.test:PORT/a?b=c"),
        (
            "HTTP/1.1",
            tls(&good, &["http/1.1"]),
            "good.test",
            "/",
            "200 GET / HTTP/1.1 good.test:PORT",
        ),
        ("no protocol", tls(&good, &[]), "good.test", "/", "200 GET / HTTP/1.1 good.test:PORT"),
        ("an address", tls(&good, &[]), "127.0.0.1", "/", "200 GET / HTTP/1.1 127.0.0.1:PORT"),
        ("TLS 1.2", old, "good.test", "/", "200 GET / HTTP/1.1 good.test:PORT"),
        ("another name", tls(&good, BOTH), "other.test", "/", "TlsCertificateError"),
        (
            "an address that is not certified",
            tls(&strange, BOTH),
            "127.0.0.1",
            "/",
            "TlsCertificateError",
        ),
        ("an old certificate", tls(&expired, BOTH), "good.test", "/", "TlsCertificateError"),
        ("an unknown authority", tls(&strange, BOTH), "good.test", "/", "TlsCertificateError"),
        ("its own authority", tls(&own, BOTH), "good.test", "/", "TlsCertificateError"),
        ("no protocol in common", tls(&good, &["http/0.9"]), "good.test", "/", "TlsAlertReceived"),
        ("wants to know us", wants_a_certificate(&ALL), "good.test", "/", "TlsAlertReceived"),
        ("the same, of old", wants_a_certificate(&[&TLS12]), "good.test", "/", "TlsAlertReceived"),
        ("no TLS", Manner::Plain, "good.test", "/", "TlsProtocolError"),
        ("closes", Manner::Closes, "good.test", "/", "ConnectionTerminated"),
        ("does not speak", Manner::Silent, "good.test", "/", "ConnectionTimeout"),
        ("does not answer", tls(&good, &[]), "good.test", "/silent", "ConnectionReadTimeout"),
        ("does not go on", tls(&good, &[]), "good.test", "/quiet", "LastOperationFailed"),
    ] {
        let neighbour = Neighbour::new(&server, 0, manner);
        let port = neighbour.port.to_string();
        let target = match what.starts_with("does not") {
            true => format!("/fetch-within?300,https,{host}:{port},{path}"),
            false => format!("/fetch?https,{host}:{port},{path}"),
        };
        let answer = server.get(&target).text();
        let expected = expected.replace("PORT", &port);
        match expected.starts_with("200") {
            true => assert_eq!(answer, expected, "{what}"),
            false => assert!(answer.contains(&expected), "{what}: {answer}"),
        }
    }
    // Nobody there.
    let answer = server.get("/fetch?https,good.test:9,/").text();
    assert!(answer.contains("ConnectionRefused"), "{answer}");
    server.stop();
}

fn another_bundle_is_named_by_the_environment_or_is_the_hosts(namespace: &Namespace<'_>) {
    let (known, usual) = (Authority::new(), Authority::new());
    let bundle = NamedTempFile::new_in(Suite::get().scratch()).unwrap();
    std::fs::write(bundle.path(), known.pem()).unwrap();
    let configuration = NamedTempFile::new_in(Suite::get().scratch()).unwrap();
    let rest = std::fs::read_to_string(Suite::get().node_configuration()).unwrap();
    let text = format!("ca_bundle = {:?}\n{rest}", bundle.path());
    std::fs::write(configuration.path(), text).unwrap();
    let configured = ["--runtime-config-path", configuration.path().to_str().unwrap()];

    let with_usual = image().file(BUNDLE, usual.pem().as_bytes());
    let with_both = with_usual.clone().file("/own.pem", known.pem().as_bytes());
    let variable = ["--env", "SSL_CERT_FILE=/own.pem"];
    for (image, flags, believed) in [
        (with_both.named("example.test/both:latest"), &variable[..], true),
        (image(), &configured, true),
        // The image's comes before the host's.
        (with_usual.named("example.test/usual:latest"), &configured, false),
    ] {
        let server = Server::start_image(namespace, &image, &[], flags, 8080);
        let good = known.certifies(&["127.0.0.1"], 2100).server(BOTH, &ALL, None);
        let port = Neighbour::new(&server, 0, Manner::Tls(good));
        let answer = server.get(&format!("/fetch?https,127.0.0.1:{},/", port.port)).text();
        let expected = if believed { "200 GET https://127.0.0.1" } else { "TlsCertificateError" };
        assert!(answer.contains(expected), "{flags:?}: {answer}");
        server.stop();
    }
}

fn connections_are_so_many_at_a_time(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.outgoing", "1")]);
    let neighbour = Neighbour::new(&server, 0, Manner::Plain);
    let authority = format!("127.0.0.1:{}", neighbour.port);
    // One after the other.
    for _ in 0..3 {
        assert!(server.get(&format!("/fetch?http,{authority},/")).text().starts_with("200 "));
    }
    // The first one has the only place until it gives up waiting for the rest of its answer.
    let mut holding = Client::of(server.connect());
    holding.send(get(&format!("/fetch-within?1500,http,{authority},/quiet")).as_bytes());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let answer = server.get(&format!("/fetch-within?200,http,{authority},/")).text();
    assert!(answer.contains("ConnectionLimitReached"), "{answer}");
    // Who waits longer gets it.
    let answer = server.get(&format!("/fetch-within?20000,http,{authority},/")).text();
    assert!(answer.starts_with("200 "), "{answer}");
    assert!(holding.response("GET").text().contains("LastOperationFailed"));
    server.stop();
    let server = Server::start(namespace, &[("http.outgoing", "0")]);
    let answer = server.get("/fetch?http,127.0.0.1:8080,/hello").text();
    assert!(answer.contains("HttpRequestDenied"), "{answer}");
    server.stop();
}
