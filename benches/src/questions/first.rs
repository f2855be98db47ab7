//! How long the first start of a module takes, which compiles it, beside compiling and running it in a bare process.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, bail};

use super::Question;
use crate::bench::Bench;
use crate::contestant::Contestant;
use crate::guest::{self, Guest};
use crate::report::{Row, Target};
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "first",
    title: "The first start of a module",
    picture: ("first", "ms"),
    measure,
    rows,
};

fn measure(bench: &mut Bench) -> Result<()> {
    let hello = guest::hello()?;
    let rounds = bench.times(8, 30);
    let mut number = 0;
    let contestants = bench.taking_part(&[Contestant::Noop, Contestant::Ours, Contestant::Peer]);
    let mut cases: Vec<_> = contestants.into_iter().map(Some).collect();
    cases.extend(bench.has_engine().then_some(None));
    bench.interleave(&cases, 1, rounds, |bench, contestant, counts| {
        number += 1;
        // Not known to anybody: each start is a first one.
        let guest = hello.distinct(1000 + number);
        let time = match *contestant {
            Some(contestant) => bench.run(contestant, &guest, None)?.first.as_secs_f64() * 1e3,
            None => bare(bench, &guest)?,
        };
        if counts {
            let case = contestant.map_or("wasmtime", Contestant::name);
            bench.samples.add(QUESTION.name, case, "first", time);
        }
        Ok(())
    })
}

/// Compiles `guest` with the bare engine; returns the file of its code.
pub fn compile(bench: &Bench, guest: &Guest) -> Result<PathBuf> {
    let (wasm, code) = (bench.node.dir().join("bare.wasm"), bench.node.dir().join("bare.cwasm"));
    std::fs::write(&wasm, &guest.wasm)?;
    if !bench.node.bare().arg("compile").arg(&wasm).arg(&code).status()?.success() {
        bail!("compile {}", wasm.display());
    }
    Ok(code)
}

/// In milliseconds.
fn bare(bench: &Bench, guest: &Guest) -> Result<f64> {
    let began = Instant::now();
    let code = compile(bench, guest)?;
    if !bench.node.bare().arg("run").arg(code).stdout(Stdio::null()).status()?.success() {
        bail!("the bare engine failed");
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

fn rows(samples: &Samples) -> Vec<Row> {
    let first = |case| samples.summary(QUESTION.name, case, "first");
    // The bare engine has no containerd to pay for.
    let own = first("ours").zip(first("noop")).zip(first("wasmtime"));
    let row = own.map(|((ours, noop), theirs)| Row {
        what: "first start, own share".to_owned(),
        reference: "compile + run",
        ours: ours.p50 - noop.p50,
        theirs: theirs.p50,
        target: Target::AtMost(1.1),
        floor: Some(noop.p50),
        unit: "ms",
        spread: Row::spread_of(&[ours, noop], &[theirs]),
    });
    let cases = [first("ours"), first("peer"), first("noop")];
    let peer = Row::above_floor("first start, own share", "peer", cases, Target::None);
    row.into_iter().chain(peer).collect()
}
