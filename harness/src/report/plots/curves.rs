//! Learning curves: validation accuracy by epoch, mean over seeds.

use std::collections::BTreeMap;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Axis, GREY};
use super::legend::{self, BELOW, Legend};
use super::{Drawn, Figure, Width, heading, labels, of_final_network};
use crate::report::aggregate::{Group, SettingRow};
use crate::train::EpochLog;

/// One line a row.
pub(super) struct LearningCurves<'g> {
    group: &'g Group<'g>,
    /// A row, and its mean accuracy in percent at each epoch.
    curves: Vec<(&'g SettingRow<'g>, Vec<(usize, f64)>)>,
    finetuned: bool,
}

impl<'g> LearningCurves<'g> {
    /// None where no trial logged two epochs.
    pub fn of(group: &'g Group<'g>, epochs: impl Fn(&str) -> Result<Vec<EpochLog>>) -> Result<Option<Self>> {
        let mut curves = Vec::new();
        let mut finetuned = false;
        for row in &group.rows {
            let mut by_epoch: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
            for trial in &row.trials {
                let logs = epochs(&trial.trial.key)?;
                let own = of_final_network(&logs);
                let thrown = logs.len() - own.len();
                for log in own {
                    let values = by_epoch.entry(log.epoch - thrown).or_default();
                    values.extend(log.validation_accuracy.map(|share| 100.0 * share));
                    finetuned |= log.phase == "finetune";
                }
            }
            // A mean over fewer seeds than its neighbours' would be a kink that is not there.
            let mean = |(epoch, values): (usize, Vec<f64>)| {
                (values.len() == row.trials.len()).then(|| (epoch, values.iter().sum::<f64>() / values.len() as f64))
            };
            let curve: Vec<_> = by_epoch.into_iter().filter_map(mean).collect();
            if curve.len() >= 2 {
                curves.push((row, curve));
            }
        }
        Ok((!curves.is_empty()).then_some(Self { group, curves, finetuned }))
    }
}

impl LearningCurves<'_> {
    /// What stands under curves that have numbers at their ends.
    fn legend(&self, width: Width) -> Legend {
        Legend::of(self.curves.iter().map(|(row, _)| &*row.label), width.pixels(), 66)
    }
}

impl Figure for LearningCurves<'_> {
    fn height(&self, width: Width) -> u32 {
        match width {
            Width::Page => 800,
            Width::Column => self.legend(width).column_height(),
        }
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, width: Width) -> Drawn<DB> {
        let mut subtitle = "Top-1 on validation after each epoch".to_owned();
        if self.curves.iter().any(|(row, _)| row.trials.len() > 1) {
            subtitle += ", mean over seeds";
        }
        if self.finetuned {
            subtitle += ". Where a network is cut, its curve goes on with the fine-tuning";
        }
        let notes =
            heading::notes(self.group, subtitle, |row| self.curves.iter().any(|(drawn, _)| drawn.label == row.label));
        let top = heading::heading(area, width, &self.group.title(), &notes)? + 48;

        let text = canvas::style(canvas::TEXT, BLACK, HPos::Left, VPos::Center);
        let (mut widest, legend) = (0, self.legend(width));
        for (row, _) in self.curves.iter().filter(|_| width == Width::Page) {
            widest = widest.max(area.estimate_text_size(&row.label, &text)?.0 as i32);
        }
        let last = self.curves.iter().filter_map(|(_, curve)| Some(curve.last()?.0)).max().unwrap_or(1);
        let step = last.div_ceil(if width == Width::Page { 12 } else { 6 }).max(1);
        let x = Axis {
            range: 1.0..last as f64,
            ticks: (1..=last).filter(|epoch| *epoch == 1 || epoch % step == 0).map(|epoch| epoch as f64).collect(),
            title: "Epoch".into(),
            format: Box::new(|epoch| format!("{epoch:.0}")),
        };
        let values = self.curves.iter().flat_map(|(_, curve)| curve.iter().map(|(_, top1)| *top1));
        let y = Axis::percent(values, "Validation accuracy, top-1 (%)");
        let [right, bottom] = match width {
            Width::Page => [widest + 100, BELOW],
            Width::Column => [66, legend.margin()],
        };
        let frame = canvas::axes(area, [top, right, bottom, 84], &x, &y)?;

        let ends: Vec<f64> = self
            .curves
            .iter()
            .map(|(_, curve)| curve.last().map_or(0.0, |(_, top1)| f64::from(frame.at(1.0, *top1).1)))
            .collect();
        let gap = (f64::from(frame.bottom - frame.top) / self.curves.len() as f64).min(f64::from(canvas::TEXT) + 6.0);
        let heights = labels::spread(&ends, gap, (f64::from(frame.top), f64::from(frame.bottom)));
        for (number, (row, curve)) in self.curves.iter().enumerate() {
            // Rows of one method share its colour; dashes and shade tell them apart, and the label at the end says which.
            let before =
                self.curves[..number].iter().filter(|(other, _)| canvas::row_color(other) == canvas::row_color(row));
            let nth = before.count();
            let color = canvas::lighten(canvas::row_color(row), [0.0, 0.25, 0.45][nth % 3]);
            let points: Vec<_> = curve.iter().map(|(epoch, top1)| frame.at(*epoch as f64, *top1)).collect();
            let dash = [0, 9, 4, 14][nth % 4];
            canvas::polyline(area, &points, color, 3, dash)?;
            let Some(end) = points.last() else { continue };
            let height = heights[number].round() as i32;
            canvas::polyline(area, &[*end, (frame.right + 8, end.1), (frame.right + 34, height)], GREY, 1, 0)?;
            // The name of the curve beside a piece of it: at its end, or in the legend.
            let (sample, name) = match width {
                Width::Page => ((frame.right + 38, height), (frame.right + 80, height)),
                Width::Column => {
                    area.draw_text(&(number + 1).to_string(), &text, (frame.right + 38, height))?;
                    let (x, y) = legend.place(number, &frame);
                    area.draw_text(&(number + 1).to_string(), &legend::style(), (x, y))?;
                    ((x + 26, y), (x + 66, y))
                }
            };
            canvas::polyline(area, &[sample, (sample.0 + 34, sample.1)], color, 4, dash)?;
            let style = if width == Width::Page { text.clone() } else { legend::style() };
            area.draw_text(&row.label, &style, name)?;
        }
        Ok(())
    }
}
