//! Whether a large module starts as fast as a small one, once its code is compiled.

use anyhow::Result;

use super::{Picture, Question};
use crate::bench::Bench;
use crate::contestant::Contestant;
use crate::guest;
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "size",
    title: "A module of 20 KB and one of 26 MB (CPython), warm, new pod",
    picture: Picture::Metric("first", "ms"),
    measure,
    rows,
};

fn measure(bench: &mut Bench) -> Result<()> {
    let (small, big) = (guest::hello()?, guest::big(&bench.root)?);
    let mut cases = vec![
        ("noop", Contestant::Noop, &small),
        ("ours-small", Contestant::Ours, &small),
        ("ours-big", Contestant::Ours, &big),
        ("peer-big", Contestant::Peer, &big),
    ];
    cases.retain(|(_, contestant, _)| !bench.without.contains(contestant));
    let rounds = bench.times(10, 50);
    bench.interleave(&cases, 2, rounds, |bench, (case, contestant, guest), counts| {
        let times = bench.run(*contestant, guest, None)?;
        if counts {
            bench.add_times(QUESTION.name, case, times);
        }
        Ok(())
    })
}

fn rows(samples: &Samples) -> Vec<Row> {
    let first = |case| samples.summary(QUESTION.name, case, "first");
    let row = |reference, theirs, target| {
        let what = "start of a 26 MB module, own share (its own work included)";
        Row::above_floor(what, reference, [first("ours-big"), theirs, first("noop")], target)
    };
    [
        row("ours, 20 KB", first("ours-small"), Target::AtMost(1.2)),
        row("peer, 26 MB", first("peer-big"), Target::None),
    ]
    .into_iter()
    .flatten()
    .collect()
}
