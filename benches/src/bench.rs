//! What all questions have in common.

use std::path::PathBuf;

use anyhow::Result;

use crate::client::Client;
use crate::container::{Pod, Running, Times};
use crate::contestant::Contestant;
use crate::guest::Guest;
use crate::node::Node;
use crate::random::Random;
use crate::samples::Samples;

/// One run.
#[derive(Debug)]
pub struct Bench {
    /// The repository.
    pub root: PathBuf,
    /// Who is left out.
    pub without: Vec<Contestant>,
    /// Few samples.
    pub is_quick: bool,
    /// Where containers run.
    pub node: Node,
    /// A connection to it.
    pub client: Client,
    /// What was measured so far.
    pub samples: Samples,
    /// For the order.
    pub random: Random,
}

impl Bench {
    /// Those of `contestants` that take part.
    pub fn taking_part(&self, contestants: &[Contestant]) -> Vec<Contestant> {
        contestants.iter().copied().filter(|one| !self.without.contains(one)).collect()
    }

    /// Whether there is the bare engine, which is built with the peer.
    pub fn has_engine(&self) -> bool {
        self.node.dir().join("bin/bare").is_file()
    }

    /// How often: few times in a quick run.
    pub fn times(&self, quick: usize, thorough: usize) -> usize {
        if self.is_quick { quick } else { thorough }
    }

    /// Does `work` for each of `cases` in each of `rounds`, in another order each time, so that what changes on the
    /// machine meanwhile meets all alike. The rounds before the first, `warm_ups`, are not to be counted: `work` is told.
    pub fn interleave<T: Clone>(
        &mut self,
        cases: &[T],
        warm_ups: usize,
        rounds: usize,
        mut work: impl FnMut(&mut Self, &T, bool) -> Result<()>,
    ) -> Result<()> {
        let mut order = cases.to_vec();
        for round in 0..warm_ups + rounds {
            self.random.shuffle(&mut order);
            for case in &order {
                work(self, case, round >= warm_ups)?;
            }
        }
        Ok(())
    }

    /// Starts a container, waits for its end, and removes it.
    pub fn run(&self, contestant: Contestant, guest: &Guest, pod: Option<&Pod>) -> Result<Times> {
        let running = self.start(contestant, guest, pod)?;
        let times = running.times;
        running.finish(&self.client)?;
        Ok(times)
    }

    /// Starts a container that stays.
    pub fn start(
        &self,
        contestant: Contestant,
        guest: &Guest,
        pod: Option<&Pod>,
    ) -> Result<Running> {
        Running::start(&self.node, &self.client, contestant, guest, pod)
    }

    /// Adds the times of a start, in milliseconds.
    pub fn add_times(&mut self, question: &str, case: &str, times: Times) {
        for (metric, time) in
            [("create", times.create), ("start", times.start), ("first", times.first)]
        {
            self.samples.add(question, case, metric, time.as_secs_f64() * 1e3);
        }
    }
}
