//! Pictures: for each case of a question, all samples of a metric as dots, sorted by size.

pub mod timeline;

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::samples::Samples;

/// Draws a metric of a question; returns whether there was anything to draw.
///
/// # Errors
/// The file system's.
pub fn draw(
    samples: &Samples,
    question: &str,
    metric: &str,
    unit: &str,
    file: &Path,
) -> Result<bool> {
    let sets: Vec<_> = samples
        .of(question)
        .filter(|(_, of, values)| *of == metric && values.len() > 1)
        .map(|(case, _, values)| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            (case, values)
        })
        .collect();
    let largest = sets.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    if sets.is_empty() || largest <= 0.0 {
        return Ok(false);
    }
    paint(&sets, metric, unit, largest, file).map_err(|error| anyhow!("{error}"))?;
    Ok(true)
}

fn paint(
    sets: &[(&str, Vec<f64>)],
    metric: &str,
    unit: &str,
    largest: f64,
    file: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..100.0, 0.0..largest * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("percent of the samples")
        .y_desc(format!("{metric}, {unit}, at most"))
        .draw()?;
    for (number, (case, values)) in sets.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        let last = (values.len() - 1).max(1) as f64;
        let points =
            values.iter().enumerate().map(|(at, value)| (at as f64 / last * 100.0, *value));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(*case)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
