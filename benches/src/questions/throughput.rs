//! How many containers can be started, run and removed in a second, with as many at once as there are processors.

use std::time::Instant;

use anyhow::Result;

use super::{Picture, Question};
use crate::bench::Bench;
use crate::container::Running;
use crate::contestant::Contestant;
use crate::guest::{self, Guest};
use crate::node::Node;
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "throughput",
    title: "Starts per second",
    picture: Picture::Metric("rate", "1/s"),
    measure,
    rows,
};

fn measure(bench: &mut Bench) -> Result<()> {
    let guest = guest::hello()?;
    let at_once = std::thread::available_parallelism()?.get();
    let (rounds, each) = (bench.times(3, 10), bench.times(10, 25));
    let contestants = bench.taking_part(&Contestant::ALL);
    bench.interleave(&contestants, 0, rounds, |bench, contestant, _| {
        // Imported before the clock runs.
        bench.node.program(*contestant, &guest)?;
        let began = Instant::now();
        std::thread::scope(|scope| -> Result<()> {
            let start = || scope.spawn(|| some(&bench.node, *contestant, &guest, each));
            let workers: Vec<_> = (0..at_once).map(|_| start()).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?
            })
        })?;
        let rate = (at_once * each) as f64 / began.elapsed().as_secs_f64();
        bench.samples.add(QUESTION.name, contestant.name(), "rate", rate);
        Ok(())
    })
}

fn some(node: &Node, contestant: Contestant, guest: &Guest, count: usize) -> Result<()> {
    let client = node.client()?;
    for _ in 0..count {
        Running::start(node, &client, contestant, guest, None)?.finish(&client)?;
    }
    Ok(())
}

fn rows(samples: &Samples) -> Vec<Row> {
    let rate = |case| samples.summary(QUESTION.name, case, "rate");
    let row = |reference, target| {
        Row::whole("starts per second", reference, rate("ours"), rate(reference), target, "1/s")
    };
    [
        row("noop", Target::AtLeast(0.7)),
        row("runc", Target::AtLeast(2.0)),
        row("crun", Target::None),
        row("peer", Target::None),
    ]
    .into_iter()
    .flatten()
    .collect()
}
