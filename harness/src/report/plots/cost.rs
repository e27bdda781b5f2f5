//! Accuracy over MACs, and over measured latency, with the Pareto front.

use std::collections::BTreeMap;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Axis, DIM, Frame, GREY};
use super::naming::{Drawing, Naming, numbered_legend};
use super::{Drawn, Figure, Width, heading};
use crate::report::aggregate::{Group, SettingRow, Split};
use crate::report::numbers::{quantity, trim};
use crate::statistics::{Standing, Summary, standings};

/// Indices of the points on the front of the means, cheapest first.
fn front(points: &[(u64, f64)]) -> Vec<usize> {
    let (costs, means): (Vec<u64>, Vec<f64>) = points.iter().copied().unzip();
    let standings = standings(&costs, &means, &[]);
    let mut front: Vec<usize> = (0..points.len()).filter(|n| standings[*n] == Standing::Front).collect();
    front.sort_by_key(|n| costs[*n]);
    front
}

/// Rows of each method that was solved for several budgets, cheapest first: operating points of one curve. Rows that differ in
/// another way than what was solved for are among them too, as nothing tells which belong together.
fn curves(group: &Group<'_>) -> Vec<Vec<usize>> {
    let mut by_method: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, row) in group.rows.iter().enumerate().filter(|(_, row)| !row.budgets().is_empty()) {
        by_method.entry(row.method()).or_default().push(index);
    }
    let mut curves: Vec<Vec<usize>> = by_method.into_values().filter(|rows| rows.len() > 1).collect();
    curves.iter_mut().for_each(|rows| rows.sort_by_key(|row| group.rows[*row].macs()));
    curves
}

/// What accuracy is drawn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Multiply-accumulates.
    Macs,
    /// The median inference of one image, in nanoseconds.
    Latency,
}

impl Over {
    pub const ALL: [Self; 2] = [Self::Macs, Self::Latency];

    /// In file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Macs => "macs",
            Self::Latency => "latency",
        }
    }

    /// In headings.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Macs => "Accuracy over MACs",
            Self::Latency => "Accuracy over measured latency",
        }
    }

    fn axis(self) -> &'static str {
        match self {
            Self::Macs => "Multiply-accumulates per image (log scale)",
            Self::Latency => "Median inference of one image, ms (log scale)",
        }
    }

    fn of(self, group: &Group<'_>, row: &SettingRow<'_>) -> Option<u64> {
        match self {
            Self::Macs => Some(row.macs()),
            Self::Latency => {
                let nanoseconds = group.network(row)?.one.as_ref()?.ms[0] * 1e6;
                (nanoseconds >= 1.0).then_some(nanoseconds as u64)
            }
        }
    }

    fn format(self, value: f64) -> String {
        match self {
            Self::Macs => trim(&quantity(value.round() as u64)),
            Self::Latency => format!("{}", (value / 1e4).round() / 100.0),
        }
    }
}

/// One point a row.
pub(super) struct AccuracyOver<'g> {
    group: &'g Group<'g>,
    over: Over,
    split: Split,
    points: Vec<(u64, Summary)>,
}

impl<'g> AccuracyOver<'g> {
    /// None for fewer than two rows, and where one has no cost of this kind.
    pub fn of(group: &'g Group<'g>, over: Over) -> Option<Self> {
        let split = group.split();
        let point = |row: &SettingRow<'_>| Some((over.of(group, row)?, row.top1(split)?));
        let points: Option<Vec<_>> = group.rows.iter().map(point).collect();
        points.filter(|points| points.len() >= 2).map(|points| Self { group, over, split, points })
    }
}

impl AccuracyOver<'_> {
    fn front(&self) -> Vec<usize> {
        front(&self.points.iter().map(|(cost, top1)| (*cost, top1.mean)).collect::<Vec<_>>())
    }
}

impl Figure for AccuracyOver<'_> {
    fn height(&self, width: Width) -> u32 {
        match width {
            Width::Page => 800,
            Width::Column => numbered_legend(&self.group.rows, &self.front(), width.pixels()).column_height(),
        }
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, width: Width) -> Drawn<DB> {
        let front = self.front();
        let spread = match self.points.iter().map(|(_, top1)| top1.n).max() {
            Some(n) if n > 1 => format!("mean over seeds, bars: sample standard deviation (up to {n} seeds)"),
            _ => "one seed, no spread known".into(),
        };
        let subtitle = format!("Top-1 on {}, {spread}. Dashed: Pareto front of the means", self.split.name());
        let notes = heading::notes(self.group, subtitle, |_| true);
        let top = heading::heading(area, width, &self.group.title(), &notes)? + 48;

        let logs: Vec<f64> = self.points.iter().map(|(cost, _)| (*cost as f64).log10()).collect();
        let x = log_axis(&logs, self.over);
        let ends = |(_, top1): &(u64, Summary)| {
            let deviation = top1.deviation.unwrap_or(0.0);
            [top1.mean - deviation, top1.mean + deviation]
        };
        let y = Axis::percent(
            self.points.iter().flat_map(ends),
            &format!("{} accuracy, top-1 (%)", capital(self.split.name())),
        );
        let places = |frame: &Frame| -> Vec<(i32, i32)> {
            logs.iter().zip(&self.points).map(|(log, (_, top1))| frame.at(*log, top1.mean)).collect()
        };
        let bars = |frame: &Frame| -> Vec<[i32; 2]> {
            self.points.iter().map(|point| ends(point).map(|value| frame.at(0.0, value).1)).collect()
        };
        let naming = Naming::new(area, &self.group.rows, &front, width, &|bottom| {
            let frame = Frame::new(area.dim_in_pixel(), [top, 30, bottom, 84], &x, &y);
            let pixels = places(&frame);
            Drawing { stairs: stairs(&front, &pixels), bars: bars(&frame), pixels, frame }
        })?;
        let Drawing { pixels, stairs, bars, .. } = &naming.drawing;
        let frame = canvas::axes(area, [top, 30, naming.bottom, 84], &x, &y)?;

        let behind: Vec<(i32, i32)> =
            (0..pixels.len()).filter(|row| !front.contains(row)).map(|row| pixels[row]).collect();
        for piece in canvas::around(stairs, &behind, 13) {
            canvas::polyline(area, &piece, GREY, 2, 7)?;
        }
        for rows in curves(self.group) {
            let line: Vec<(i32, i32)> = rows.iter().map(|row| pixels[*row]).collect();
            canvas::polyline(area, &line, canvas::lighten(canvas::row_color(&self.group.rows[rows[0]]), 0.3), 2, 0)?;
        }
        for ((row, at), (bar, (_, top1))) in self.group.rows.iter().zip(pixels).zip(bars.iter().zip(&self.points)) {
            if top1.deviation.is_some() {
                canvas::error_bar(area, at.0, (bar[0], bar[1]), canvas::lighten(canvas::row_color(row), 0.3))?;
            }
        }
        naming.draw(area, &self.group.rows)?;
        let note = canvas::style(17, DIM, HPos::Right, VPos::Bottom);
        area.draw_text("up and left is better", &note, (frame.right, frame.top - 14))
    }
}

/// A staircase over the front: up to the next point, the one before is the best there is.
fn stairs(front: &[usize], pixels: &[(i32, i32)]) -> Vec<(i32, i32)> {
    let steps = front.windows(2).flat_map(|pair| {
        let (from, to) = (pixels[pair[0]], pixels[pair[1]]);
        [from, (to.0, from.1), to]
    });
    steps.collect()
}

/// A logarithmic axis over exponents of 10, ticks at 1, 2, 5 or finer.
fn log_axis(logs: &[f64], over: Over) -> Axis {
    let low = logs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Room at both sides for labels.
    let air = (0.1 * (high - low)).max(0.05);
    let range = low - air..high + air;
    let steps: [&[f64]; 3] = [
        &[1.0, 2.0, 5.0],
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
        &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5],
    ];
    let ticks = |steps: &[f64]| -> Vec<f64> {
        let decades = range.start.floor() as i32..=range.end.floor() as i32;
        let all = decades.flat_map(|decade| steps.iter().map(move |step| f64::from(decade) + step.log10()));
        all.filter(|tick| range.contains(tick)).collect()
    };
    let ticks =
        steps.iter().map(|steps| ticks(steps)).find(|ticks| ticks.len() >= 4).unwrap_or_else(|| ticks(steps[2]));
    let format = move |value: f64| over.format(10f64.powf(value));
    Axis { range, ticks, title: over.axis().to_owned(), format: Box::new(format) }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_runs_from_the_cheapest_to_the_best() {
        // 0 is beaten by 1 (cheaper and better), 4 by 3 (same cost, better); 5 equals 3 in both.
        let points = [(50, 60.0), (40, 61.0), (10, 40.0), (20, 55.0), (20, 50.0), (20, 55.0), (90, 61.0)];
        assert_eq!(front(&points), [2, 3, 5, 1]);
        assert_eq!(front(&[]), [0usize; 0]);
    }

    #[test]
    fn log_ticks_are_round_and_enough() {
        let written = |over| -> Vec<String> {
            let axis = log_axis(&[7.2e6f64.log10(), 40.8e6f64.log10()], over);
            axis.ticks.iter().map(|tick| (axis.format)(*tick)).collect()
        };
        assert_eq!(written(Over::Macs), ["8M", "10M", "15M", "20M", "30M", "40M"]);
        assert_eq!(written(Over::Latency), ["8", "10", "15", "20", "30", "40"]);
    }
}
