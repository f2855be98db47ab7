//! The questions, a file for each.

use anyhow::Result;

use crate::bench::Bench;
use crate::report::Row;
use crate::samples::Samples;

mod cpu;
mod exec;
mod existing;
mod first;
mod growth;
mod http;
mod memory;
mod size;
mod start;
mod throughput;
mod timeline;

/// What is asked, and how the answer is found.
#[derive(Debug)]
pub struct Question {
    /// As on the command line, and in the names of files.
    pub name: &'static str,
    /// As in the report.
    pub title: &'static str,
    /// What is drawn.
    pub picture: Picture,
    /// Adds samples under the question's name.
    pub measure: fn(&mut Bench) -> Result<()>,
    /// What they say about targets.
    pub rows: fn(&Samples) -> Vec<Row>,
}

/// What is drawn of a question's samples.
#[derive(Clone, Copy, Debug)]
pub enum Picture {
    /// A metric, and its unit.
    Metric(&'static str, &'static str),
    /// Each metric is a step, and its value when that was done.
    Timeline,
}

/// All, in the order of the report.
pub const QUESTIONS: [Question; 11] = [
    start::QUESTION,
    existing::QUESTION,
    size::QUESTION,
    growth::QUESTION,
    throughput::QUESTION,
    memory::QUESTION,
    cpu::QUESTION,
    first::QUESTION,
    exec::QUESTION,
    http::QUESTION,
    timeline::QUESTION,
];
