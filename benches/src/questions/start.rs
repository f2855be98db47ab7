//! How long a container takes to its first output where nothing is there but compiled code: a new pod.

use anyhow::Result;

use super::{Picture, Question};
use crate::bench::Bench;
use crate::contestant::Contestant;
use crate::guest;
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "start",
    title: "A warm start in a new pod",
    picture: Picture::Metric("first", "ms"),
    measure,
    rows,
};

fn measure(bench: &mut Bench) -> Result<()> {
    let guest = guest::hello()?;
    let rounds = bench.times(20, 100);
    let contestants = bench.taking_part(&Contestant::ALL);
    bench.interleave(&contestants, 2, rounds, |bench, contestant, counts| {
        let times = bench.run(*contestant, &guest, None)?;
        if counts {
            bench.add_times(QUESTION.name, contestant.name(), times);
        }
        Ok(())
    })
}

fn rows(samples: &Samples) -> Vec<Row> {
    let first = |case| samples.summary(QUESTION.name, case, "first");
    let share = |reference, target| {
        let cases = [first("ours"), first(reference), first("noop")];
        Row::above_floor("start, new pod, own share", reference, cases, target)
    };
    let whole = |reference, target| {
        let (ours, theirs) = (first("ours"), first(reference));
        Row::whole("start, new pod, the whole", reference, ours, theirs, target, "ms")
    };
    [
        share("runc", Target::AtMost(0.15)),
        share("crun", Target::None),
        share("peer", Target::AtMost(0.2)),
        whole("runc", Target::AtMost(0.5)),
        whole("noop", Target::None),
    ]
    .into_iter()
    .flatten()
    .collect()
}
