//! Whether compiled code runs as fast as in a bare process: from one line of output to the next.

use std::io::Read;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{Picture, Question};
use crate::bench::Bench;
use crate::contestant::Contestant;
use crate::guest::{self, Guest};
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "cpu",
    title: "A guest that computes",
    picture: Picture::Metric("time", "ms"),
    measure,
    rows,
};

fn measure(bench: &mut Bench) -> Result<()> {
    let guest = guest::spin()?;
    let rounds = bench.times(5, 20);
    let mut cases = Vec::new();
    if bench.has_engine() {
        cases.push(("wasmtime", None));
    }
    let contestants = bench.taking_part(&[Contestant::Ours, Contestant::Peer]);
    cases.extend(contestants.into_iter().map(|one| (one.name(), Some(one))));
    bench.interleave(&cases, 1, rounds, |bench, (case, contestant), counts| {
        let time = match contestant {
            Some(contestant) => contained(bench, *contestant, &guest)?,
            None => bare(bench, &super::first::compile(bench, &guest)?)?,
        };
        if counts {
            bench.samples.add(QUESTION.name, case, "time", time);
        }
        Ok(())
    })
}

/// In milliseconds.
fn contained(bench: &Bench, contestant: Contestant, guest: &Guest) -> Result<f64> {
    let running = bench.start(contestant, guest, None)?;
    let began = Instant::now();
    let time = running.next_output()?.duration_since(began);
    running.finish(&bench.client)?;
    Ok(time.as_secs_f64() * 1e3)
}

fn bare(bench: &Bench, code: &std::path::Path) -> Result<f64> {
    let mut child = bench.node.bare().arg("run").arg(code).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().context("its output is a pipe")?;
    let mut line = [0; 6];
    output.read_exact(&mut line)?;
    let began = Instant::now();
    output.read_exact(&mut line[..4])?;
    let time = began.elapsed();
    if !child.wait()?.success() {
        bail!("the bare engine failed");
    }
    Ok(time.as_secs_f64() * 1e3)
}

fn rows(samples: &Samples) -> Vec<Row> {
    let time = |case| samples.summary(QUESTION.name, case, "time");
    let row = |reference, target| {
        let what = "a guest that computes";
        Row::whole(what, reference, time("ours"), time(reference), target, "ms")
    };
    [row("wasmtime", Target::AtMost(1.02)), row("peer", Target::None)]
        .into_iter()
        .flatten()
        .collect()
}
