//! One server, asked as fast as it answers, for as many seconds as `LIGHTER_SOAK` says, or as many requests as
//! `LIGHTER_SOAK_REQUESTS` does (`make soak`): what it holds does not grow.
//!
//! What it holds once everything has been used at once is no growth: before anything is counted, each place of the pool has had
//! each kind of request, all at the same time. The trial prints a table of what it has seen since.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::server::{Client, Server, get};
use crate::support::namespace::Namespace;
use crate::support::process::Process;
use crate::support::trials::trials;

/// The test of this module, if it is asked for.
pub fn tests() -> Vec<Trial> {
    if Scale::asked_for().is_some() {
        trials![a_server_holds_no_more_than_at_first]
    } else {
        Vec::new()
    }
}

/// How long it goes on.
#[derive(Clone, Copy)]
enum Scale {
    Seconds(u64),
    Requests(u64),
}

impl Scale {
    fn asked_for() -> Option<Self> {
        let number = |name: &str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
        };
        let requests = number("LIGHTER_SOAK_REQUESTS").map(Self::Requests);
        requests.or_else(|| number("LIGHTER_SOAK").map(Self::Seconds))
    }

    /// The part of it that is done, 0 to 1.
    fn done(self, since: Instant, requests: u64) -> f64 {
        match self {
            Self::Seconds(seconds) => since.elapsed().as_secs_f64() / seconds as f64,
            Self::Requests(all) => requests as f64 / all as f64,
        }
    }
}

/// Requests that the server runs at the same time.
const PLACES: usize = 64;
/// Clients, and requests that each sends at once.
const CLIENTS: usize = 8;
const AT_ONCE: usize = 16;
/// Samples, of which the first quarter is for what comes with time alone: buffers, the allocator's spare pages.
const SAMPLES: usize = 40;
/// KiB that memory may grow by while it is counted, whatever the number of requests. A step or two of the allocator's are
/// less; over ten million requests it is a quarter of a byte for each.
const GROWTH: i64 = 2 << 10;

/// What the server holds, after so many requests.
#[derive(Debug)]
struct Sample {
    requests: u64,
    at: Duration,
    /// KiB.
    rss: u64,
    /// KiB.
    pss: u64,
    descriptors: usize,
    threads: u64,
}

fn sample(process: &Process, requests: u64, since: Instant) -> Sample {
    let rollup = process.text("smaps_rollup");
    let kib = |field: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    Sample {
        requests,
        at: since.elapsed(),
        rss: kib("Rss:"),
        pss: kib("Pss:"),
        descriptors: process.descriptors().len(),
        threads: process.status("Threads").parse().unwrap(),
    }
}

/// Each place has had each kind of request, at the same time as all others.
fn warm_up(server: &Server<'_>) {
    let hold = get("/hold?3000000,1000");
    let kinds =
        [(&hold, 200), (&post(), 200), (&get("/trap"), 500), (&get("/hello"), 200), (&hold, 200)];
    for (request, status) in kinds {
        let mut clients: Vec<_> = (0..PLACES).map(|_| Client::of(server.connect())).collect();
        clients.iter_mut().for_each(|client| client.send(request.as_bytes()));
        clients.iter_mut().for_each(|client| assert_eq!(client.response("GET").status, status));
    }
}

fn a_server_holds_no_more_than_at_first(namespace: &Namespace<'_>) {
    let scale = Scale::asked_for().expect("it is asked for");
    let server = Server::start(namespace, &[]);
    let process = Process::of(server.pid);
    warm_up(&server);
    let (requests, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    let warm = sample(&process, 0, begin);
    let samples: Vec<Sample> = std::thread::scope(|scope| {
        let ask = || {
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                ask_all(&server, round);
                requests.fetch_add(ROUND, Ordering::Relaxed);
            }
        };
        let clients = [(); CLIENTS].map(|()| scope.spawn(ask));
        let taken = (1..=SAMPLES).map(|number| {
            let part = number as f64 / SAMPLES as f64;
            while scale.done(begin, requests.load(Ordering::Relaxed)) < part {
                std::thread::sleep(Duration::from_millis(50));
                let failed = clients.iter().any(|client| client.is_finished());
                assert!(!failed, "a client has failed; the server wrote {:?}", server.log());
            }
            sample(&process, requests.load(Ordering::Relaxed), begin)
        });
        let taken = taken.collect();
        stop.store(true, Ordering::Relaxed);
        taken
    });
    let all = requests.into_inner();
    let rate = all as f64 / begin.elapsed().as_secs_f64();
    eprintln!(
        "{all} requests, {rate:.0} each second, by {CLIENTS} clients; of each {ROUND}: {} of no body, {AT_ONCE} at once, one of \
         10 kB both ways, one that takes 3 MB or traps\n\
         | requests | seconds | RSS KiB | PSS KiB | descriptors | threads |\n|---|---|---|---|---|---|",
        ROUND - 2
    );
    for Sample { requests, at, rss, pss, descriptors, threads } in
        [&warm].into_iter().chain(&samples)
    {
        let at = at.as_secs();
        eprintln!("| {requests} | {at} | {rss} | {pss} | {descriptors} | {threads} |");
    }
    let settled = &samples[samples.len() / 4..];
    let (rss, pss) = (growth(settled, |s| s.rss), growth(settled, |s| s.pss));
    let (first, last) = (&settled[0], &settled[settled.len() - 1]);
    let counted = (last.requests - first.requests) * 2 / 3;
    let each = rss as f64 * 1024.0 / counted as f64;
    eprintln!("over {counted} requests: RSS {rss:+} KiB ({each:+.2} bytes each), PSS {pss:+} KiB");
    // PSS is only told: it grows when others end that share the program.
    assert!(rss < GROWTH, "memory grows by {rss} KiB");
    assert!(last.threads <= first.threads, "threads: {first:?}, {last:?}");
    // Connections that are made anew come and go.
    assert!(last.descriptors <= first.descriptors + CLIENTS, "descriptors: {first:?}, {last:?}");
    server.stop();
}

/// Requests of one round: many on one connection, some with a body, and one that traps now and then.
const ROUND: u64 = 10 * AT_ONCE as u64 + 2;

/// Bytes of a body.
const BODY: usize = 10_000;

fn post() -> String {
    let body = "x".repeat(BODY);
    format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n{body}")
}

fn ask_all(server: &Server<'_>, round: u32) {
    let mut client = Client::of(server.connect());
    let hello = get("/hello").repeat(AT_ONCE);
    for _ in 0..10 {
        client.send(hello.as_bytes());
        for _ in 0..AT_ONCE {
            assert_eq!(client.response("GET").status, 200);
        }
    }
    client.send(post().as_bytes());
    assert_eq!(client.response("POST").body.len(), BODY);
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
