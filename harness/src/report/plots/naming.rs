//! Which points of a plot have their label beside them, which a number that a legend explains, and which their mark alone.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Frame, GREY, TEXT};
use super::labels::{self, Rect};
use super::legend::{self, Legend};
use super::{Drawn, Width};
use crate::methods::Rank;
use crate::report::aggregate::SettingRow;

/// Of more rows than this only some are named: a page of labels is read by nobody.
const MOST_NAMED: usize = 40;

/// What is drawn beside labels, so that they keep clear of it.
pub struct Drawing {
    pub frame: Frame,
    /// Of each row.
    pub pixels: Vec<(i32, i32)>,
    /// Ends of each row's error bar.
    pub bars: Vec<[i32; 2]>,
    /// The front.
    pub stairs: Vec<(i32, i32)>,
}

/// How the rows of a plot are named.
pub struct Naming {
    pub drawing: Drawing,
    /// Margin below the axes, with room for the legend.
    pub bottom: i32,
    /// Rows with a text beside their mark, the text and its place.
    texts: Vec<(usize, String, Rect)>,
    entries: Vec<Entry>,
    legend: Legend,
}

/// A line of the legend.
enum Entry {
    /// Explains a number, which stands for a row.
    Number(usize, usize, String),
    /// Explains the mark of a row that has no text.
    Mark(usize, String),
}

impl Naming {
    /// Finds places for the labels of all rows, or of those that matter; what does not fit becomes a number. `drawing` says what else
    /// there is with that margin below.
    pub fn new<DB: DrawingBackend>(
        area: &DrawingArea<DB, Shift>,
        rows: &[SettingRow<'_>],
        front: &[usize],
        width: Width,
        drawing: &dyn Fn(i32) -> Drawing,
    ) -> Drawn<DB, Self> {
        let named = named(rows, front);
        // In a single column there is no room for words among the marks.
        let mut numbered = if width == Width::Column { named.clone() } else { Vec::new() };
        loop {
            let entries = entries(rows, &named, &numbered);
            let legend = Legend::of(entries.iter().map(Entry::text), area.dim_in_pixel().0, legend::MARK);
            let bottom = legend.margin();
            let drawing = drawing(bottom);
            let text = |row: usize| match numbered.iter().position(|other| *other == row) {
                Some(number) => (number + 1).to_string(),
                None => rows[row].label.clone(),
            };
            let texts: Vec<String> = named.iter().map(|row| text(*row)).collect();
            let placed = drawing.place(area, &named, &texts)?;
            let points: Vec<(f64, f64)> = named.iter().map(|row| real(drawing.pixels[*row])).collect();
            let covering = labels::covering(&points, &placed, &drawing.obstacles());
            let covering = covering.into_iter().map(|label| named[label]);
            let fresh: Vec<usize> = covering.filter(|row| !numbered.contains(row)).collect();
            if fresh.is_empty() {
                let texts = named.into_iter().zip(texts).zip(placed).map(|((row, text), place)| (row, text, place));
                return Ok(Self { drawing, bottom, texts: texts.collect(), entries, legend });
            }
            numbered.extend(fresh);
            numbered.sort_unstable();
        }
    }

    /// Marks, labels with a line to those that stand apart, and the legend.
    pub fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, rows: &[SettingRow<'_>]) -> Drawn<DB> {
        let text = canvas::style(TEXT, BLACK, HPos::Center, VPos::Center);
        for (row, _, place) in &self.texts {
            let at = self.drawing.pixels[*row];
            let (x, y) = place.nearest(real(at));
            if (x - f64::from(at.0)).hypot(y - f64::from(at.1)) > 20.0 {
                canvas::line(area, at, (x as i32, y as i32), GREY, 1)?;
            }
        }
        for (row, at) in rows.iter().zip(&self.drawing.pixels) {
            canvas::row_mark(area, *at, row)?;
        }
        for (_, label, place) in &self.texts {
            let center = ((place.left + place.right) / 2.0, (place.top + place.bottom) / 2.0);
            area.draw_text(label, &text, (center.0 as i32, center.1 as i32))?;
        }
        let numbers = canvas::style(18, BLACK, HPos::Right, VPos::Center);
        for (nth, entry) in self.entries.iter().enumerate() {
            let at = self.legend.place(nth, &self.drawing.frame);
            match entry {
                Entry::Number(number, row, _) => {
                    area.draw_text(&number.to_string(), &numbers, (at.0 + 18, at.1))?;
                    canvas::row_mark(area, (at.0 + 34, at.1), &rows[*row])?;
                }
                Entry::Mark(row, _) => canvas::row_mark(area, (at.0 + 34, at.1), &rows[*row])?,
            }
            area.draw_text(entry.text(), &legend::style(), legend::beside(at))?;
        }
        Ok(())
    }
}

/// The legend of a plot in which no row has its own words.
pub fn numbered_legend(rows: &[SettingRow<'_>], front: &[usize], width: u32) -> Legend {
    let named = named(rows, front);
    Legend::of(entries(rows, &named, &named).iter().map(Entry::text), width, legend::MARK)
}

impl Entry {
    fn text(&self) -> &str {
        let (Self::Number(_, _, text) | Self::Mark(_, text)) = self;
        text
    }
}

fn real((x, y): (i32, i32)) -> (f64, f64) {
    (f64::from(x), f64::from(y))
}

/// The rows that are named: all, or of many those on the front, the reference, and the method under study.
fn named(rows: &[SettingRow<'_>], front: &[usize]) -> Vec<usize> {
    let all = 0..rows.len();
    if rows.len() <= MOST_NAMED {
        return all.collect();
    }
    let matters = |row: &usize| rows[*row].is_vanilla() || front.contains(row) || rows[*row].rank() == Rank::Studied;
    all.filter(matters).take(MOST_NAMED).collect()
}

fn entries(rows: &[SettingRow<'_>], named: &[usize], numbered: &[usize]) -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        numbered.iter().enumerate().map(|(nth, row)| Entry::Number(nth + 1, *row, rows[*row].label.clone())).collect();
    let mut known: Vec<&str> = Vec::new();
    for row in (0..rows.len()).filter(|row| !named.contains(row)) {
        let method = canvas::drawn_as(&rows[row]);
        if !known.contains(&method) {
            known.push(method);
            entries.push(Entry::Mark(row, method.to_owned()));
        }
    }
    entries
}

impl Drawing {
    /// What no label may cover: marks, the front, error bars.
    fn obstacles(&self) -> Vec<Rect> {
        let mut obstacles: Vec<Rect> = self.pixels.iter().map(|at| Rect::around(real(*at), 10.0, 10.0)).collect();
        for pair in self.stairs.windows(2) {
            let ((ax, ay), (bx, by)) = (real(pair[0]), real(pair[1]));
            let (left, right, top, bottom) = (ax.min(bx) - 1.0, ax.max(bx) + 1.0, ay.min(by) - 1.0, ay.max(by) + 1.0);
            obstacles.push(Rect { left, top, right, bottom });
        }
        for (at, bar) in self.pixels.iter().zip(&self.bars) {
            let [low, high] = bar.map(f64::from);
            let x = f64::from(at.0);
            obstacles.push(Rect { left: x - 6.0, top: high, right: x + 6.0, bottom: low });
        }
        obstacles
    }

    /// Places for these texts beside the marks of these rows.
    fn place<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        rows: &[usize],
        texts: &[String],
    ) -> Drawn<DB, Vec<Rect>> {
        let style = canvas::style(TEXT, BLACK, HPos::Center, VPos::Center);
        let mut sizes = Vec::new();
        for text in texts {
            let (width, _) = area.estimate_text_size(text, &style)?;
            sizes.push((f64::from(width) + 6.0, f64::from(TEXT) + 2.0));
        }
        let Frame { left, right, top, bottom, .. } = self.frame;
        let [left, right, top, bottom] = [left + 2, right - 2, top + 2, bottom - 2].map(f64::from);
        let points: Vec<(f64, f64)> = rows.iter().map(|row| real(self.pixels[*row])).collect();
        Ok(labels::place(&points, &sizes, &self.obstacles(), &Rect { left, top, right, bottom }))
    }
}
