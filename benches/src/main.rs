//! `lighter-benches [--quick] [--without CONTESTANT] [--out DIR] [QUESTION…]`: measures Lighter beside its peers under one containerd, and writes
//! a report, pictures and the raw samples to DIR.
#![allow(clippy::print_stderr, reason = "a program for developers: it says how far it is")]

mod bench;
mod causes;
mod client;
mod container;
mod contestant;
mod guest;
mod http;
// The tests' way of making images.
#[path = "../../tests/e2e/support/image.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod image;
mod machine;
mod memory;
mod node;
mod plot;
mod questions;
mod random;
mod report;
mod samples;
mod spec;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::bench::Bench;
use crate::contestant::Contestant;
use crate::node::Node;
use crate::questions::{QUESTIONS, Question};
use crate::random::Random;
use crate::report::Section;
use crate::samples::Samples;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the repository")?;
    let mut out = root.join("target/bench/report");
    let (mut is_quick, mut without, mut names) = (false, Vec::new(), Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => is_quick = true,
            "--out" => out = args.next().map(PathBuf::from).context("--out needs a directory")?,
            "--without" => {
                let name = args.next().context("--without needs a contestant")?;
                let found = Contestant::ALL.into_iter().find(|one| one.name() == name);
                without.push(found.with_context(|| format!("there is no contestant {name:?}"))?);
            }
            _ => names.push(arg),
        }
    }
    let questions = choose(&names)?;
    std::fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;

    let node = Node::start(root, &without)?;
    let client = node.client()?;
    let random = Random::new(u64::from(std::process::id()));
    let samples = Samples::default();
    let mut bench = Bench { root: root.into(), without, is_quick, node, client, samples, random };
    let left_out = try_all(&mut bench)?;
    let mut sections = Vec::new();
    for question in questions {
        let began = Instant::now();
        eprint!("{}: {} … ", question.name, question.title);
        let measured = (question.measure)(&mut bench);
        if let Err(error) = measured {
            bail!(
                "{}: {error:#}\ncontainerd and its shims say:\n{}",
                question.name,
                bench.node.log()
            );
        }
        eprintln!("{:.0} s", began.elapsed().as_secs_f64());
        let (metric, unit) = question.picture;
        let file = out.join(format!("{}.svg", question.name));
        let has_picture = plot::draw(&bench.samples, question.name, metric, unit, &file)?;
        let rows = (question.rows)(&bench.samples);
        sections.push(Section { name: question.name, title: question.title, rows, has_picture });
    }
    bench.samples.write(&out)?;
    let report = out.join("README.md");
    std::fs::write(&report, report::write(&sections, &bench.samples, &left_out, is_quick)?)
        .with_context(|| format!("write {}", report.display()))?;
    eprintln!("the report is {}", report.display());
    Ok(())
}

/// Has each contestant run a container. Others than the floor and ours may be unable to on this machine; they are left out,
/// and the report says why.
fn try_all(bench: &mut Bench) -> Result<Vec<String>> {
    let mut left_out: Vec<String> =
        bench.without.iter().map(|one| format!("{}: not asked for", one.name())).collect();
    let hello = guest::hello()?;
    for contestant in bench.taking_part(&Contestant::ALL) {
        let Err(error) = bench.run(contestant, &hello, None) else { continue };
        if matches!(contestant, Contestant::Noop | Contestant::Ours) {
            return Err(
                error.context(format!("containerd and its shims say:\n{}", bench.node.log()))
            );
        }
        let why = format!("{}: {error:#}", contestant.name());
        eprintln!("left out: {why}");
        left_out.push(why);
        bench.without.push(contestant);
    }
    Ok(left_out)
}

/// Those that are named; all, if none is.
fn choose(names: &[String]) -> Result<Vec<&'static Question>> {
    if names.is_empty() {
        return Ok(QUESTIONS.iter().collect());
    }
    let find = |name: &String| {
        let known = || QUESTIONS.map(|question| question.name).join(", ");
        let found = QUESTIONS.iter().find(|question| question.name == name);
        found.with_context(|| format!("there is no question {name:?}: there are {}", known()))
    };
    names.iter().map(find).collect()
}
