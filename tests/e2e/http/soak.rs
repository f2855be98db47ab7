//! One server, asked as fast as it answers, for as many seconds as `LIGHTER_SOAK` says (`make soak`): what it holds does not grow.
//!
//! Its trial prints what it has seen: requests, and each sample of memory, descriptors and threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::server::{Client, Server, get};
use crate::support::namespace::Namespace;
use crate::support::process::Process;
use crate::support::trials::trials;

/// The test of this module, if it is asked for.
pub fn tests() -> Vec<Trial> {
    if std::env::var_os("LIGHTER_SOAK").is_some() {
        trials![a_server_holds_no_more_than_at_first]
    } else {
        Vec::new()
    }
}

/// Clients, and requests that each sends at once.
const CLIENTS: usize = 8;
const AT_ONCE: usize = 16;
/// Samples, of which the first quarter is for the server to take what it needs.
const SAMPLES: u32 = 40;
/// KiB that memory may grow by while it is counted, whatever the number of requests: what one place of the pool keeps.
const GROWTH: i64 = 1 << 10;

/// What the server holds, after so many requests.
#[derive(Debug)]
struct Sample {
    requests: u64,
    /// KiB.
    rss: u64,
    /// KiB.
    pss: u64,
    descriptors: usize,
    threads: u64,
}

fn sample(process: &Process, requests: u64) -> Sample {
    let rollup = process.text("smaps_rollup");
    let kib = |field: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    Sample {
        requests,
        rss: kib("Rss:"),
        pss: kib("Pss:"),
        descriptors: process.descriptors().len(),
        threads: process.status("Threads").parse().unwrap(),
    }
}

fn a_server_holds_no_more_than_at_first(namespace: &Namespace<'_>) {
    let seconds: u32 =
        std::env::var("LIGHTER_SOAK").unwrap().parse().expect("LIGHTER_SOAK is seconds");
    let server = Server::start(namespace, &[]);
    let process = Process::of(server.pid);
    // All places of the pool have been used: each keeps something, and would count as growth when it is used late.
    let mut clients: Vec<_> = (0..64).map(|_| Client::of(server.connect())).collect();
    clients.iter_mut().for_each(|client| client.send(get("/hold?3000000,1000").as_bytes()));
    clients.iter_mut().for_each(|client| assert_eq!(client.response("GET").status, 200));
    drop(clients);
    let (requests, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    let samples: Vec<Sample> = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    ask_all(&server, round);
                    requests.fetch_add(ROUND, Ordering::Relaxed);
                }
            });
        }
        let taken = (0..SAMPLES).map(|_| {
            std::thread::sleep(Duration::from_secs(seconds.into()) / SAMPLES);
            sample(&process, requests.load(Ordering::Relaxed))
        });
        let taken = taken.collect();
        stop.store(true, Ordering::Relaxed);
        taken
    });
    let settled = &samples[samples.len() / 4..];
    let (rss, pss) = (growth(settled, |s| s.rss), growth(settled, |s| s.pss));
    let counted = (settled[settled.len() - 1].requests - settled[0].requests) * 2 / 3;
    let requests = requests.into_inner();
    for Sample { requests, rss, pss, descriptors, threads } in &samples {
        eprintln!(
            "{requests} requests: RSS {rss} KiB, PSS {pss} KiB, {descriptors} descriptors, {threads} threads"
        );
    }
    let rate = requests as f64 / begin.elapsed().as_secs_f64();
    eprintln!(
        "{requests} requests, {rate:.0} each second; over {counted}: RSS {rss:+} KiB, PSS {pss:+} KiB"
    );
    // PSS is only told: it grows when others end that share the program.
    assert!(rss < GROWTH, "memory grows by {rss} KiB");
    let (first, last) = (&settled[0], &settled[settled.len() - 1]);
    assert!(last.threads <= first.threads, "threads: {first:?}, {last:?}");
    // Connections that are made anew come and go.
    assert!(last.descriptors <= first.descriptors + CLIENTS, "descriptors: {first:?}, {last:?}");
    server.stop();
}

/// Requests of one round: many on one connection, some with a body, and one that traps now and then.
const ROUND: u64 = 10 * AT_ONCE as u64 + 2;

fn ask_all(server: &Server<'_>, round: u32) {
    let mut client = Client::of(server.connect());
    let hello = get("/hello").repeat(AT_ONCE);
    for _ in 0..10 {
        client.send(hello.as_bytes());
        for _ in 0..AT_ONCE {
            assert_eq!(client.response("GET").status, 200);
        }
    }
    let body = "x".repeat(10_000);
    client.send(
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{body}").as_bytes(),
    );
    assert_eq!(client.response("POST").text(), body);
    let (target, status) =
        if round.is_multiple_of(50) { ("/trap", 500) } else { ("/grow?3000000", 200) };
    client.send(get(target).as_bytes());
    assert_eq!(client.response("GET").status, status);
}

/// KiB more in the last third of `samples` than in the first, each by its median: a sample may meet requests that hold memory.
fn growth(samples: &[Sample], kib: impl Fn(&Sample) -> u64) -> i64 {
    let third = samples.len() / 3;
    let median = |samples: &[Sample]| {
        let mut all: Vec<u64> = samples.iter().map(&kib).collect();
        all.sort_unstable();
        i64::try_from(all[all.len() / 2]).unwrap()
    };
    median(&samples[samples.len() - third..]) - median(&samples[..third])
}
