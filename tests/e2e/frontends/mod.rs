//! What people type: Docker and nerdctl, driven as they are, and the pages of the book.
//!
//! With `LIGHTER_FRONTENDS`, one at a time: they have networks of their own.

pub mod docker;
pub mod dockerd;
pub mod nerd;
pub mod nerdctl;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use libtest_mimic::Trial;

/// What `LIGHTER_FRONTENDS`, a list of names with commas, asks for.
pub fn asked_for() -> Vec<Trial> {
    let wanted = std::env::var("LIGHTER_FRONTENDS").unwrap_or_default();
    let lists = wanted.split(',').filter(|name| !name.is_empty()).map(|name| match name {
        "docker" => docker::tests(),
        "nerdctl" => nerdctl::tests(),
        "nat" => [docker::with_nat(), nerdctl::with_nat()].into_iter().flatten().collect(),
        other => panic!("LIGHTER_FRONTENDS={other}: docker, nerdctl and nat are known"),
    });
    lists.flatten().collect()
}

/// Ends what tests shared.
pub fn stop_shared() {
    docker::stop_shared();
    nerdctl::stop_shared();
}

/// Sends `line` to `address` over TCP, and returns the line that comes back.
#[track_caller]
pub fn converse(address: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(crate::support::containerd::LIMIT)).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}
