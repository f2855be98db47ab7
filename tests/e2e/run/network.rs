//! What it reaches, and who reaches it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use libtest_mimic::Trial;

use super::Here;
use crate::support::guests;
use crate::support::trials::plain_trials;

pub(super) fn tests() -> Vec<Trial> {
    plain_trials![
        a_guest_connects_and_listens_only_where_it_is_published,
        a_network_of_its_own_has_nobody_in_it,
        names_are_looked_up_as_the_machine_does,
    ]
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn a_guest_connects_and_listens_only_where_it_is_published() {
    let here = Here::new();
    here.file("probe.wasm", guests::probe("probe-p2"));
    let (port, other) = (free_port(), free_port());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let send = format!("send {} hello", listener.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
        line
    });
    let echo = |port| format!("echo 127.0.0.1:{port}");
    let text = here.run(&["./probe.wasm", &send, &echo(port)]).expect_success().text();
    assert_eq!(heard.join().unwrap(), "hello\n");
    assert!(text.contains(&format!("{}: error: permission denied", echo(port))), "{text}");
    for flags in [
        &["-p", &*format!("{port}:{port}")][..],
        &["-p", &*port.to_string()],
        &["--network", "host"],
    ] {
        let asked = if flags[0] == "-p" { other } else { port };
        if asked == other {
            let text = here.run(&[flags, &["./probe.wasm", &echo(other)]].concat()).text();
            assert!(text.contains("permission denied"), "{flags:?}: {text}");
        }
        let mut command = here.run_command(&[flags, &["./probe.wasm", &echo(port)]].concat());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("listening on 127.0.0.1:{port}\n"), "{flags:?}");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"there and back\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        line.clear();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line, "there and back\n", "{flags:?}");
        assert!(child.wait().unwrap().success());
    }
    here.is_clean();
}

fn a_network_of_its_own_has_nobody_in_it() {
    let here = Here::new();
    here.file("probe.wasm", guests::probe("probe-p2"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let send = format!("send {} hello", listener.local_addr().unwrap());
    let text = here.run(&["--network", "none", "./probe.wasm", &send]).expect_success().text();
    assert!(text.contains("error: connection refused"), "{text}");
    let error = here.run(&["--network", "none", "-p", "80:80", "./probe.wasm"]).expect_status(125);
    assert!(error.errors().contains("nobody could come to the port"), "{error}");
}

fn names_are_looked_up_as_the_machine_does() {
    let here = Here::new();
    here.file("probe.wasm", guests::probe("probe-p2")).file("hosts", "192.0.2.7 machine.test\n");
    let text = here.run(&["./probe.wasm", "lookup localhost"]).expect_success().text();
    assert!(text.contains("127.0.0.1"), "{text}");
    // A volume lies over what it has of the machine.
    let volume = ["-v", "./hosts:/etc/hosts:ro", "./probe.wasm", "lookup machine.test"];
    let text = here.run(&volume).expect_success().text();
    assert!(text.contains("192.0.2.7"), "{text}");
    here.is_clean();
}
