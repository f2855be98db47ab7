//! What was measured, raw: everything else is computed from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;

/// All samples of a run by question, case (a contestant, and what else distinguishes it) and metric, in the order taken.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<(String, String, String), Vec<f64>>);

/// A set of samples in short.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// What one of a hundred exceeds; the largest, where there are fewer.
    pub p99: f64,
    /// Half of the distance of the quartiles: how far samples typically are from the median.
    pub spread: f64,
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, question: &str, case: &str, metric: &str, value: f64) {
        let key = (question.to_owned(), case.to_owned(), metric.to_owned());
        self.0.entry(key).or_default().push(value);
    }

    /// Those of a case, in short; nothing where there are none.
    pub fn summary(&self, question: &str, case: &str, metric: &str) -> Option<Summary> {
        let key = (question.to_owned(), case.to_owned(), metric.to_owned());
        summarise(self.0.get(&key)?)
    }

    /// The sets of a question.
    pub fn of(&self, question: &str) -> impl Iterator<Item = (&str, &str, &[f64])> {
        let of_question = move |key: &&(String, String, String)| key.0 == question;
        let sets = self.0.iter().filter(move |(key, _)| of_question(key));
        sets.map(|((_, case, metric), values)| (case.as_str(), metric.as_str(), values.as_slice()))
    }

    /// Writes one file for each question: case, metric, number, value.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let mut files: BTreeMap<&str, String> = BTreeMap::new();
        for ((question, case, metric), values) in &self.0 {
            let text = files.entry(question).or_insert_with(|| "case,metric,number,value\n".into());
            for (number, value) in values.iter().enumerate() {
                text.push_str(&format!("{case},{metric},{number},{value}\n"));
            }
        }
        for (question, text) in files {
            fs::write(dir.join(format!("{question}.csv")), text)?;
        }
        Ok(())
    }
}

/// `None` where there are none.
pub fn summarise(values: &[f64]) -> Option<Summary> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // The nearest rank: a value that was measured, never one between two.
    let rank = |part: f64| {
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    };
    Some(Summary {
        count: sorted.len(),
        p50: rank(0.5)?,
        p99: rank(0.99)?,
        spread: (rank(0.75)? - rank(0.25)?) / 2.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let summary = summarise(&hundred).expect("there are some");
        assert_eq!((summary.count, summary.p50, summary.p99), (100, 50.0, 99.0));
        assert_eq!(summary.spread, 25.0);
        let one = summarise(&[7.0]).expect("there is one");
        assert_eq!((one.p50, one.p99, one.spread), (7.0, 7.0, 0.0));
        assert!(summarise(&[]).is_none());
    }
}
