//! What a start spends its time on, step by step: the steps are ours and what of containerd's is seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Picture, Question};
use crate::bench::Bench;
use crate::container::{Pod, Running};
use crate::contestant::Contestant;
use crate::guest;
use crate::node::Node;
use crate::plot::timeline::{self, END};
use crate::report::Row;
use crate::samples::Samples;

pub const QUESTION: Question = Question {
    name: "timeline",
    title: "One start, step by step",
    picture: Picture::Timeline,
    measure,
    rows,
};

/// Who has done a step, and which: when it was done, in milliseconds after the request Create, in each of the starts.
type Steps = BTreeMap<(String, String), Vec<f64>>;

fn measure(bench: &mut Bench) -> Result<()> {
    // A node of its own: to write the steps down takes time, too.
    let node = Node::start_traced(&bench.root, &bench.without)?;
    let client = node.client()?;
    let (guest, idle) = (guest::hello()?, guest::idle()?);
    let pod = Pod { id: node.id("pod"), holder: None };
    let holder = Running::start(&node, &client, Contestant::Ours, &idle, Some(&pod))?;
    let existing = Pod { holder: Some(holder.pid), ..pod };
    let rounds = bench.times(20, 100);
    for (case, pod) in [("new pod", None), ("existing pod", Some(&existing))] {
        let mut steps = Steps::new();
        for round in 0..rounds + 2 {
            fs::write(node.trace(), "")?;
            let running = Running::start(&node, &client, Contestant::Ours, &guest, pod)?;
            let (began, times) = (running.began, running.times);
            let text = fs::read_to_string(node.trace())?;
            running.finish(&client)?;
            if round < 2 {
                continue;
            }
            let mut add = |who: &str, step: &str, at: Duration| {
                let key = (who.to_owned(), step.to_owned());
                steps.entry(key).or_default().push(at.as_secs_f64() * 1e3);
            };
            add("client", "Create answered", times.create);
            add("client", "Start answered", times.start_answered);
            add("client", END, times.first);
            for line in text.lines() {
                let parts = || {
                    line.split_once(' ').and_then(|(at, rest)| Some((at, rest.split_once(' ')?)))
                };
                let (at, (who, step)) = parts().with_context(|| format!("read line {line:?}"))?;
                let at = Duration::from_nanos(at.parse()?);
                add(who, step, at.checked_sub(began).with_context(|| format!("order {line:?}"))?);
            }
        }
        keep(&mut bench.samples, case, &steps);
    }
    holder.end(&client)
}

/// Adds the steps in their order in the quickest start: their numbers make it that of their names.
fn keep(samples: &mut Samples, case: &str, steps: &Steps) {
    let end = steps.iter().find(|((_, step), _)| step == END);
    let quickest = end.map_or(0, |(_, times)| timeline::quickest(times));
    let at = |times: &[f64]| times.get(quickest).copied().unwrap_or(0.0);
    let mut order: Vec<_> = steps.iter().collect();
    order.sort_by(|one, other| at(one.1).total_cmp(&at(other.1)));
    for (number, ((who, step), values)) in order.into_iter().enumerate() {
        for value in values {
            samples.add(QUESTION.name, case, &format!("{:02} {who}: {step}", number + 1), *value);
        }
    }
}

fn rows(_: &Samples) -> Vec<Row> {
    Vec::new()
}
