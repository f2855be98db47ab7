//! What a request costs, counted: no clock runs here, so nothing of this depends on how busy the machine is. Where a number is
//! exceeded, something was added to every request; it is lowered with what is saved.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use super::server::{Client, Server, get};
use crate::support::command::eventually;
use crate::support::namespace::Namespace;
use crate::support::process::Process;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![a_request_touches_few_pages, a_request_is_few_system_calls]
}

const REQUESTS: usize = 200;
const SOON: Duration = Duration::from_secs(20);

#[track_caller]
fn ask(client: &mut Client, times: usize) {
    for _ in 0..times {
        client.send(get("/hello").as_bytes());
        assert_eq!(client.response("GET").status, 200);
    }
}

/// What a request has touched of its memory is wiped and stays where it is. A memory that comes anew for each request would be half a
/// dozen pages for this guest; one that were brought as a whole, hundreds.
fn a_request_touches_few_pages(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    let mut client = Client::of(server.connect());
    // The first ones bring what stays: code, stacks, the server's own heap.
    ask(&mut client, REQUESTS);
    let before = faults(server.pid);
    ask(&mut client, REQUESTS);
    let each = (faults(server.pid) - before) as f64 / REQUESTS as f64;
    assert!(each <= PAGES, "{each} pages were brought for a request");
    server.stop();
}

/// There were none; some, for what the server's own heap may come to need.
const PAGES: f64 = 2.0;

/// Minor faults: the tenth field of `stat` (proc(5)), counted from the state, which is the third.
fn faults(pid: u32) -> u64 {
    let stat = Process::of(pid).text("stat");
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(7).unwrap().parse().unwrap()
}

/// One that reads the request, one that asks which pages of the guest's memory are there, to wipe those, one that writes the
/// answer. How often threads wait for and
/// wake each other is the scheduler's business and not counted. Files that were opened for each request would be seen here.
fn a_request_is_few_system_calls(namespace: &Namespace<'_>) {
    const WAITING: [&str; 8] = [
        "epoll_wait(",
        "epoll_pwait",
        "futex(",
        "clock_nanosleep(",
        "restart_syscall(",
        "sched_yield(",
        // A thread wakes the one that waits for all.
        "write(4,",
        "+++",
    ];
    let server = Server::start(namespace, &[]);
    let mut client = Client::of(server.connect());
    ask(&mut client, REQUESTS);

    let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
    let mut strace = Command::new("strace")
        .args(["--follow-forks", "--quiet=all", "--output"])
        .arg(file.path())
        .args(["--attach", &server.pid.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("run strace: {error}: install strace (Debian, Fedora)"));
    let tracer = strace.id().to_string();
    let attached = || Process::of(server.pid).status("TracerPid") == tracer;
    assert!(eventually(SOON, attached), "strace does not attach");
    ask(&mut client, REQUESTS);
    kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
    strace.wait().unwrap();

    let text = fs::read_to_string(file.path()).unwrap();
    // Calls that were interrupted in the trace by those of other threads are counted where they begin.
    let calls = text.lines().filter_map(|line| line.split_once(' ').map(|(_, call)| call.trim()));
    let calls: Vec<&str> = calls
        .filter(|call| !call.starts_with("<..."))
        .filter(|call| !WAITING.iter().any(|waiting| call.starts_with(waiting)))
        .collect();
    // Twenty for what happens now and then.
    let most = 3 * REQUESTS + 20;
    let some = calls[..calls.len().min(40)].join("\n");
    assert!(calls.len() <= most, "{} calls for {REQUESTS} requests:\n{some}", calls.len());
    assert!(calls.len() >= 2 * REQUESTS, "{} calls: the trace is not all", calls.len());
    server.stop();
}
