//! Bodies as large as they come, in both directions, in memory that does not grow with them.

use std::io::{Read, Write};
use std::time::Instant;

use libtest_mimic::Trial;

use super::server::{Client, Server, get};
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![large_bodies_take_no_memory]
}

/// What a body has that is larger than any buffer on its way; with `LIGHTER_SOAK` it is a gigabyte.
fn size() -> usize {
    if std::env::var_os("LIGHTER_SOAK").is_some() { 1 << 30 } else { 64 << 20 }
}

fn large_bodies_take_no_memory(namespace: &Namespace<'_>) {
    let server =
        Server::start(namespace, &[("http.request-timeout", "5m"), ("http.cpu-time", "0s")]);
    assert_eq!(server.get("/hello").status, 200);
    let size = size();
    let piece = vec![1; 1 << 16];
    let begin = Instant::now();

    // In.
    let mut client = Client::of(server.connect());
    client.send(
        format!("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").as_bytes(),
    );
    for _ in 0..size / piece.len() {
        client.send(&piece);
    }
    assert_eq!(client.response("POST").text(), format!("{size} {size}\n"));
    let came_in = begin.elapsed();

    // Out, to a client that is in no hurry to begin with.
    client.send(get(&format!("/sized?{size}")).as_bytes());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (mut read, mut head) = (0, true);
    let mut buffer = vec![0; 1 << 16];
    while read < size {
        let taken = client.0.read(&mut buffer).unwrap();
        assert!(taken > 0, "closed after {read} bytes");
        let mut body = &buffer[..taken];
        if head {
            let end = body.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
            (body, head) = (&body[end + 4..], false);
        }
        assert!(body.iter().all(|byte| *byte == b'x'));
        read += body.len();
    }
    assert_eq!(read, size);
    let went_out = begin.elapsed() - came_in;

    // Both at once.
    let stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = Client::of(stream);
    let both = size / 4;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {both}\r\n\r\n");
            writer.write_all(head.as_bytes()).unwrap();
            for _ in 0..both / piece.len() {
                writer.write_all(&piece).unwrap();
            }
        });
        assert_eq!(reader.response("POST").body.len(), both);
    });

    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid)).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: usize = peak.split_whitespace().next().unwrap().parse().unwrap();
    eprintln!("{size} bytes: in {came_in:?}, out {went_out:?}, at most {peak} KiB");
    // The program itself, one instance's memory and buffers.
    assert!(peak < 48 << 10, "{peak} KiB at most, with bodies of {size} bytes");
    server.stop();
}
