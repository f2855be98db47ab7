//! The picture of the quickest of many starts, which is the one that least came between: a line for each step, from the one before it of the same process to its own end.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::samples::Samples;

const LINE: i32 = 18;
const WIDTH: i32 = 1000;
/// Where time begins, and where it ends.
const FROM: i32 = 330;
const TO: i32 = WIDTH - 90;

/// The step that all others lead to.
pub const END: &str = "first output";

/// A step of one process.
struct Bar {
    who: String,
    label: String,
    from: f64,
    to: f64,
}

/// Which of these times is the least.
pub fn quickest(times: &[f64]) -> usize {
    let least = times.iter().enumerate().min_by(|one, other| one.1.total_cmp(other.1));
    least.map_or(0, |(number, _)| number)
}

/// Draws the steps of all cases of a question below each other; returns whether there were any.
///
/// # Errors
/// The file system's.
pub fn draw(samples: &Samples, question: &str, file: &Path) -> Result<bool> {
    let mut cases: BTreeMap<&str, Vec<Bar>> = BTreeMap::new();
    let mut before: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    let ends = samples.of(question).filter(|(_, metric, _)| metric.ends_with(END));
    let starts: BTreeMap<&str, usize> =
        ends.map(|(case, _, times)| (case, quickest(times))).collect();
    for (case, metric, times) in samples.of(question) {
        let time = starts.get(case).and_then(|start| times.get(*start));
        let Some((to, (who, _))) = time.copied().zip(process_and_step(metric)) else { continue };
        let from = before.insert((case, who), to).unwrap_or(0.0);
        let (who, label) = (who.to_owned(), metric.to_owned());
        cases.entry(case).or_default().push(Bar { who, label, from, to });
    }
    if cases.is_empty() {
        return Ok(false);
    }
    paint(&cases, file).map_err(|error| anyhow!("{error}"))?;
    Ok(true)
}

/// Of `07 runner: ready`.
fn process_and_step(metric: &str) -> Option<(&str, &str)> {
    metric.split_once(' ')?.1.split_once(": ")
}

fn colour(who: &str) -> RGBColor {
    match who {
        "client" => RGBColor(120, 120, 120),
        "start" => RGBColor(214, 137, 16),
        "supervisor" => RGBColor(31, 97, 141),
        _ => RGBColor(30, 132, 73),
    }
}

fn paint(cases: &BTreeMap<&str, Vec<Bar>>, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let lines: usize = cases.values().map(|bars| bars.len() + 3).sum();
    let height = u32::try_from(lines)? * LINE.unsigned_abs();
    let area = SVGBackend::new(file, (WIDTH.unsigned_abs(), height)).into_drawing_area();
    area.fill(&WHITE)?;
    let font = |size: i32| ("sans-serif", size).into_font();
    let mut y = LINE;
    for (case, bars) in cases {
        let end = bars.iter().map(|bar| bar.to).fold(0.1, f64::max);
        let x = |at: f64| FROM + (f64::from(TO - FROM) * at / end) as i32;
        area.draw(&Text::new(format!("{case}: {end:.1} ms"), (8, y), font(15)))?;
        y += LINE;
        for bar in bars {
            area.draw(&Text::new(bar.label.clone(), (8, y), font(12)))?;
            let corners = [(x(bar.from), y), (x(bar.to).max(x(bar.from) + 1), y + LINE - 5)];
            area.draw(&Rectangle::new(corners, colour(&bar.who).filled()))?;
            let took = format!("{:.2} ms", bar.to - bar.from);
            area.draw(&Text::new(took, (x(bar.to) + 4, y), font(11)))?;
            y += LINE;
        }
        y += LINE;
    }
    area.present()?;
    Ok(())
}
