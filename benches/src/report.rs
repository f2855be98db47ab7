//! The report: a table of ratios with their targets, tables of all that was measured, and what it was measured with.

use std::fmt::Write;

use anyhow::Result;

use crate::machine;
use crate::samples::{Samples, Summary, summarise};

/// A ratio with what it shall be.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is compared.
    pub what: String,
    /// With whom.
    pub reference: &'static str,
    /// Ours and the reference's, in the same unit; the floor is taken off already where `what` says so.
    pub ours: f64,
    /// See above.
    pub theirs: f64,
    /// What is aimed at.
    pub target: Target,
    /// The floor, in the same unit.
    pub floor: Option<f64>,
    /// `ms`, `MB`, …
    pub unit: &'static str,
}

/// What a ratio shall be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// No more.
    AtMost(f64),
    /// No less.
    AtLeast(f64),
    /// It is there to be seen.
    None,
}

impl Row {
    /// The difference of two medians to that of a floor, as a row; nothing where one was not measured.
    pub fn above_floor(
        what: &str,
        reference: &'static str,
        [ours, theirs, floor]: [Option<Summary>; 3],
        target: Target,
    ) -> Option<Self> {
        let (ours, theirs, floor) = (ours?, theirs?, floor?);
        Some(Self {
            what: what.to_owned(),
            reference,
            ours: ours.p50 - floor.p50,
            theirs: theirs.p50 - floor.p50,
            target,
            floor: Some(floor.p50),
            unit: "ms",
        })
    }

    /// Two medians as a row.
    pub fn whole(
        what: &str,
        reference: &'static str,
        ours: Option<Summary>,
        theirs: Option<Summary>,
        target: Target,
        unit: &'static str,
    ) -> Option<Self> {
        let (what, ours, theirs) = (what.to_owned(), ours?.p50, theirs?.p50);
        Some(Self { what, reference, ours, theirs, target, floor: None, unit })
    }

    fn line(&self) -> String {
        let ratio = self.ours / self.theirs;
        let (target, verdict) = match self.target {
            // Noise can push a small difference below nothing, and then says nothing.
            _ if !ratio.is_finite() || self.theirs <= 0.0 => (String::new(), "not measurable"),
            Target::AtMost(most) => (format!("≤ {most}"), verdict(ratio <= most)),
            Target::AtLeast(least) => (format!("≥ {least}"), verdict(ratio >= least)),
            Target::None => (String::new(), ""),
        };
        let floor = self.floor.map(|floor| format!("{floor:.2}")).unwrap_or_default();
        format!(
            "| {} | {} | {:.2} | {:.2} | {} | {floor} | {ratio:.2} | {target} | {verdict} |",
            self.what, self.reference, self.ours, self.theirs, self.unit
        )
    }
}

fn verdict(holds: bool) -> &'static str {
    if holds { "met" } else { "**not met**" }
}

/// A question as the report has it.
#[derive(Debug)]
pub struct Section {
    /// Its name, which is that of its files.
    pub name: &'static str,
    /// What it asks.
    pub title: &'static str,
    /// Its rows.
    pub rows: Vec<Row>,
    /// Whether there is a picture of it.
    pub has_picture: bool,
}

/// The report in Markdown.
pub fn write(
    sections: &[Section],
    samples: &Samples,
    left_out: &[String],
    is_quick: bool,
) -> Result<String> {
    let mut text = String::from("# Benchmarks\n\n");
    writeln!(
        text,
        "Ratios of medians, measured side by side in one run. Times are from the request Create to the first output. \
         A start's own share is what it takes above a shim that runs nothing (`noop`), the floor.\n"
    )?;
    if is_quick {
        writeln!(text, "This was a quick run: few samples, and not all cases.\n")?;
    }
    text.push_str(&machine::describe()?);
    if !left_out.is_empty() {
        writeln!(text, "\nLeft out:\n")?;
    }
    for why in left_out {
        writeln!(text, "- {why}")?;
    }
    writeln!(text, "\n## Targets\n")?;
    writeln!(
        text,
        "| what | reference | ours | theirs | unit | floor | ratio | target | verdict |"
    )?;
    writeln!(text, "|---|---|---:|---:|---|---:|---:|---|---|")?;
    for row in sections.iter().flat_map(|section| &section.rows) {
        writeln!(text, "{}", row.line())?;
    }
    for section in sections {
        writeln!(text, "\n## {}\n", section.title)?;
        if section.has_picture {
            writeln!(text, "![{}]({}.svg)\n", section.title, section.name)?;
        }
        writeln!(text, "| case | metric | samples | p50 | p99 | ± |")?;
        writeln!(text, "|---|---|---:|---:|---:|---:|")?;
        for (case, metric, values) in samples.of(section.name) {
            let Some(summary) = summarise(values) else { continue };
            let Summary { count, p50, p99, spread } = summary;
            writeln!(text, "| {case} | {metric} | {count} | {p50:.3} | {p99:.3} | {spread:.3} |")?;
        }
        writeln!(text, "\nRaw samples: [{0}.csv]({0}.csv)", section.name)?;
    }
    Ok(text)
}
