//! What people type: Docker and nerdctl, driven as they are, and the pages of the book.
//!
//! With `LIGHTER_FRONTENDS`, one at a time: they have networks of their own.

pub mod client;
pub mod docker;
pub mod dockerd;
pub mod nerd;
pub mod nerdctl;
pub mod page;
mod path_runtime;
mod table;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use libtest_mimic::Trial;

use crate::support::containerd::{Containerd, LIMIT};
use crate::support::namespace::Namespace;
use crate::support::process::Process;
use crate::support::trials::plain_trials;

/// Those that any machine can run.
pub fn of_any_machine() -> Vec<Trial> {
    plain_trials![
        every_cell_of_the_table_names_a_test_or_a_reason,
        a_page_is_read_and_compared,
        the_page_of_ctr_is_true,
    ]
}

fn every_cell_of_the_table_names_a_test_or_a_reason() {
    table::check();
}

fn a_page_is_read_and_compared() {
    page::check();
}

/// All of them, whatever is asked for.
pub fn every() -> Vec<Trial> {
    let nat = [docker::with_nat(), nerdctl::with_nat()];
    let lists = [docker::tests(), path_runtime::tests(), nerdctl::tests(), of_any_machine()];
    lists.into_iter().chain(nat).flatten().collect()
}

fn the_page_of_ctr_is_true() {
    let containerd = Containerd::start("");
    let namespace = Namespace::of(&containerd, "page");
    namespace.uses_containers();
    let address = containerd.address().display().to_string();
    let environment =
        [("CONTAINERD_ADDRESS", address), ("CONTAINERD_NAMESPACE", namespace.name().to_owned())];
    page::run("ctr.md", &environment);
}

/// What `LIGHTER_FRONTENDS`, a list of names with commas, asks for.
pub fn asked_for() -> Vec<Trial> {
    let wanted = std::env::var("LIGHTER_FRONTENDS").unwrap_or_default();
    let lists = wanted.split(',').filter(|name| !name.is_empty()).map(|name| match name {
        // Those whose own daemons take the bridge away with them come last.
        "docker" => [path_runtime::tests(), docker::tests()].into_iter().flatten().collect(),
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
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

/// What `file` of the control group of process `pid` holds.
#[track_caller]
pub fn group_file(pid: u32, file: &str) -> String {
    let process = Process::of(pid);
    let groups = process.text("cgroup");
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup v2");
    let path = Path::new("/sys/fs/cgroup").join(group).join(file);
    let text = std::fs::read_to_string(&path);
    text.unwrap_or_else(|e| panic!("read {}: {e}", path.display())).trim_end().to_owned()
}
