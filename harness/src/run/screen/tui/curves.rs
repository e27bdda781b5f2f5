//! Loss and accuracy of the chosen trial, over its epochs.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};

use super::theme::{Theme, sign};
use super::trials::{number, percent};
use super::view::View;
use super::widgets::{rule, title};
use crate::run::screen::board::CardState;
use crate::run::screen::live::Live;

pub fn draw(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let theme = view.theme;
    let Some(trial) = view.chosen().map(|index| &view.board.trials[index]) else {
        let block = rule(title("curves", theme), theme);
        frame.render_widget(&block, area);
        frame.render_widget(Span::styled("  none yet", theme.dim()), block.inner(area));
        return;
    };
    let mut headline = title(&trial.short, theme);
    if trial.state != CardState::Running {
        headline.push_span(Span::styled(format!("{} ", sign(trial.state).1), theme.state(trial.state).not_dim()));
    }
    let block = rule(headline, theme);
    frame.render_widget(&block, area);
    let area = block.inner(area);
    let Some(live) = &trial.live else { return };
    let curves = &live.curves;
    let validation = live.validation.as_ref();
    let loss = Plot {
        name: "loss",
        training: curves.loss.points().to_vec(),
        validation: curves.validation_loss.points().to_vec(),
        values: [number(live.loss, 3), number(validation.and_then(|log| log.validation_loss), 3)],
    };
    let percents = |points: &[(f64, f64)]| points.iter().map(|&(x, y)| (x, 100.0 * y)).collect();
    let accuracy = Plot {
        name: "accuracy %",
        training: percents(curves.accuracy.points()),
        validation: percents(curves.validation_accuracy.points()),
        values: [percent(live.accuracy), percent(validation.and_then(|log| log.validation_accuracy))],
    };
    if area.height >= 20 {
        let [above, below] = Layout::vertical([Constraint::Fill(1); 2]).spacing(1).areas(area);
        loss.draw(live, theme, frame, above);
        accuracy.draw(live, theme, frame, below);
    } else if area.width >= 60 {
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(2).areas(area);
        loss.draw(live, theme, frame, left);
        accuracy.draw(live, theme, frame, right);
    } else {
        loss.draw(live, theme, frame, area);
    }
}

struct Plot {
    name: &'static str,
    training: Vec<(f64, f64)>,
    validation: Vec<(f64, f64)>,
    /// The last ones of both.
    values: [String; 2],
}

impl Plot {
    fn draw(&self, live: &Live, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
        let [head, chart] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let legend = vec![
            Span::styled(self.name, theme.strong()),
            Span::styled(format!("  ⠒ train {}", self.values[0]), theme.accent()),
            Span::styled(format!("  • val {}", self.values[1]), theme.other()),
        ];
        frame.render_widget(Line::from(legend), head);
        let ys = || self.training.iter().chain(&self.validation).map(|&(_, y)| y);
        let (low, high) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
        if low > high {
            frame.render_widget(Span::styled("  no step yet", theme.dim()), chart);
            return;
        }
        if chart.height < 3 || chart.width < 12 {
            return;
        }
        // An axis to the last epoch from the start would leave a long training's curve a speck for hours.
        let end = (2.0_f64 * live.position().ceil()).clamp(1.0, live.epochs.max(1) as f64);
        let ticks = Ticks::over(low, high, usize::from((chart.height - 2) / 2).clamp(1, 5));
        let labels = |texts: Vec<String>| texts.into_iter().map(|text| Line::styled(text, theme.dim()));
        let x = Axis::default().bounds([0.0, end]).style(theme.dim());
        let y = Axis::default().bounds([ticks.low, ticks.high]).style(theme.dim());
        let set = |points, marker, graph, style| {
            Dataset::default().data(points).marker(marker).graph_type(graph).style(style)
        };
        let sets = vec![
            set(&self.training, Marker::Braille, GraphType::Line, theme.accent()),
            set(&self.validation, Marker::Dot, GraphType::Scatter, theme.other()),
        ];
        let chart_widget = Chart::new(sets)
            .x_axis(x.labels(labels(vec!["0".into(), format!("{end:.0} epochs")])))
            .y_axis(y.labels(labels(ticks.labels())));
        frame.render_widget(chart_widget, chart);
    }
}

/// An axis that begins and ends at round numbers.
#[derive(Debug, PartialEq)]
struct Ticks {
    low: f64,
    high: f64,
    step: f64,
}

impl Ticks {
    /// About so many parts.
    fn over(low: f64, high: f64, parts: usize) -> Self {
        let span = (high - low).max(1e-3 * high.abs()).max(1e-6);
        let rough = span / parts as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= 0.999 * rough);
        let step = step.unwrap_or(rough);
        let low = (low / step).floor() * step;
        let high = (high / step).ceil() * step;
        Self { low, high: if high > low { high } else { low + step }, step }
    }

    fn labels(&self) -> Vec<String> {
        let parts = ((self.high - self.low) / self.step).round().clamp(1.0, 20.0) as usize;
        let decimals = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        (0..=parts)
            .map(|i| number(Some(self.low + (self.high - self.low) * i as f64 / parts as f64), decimals))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round() {
        assert_eq!(Ticks::over(0.31, 2.2, 4).labels(), ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        assert_eq!(Ticks::over(11.2, 68.1, 3).labels(), ["0", "20", "40", "60", "80"]);
        assert_eq!(Ticks::over(0.0, 0.0, 3).labels().len(), 2);
        for (low, high) in [(0.0, 1e300), (-1e300, 1e300), (5.0, 5.0), (1e-300, 2e-300), (f64::MIN, f64::MAX)] {
            for parts in 1..6 {
                assert!(Ticks::over(low, high, parts).labels().len() <= 21);
            }
        }
    }
}
