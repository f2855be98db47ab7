//! The report: a table of ratios with their targets, tables of all that was measured, and what it was measured with.

use std::fmt::Write;

use anyhow::Result;

use crate::causes;
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
    /// How far the ratio may be off, as a part of it: see [`Row::spread_of`].
    pub spread: f64,
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
            spread: Self::spread_of(&[ours, floor], &[theirs, floor]),
        })
    }

    /// How far the ratio of two sums or differences of medians may be off, as a part of the ratio: twice its standard error, so
    /// that another run on the same machine is within it nineteen times of twenty. The noise of each is taken for its own. Not a
    /// number where there are too few samples to tell.
    pub fn spread_of(ours: &[Summary], theirs: &[Summary]) -> f64 {
        const FEW: usize = 3;
        // Half the distance of the quartiles is 0.67 of the deviation, if samples lie about their median as most do.
        let error = |of: &Summary| match of.count {
            count if count < FEW => f64::NAN,
            count => 1.25 * of.spread / 0.67 / (count as f64).sqrt(),
        };
        // What follows the first is the floor, which is taken off.
        let part = |all: &[Summary]| {
            let value = all.iter().skip(1).fold(all[0].p50, |left, floor| left - floor.p50);
            all.iter().map(error).map(|error| error * error).sum::<f64>() / (value * value)
        };
        2.0 * (part(ours) + part(theirs)).sqrt()
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
        let (what, ours, theirs) = (what.to_owned(), ours?, theirs?);
        let spread = Self::spread_of(&[ours], &[theirs]);
        let (ours, theirs) = (ours.p50, theirs.p50);
        Some(Self { what, reference, ours, theirs, target, floor: None, unit, spread })
    }

    /// Whether its target holds; `None` where there is none, or nothing can be said.
    fn holds(&self) -> Option<bool> {
        let ratio = self.ours / self.theirs;
        match self.target {
            _ if !self.is_measurable() => None,
            Target::AtMost(most) => Some(ratio <= most),
            Target::AtLeast(least) => Some(ratio >= least),
            Target::None => None,
        }
    }

    /// Noise can push a small difference below nothing, and then says nothing.
    fn is_measurable(&self) -> bool {
        (self.ours / self.theirs).is_finite() && self.theirs > 0.0
    }

    fn line(&self) -> String {
        let ratio = self.ours / self.theirs;
        let target = match self.target {
            Target::AtMost(most) => format!("≤ {most}"),
            Target::AtLeast(least) => format!("≥ {least}"),
            Target::None => String::new(),
        };
        let verdict = match self.holds() {
            Some(true) => "met",
            Some(false) => "**not met**",
            None if self.is_measurable() => "",
            None => "not measurable",
        };
        let off = match self.spread {
            unknown if unknown.is_nan() => "?".to_owned(),
            part => format!("{:.0} %", 100.0 * part),
        };
        let floor = self.floor.map(|floor| format!("{floor:.2}")).unwrap_or_default();
        format!(
            "| {} | {} | {:.2} | {:.2} | {} | {floor} | {ratio:.2} | {off} | {target} | {verdict} |",
            self.what, self.reference, self.ours, self.theirs, self.unit
        )
    }
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
        "| what | reference | ours | theirs | unit | floor | ratio | ± | target | verdict |"
    )?;
    writeln!(text, "|---|---|---:|---:|---|---:|---:|---:|---|---|")?;
    for row in sections.iter().flat_map(|section| &section.rows) {
        writeln!(text, "{}", row.line())?;
    }
    let short = |row: &&Row| row.holds() == Some(false);
    for (number, row) in sections.iter().flat_map(|section| &section.rows).filter(short).enumerate()
    {
        if number == 0 {
            writeln!(text, "\nWhat falls short, and why:\n")?;
        }
        let why = causes::of(&row.what, row.reference).unwrap_or("not found yet.");
        writeln!(text, "- {} against {}: {why}", row.what, row.reference)?;
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
