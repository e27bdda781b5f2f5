//! Lines under a plot that explain its marks, in as many columns as fit.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Frame};

/// Margin below the axes, without a legend.
pub const BELOW: i32 = 84;
/// Pixels from one line to the next.
const LINE: i32 = 24;
/// Pixels for what a text explains, a number and a mark, left of it.
pub const MARK: i32 = 52;

/// Where the entries of a legend stand.
#[derive(Clone, Copy, Debug)]
pub struct Legend {
    columns: usize,
    lines: usize,
}

impl Legend {
    /// The legend of these texts under a drawing of that width, with marks of `mark` pixels.
    pub fn of<'t>(texts: impl Iterator<Item = &'t str>, width: u32, mark: i32) -> Self {
        let font = (canvas::FAMILY, 18).into_font();
        let wide = |text: &str| font.box_size(text).map_or(0, |(width, _)| width) as usize;
        let widths: Vec<usize> = texts.map(wide).collect();
        let widest = widths.iter().max().copied().unwrap_or(0) + mark as usize + 20;
        // An SVG is set in the reader's own font, which may be wider.
        let columns = (0.85 * f64::from(width.saturating_sub(114))) as usize / widest;
        let columns = columns.clamp(1, widths.len().max(1));
        Self { columns, lines: widths.len().div_ceil(columns) }
    }

    /// Margin below the axes, with room for it.
    pub fn margin(self) -> i32 {
        if self.lines == 0 { BELOW } else { BELOW + 8 + self.height() }
    }

    /// Height of a drawing in a single column with this legend.
    pub fn column_height(self) -> u32 {
        470 + self.height() as u32
    }

    /// Pixels that its lines take.
    fn height(self) -> i32 {
        self.lines as i32 * LINE
    }

    /// The left end and the middle of the entry of that number, under a frame.
    pub fn place(self, nth: usize, frame: &Frame) -> (i32, i32) {
        let column = (frame.right - frame.left) / self.columns as i32;
        let (over, down) = (nth / self.lines, nth % self.lines);
        (frame.left + column * over as i32, frame.bottom + BELOW + LINE * down as i32)
    }
}

/// Left end of an entry's text beside a mark of the usual size.
pub fn beside((x, y): (i32, i32)) -> (i32, i32) {
    (x + MARK, y)
}

/// The style of its texts.
pub fn style() -> TextStyle<'static> {
    canvas::style(18, BLACK, HPos::Left, VPos::Center)
}
