//! What a guest reaches over the network: what its network namespace does, and names as its own files say.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;

use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::netns::NetworkNamespace;
use crate::support::spec::directory;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_network_of_its_own_has_loopback_and_no_way_out,
        the_hosts_network_is_reached_only_when_it_is_given,
        a_network_joined_by_path_is_the_one_that_is_used,
        names_come_from_the_containers_hosts_file,
        names_are_asked_of_the_containers_name_server,
        a_hostile_nsswitch_conf_is_not_obeyed,
        a_guest_uses_only_the_ports_it_is_given,
    ]
}

/// How long a server of a test waits to be asked.
const LIMIT: Duration = Duration::from_secs(30);

/// An image with the probe as a component, which is the kind of guest that has sockets.
fn probe() -> Image {
    Image::guest("probe", &guests::probe("probe-p2"))
}

/// What the probe answers to `request`.
#[track_caller]
fn ask(namespace: &Namespace<'_>, image: &Image, flags: &[&str], request: &str) -> String {
    let output = namespace.run_with(image, flags, &["/probe.wasm", request], b"").expect_success();
    let text = output.text();
    let answer = text.strip_prefix(request).and_then(|rest| rest.strip_prefix(": "));
    answer.unwrap_or_else(|| panic!("no answer in {output}")).trim_end().to_owned()
}

/// A server on the host's loopback that answers one line to one connection.
fn server() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(b"from the host\n").unwrap();
        line
    });
    (address, thread)
}

fn a_network_of_its_own_has_loopback_and_no_way_out(namespace: &Namespace<'_>) {
    // Refused, not unreachable: the interface is up, and nobody listens.
    for address in ["127.0.0.1:7", "[::1]:7"] {
        let answer = ask(namespace, &probe(), &[], &format!("send {address} x"));
        assert_eq!(answer, "error: connection refused");
    }
    let answer = ask(namespace, &probe(), &[], "send 192.0.2.1:7 x");
    assert!(answer.contains("unreachable"), "{answer}");
}

fn the_hosts_network_is_reached_only_when_it_is_given(namespace: &Namespace<'_>) {
    let (address, server) = server();
    let request = format!("send {address} hello");
    assert_eq!(ask(namespace, &probe(), &[], &request), "error: connection refused");
    assert_eq!(ask(namespace, &probe(), &["--net-host"], &request), "from the host");
    assert_eq!(server.join().unwrap(), "hello\n");
}

fn a_network_joined_by_path_is_the_one_that_is_used(namespace: &Namespace<'_>) {
    let network = NetworkNamespace::make("used");
    network.ip(&["address", "add", "10.9.8.7/32", "dev", "lo"]);
    let flag = format!("network:{}", network.path().display());
    let answer = ask(namespace, &probe(), &["--with-ns", &flag], "send 10.9.8.7:7 x");
    assert_eq!(answer, "error: connection refused", "the address is there");
    let answer = ask(namespace, &probe(), &[], "send 10.9.8.7:7 x");
    assert!(answer.contains("unreachable"), "{answer}");
}

/// Flags that mount `files`, as container tools mount those that they write for a container.
fn etc(dir: &std::path::Path, files: &[(&str, &str)]) -> Vec<String> {
    let mount = |(name, text): &(&str, &str)| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        let source = path.display();
        ["--mount".to_owned(), format!("type=bind,src={source},dst=/etc/{name},options=rbind:ro")]
    };
    files.iter().flat_map(mount).collect()
}

fn names_come_from_the_containers_hosts_file(namespace: &Namespace<'_>) {
    let dir = directory();
    let flags = etc(dir.path(), &[("hosts", "10.1.2.3 db.example.test db\n")]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(ask(namespace, &probe(), &flags, "lookup db.example.test"), "10.1.2.3");
    assert_eq!(ask(namespace, &probe(), &flags, "lookup db"), "10.1.2.3");
    // The host's own names are none of the guest's.
    let answer = ask(namespace, &probe(), &flags, "lookup other.example.test");
    assert!(answer.starts_with("error"), "{answer}");
}

fn names_are_asked_of_the_containers_name_server(namespace: &Namespace<'_>) {
    let network = NetworkNamespace::make("dns");
    let server = network.within(|| UdpSocket::bind("127.0.0.1:53")).unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let asked = std::thread::spawn(move || answer_one_name(&server));
    let dir = directory();
    let files = [("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5\n"), ("hosts", "")];
    let mut flags = etc(dir.path(), &files);
    flags.extend(["--with-ns".into(), format!("network:{}", network.path().display())]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(ask(namespace, &probe(), &flags, "lookup web.example.test"), "10.5.6.7");
    asked.join().unwrap();
}

/// A name server (RFC 1035) that knows `web.example.test` as 10.5.6.7. Ends when nobody asks it for a while, and
/// panics if nobody ever did.
fn answer_one_name(server: &UdpSocket) {
    const HEADER: usize = 12;
    const NAME: &[u8] = b"\x03web\x07example\x04test\0";
    const TYPE_A_CLASS_IN: &[u8] = &[0, 1, 0, 1];
    // The question's name again, type A, class IN, a minute to live, four bytes.
    const ANSWER: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 5, 6, 7];
    let mut message = [0; 512];
    let mut asked = false;
    while let Ok((length, from)) = server.recv_from(&mut message) {
        let question = message[HEADER..length].strip_prefix(NAME).expect("a question for the name");
        let known = question.starts_with(TYPE_A_CLASS_IN);
        let mut answer = message[..HEADER + NAME.len() + TYPE_A_CLASS_IN.len()].to_vec();
        // From a server that recurses: one question, one answer or none.
        answer[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(known), 0, 0, 0, 0]);
        answer.extend(if known { ANSWER } else { &[] });
        server.send_to(&answer, from).expect("answer");
        asked |= known;
        if asked {
            server.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        }
    }
    assert!(asked, "nobody asked for the address");
}

fn a_hostile_nsswitch_conf_is_not_obeyed(namespace: &Namespace<'_>) {
    let dir = directory();
    let files = [
        ("hosts", "10.1.2.3 db.example.test\n"),
        // To a C library that obeys: load /lib/libnss_evil.so.2 from the image, and ask nothing else.
        ("nsswitch.conf", "hosts: evil [!UNAVAIL=return]\npasswd: evil\n"),
    ];
    let flags = etc(dir.path(), &files);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(ask(namespace, &probe(), &flags, "lookup db.example.test"), "10.1.2.3");
}

fn a_guest_uses_only_the_ports_it_is_given(namespace: &Namespace<'_>) {
    let flags = |name: &'static str, ports: &str| {
        ["--annotation".to_owned(), format!("io.lighter.network.{name}={ports}")]
    };
    let ask = |flags: &[String], request: &str| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        ask(namespace, &probe(), &flags, request)
    };
    // The same answer from the runner's own check as from the kernel.
    let denied = "error: permission denied";
    assert_eq!(ask(&flags("tcp-connect", "7"), "send 127.0.0.1:7 x"), "error: connection refused");
    assert_eq!(ask(&flags("tcp-connect", "8"), "send 127.0.0.1:7 x"), denied);
    assert_eq!(ask(&flags("tcp-connect", ""), "send 127.0.0.1:7 x"), denied);
    // A connection needs a port of the kernel's choice, which is not one to be named.
    assert_eq!(ask(&flags("tcp-bind", ""), "send 127.0.0.1:7 x"), "error: connection refused");
    assert_eq!(ask(&flags("tcp-bind", "8080"), "echo 127.0.0.1:8081"), denied);
    assert_eq!(ask(&flags("tcp-bind", "8080"), "echo 127.0.0.1:0"), denied);
    assert_eq!(ask(&flags("udp-send", "53"), "datagram 127.0.0.1:53 x"), "sent");
    assert_eq!(ask(&flags("udp-send", "54"), "datagram 127.0.0.1:53 x"), denied);
    // UDP and TCP are apart.
    assert_eq!(ask(&flags("tcp-connect", ""), "datagram 127.0.0.1:53 x"), "sent");
}
