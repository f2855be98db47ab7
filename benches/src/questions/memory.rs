//! What an idle container costs: the sum of the shares of memory (PSS) of all its processes, and what the machine has less.

use std::time::Duration;

use anyhow::Result;

use super::Question;
use crate::bench::Bench;
use crate::contestant::Contestant;
use crate::guest::{self, Guest};
use crate::memory;
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "memory",
    title: "Memory of an idle container",
    picture: ("pss", "MB"),
    measure,
    rows,
};

const CONTESTANTS: [Contestant; 3] = [Contestant::Ours, Contestant::Runc, Contestant::Peer];

/// Short-lived threads and their stacks go before anything is read.
const REST: Duration = Duration::from_millis(1500);

fn measure(bench: &mut Bench) -> Result<()> {
    let idle = guest::idle()?;
    let rounds = bench.times(1, 3);
    let counts: &[usize] = if bench.is_quick { &[1, 50] } else { &[1, 50, 200] };
    for &count in counts {
        let contestants = bench.taking_part(&CONTESTANTS);
        bench.interleave(&contestants, 0, rounds, |bench, contestant, _| {
            // Compiled and imported before the first look.
            bench.start(*contestant, &idle, None)?.end(&bench.client)?;
            let guests = vec![idle.clone(); count];
            several(bench, &format!("{}-{count}", contestant.name()), *contestant, &guests)
        })?;
    }
    let count = bench.times(20, 100);
    // What is shared is compiled code that was run.
    let worked = guest::worked()?;
    let distinct: Vec<Guest> = (0..count).map(|number| worked.distinct(number)).collect();
    for guest in &distinct {
        bench.start(Contestant::Ours, guest, None)?.end(&bench.client)?;
    }
    let cases = [("ours-one-image", vec![worked; count]), ("ours-distinct-images", distinct)];
    bench.interleave(&cases, 0, rounds, |bench, (case, guests), _| {
        several(bench, case, Contestant::Ours, guests)
    })
}

/// Starts a container for each of `guests`, looks at what all of them hold, and ends them.
fn several(bench: &mut Bench, case: &str, contestant: Contestant, guests: &[Guest]) -> Result<()> {
    // What was held before is not theirs.
    std::thread::sleep(REST);
    let before = memory::available()?;
    let mut running = Vec::new();
    for guest in guests {
        running.push(bench.start(contestant, guest, None)?);
    }
    std::thread::sleep(REST);
    let taken = before as f64 - memory::available()? as f64;
    let processes = memory::processes(&bench.node.socket())?;
    let mut add = |metric, bytes: f64| {
        bench.samples.add(QUESTION.name, case, metric, bytes / guests.len() as f64 / 1e6);
    };
    add("available", taken);
    add("pss", memory::sum(&processes, "Pss")? as f64);
    add("private dirty", memory::sum(&processes, "Private_Dirty")? as f64);
    let count = processes.len() as f64 / guests.len() as f64;
    bench.samples.add(QUESTION.name, case, "processes", count);
    running.into_iter().try_for_each(|container| container.end(&bench.client))
}

fn rows(samples: &Samples) -> Vec<Row> {
    let row = |what, reference, [ours, theirs]: [&str; 2], metric, target| {
        let of = |case| samples.summary(QUESTION.name, case, metric);
        Row::whole(what, reference, of(ours), of(theirs), target, "MB")
    };
    let (runc, peer) = (["ours-50", "runc-50"], ["ours-50", "peer-50"]);
    let images = ["ours-one-image", "ours-distinct-images"];
    let (pss, available) =
        ("ΣPSS per idle container at 50", "ΔMemAvailable per idle container at 50");
    [
        row(pss, "peer", peer, "pss", Target::AtMost(0.2)),
        row(pss, "runc + sleep", runc, "pss", Target::AtMost(0.3)),
        row(available, "peer", peer, "available", Target::AtMost(0.3)),
        row(available, "runc + sleep", runc, "available", Target::AtMost(0.6)),
        row(
            "ΣPSS, containers of one image (a megabyte of code)",
            "of distinct images",
            images,
            "pss",
            Target::AtMost(0.6),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
