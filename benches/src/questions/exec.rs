//! How long another process in a running container takes to its first output.

use std::time::Instant;

use anyhow::Result;

use super::{Picture, Question};
use crate::bench::Bench;
use crate::container::Output;
use crate::contestant::Contestant;
use crate::guest;
use crate::report::{Row, Target};
use crate::samples::Samples;
use crate::spec;

pub const QUESTION: Question = Question {
    name: "exec",
    title: "A process beside a container's first",
    picture: Picture::Metric("first", "ms"),
    measure,
    rows,
};

const CONTESTANTS: [Contestant; 3] = [Contestant::Ours, Contestant::Runc, Contestant::Crun];

fn measure(bench: &mut Bench) -> Result<()> {
    let idle = guest::idle()?;
    let (mut containers, mut running) = (Vec::new(), Vec::new());
    for contestant in bench.taking_part(&CONTESTANTS) {
        let container = bench.start(contestant, &idle, None)?;
        // It says its line and is then asked to sleep no longer.
        let mut args = bench.node.program(contestant, &idle)?.args;
        match contestant {
            Contestant::Ours => args[1] = "0".to_owned(),
            _ => args = vec!["/bin/echo".to_owned(), "sleeping".to_owned()],
        }
        containers.push((contestant, container.id.clone(), args));
        running.push(container);
    }
    let rounds = bench.times(15, 60);
    bench.interleave(&containers, 1, rounds, |bench, (contestant, id, args), counts| {
        let exec = bench.node.id("exec");
        let mut output = Output::make(&bench.node, &exec)?;
        let began = Instant::now();
        bench.client.exec(id, &exec, &spec::process(args), &output.path())?;
        bench.client.start(id, &exec)?;
        let first = output.first()?.duration_since(began);
        bench.client.wait(id, &exec)?;
        bench.client.remove_process(id, &exec)?;
        if counts {
            let first = first.as_secs_f64() * 1e3;
            bench.samples.add(QUESTION.name, contestant.name(), "first", first);
        }
        Ok(())
    })?;
    running.into_iter().try_for_each(|container| container.end(&bench.client))
}

fn rows(samples: &Samples) -> Vec<Row> {
    let first = |case| samples.summary(QUESTION.name, case, "first");
    let row = |reference| {
        Row::whole("exec", reference, first("ours"), first(reference), Target::None, "ms")
    };
    [row("runc"), row("crun")].into_iter().flatten().collect()
}
