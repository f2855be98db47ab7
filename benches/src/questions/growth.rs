//! Whether a start takes longer where many containers run already.

use anyhow::Result;

use super::{Picture, Question};
use crate::bench::Bench;
use crate::contestant::Contestant;
use crate::guest;
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "growth",
    title: "A start beside none, and beside many",
    picture: Picture::Metric("first", "ms"),
    measure,
    rows,
};

const CONTESTANTS: [Contestant; 2] = [Contestant::Noop, Contestant::Ours];

fn measure(bench: &mut Bench) -> Result<()> {
    let (guest, idle) = (guest::hello()?, guest::idle()?);
    let (rounds, many) = (bench.times(10, 40), bench.times(50, 200));
    let starts = |bench: &mut Bench, when: &str| {
        let contestants = bench.taking_part(&CONTESTANTS);
        bench.interleave(&contestants, 2, rounds, |bench, contestant, counts| {
            let times = bench.run(*contestant, &guest, None)?;
            if counts {
                bench.add_times(QUESTION.name, &format!("{}-{when}", contestant.name()), times);
            }
            Ok(())
        })
    };
    starts(bench, "alone")?;
    let mut running = Vec::new();
    for _ in 0..many {
        running.push(bench.start(Contestant::Ours, &idle, None)?);
    }
    starts(bench, "among-many")?;
    running.into_iter().try_for_each(|container| container.end(&bench.client))
}

fn rows(samples: &Samples) -> Vec<Row> {
    let first = |case| samples.summary(QUESTION.name, case, "first");
    let row = |what, reference, many, alone, target| {
        Row::whole(what, reference, first(many), first(alone), target, "ms")
    };
    let what = "start among many (200; 50 in a quick run)";
    [
        row(what, "ours, alone", "ours-among-many", "ours-alone", Target::AtMost(1.1)),
        row("the same of `noop`", "noop, alone", "noop-among-many", "noop-alone", Target::None),
    ]
    .into_iter()
    .flatten()
    .collect()
}
