//! The same in a pod that is there already.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Picture, Question};
use crate::bench::Bench;
use crate::container::Pod;
use crate::contestant::Contestant;
use crate::guest;
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "existing",
    title: "A warm start in an existing pod",
    picture: Picture::Metric("first", "ms"),
    measure,
    rows,
};

/// Not the peer, which fails to start a container in namespaces of another.
const CONTESTANTS: [Contestant; 4] =
    [Contestant::Noop, Contestant::Ours, Contestant::Runc, Contestant::Crun];

fn measure(bench: &mut Bench) -> Result<()> {
    let (guest, idle) = (guest::hello()?, guest::idle()?);
    let (mut pods, mut holders) = (BTreeMap::new(), Vec::new());
    for contestant in bench.taking_part(&CONTESTANTS) {
        let id = bench.node.id("pod");
        let pod = Pod { id: id.clone(), holder: None };
        let holder = bench.start(contestant, &idle, Some(&pod))?;
        pods.insert(contestant, Pod { id, holder: Some(holder.pid) });
        holders.push(holder);
    }
    let rounds = bench.times(20, 100);
    let contestants = bench.taking_part(&CONTESTANTS);
    bench.interleave(&contestants, 2, rounds, |bench, contestant, counts| {
        let times = bench.run(*contestant, &guest, pods.get(contestant))?;
        if counts {
            bench.add_times(QUESTION.name, contestant.name(), times);
        }
        Ok(())
    })?;
    holders.into_iter().try_for_each(|holder| holder.end(&bench.client))
}

fn rows(samples: &Samples) -> Vec<Row> {
    let first = |case| samples.summary(QUESTION.name, case, "first");
    let share = |reference, target| {
        let cases = [first("ours"), first(reference), first("noop")];
        Row::above_floor("start, existing pod, own share", reference, cases, target)
    };
    [share("runc", Target::AtMost(0.08)), share("crun", Target::None)]
        .into_iter()
        .flatten()
        .collect()
}
