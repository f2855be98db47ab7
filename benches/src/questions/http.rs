//! How many requests an HTTP server answers, and how long they take where it is not quite busy.
//!
//! All servers are there from the beginning, and are asked in turns. First as much as each can take; then 70 % of that,
//! at times that are none of the server's choosing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Picture, Question};
use crate::bench::Bench;
use crate::container::Running;
use crate::contestant::Contestant;
use crate::guest;
use crate::http::{self, Bare, Work};
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "http",
    title: "HTTP requests",
    picture: Picture::Metric("rate", "1/s"),
    measure,
    rows,
};

/// Requests of one instance, where instances are reused.
const MANY: &str = "1000000";
/// What is kept of a memory, a table and a stack by `wasmtime serve`: more than the guest has of any.
const RESIDENT: [&str; 3] = [
    "-Opooling-memory-keep-resident=4194304",
    "-Opooling-table-keep-resident=1048576",
    "-Opooling-async-stack-keep-resident=1048576",
];
const SCAN: &str = "-Opooling-pagemap-scan=auto";
/// `wasmtime serve`, as it comes, as it is fastest, and in between.
const SERVE: [(&str, &[&str]); 4] = [
    ("serve", &[]),
    ("serve-resident", &RESIDENT),
    ("serve-tuned", &[RESIDENT[0], RESIDENT[1], RESIDENT[2], SCAN]),
    (
        "serve-reused",
        &[RESIDENT[0], RESIDENT[1], RESIDENT[2], SCAN, "--max-instance-reuse-count", MANY],
    ),
];
const OURS: [(&str, &[(&str, &str)]); 2] =
    [("ours", &[]), ("ours-reused", &[("io.lighter.http.requests-per-instance", MANY)])];

/// A server that is asked.
#[derive(Clone, Copy, Debug)]
struct Server {
    case: &'static str,
    pid: u32,
    address: std::net::SocketAddr,
}

fn measure(bench: &mut Bench) -> Result<()> {
    let (mut contained, mut bare) = (Vec::new(), Vec::new());
    let measured = start(bench, &mut contained, &mut bare).and_then(|servers| ask(bench, &servers));
    let ended = contained.into_iter().try_for_each(|running: Running| running.end(&bench.client));
    measured.and(ended)
}

/// Starts all servers. What is started is in `contained` and `bare`, whether or not all are.
fn start(bench: &Bench, contained: &mut Vec<Running>, bare: &mut Vec<Bare>) -> Result<Vec<Server>> {
    let guest = guest::greeter(&bench.root)?;
    let built = bench.root.join("target/bench");
    let mut servers = Vec::new();
    let ours = if bench.without.contains(&Contestant::Ours) { &OURS[..0] } else { &OURS };
    for (case, annotations) in ours {
        let address = http::free_address()?;
        let running = Running::serve(&bench.node, &bench.client, &guest, address, annotations)?;
        servers.push(Server { case, pid: running.pid, address });
        contained.push(running);
    }
    let wasmtime = program(built.join("wasmtime"))?;
    let hello = program(built.join("release/hello"))?;
    let component = bench.root.join("target/guests/greeter.wasm");
    for (case, flags) in SERVE {
        let address = http::free_address()?;
        let mut command = Command::new(&wasmtime);
        command.args(["serve", "-Scli", "--addr", &address.to_string()]);
        command.args(flags).arg(&component);
        let log = bench.node.dir().join(format!("{case}.log"));
        let server = Bare::start(&mut command, address, &log)?;
        servers.push(Server { case, pid: server.pid(), address });
        bare.push(server);
    }
    let address = http::free_address()?;
    let log = bench.node.dir().join("hyper.log");
    let server = Bare::start(Command::new(hello).arg(address.to_string()), address, &log)?;
    servers.push(Server { case: "hyper", pid: server.pid(), address });
    bare.push(server);
    Ok(servers)
}

fn program(path: PathBuf) -> Result<PathBuf> {
    ensure!(path.is_file(), "{} is not there: run `make bench`", path.display());
    Ok(path)
}

fn ask(bench: &mut Bench, servers: &[Server]) -> Result<()> {
    let load = program(bench.root.join("target/bench/release/load"))?;
    let (rounds, seconds) = (bench.times(3, 8), if bench.is_quick { 1.0 } else { 2.0 });
    bench.interleave(servers, 1, rounds, |bench, server, counts| {
        let work = http::ask(&load, server.pid, server.address, seconds, None)
            .with_context(|| server.case)?;
        let Work { rate, p50, p99, cpu, faults } = work;
        let metrics =
            [("rate", rate), ("p50", p50), ("p99", p99), ("cpu", cpu), ("faults", faults)];
        for (metric, value) in metrics.into_iter().filter(|_| counts) {
            bench.samples.add(QUESTION.name, server.case, metric, value);
        }
        Ok(())
    })?;
    bench.interleave(servers, 0, rounds, |bench, server, _| {
        let peak = bench.samples.summary(QUESTION.name, server.case, "rate");
        let rate = peak.context("the peak was measured")?.p50 * 0.7;
        let work = http::ask(&load, server.pid, server.address, seconds, Some(rate))
            .with_context(|| server.case)?;
        bench.samples.add(QUESTION.name, server.case, "p50 at 70 %", work.p50);
        bench.samples.add(QUESTION.name, server.case, "p99 at 70 %", work.p99);
        Ok(())
    })
}

fn rows(samples: &Samples) -> Vec<Row> {
    let row = |what, [ours, theirs]: [&str; 2], metric, reference, target, unit| {
        let of = |case| samples.summary(QUESTION.name, case, metric);
        Row::whole(what, reference, of(ours), of(theirs), target, unit)
    };
    let fresh = "HTTP requests, fresh instances";
    let reused = "HTTP requests, reused instances";
    let (late, cpu) = ("HTTP, p99 at 70 % of the peak", "HTTP, CPU time of a request");
    // How late a server is that does nothing: what the scheduler takes, where the load has no processor of its own.
    let floor = samples.summary(QUESTION.name, "hyper", "p99 at 70 %").map(|late| late.p50);
    let at_least_as_late = |row: Option<Row>| Some(Row { floor, ..row? });
    let (most, least) = (Target::AtMost, Target::AtLeast);
    let (as_it_comes, tuned) = ("wasmtime serve", "wasmtime serve, tuned");
    let kept = "wasmtime serve, kept resident";
    let reusing = "wasmtime serve, tuned, reusing";
    [
        row(fresh, ["ours", "serve"], "rate", as_it_comes, least(4.0), "1/s"),
        row(fresh, ["ours", "serve-tuned"], "rate", tuned, least(1.1), "1/s"),
        row(fresh, ["ours", "serve-resident"], "rate", kept, Target::None, "1/s"),
        row(reused, ["ours-reused", "serve-reused"], "rate", reusing, least(1.2), "1/s"),
        row(reused, ["ours-reused", "hyper"], "rate", "hyper", least(0.5), "1/s"),
        at_least_as_late(row(late, ["ours", "serve-tuned"], "p99 at 70 %", tuned, most(0.8), "ms")),
        at_least_as_late(row(
            late,
            ["ours", "serve"],
            "p99 at 70 %",
            as_it_comes,
            Target::None,
            "ms",
        )),
        row(cpu, ["ours", "serve"], "cpu", as_it_comes, Target::None, "µs"),
        row(cpu, ["ours", "serve-tuned"], "cpu", tuned, Target::None, "µs"),
        row(cpu, ["ours-reused", "serve-reused"], "cpu", reusing, Target::None, "µs"),
        row(cpu, ["ours-reused", "hyper"], "cpu", "hyper", Target::None, "µs"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
