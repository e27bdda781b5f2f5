//! Fonts, colours and marks that all plots share; positions are pixels.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Drawn;
use crate::methods;
use crate::report::aggregate::SettingRow;

/// Size of ordinary text, in pixels.
pub const TEXT: u32 = 20;
/// Grid lines, leaders and references.
pub const GREY: RGBColor = RGBColor(150, 150, 150);
/// Secondary text.
pub const DIM: RGBColor = RGBColor(90, 90, 90);
/// What the text is set in.
pub const FAMILY: &str = "sans-serif";
/// The font that comes with the binary: no machine needs to have any.
pub const FONT: &[u8] = epaint_default_fonts::UBUNTU_LIGHT;

/// Registers the font, for measuring text.
pub fn register_fonts() -> Result<()> {
    plotters::style::register_font(FAMILY, FontStyle::Normal, FONT)
        .map_err(|_| anyhow!("the embedded font cannot be read"))
}

/// A style for text of that size and colour, anchored as said.
pub fn style(size: u32, color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    let mut style = TextStyle::from((FAMILY, size).into_font()).pos(Pos::new(h, v));
    style.color = plotters::style::Color::to_backend_color(&color);
    style
}

/// Okabe and Ito's palette, which people with any colour vision can tell apart, and Tol's behind it (his yellow too, which shows on
/// white); by place in the registry.
const COLORS: [RGBColor; 16] = [
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(0, 114, 178),
    RGBColor(204, 187, 68),
    RGBColor(136, 34, 85),
    RGBColor(51, 34, 136),
    RGBColor(17, 119, 51),
    RGBColor(153, 153, 51),
    RGBColor(204, 102, 119),
    RGBColor(68, 170, 153),
    RGBColor(102, 51, 0),
    RGBColor(170, 68, 153),
];

/// A method's colour, the same in every plot; grey for one that this binary does not know.
pub fn color(method: &str) -> RGBColor {
    methods::find(method).map_or(DIM, |info| COLORS[index(info.place, COLORS.len())])
}

/// Which of `count` colours or marks a place in the registry has. The first one is the studied method's alone; where there are more
/// methods than colours, the others come round again.
fn index(place: usize, count: usize) -> usize {
    if place == 0 { 0 } else { 1 + (place - 1) % (count - 1) }
}

/// Mixes a colour with white; `share` of white in [0, 1].
pub fn lighten(RGBColor(r, g, b): RGBColor, share: f64) -> RGBColor {
    let mix = |channel: u8| (f64::from(channel) + (255.0 - f64::from(channel)) * share) as u8;
    RGBColor(mix(r), mix(g), mix(b))
}

/// The method that a row is drawn as: vanilla under whatever name it was trained.
pub fn drawn_as<'r>(row: &SettingRow<'r>) -> &'r str {
    if row.is_vanilla() { methods::reference() } else { row.method() }
}

/// A row's colour.
pub fn row_color(row: &SettingRow<'_>) -> RGBColor {
    color(drawn_as(row))
}

/// One direction of a coordinate system.
pub struct Axis {
    /// What is shown.
    pub range: Range<f64>,
    /// Where values are written.
    pub ticks: Vec<f64>,
    /// What, and in which unit.
    pub title: String,
    /// How values are written.
    pub format: Box<dyn Fn(f64) -> String>,
}

impl Axis {
    /// An axis over all values with some air, ticks at round numbers.
    pub fn over(values: impl Iterator<Item = f64> + Clone, title: &str) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let air = (0.08 * (high - low)).max(0.5);
        Self::round(low - air..high + air, title)
    }

    /// An axis over shares in percent: it ends where they do.
    pub fn percent(values: impl Iterator<Item = f64> + Clone, title: &str) -> Self {
        let axis = Self::over(values, title);
        let range = axis.range.start.max(0.0)..axis.range.end.min(100.0);
        Self { range, ticks: axis.ticks.into_iter().filter(|tick| (0.0..=100.0).contains(tick)).collect(), ..axis }
    }

    /// An axis over a range, ticks at round numbers.
    pub fn round(range: Range<f64>, title: &str) -> Self {
        let rough = (range.end - range.start) / 7.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(rough);
        let first = (range.start / step).ceil() as i64;
        let ticks = (first..).map(|n| n as f64 * step).take_while(|tick| *tick <= range.end).collect();
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        Self { range, ticks, title: title.to_owned(), format: Box::new(move |value| format!("{value:.decimals$}")) }
    }

    /// An axis of named places 0, 1, 2, ...
    pub fn places(names: Vec<String>, title: &str) -> Self {
        let ticks = (0..names.len()).map(|place| place as f64).collect();
        let range = -0.5..names.len() as f64 - 0.5;
        let format = move |value: f64| names.get(value.round() as usize).cloned().unwrap_or_default();
        Self { range, ticks, title: title.to_owned(), format: Box::new(format) }
    }
}

/// Draws axes with a light grid, and gives the map from values to pixels with the pixels of the plotting area.
pub fn axes<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    margin: [i32; 4],
    x: &Axis,
    y: &Axis,
) -> Drawn<DB, Frame> {
    let frame = Frame::new(area.dim_in_pixel(), margin, x, y);
    let grid = RGBColor(228, 228, 228);
    let mut free = i32::MIN;
    for tick in &x.ticks {
        let at = frame.at(*tick, frame.y.start).0;
        line(area, (at, frame.top), (at, frame.bottom), grid, 1)?;
        let (text, style) = ((x.format)(*tick), style(TEXT, BLACK, HPos::Center, VPos::Top));
        let half = area.estimate_text_size(&text, &style)?.0 as i32 / 2;
        // A label that would touch the one before it is left out; its line tells.
        if at - half > free {
            area.draw_text(&text, &style, (at, frame.bottom + 10))?;
            free = at + half + 8;
        }
    }
    for tick in &y.ticks {
        let at = frame.at(frame.x.start, *tick).1;
        line(area, (frame.left, at), (frame.right, at), grid, 1)?;
        area.draw_text(&(y.format)(*tick), &style(TEXT, BLACK, HPos::Right, VPos::Center), (frame.left - 10, at))?;
    }
    line(area, (frame.left, frame.bottom), (frame.right, frame.bottom), BLACK, 1)?;
    line(area, (frame.left, frame.top), (frame.left, frame.bottom), BLACK, 1)?;
    let middle = (frame.left + frame.right) / 2;
    area.draw_text(&x.title, &style(TEXT, BLACK, HPos::Center, VPos::Top), (middle, frame.bottom + 42))?;
    // Above the axis: read without turning the head.
    area.draw_text(&y.title, &style(TEXT, BLACK, HPos::Left, VPos::Bottom), (24.min(frame.left), frame.top - 14))?;
    Ok(frame)
}

/// The map from values to pixels.
#[derive(Clone, Debug)]
pub struct Frame {
    x: Range<f64>,
    y: Range<f64>,
    /// Pixel column of the smallest x.
    pub left: i32,
    /// Pixel column of the largest x.
    pub right: i32,
    /// Pixel row of the largest y.
    pub top: i32,
    /// Pixel row of the smallest y.
    pub bottom: i32,
}

impl Frame {
    /// That of axes in an area of this size, with these margins: top, right, bottom, left.
    pub fn new((width, height): (u32, u32), [top, right, bottom, left]: [i32; 4], x: &Axis, y: &Axis) -> Self {
        let (right, bottom) = (width as i32 - right, height as i32 - bottom);
        Self { x: x.range.clone(), y: y.range.clone(), left, right, top, bottom }
    }

    /// The pixel of a value.
    pub fn at(&self, x: f64, y: f64) -> (i32, i32) {
        let map = |value: f64, from: &Range<f64>, low: i32, high: i32| {
            let share = (value - from.start) / (from.end - from.start);
            low + (share * f64::from(high - low)).round() as i32
        };
        (map(x, &self.x, self.left, self.right), map(y, &self.y, self.bottom, self.top))
    }
}

/// A straight line.
pub fn line<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    from: (i32, i32),
    to: (i32, i32),
    color: RGBColor,
    width: u32,
) -> Drawn<DB> {
    area.draw(&PathElement::new(vec![from, to], color.stroke_width(width)))
}

/// The pieces of a line along the axes that stay further than `radius` from all of `avoided`.
pub fn around(points: &[(i32, i32)], avoided: &[(i32, i32)], radius: i32) -> Vec<[(i32, i32); 2]> {
    let mut pieces = Vec::new();
    for pair in points.windows(2) {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        let length = (bx - ax).abs().max((by - ay).abs());
        let at = |along: i32| (ax + (bx - ax).signum() * along, ay + (by - ay).signum() * along);
        let is_free = |(x, y): (i32, i32)| avoided.iter().all(|(u, v)| (x - u).pow(2) + (y - v).pow(2) > radius.pow(2));
        let mut start = None;
        for along in 0..=length {
            match (is_free(at(along)), start) {
                (true, None) => start = Some(along),
                (false, Some(from)) => {
                    pieces.push([at(from), at(along - 1)]);
                    start = None;
                }
                _ => {}
            }
        }
        pieces.extend(start.filter(|from| *from < length).map(|from| [at(from), at(length)]));
    }
    pieces
}

/// A line through points, in strokes of `dash` pixels on and off; 0 draws it through.
pub fn polyline<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    points: &[(i32, i32)],
    color: RGBColor,
    width: u32,
    dash: u32,
) -> Drawn<DB> {
    if dash == 0 {
        return area.draw(&PathElement::new(points.to_vec(), color.stroke_width(width)));
    }
    // Pixels along the line so far: strokes go on around corners.
    let mut travelled = 0.0;
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
        let length = dx.hypot(dy);
        let at = |along: f64| {
            let share = (along / length).clamp(0.0, 1.0);
            (from.0 + (dx * share).round() as i32, from.1 + (dy * share).round() as i32)
        };
        let period = 2.0 * f64::from(dash);
        let mut start = -(travelled % period);
        while start < length {
            let end = start + f64::from(dash);
            if end > 0.0 {
                line(area, at(start), at(end), color, width)?;
            }
            start += period;
        }
        travelled += length;
    }
    Ok(())
}

/// A vertical error bar around `y`, between the pixels `low` and `high`.
pub fn error_bar<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    x: i32,
    (low, high): (i32, i32),
    color: RGBColor,
) -> Drawn<DB> {
    line(area, (x, low), (x, high), color, 2)?;
    for y in [low, high] {
        line(area, (x - 6, y), (x + 6, y), color, 2)?;
    }
    Ok(())
}

/// Shapes of marks around their middle, by place in the registry; an empty one is a disc.
const MARKS: [&[(i32, i32)]; 9] = [
    &[],
    // A plus.
    &[(-3, -9), (3, -9), (3, -3), (9, -3), (9, 3), (3, 3), (3, 9), (-3, 9), (-3, 3), (-9, 3), (-9, -3), (-3, -3)],
    // A square, triangles up and down, a diamond.
    &[(-8, -8), (8, -8), (8, 8), (-8, 8)],
    &[(0, -11), (10, 8), (-10, 8)],
    &[(0, 11), (10, -8), (-10, -8)],
    &[(0, -11), (11, 0), (0, 11), (-11, 0)],
    // A cross, a pentagon, an hourglass.
    &[(0, -4), (5, -9), (9, -5), (4, 0), (9, 5), (5, 9), (0, 4), (-5, 9), (-9, 5), (-4, 0), (-9, -5), (-5, -9)],
    &[(0, -10), (10, -3), (6, 9), (-6, 9), (-10, -3)],
    &[(-9, -9), (9, -9), (2, 0), (9, 9), (-9, 9), (-2, 0)],
];

/// The number of a method's shape; none for one that this binary does not know.
pub fn shape(method: &str) -> Option<usize> {
    methods::find(method).map(|info| index(info.place, MARKS.len()))
}

/// The mark of a method: a shape beside the colour, so that neither has to be told apart alone. A ring for one that this binary
/// does not know.
pub fn mark<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    (x, y): (i32, i32),
    method: &str,
    color: RGBColor,
) -> Drawn<DB> {
    match shape(method).map(|shape| MARKS[shape]) {
        None => area.draw(&Circle::new((x, y), 8, color.stroke_width(3))),
        Some([]) => area.draw(&Circle::new((x, y), 9, color.filled())),
        Some(polygon) => {
            let points: Vec<_> = polygon.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
            area.draw(&Polygon::new(points, color.filled()))
        }
    }
}

/// A row's mark.
pub fn row_mark<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, at: (i32, i32), row: &SettingRow<'_>) -> Drawn<DB> {
    mark(area, at, drawn_as(row), row_color(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_around_what_it_does_not_touch() {
        let stairs = [(0, 0), (10, 0), (10, 20)];
        assert_eq!(around(&stairs, &[], 3), [[(0, 0), (10, 0)], [(10, 0), (10, 20)]]);
        let pieces = around(&stairs, &[(10, 10)], 3);
        assert_eq!(pieces, [[(0, 0), (10, 0)], [(10, 0), (10, 6)], [(10, 14), (10, 20)]]);
        assert_eq!(around(&stairs[..2], &[(5, 0)], 20), Vec::<[(i32, i32); 2]>::new());
    }

    #[test]
    fn an_axis_of_shares_ends_where_they_do() {
        let axis = Axis::percent([99.0, 99.9].into_iter(), "x");
        assert_eq!(axis.range.end, 100.0);
        assert!(axis.ticks.iter().all(|tick| *tick <= 100.0) && axis.ticks.len() >= 3, "{:?}", axis.ticks);
        assert_eq!(Axis::percent([0.0, 0.1].into_iter(), "x").range.start, 0.0);
    }

    #[test]
    fn the_studied_methods_colour_is_its_own_and_all_others_are_used() {
        let all: Vec<usize> = (0..8).map(|place| index(place, 4)).collect();
        assert_eq!(all, [0, 1, 2, 3, 1, 2, 3, 1]);
    }
}
