//! Accuracy and cost over one option of a method, depth for instance: two panels side by side.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use toml::Value;

use super::canvas::{self, Axis, GREY};
use super::labels::Rect;
use super::{Drawn, Figure, Width, heading};
use crate::report::aggregate::{Group, SettingRow};
use crate::report::numbers::{quantity, trim};

/// The rows of a method that differ in one option only, by the values of that option.
pub(super) struct OptionPlot<'g> {
    group: &'g Group<'g>,
    /// The method's name.
    pub method: String,
    /// The option's name.
    pub option: String,
    /// The values, ascending.
    values: Vec<f64>,
    /// Rows that agree in every other option, with what those are.
    series: Vec<(String, Vec<(f64, &'g SettingRow<'g>)>)>,
}

/// Every method and numeric option that a group sweeps.
pub(super) fn varied_options<'g>(group: &'g Group<'g>) -> Vec<OptionPlot<'g>> {
    let mut found: Vec<OptionPlot<'g>> = Vec::new();
    for row in &group.rows {
        for (option, value) in &row.first().trial.config.method.options {
            let Some(value) = number(value) else { continue };
            let method = row.method();
            let place = found.iter().position(|s| s.method == method && s.option == *option).unwrap_or_else(|| {
                let (method, option) = (method.to_owned(), option.clone());
                found.push(OptionPlot { group, method, option, values: Vec::new(), series: Vec::new() });
                found.len() - 1
            });
            let others = others(row, option);
            let series = &mut found[place].series;
            match series.iter_mut().find(|(known, _)| *known == others) {
                Some((_, rows)) => rows.push((value, row)),
                None => series.push((others, vec![(value, row)])),
            }
        }
    }
    for setting in &mut found {
        setting.series.retain(|(_, rows)| rows.len() >= 2);
        for (_, rows) in &mut setting.series {
            rows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        }
        setting.values = setting.series.iter().flat_map(|(_, rows)| rows.iter().map(|(value, _)| *value)).collect();
        setting.values.sort_by(f64::total_cmp);
        setting.values.dedup();
    }
    found.retain(|setting| setting.values.len() >= 2);
    found
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or(value.as_integer().map(|n| n as f64))
}

/// All that must be equal along a line, in words.
fn others(row: &SettingRow<'_>, option: &str) -> String {
    let config = &row.first().trial.config;
    let mut words: Vec<String> = config
        .method
        .options
        .iter()
        .filter(|(name, _)| *name != option)
        .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), String::from)))
        .collect();
    words.extend(config.layers.iter().map(|layer| format!("{}: {}", layer.pattern, layer.method.name)));
    words.join(" ")
}

impl Figure for OptionPlot<'_> {
    fn height(&self, width: Width) -> u32 {
        match width {
            Width::Page => 680,
            Width::Column => 900,
        }
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, width: Width) -> Drawn<DB> {
        let split = self.group.split();
        let cost_only = self.group.cost_only();
        let mut subtitle = format!("{} over {}", self.method, self.option);
        if !cost_only && self.points().any(|(_, row)| row.trials.len() > 1) {
            subtitle += ": mean over seeds, bars: sample standard deviation";
        } else if !cost_only {
            subtitle += ": one seed, no spread known";
        }
        if self.group.vanilla().is_some() {
            subtitle += ". Dashed: vanilla";
        }
        let drawn = |row: &SettingRow<'_>| self.points().any(|(_, point)| point.label == row.label);
        let top = heading::heading(area, width, &self.group.title(), &heading::notes(self.group, subtitle, drawn))?;
        let (_, below) = area.split_vertically(top);
        // Beside each other on a page, one over the other in a column.
        let (left, right) = match width {
            Width::Page => below.split_horizontally(600),
            Width::Column => below.split_vertically(450),
        };
        if cost_only {
            self.panel(&left, "Parameters", &|row| Some((row.params() as f64, 0.0)), true)?;
        } else {
            let top1 = |row: &SettingRow<'_>| row.top1(split).map(|top1| (top1.mean, top1.deviation.unwrap_or(0.0)));
            self.panel(&left, &format!("Top-1 on {} (%)", split.name()), &top1, false)?;
        }
        self.panel(&right, "Multiply-accumulates per image", &|row| Some((row.macs() as f64, 0.0)), true)
    }
}

impl OptionPlot<'_> {
    fn points(&self) -> impl Iterator<Item = &(f64, &SettingRow<'_>)> {
        self.series.iter().flat_map(|(_, rows)| rows)
    }

    /// One panel: mean and half of the error bar of each row; counts start at 0 and are written short.
    fn panel<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        title: &str,
        measure: &dyn Fn(&SettingRow<'_>) -> Option<(f64, f64)>,
        count: bool,
    ) -> Drawn<DB> {
        let vanilla = self.group.vanilla().and_then(measure);
        let measured = self.points().filter_map(|(_, row)| measure(row)).chain(vanilla);
        let ends: Vec<f64> = measured.flat_map(|(mean, bar)| [mean - bar, mean + bar]).collect();
        let written = |value: f64| if count { quantity(value.round() as u64) } else { format!("{value:.1}") };
        let mut y = Axis::percent(ends.iter().copied(), title);
        if count {
            y = Axis::round(0.0..1.12 * ends.iter().copied().fold(0.0, f64::max), title);
            y.format = Box::new(|value| trim(&quantity(value.round() as u64)));
        }
        let x =
            Axis::places(self.values.iter().map(f64::to_string).collect(), &format!("{} {}", self.method, self.option));
        let frame = canvas::axes(area, [60, 40, 84, 84], &x, &y)?;
        // Error bars, marks and the figures beside them.
        let taken: Vec<Rect> = self
            .points()
            .filter_map(|(value, row)| {
                let place = self.values.iter().position(|known| known == value)? as f64;
                let (mean, bar) = measure(row)?;
                let (x, y) = frame.at(place, mean);
                let (top, bottom) = (frame.at(place, mean + bar).1, frame.at(place, mean - bar).1);
                let [left, right, top, bottom] = [x - 10, x + 10, top, bottom].map(f64::from);
                let figures = Rect { left, top: f64::from(y) - 26.0, right: right + 60.0, bottom: f64::from(y) + 26.0 };
                Some([Rect { left, top, right, bottom }, figures])
            })
            .flatten()
            .collect();
        if let Some((mean, _)) = vanilla {
            let height = frame.at(0.0, mean).1;
            canvas::polyline(area, &[(frame.left, height), (frame.right, height)], GREY, 2, 7)?;
            let text = format!("vanilla {}", written(mean));
            let (at, v) = clear(&text, height, (frame.left, frame.right), &taken);
            area.draw_text(&text, &canvas::style(18, canvas::DIM, HPos::Right, v), at)?;
        }
        for (number, (others, rows)) in self.series.iter().enumerate() {
            let share = 0.6 * number as f64 / self.series.len() as f64;
            let color = canvas::lighten(canvas::color(&self.method), share);
            let at = |value: f64, measured: f64| {
                let place = self.values.iter().position(|known| *known == value).unwrap_or(0);
                frame.at(place as f64, measured)
            };
            let points: Vec<_> = rows.iter().filter_map(|(value, row)| Some((*value, measure(row)?))).collect();
            let line: Vec<_> = points.iter().map(|(value, (mean, _))| at(*value, *mean)).collect();
            canvas::polyline(area, &line, color, 2, 0)?;
            for (nth, (pixel, (value, (mean, bar)))) in line.iter().zip(&points).enumerate() {
                if *bar > 0.0 {
                    canvas::error_bar(area, pixel.0, (at(*value, mean - bar).1, at(*value, mean + bar).1), color)?;
                }
                canvas::mark(area, *pixel, &self.method, color)?;
                // Right of the mark, on the side that the line to the next one leaves free.
                let rises = line.get(nth + 1).is_some_and(|next| next.1 < pixel.1);
                let (v, down) = if rises { (VPos::Top, 8) } else { (VPos::Bottom, -6) };
                let style = canvas::style(18, BLACK, HPos::Left, v);
                area.draw_text(&written(*mean), &style, (pixel.0 + 12, pixel.1 + down))?;
            }
            if let (Some(last), true) = (line.last(), self.series.len() > 1) {
                let style = canvas::style(17, canvas::DIM, HPos::Right, VPos::Top);
                let others = if others.is_empty() { "other options at their defaults" } else { others };
                area.draw_text(others, &style, (last.0.min(frame.right) + 20, last.1 + 12))?;
            }
        }
        Ok(())
    }
}

/// Where on a line at `height` its label hides least of what is `taken`: its right end, and whether above or below the
/// line; as far right as that allows.
fn clear(text: &str, height: i32, (left, right): (i32, i32), taken: &[Rect]) -> ((i32, i32), VPos) {
    let (wide, high) = (10 * text.chars().count() as i32, 18);
    let hidden = |end: i32, top: i32| {
        let [left, top, right, bottom] = [end - wide, top, end, top + high].map(f64::from);
        let label = Rect { left, top, right, bottom };
        taken.iter().map(|other| label.overlap(other)).sum::<f64>()
    };
    let mut best = ((right - 4, height - 4), VPos::Bottom);
    let mut least = f64::INFINITY;
    for end in (left + wide..right - 3).rev().step_by(4) {
        for (top, at, v) in [(height - 4 - high, height - 4, VPos::Bottom), (height + 4, height + 4, VPos::Top)] {
            let hides = hidden(end, top);
            if hides < least {
                (least, best) = (hides, ((end, at), v));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_vanilla_makes_way() {
        let place = |taken: &[Rect]| clear("vanilla 50.0", 100, (0, 500), taken).0;
        assert_eq!(place(&[]), (496, 96));
        let corner = Rect { left: 450.0, top: 60.0, right: 520.0, bottom: 98.0 };
        assert_eq!(place(&[corner]), (496, 104), "below the line");
        let (end, _) = place(&[Rect { bottom: 140.0, ..corner }]);
        assert!((440..=450).contains(&end), "left of what is there: {end}");
    }
}
