//! Plots of a group, each as SVG, PNG and PDF.

mod canvas;
mod cost;
mod curves;
mod heading;
mod labels;
mod legend;
mod naming;
mod option;
mod picture;

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::aggregate::{Group, SettingRow};
use crate::train::EpochLog;

/// A picture in all formats.
#[derive(Clone, Debug)]
pub struct Plot {
    /// File name without its ending.
    pub name: String,
    /// What it shows, in words.
    pub title: String,
    /// How wide it is.
    pub width: Width,
    /// The picture as SVG.
    pub svg: String,
    /// The picture as PNG.
    pub png: Vec<u8>,
    /// The picture as PDF.
    pub pdf: Vec<u8>,
    /// Letters that are in no font of this machine: PNG and PDF show boxes for them.
    pub lacking: BTreeSet<char>,
}

/// What a picture is as wide as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Both columns of a paper, or a screen: 7 inches, with a heading of its own.
    Page,
    /// One column, 3.45 inches: the paper's caption stands in for a heading, and numbers for names.
    Column,
}

impl Width {
    fn pixels(self) -> u32 {
        match self {
            Self::Page => 1200,
            Self::Column => 591,
        }
    }
}

/// What drawing gives on the backend `DB`.
type Drawn<DB, T = ()> = Result<T, DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Something that can be drawn.
trait Figure {
    /// Its height in pixels.
    fn height(&self, width: Width) -> u32;

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, width: Width) -> Drawn<DB>;
}

/// Every plot that the group has data for, in both widths; `slug` starts their names, `epochs` reads a trial's log by its key.
///
/// # Errors
/// A log that cannot be read; names the file.
pub fn all(group: &Group<'_>, slug: &str, epochs: impl Fn(&str) -> Result<Vec<EpochLog>>) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for over in cost::Over::ALL.into_iter().filter(|_| !group.cost_only()) {
        if let Some(figure) = cost::AccuracyOver::of(group, over) {
            plots.extend(render(&format!("{slug}-accuracy-over-{}", over.name()), over.heading(), &figure)?);
        }
    }
    for figure in option::varied_options(group) {
        let name = format!("{slug}-{}-{}", figure.method, figure.option);
        let what = if group.cost_only() { "Parameters and MACs" } else { "Accuracy and MACs" };
        plots.extend(render(&name, &format!("{what} over {}'s {}", figure.method, figure.option), &figure)?);
    }
    if let Some(figure) = curves::LearningCurves::of(group, epochs)? {
        plots.extend(render(&format!("{slug}-learning-curves"), "Learning curves", &figure)?);
    }
    Ok(plots)
}

/// The options that some method of the group varies, each once.
pub fn options(group: &Group<'_>) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for figure in option::varied_options(group) {
        if !options.contains(&figure.option) {
            options.push(figure.option);
        }
    }
    options
}

/// The number of a row's shape, and its colour as `#rrggbb`: the same in every plot. No shape for a method that this program does not
/// know.
pub fn mark(row: &SettingRow<'_>) -> (Option<usize>, String) {
    let RGBColor(r, g, b) = canvas::row_color(row);
    (canvas::shape(canvas::drawn_as(row)), format!("#{r:02x}{g:02x}{b:02x}"))
}

/// The epochs that trained the network of a trial; of one that began afresh, those before are of another one.
pub fn of_final_network(logs: &[EpochLog]) -> &[EpochLog] {
    &logs[logs.iter().position(|log| log.phase == "scratch").unwrap_or(0)..]
}

/// A figure in both widths.
fn render<F: Figure>(name: &str, title: &str, figure: &F) -> Result<[Plot; 2]> {
    canvas::register_fonts()?;
    let page = render_one(name.to_owned(), title, figure, Width::Page)?;
    Ok([page, render_one(format!("{name}-column"), title, figure, Width::Column)?])
}

fn render_one<F: Figure>(name: String, title: &str, figure: &F, width: Width) -> Result<Plot> {
    let failed = || format!("plot {name}");
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (width.pixels(), figure.height(width))).into_drawing_area();
    let draw = || {
        area.fill(&WHITE)?;
        figure.draw(&area, width)?;
        area.present()
    };
    draw().map_err(|error: DrawingAreaErrorKind<_>| anyhow!("{error}")).with_context(failed)?;
    drop(area);
    let picture::Rendered { png, pdf, lacking } = picture::render(&svg).with_context(failed)?;
    Ok(Plot { name, title: title.to_owned(), width, svg, png, pdf, lacking })
}
